"""Quality against sparsity: one line a method, labelled at its end, random drawn as the floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from fewer.report.measures import Measure, tooltip
from fewer.report.order import Look
from fewer.report.scale import Linear, Log, linear
from fewer.report.svg import Markup, clip, join, mark, picture, tag, text
from fewer.verbs.result import Candidate

__all__ = ["curves", "spread"]

WIDTH, HEIGHT = 420.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 326.0, 12.0, 252.0


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved as little as a simple pass allows so that neighbours are `gap` apart, inside the paper.

    >>> spread([10, 11, 40], 6, 0, 50)
    [10, 16, 40]
    >>> spread([49, 48], 6, 0, 50)
    [50, 44]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, here in pairwise(order):
        moved[here] = max(moved[here], moved[before] + gap)
    if order and moved[order[-1]] > high:
        moved[order[-1]] = high
        for after, here in pairwise(order[::-1]):
            moved[here] = min(moved[here], moved[after] - gap)
    return [max(low, place) for place in moved]


def curves(
    measure: Measure, groups: Mapping[str, Sequence[Candidate]], looks: Mapping[str, Look], dense: Candidate
) -> Markup:
    """One chart.

    Args:
        measure: what stands on the upright axis.
        groups: the points of each method, in order of sparsity.
        looks: how each group is drawn.
        dense: the reference.
    """
    base = measure.base(dense)
    points = {name: _points(measure, rows) for name, rows in groups.items()}
    points = {name: rows for name, rows in points.items() if rows}
    if not points:
        return Markup("")
    across = linear([0.0, *(x for rows in points.values() for x, _, _ in rows)], LEFT, RIGHT)
    upright = measure.scale(measure.span([c for rows in groups.values() for c in rows], dense), BOTTOM, TOP)
    body = [
        _axes(across, upright, measure),
        *(_floor(points[n], across, upright, measure, base) for n in points if looks[n].colour == "random"),
        _reference(upright, base),
        *(_line(points[n], looks[n], across, upright, base) for n in points),
        _labels(points, looks, across, upright, base, measure),
    ]
    said = f"{measure.title} against sparsity for {', '.join(points)}; the numbers are in the table"
    return picture(WIDTH, HEIGHT, said, *body)


_Points = list[tuple[float, float, Candidate]]


def _points(measure: Measure, rows: Sequence[Candidate]) -> _Points:
    found = [(c.sparsity, measure.of(c), c) for c in rows]
    return sorted(((x, y, c) for x, y, c in found if y is not None and math.isfinite(y)), key=lambda p: p[0])


def _axes(across: Linear, upright: Linear | Log, measure: Measure) -> Markup:
    lines = []
    for value in upright.ticks():
        y = upright(value)
        lines.append(tag("line", {"x1": LEFT, "x2": RIGHT, "y1": y, "y2": y, "class": "grid"}))
        lines.append(text(LEFT - 6, y + 3.5, measure.tick(value), {"class": "tick end"}))
    for value in across.ticks():
        if 0 <= value <= 1:
            lines.append(text(across(value), BOTTOM + 16, f"{100 * value:g} %", {"class": "tick mid"}))
    lines.append(tag("line", {"x1": LEFT, "x2": RIGHT, "y1": BOTTOM, "y2": BOTTOM, "class": "axis"}))
    lines.append(text((LEFT + RIGHT) / 2, BOTTOM + 33, "sparsity", {"class": "tick mid"}))
    return join(lines)


def _trace(points: _Points, across: Linear, upright: Linear | Log, base: float | None) -> list[tuple[float, float]]:
    """The corners of a line, from the dense model on, cut where it leaves the paper."""
    values = [*([] if base is None else [(0.0, base)]), *((x, y) for x, y, _ in points)]
    line: list[tuple[float, float]] = []
    for x, y in values:
        here = (across(x), upright(y))
        if not upright.holds(y):
            if line:
                # The clamped end of a steep line stands too far right; half way is where the eye expects the exit.
                here = ((line[-1][0] + here[0]) / 2, here[1])
            line.append(here)
            break
        line.append(here)
    return line


def _floor(points: _Points, across: Linear, upright: Linear | Log, measure: Measure, base: float | None) -> Markup:
    """The region that is worse than random, hatched, from random's line to the worse edge of the chart."""
    edge = TOP if measure.lower_is_better else BOTTOM
    line = _trace(points, across, upright, base)
    outline = [(line[0][0], edge), *line, (line[-1][0], edge)]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    return tag("polygon", {"points": corners, "class": "floor"})


def _reference(upright: Linear | Log, base: float | None) -> Markup:
    if base is None:
        return Markup("")
    return tag("line", {"x1": LEFT, "x2": RIGHT, "y1": upright(base), "y2": upright(base), "class": "dense"})


def _line(points: _Points, look: Look, across: Linear, upright: Linear | Log, base: float | None) -> Markup:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in _trace(points, across, upright, base))
    marks = [
        mark(look.shape, across(x), upright(y), 4.0, {"class": "mark", "tabindex": 0, "data-tip": tooltip(c)})
        for x, y, c in points
        if upright.holds(y)
    ]
    return tag(
        "g",
        {"class": look.colour},
        tag("path", {"d": path, "class": "curve", "stroke-dasharray": look.dash}),
        *marks,
    )


def _labels(
    points: Mapping[str, _Points],
    looks: Mapping[str, Look],
    across: Linear,
    upright: Linear | Log,
    base: float | None,
    measure: Measure,
) -> Markup:
    """Names at the ends of the lines, moved apart; a line that leaves the paper is named where it leaves."""
    ends = []
    written = []
    for name, rows in points.items():
        x, y = _trace(rows, across, upright, base)[-1]
        style = f"label {looks[name].colour}"
        if all(upright.holds(value) for _, value, _ in rows):
            ends.append((name, x, y, style))
        else:
            said = f"{clip(name, 15)} ↑ {measure.write(rows[-1][1])}"
            fits = x + 6 + 8 * len(said) <= WIDTH
            place = x + 6 if fits else WIDTH
            written.append(text(place, y + 11, said, {"class": style if fits else f"{style} end"}))
    if base is not None:
        ends.append((f"dense {measure.write(base)}", RIGHT - 4, upright(base), "tick strong"))
    moved = spread([y + 3.5 for _, _, y, _ in ends], 13.0, TOP, BOTTOM)
    for (name, x, y, style), to in zip(ends, moved, strict=True):
        left = max(x + 8, RIGHT - 20 + 8)
        if abs(to - y - 3.5) > 2 or left > x + 9:
            leader = f"M{x + 6:.1f} {y:.1f}L{left - 3:.1f} {to - 3.5:.1f}"
            written.append(tag("path", {"d": leader, "class": "leader"}))
        written.append(text(left, to, clip(name, 15), {"class": style}))
    return join(written)
