"""A speed report as a table for the terminal and as strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fewer.report.numbers import factor, nats, percent, perplexity, size
from fewer.report.records import plain
from fewer.verbs.result import SpeedReport

__all__ = ["HEADS", "answer", "cells", "quality_cells", "to_json", "to_text"]

HEADS = (
    "phase", "batch", "make", "tokens/s", "ms a step", "ms a layer", "read a token", "vs torch dense", "vs own dense",
)  # fmt: skip
QUALITY_HEADS = ("make", "perplexity", "KL from dense", "same first choice")


def to_json(report: SpeedReport, *, indent: int | None = 2) -> str:
    """The whole report; `format` and `version` name the layout.

    Args:
        report: what was measured.
        indent: spaces of indentation; None for one line.
    """
    document = {"format": "fewer-speed", "version": 1, "answer": answer(report), **plain(report)}
    for row in document["timings"]:
        for short, against in zip(("torch", "own"), report.baselines, strict=True):
            row[f"times_{short}"] = plain(_ratio(report, row, against))
    return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)


def to_text(report: SpeedReport) -> str:
    """One row a make, batch and phase, both baselines first; then quality, where it was measured."""
    rows = [HEADS, *(cells(report, row) for row in report.timings)]
    lines = [f"{report.model} on {report.machine}", f"clock: {report.clock}", "", *_aligned(rows)]
    if report.quality:
        lines += ["", *_aligned([QUALITY_HEADS, *(quality_cells(report, name) for name in report.quality)])]
        first = next(iter(report.quality.values()))
        lines.append(f"Measured on {first.tokens:,} tokens of {first.data} at context {first.context}.")
    return "\n".join([*lines, "", *(f"note: {note}" for note in report.notes), answer(report)])


def answer(report: SpeedReport) -> str:
    """What decoding one sequence gains, against both baselines, in one sentence."""
    batch = min((row["batch"] for row in report.timings), default=1)
    rows = [row for row in report.timings if row["phase"] == "decode" and row["batch"] == batch]
    others = [row for row in rows if row["contender"] not in report.baselines]
    if not others:
        return "No sparse make was timed."
    best = max(others, key=lambda row: row["tokens_per_second"])
    torch, own = (factor(_ratio(report, best, against)) for against in report.baselines)
    return (
        f"Decoding {batch} sequence{'s' * (batch != 1)} at a time, {best['contender']} gives "
        f"{best['tokens_per_second']:,.0f} tokens a second: {torch} torch dense, {own} the own dense kernel."
    )


def cells(report: SpeedReport, row: Mapping[str, Any]) -> tuple[str, ...]:
    """One timing in words, as `HEADS` names them."""
    return (
        row["phase"], str(row["batch"]), row["contender"], f"{row['tokens_per_second']:,.1f}",
        f"{row['milliseconds']:.2f}", f"{row['milliseconds_per_layer']:.3f}", size(row["bytes_per_token"]),
        *(f"{_ratio(report, row, against) or 0:.2f}" for against in report.baselines),
    )  # fmt: skip


def quality_cells(report: SpeedReport, name: str) -> tuple[str, ...]:
    """The quality of one make in words."""
    found = report.quality[name]
    worth = None if math.isnan(found.perplexity) else found.perplexity  # It predicts no next token.
    return name, perplexity(worth), nats(found.kl), percent(found.top1_agreement)


def _ratio(report: SpeedReport, row: Mapping[str, Any], against: str) -> float | None:
    return report.ratio(row["contender"], against, phase=row["phase"], batch=row["batch"])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width: words to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = [not any(row[i][:1].isdigit() for row in rows[1:]) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if words else cell.rjust(w) for cell, w, words in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]
