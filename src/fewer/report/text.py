"""A comparison as a table for the terminal."""

from __future__ import annotations

import math

from fewer.arguments import checked
from fewer.report.columns import columns
from fewer.report.order import settings
from fewer.report.story import answer
from fewer.verbs.result import Candidate, Comparison

__all__ = ["aligned", "to_text"]


@checked
def to_text(comparison: Comparison) -> str:
    """A compact table: one row a model, best first, the random selection at the end of every setting.

    Args:
        comparison: what was measured.

    Returns:
        Plain text, without colours, ending in the answer in one sentence.
    """
    shown = columns(comparison)

    def row(candidate: Candidate) -> tuple[str, ...]:
        return (candidate.label, *(column.write(column.get(candidate)) for column in shown))

    rows: list[tuple[str, ...] | str] = [("model", *(c.short for c in shown)), "=", row(comparison.dense)]
    for setting in settings(comparison):
        rows.append("-" + setting.title)
        rows.extend(row(candidate) for candidate in setting.candidates)
    return "\n".join([*aligned(rows), "", *_footer(comparison)])


def aligned(rows: list[tuple[str, ...] | str]) -> list[str]:
    """Lines with the first column on the left and the others on the right; a row that is a text is a rule."""
    cells = [row for row in rows if isinstance(row, tuple)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    total = sum(widths) + 2 * (len(widths) - 1)
    lines = []
    for row in rows:
        if isinstance(row, str):
            title = row[1:]
            lines.append(f"── {title} ".ljust(total, "─") if title else "─" * total)
        else:
            first = row[0].ljust(widths[0])
            lines.append("  ".join([first, *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]))
    return [line.rstrip() for line in lines]


def _footer(comparison: Comparison) -> list[str]:
    quality = comparison.dense.quality
    if math.isnan(quality.perplexity):
        meaning = "out error: ||f' - f|| / ||f|| over the outputs; vs random: random's error over this one's."
    else:
        meaning = (
            "KL(dense || pruned) per token; top-1: share of tokens with the dense model's first choice; "
            f"worst ppl: the worst of {len(quality.slices)} slices; vs random: random's KL over this one's."
        )
    return [answer(comparison), f"{meaning} {quality.tokens:,} tokens of {quality.data}."]
