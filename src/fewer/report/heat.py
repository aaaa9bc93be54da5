"""Where a model was cut and where it hurts: a field of blocks by layer kinds, numbers written in the cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from fewer.report.svg import Attributes, Markup, clip, join, picture, tag, text

__all__ = ["field", "legend"]

WIDTH, LABEL, CELL = 420.0, 92.0, 21.0


def field(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], float],
    depth: Callable[[float], float],
    write: Callable[[float], str],
    said: str,
) -> Markup:
    """One heat map.

    Args:
        rows: names from top to bottom.
        columns: names from left to right.
        values: the number at (row, column); absent cells stay empty.
        depth: how dark a number is, 0 to 1; the same function over several maps makes them comparable.
        write: how a number is written in a cell and when pointed at.
        said: what a screen reader says.
    """
    width = (WIDTH - LABEL) / max(1, len(columns))
    step = math.ceil(24 / width)
    body = [
        text(LABEL + (j + 0.5) * width, 11, clip(name, max(2, int(width * step / 6))), {"class": "tick mid"})
        for j, name in enumerate(columns)
        if j % step == 0
    ]
    for i, row in enumerate(rows):
        y = 18 + i * CELL
        body.append(text(LABEL - 7, y + CELL / 2 + 4, clip(row, 15), {"class": "tick end"}))
        for j, column in enumerate(columns):
            if (row, column) in values:
                body.append(_cell(LABEL + j * width, y, width, values[row, column], depth, write, f"{row}, {column}"))
    return picture(WIDTH, 18 + len(rows) * CELL + 2, said, *body)


def _cell(
    x: float,
    y: float,
    width: float,
    value: float,
    depth: Callable[[float], float],
    write: Callable[[float], str],
    where: str,
) -> Markup:
    dark = min(1.0, max(0.0, depth(value)))
    gap = 1.0 if width > 6 else 0.0
    box: Attributes = {
        "x": x,
        "y": y,
        "width": width - gap,
        "height": CELL - 1,
        "class": "cell",
        "fill-opacity": f"{0.06 + 0.94 * dark:.2f}",
        "data-tip": f"{where}\n{write(value)}",
    }
    drawn = [tag("rect", box)]
    number = write(value)
    if len(number) * 6.1 + 2 <= width:
        tone = "cell-dark" if dark > 0.7 else "cell-light"
        drawn.append(text(x + (width - gap) / 2, y + CELL / 2 + 3.2, number, {"class": f"number mid {tone}"}))
    return join(drawn)


def legend(low: str, high: str, title: str) -> Markup:
    """The scale that the maps share, from its lightest to its darkest."""
    boxes = [
        tag("rect", {"x": 12.0 * i, "y": 2, "width": 12, "height": 10, "class": "cell", "fill-opacity": f"{o:.2f}"})
        for i, o in enumerate([0.06 + 0.94 * k / 11 for k in range(12)])
    ]
    bar = tag("svg", {"viewBox": "0 0 144 14", "width": 144, "height": 14, "aria-hidden": "true"}, *boxes)
    return tag("p", {"class": "legend"}, f"{title}: {low} ", bar, f" {high}")
