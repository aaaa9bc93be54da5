"""The quality part of the page: charts, then the table that holds every number of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fewer.report.columns import Column, columns
from fewer.report.curves import curves
from fewer.report.dots import dots
from fewer.report.measures import MEASURES, Measure
from fewer.report.order import Look, Setting, settings
from fewer.report.svg import Attributes, Markup, mark, tag
from fewer.verbs.result import Candidate, Comparison

__all__ = ["section"]


def section(comparison: Comparison, looks: Mapping[str, Look]) -> Markup:
    """Charts and table; curves for patterns measured at several sparsities, rows of dots for the others."""
    found = settings(comparison)
    several = {p for p in {s.pattern for s in found} if sum(s.pattern == p for s in found) > 1}
    parts = []
    for pattern in dict.fromkeys(s.pattern for s in found if s.pattern in several):
        parts.append(_curves(pattern, comparison, looks))
    single = [s for s in found if s.pattern not in several]
    if single:
        parts.append(_dots(single, comparison, looks, bool(several)))
    intro = (
        "Several measures, because each alone can mislead. Hatched: no better than removing as many weights at random, "
        "layer by layer. Dashed: the dense model."
    )
    heading = tag("h2", None, "Quality against sparsity")
    drawings = tag("section", None, heading, tag("p", None, intro), *parts) if found else Markup("")
    return Markup(drawings + _table_section(comparison, found, looks))


def _panel(measure: Measure, drawing: Markup, context: int) -> Markup:
    if not drawing:
        return Markup("")
    note = measure.note.format(context=context)
    return tag(
        "figure", None, tag("figcaption", None, tag("h3", None, measure.title), tag("span", None, note)), drawing
    )


def _curves(pattern: str, comparison: Comparison, looks: Mapping[str, Look]) -> Markup:
    groups: dict[str, list[Candidate]] = {}
    for candidate in comparison.candidates:
        if candidate.pattern == pattern:
            groups.setdefault(candidate.group, []).append(candidate)
    dense = comparison.dense
    panels = [_panel(m, curves(m, groups, looks, dense), dense.quality.context) for m in MEASURES]
    name = "" if pattern == "unstructured" else f"Pattern {pattern}"
    title = tag("h4", None, name) if name else Markup("")
    return Markup(title + tag("div", {"class": "grid-of"}, *panels))


def _dots(found: list[Setting], comparison: Comparison, looks: Mapping[str, Look], named: bool) -> Markup:
    dense = comparison.dense
    panels = [_panel(m, dots(m, found, looks, dense), dense.quality.context) for m in MEASURES]
    title = tag("h4", None, "Patterns measured at one sparsity") if named else Markup("")
    return Markup(title + tag("div", {"class": "grid-of"}, *panels))


def _table_section(comparison: Comparison, found: tuple[Setting, ...], looks: Mapping[str, Look]) -> Markup:
    shown = columns(comparison)
    heads = ("model", "setting", *(column.long for column in shown))
    head = tag("tr", None, *(tag("th", {"scope": "col"}, name) for name in heads))
    rows = [_row(comparison.dense, None, shown, looks)]
    rows += [_row(c, s, shown, looks) for s in found for c in s.candidates]
    table = tag("table", {"class": "sortable"}, tag("thead", None, head), tag("tbody", None, *rows))
    scroll: Attributes = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "All numbers"}
    return tag(
        "section",
        None,
        tag("h2", None, "All numbers"),
        tag("p", None, _measured_on(comparison.dense)),
        tag("div", scroll, table),
    )


def _measured_on(dense: Candidate) -> str:
    """What the numbers were measured on; a model without a language has no tokens, KL or slices to explain."""
    quality = dense.quality
    if math.isnan(quality.perplexity):
        return (
            f"Measured on {quality.tokens:,} outputs on {quality.data}. Closer than random: the output error of the "
            "random selection with the same count in every layer, over this one's."
        )
    return (
        f"Measured on {quality.tokens:,} tokens of {quality.data} in windows of {quality.context}. KL is "
        f"KL(dense ‖ pruned), natural logarithm. The worst slice is the worst of {len(quality.slices)} contiguous "
        "parts of the text. Closer than random: the KL of the random selection with the same count in every layer, "
        "over this one's. Packed: one bit for every place and the kept values, where that is less than all values."
    )


def _row(candidate: Candidate, setting: Setting | None, shown: Sequence[Column], looks: Mapping[str, Look]) -> Markup:
    best = setting is not None and setting.methods[:1] == (candidate,)
    values = [(column.get(candidate), column) for column in shown]
    style = "is-random" if candidate.random else None if setting else "is-dense"
    swatch = _swatch(looks[candidate.group]) if setting else Markup("")
    return tag(
        "tr",
        {"class": style},
        tag("th", {"scope": "row"}, swatch, candidate.label),
        tag("td", None, setting.title if setting else "nothing removed"),
        *(_cell(value, column.write(value), best and column.judges) for value, column in values),
    )


def _cell(value: float | None, written: str, best: bool) -> Markup:
    known = value is not None and not math.isnan(value)
    sort = f"{value:.9g}".replace("inf", "1e999") if known else ""
    return tag("td", {"data-value": sort}, tag("b", None, written) if best else written)


def _swatch(look: Look) -> Markup:
    drawn = mark(look.shape, 7, 6, 4.2, {"class": "mark"})
    return tag("svg", {"class": f"swatch {look.colour}", "viewBox": "0 0 14 12", "aria-hidden": "true"}, drawn)
