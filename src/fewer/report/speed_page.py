"""A speed report as one page: bars of tokens a second for every batch, quality beside them, and all numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fewer.report.document import document, write
from fewer.report.numbers import factor
from fewer.report.speed import HEADS, QUALITY_HEADS, answer, cells, quality_cells, to_json
from fewer.report.svg import Attributes, Markup, picture, tag, text
from fewer.verbs.result import SpeedReport

__all__ = ["page", "to_html"]

WIDTH, ROW, NAME, RIGHT = 540.0, 34.0, 0.0, 150.0


def to_html(report: SpeedReport, path: str) -> str:
    """Write one self-contained page, whole or not at all.

    Args:
        report: what was measured.
        path: file to write.

    Returns:
        The path.

    Raises:
        FewerError: the file cannot be written.
    """
    return write(path, page(report))


def page(report: SpeedReport) -> str:
    """The page as text: an HTML document whose every value from data is escaped."""
    parts = [_header(report), _charts(report), *([_quality(report)] if report.quality else [])]
    return document(
        f"fewer bench: {report.model}", [*parts, _numbers(report), _run(report)], to_json(report, indent=None)
    )


def _header(report: SpeedReport) -> Markup:
    shown = [row for row in _at(report, "decode", _batches(report)[0])]
    facts = [(row["contender"], f"{row['tokens_per_second']:,.0f}", _against(report, row)) for row in shown]
    return tag(
        "header",
        None,
        tag("p", {"class": "kicker"}, tag("b", None, "fewer bench"), f" · {report.model} · {report.date}"),
        tag("h1", None, answer(report)),
        tag("ul", {"class": "also"}, tag("li", None, report.machine), tag("li", None, f"Clock: {report.clock}.")),
        tag(
            "dl",
            {"class": "facts"},
            *(
                tag("div", None, tag("dt", None, name), tag("dd", None, value, tag("small", None, note)))
                for name, value, note in facts
            ),
        ),
    )


def _against(report: SpeedReport, row: Mapping[str, Any]) -> str:
    torch, own = (report.ratio(row["contender"], b, batch=row["batch"]) for b in report.baselines)
    if row["contender"] in report.baselines[:1]:
        return "tokens a second"
    beside = "" if row["contender"] in report.baselines else f", {factor(own)} own dense"
    return f"tokens a second, {factor(torch)} torch dense{beside}"


def _charts(report: SpeedReport) -> Markup:
    figures = [
        _figure(report, phase, batch)
        for phase in ("decode", "prefill")
        for batch in _batches(report)
        if _at(report, phase, batch)
    ]
    note = (
        "Tokens a second; longer is better. The dashed line is torch dense. The own dense kernel shows what a better "
        "dense product earns alone: only what lies beyond it is earned by sparsity."
    )
    return tag(
        "section", None, tag("h2", None, "Speed"), tag("p", None, note), tag("div", {"class": "grid-of"}, *figures)
    )


def _figure(report: SpeedReport, phase: str, batch: int) -> Markup:
    rows = _at(report, phase, batch)
    title = f"{'Decoding' if phase == 'decode' else 'Prefill'}, batch {batch}"
    said = "one token a sequence and step" if phase == "decode" else "the whole prompt in one step"
    caption = tag("figcaption", None, tag("h3", None, title), tag("span", None, said))
    return tag("figure", None, caption, _bars(report, rows, title))


def _bars(report: SpeedReport, rows: Sequence[Mapping[str, Any]], title: str) -> Markup:
    most = max(row["tokens_per_second"] for row in rows)
    across = (WIDTH - RIGHT) / most
    drawn = []
    for place, row in enumerate(rows):
        top = place * ROW + 14
        speed = row["tokens_per_second"]
        style = "random" if row["contender"] in report.baselines else f"c{_colour(report, row['contender'])}"
        tip = "\n".join(f"{head}: {cell}" for head, cell in zip(HEADS, cells(report, row), strict=True))
        shape: Attributes = {
            "x": 0.0, "y": top, "width": max(speed * across, 1.0), "height": 13.0, "rx": 2.0, "class": "kept mark",
            "tabindex": "0", "data-tip": tip,
        }  # fmt: skip
        ratio = "" if row["contender"] == report.baselines[0] else f"  {_ratio_words(report, row)}"
        drawn += [
            text(0.0, top - 4, row["contender"], {"class": "setting"}),
            tag("g", {"class": style}, tag("rect", shape)),
            text(speed * across + 6, top + 11, f"{speed:,.0f}{ratio}", {"class": "value"}),
        ]
    base = next((r["tokens_per_second"] for r in rows if r["contender"] == report.baselines[0]), None)
    if base is not None:
        line: Attributes = {
            "x1": base * across, "x2": base * across, "y1": 0.0, "y2": len(rows) * ROW, "class": "dense",
        }  # fmt: skip
        drawn.insert(0, tag("line", line))
    said = "; ".join(f"{row['contender']} {row['tokens_per_second']:,.0f} tokens a second" for row in rows)
    return picture(WIDTH, len(rows) * ROW, f"{title}: {said}", *drawn)


def _ratio_words(report: SpeedReport, row: Mapping[str, Any]) -> str:
    found = report.ratio(row["contender"], report.baselines[0], phase=row["phase"], batch=row["batch"])
    return f"({factor(found)})"


def _quality(report: SpeedReport) -> Markup:
    first = next(iter(report.quality.values()))
    rows = []
    for name, found in report.quality.items():
        style = "is-random" if name.startswith("random") else "is-dense" if name in report.baselines else None
        numbers = [("perplexity", found.perplexity), ("kl", found.kl), ("top1", found.top1_agreement)]
        values = zip(numbers, quality_cells(report, name)[1:], strict=True)
        cells_of = [
            tag("td", {"data-value": "" if v is None or math.isnan(v) else f"{v:.9g}"}, words)
            for (_, v), words in values
        ]
        rows.append(tag("tr", {"class": style}, tag("th", {"scope": "row"}, name), _speed(report, name), *cells_of))
    heads = ("make", "tokens/s at batch 1", *QUALITY_HEADS[1:])
    said = (
        f"Measured on {first.tokens:,} tokens of {first.data} at context {first.context}. Random selections keep the "
        "same shares as the makes that they stand beside."
    )
    return tag(
        "section", None, tag("h2", None, "Quality at that speed"), tag("p", None, said), _table(heads, rows, "Quality")
    )


def _speed(report: SpeedReport, name: str) -> Markup:
    found = next((r["tokens_per_second"] for r in _at(report, "decode", 1) if r["contender"] == name), None)
    return tag("td", {"data-value": "" if found is None else f"{found:.9g}"}, "–" if found is None else f"{found:,.0f}")


def _numbers(report: SpeedReport) -> Markup:
    rows = []
    for row in report.timings:
        written = cells(report, row)
        style = "is-dense" if row["contender"] in report.baselines else None
        first = tag("th", {"scope": "row"}, written[2])
        rows.append(tag("tr", {"class": style}, first, *(tag("td", None, c) for c in (*written[:2], *written[3:]))))
    heads = (HEADS[2], *HEADS[:2], *HEADS[3:])
    said = (
        f"Milliseconds a layer are spent inside of the {report.layers} linear layers, on average; bytes are those of "
        "linear weights, read once a step and shared by its tokens."
    )
    return tag(
        "section", None, tag("h2", None, "All numbers"), tag("p", None, said), _table(heads, rows, "All numbers")
    )


def _table(heads: Sequence[str], rows: Sequence[Markup], label: str) -> Markup:
    head = tag("tr", None, *(tag("th", {"scope": "col"}, name) for name in heads))
    table = tag("table", {"class": "sortable"}, tag("thead", None, head), tag("tbody", None, *rows))
    scroll: Attributes = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}
    return tag("div", scroll, table)


def _run(report: SpeedReport) -> Markup:
    facts = {"model": report.model, "machine": report.machine, "tier": report.tier, "clock": report.clock}
    rows = [part for name, words in facts.items() for part in (tag("dt", None, name), tag("dd", None, words))]
    notes = tag("ul", {"class": "plain"}, *(tag("li", None, note) for note in report.notes))
    return tag("section", None, tag("h2", None, "What was run"), tag("dl", {"class": "run"}, *rows), notes)


def _at(report: SpeedReport, phase: str, batch: int) -> list[Mapping[str, Any]]:
    return [row for row in report.timings if row["phase"] == phase and row["batch"] == batch]


def _batches(report: SpeedReport) -> list[int]:
    return sorted({row["batch"] for row in report.timings})


def _colour(report: SpeedReport, name: str) -> int:
    names = list(dict.fromkeys(r["contender"] for r in report.timings if r["contender"] not in report.baselines))
    return names.index(name) % 8
