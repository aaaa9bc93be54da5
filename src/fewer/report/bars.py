"""Histograms of what stayed and what went, on the logarithm of absolute values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fewer.report.numbers import tick
from fewer.report.order import Look
from fewer.report.scale import Linear
from fewer.report.svg import Markup, join, picture, tag, text
from fewer.verbs.result import Histogram

__all__ = ["histogram"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420.0, 170.0, 8.0, 412.0, 24.0, 140.0


def histogram(data: Histogram, look: Look, name: str) -> Markup:
    """Kept stacked on dropped: the outline is the whole, the solid part is what stayed.

    Args:
        data: counts between edges.
        look: the colour of the method; what was dropped is hatched.
        name: whose histogram it is, for screen readers.
    """
    kept, dropped = sum(data.kept), sum(data.dropped)
    data = _visible(data)
    if not data.kept:
        return Markup("")
    across = Linear(data.edges[0], data.edges[-1], LEFT, RIGHT)
    tallest = max((k + d for k, d in zip(data.kept, data.dropped, strict=True)), default=0) or 1
    upright = Linear(0.0, float(tallest), BOTTOM, TOP)
    both = tuple(k + d for k, d in zip(data.kept, data.dropped, strict=True))
    body = [
        _steps(data.edges, both, data.dropped, across, upright, "kept"),
        _steps(data.edges, data.dropped, (0,) * len(both), across, upright, "dropped"),
        _names(data, {"kept": kept, "dropped": dropped}, across, upright),
        *(_tick(power, across) for power in _powers(data.edges)),
        tag("line", {"x1": LEFT, "x2": RIGHT, "y1": BOTTOM, "y2": BOTTOM, "class": "axis"}),
    ]
    said = f"Histogram, {name}: {data.title}; {kept:,} kept, {dropped:,} dropped"
    return picture(WIDTH, HEIGHT, said, tag("g", {"class": look.colour}, *body))


def _visible(data: Histogram) -> Histogram:
    """Without the bins at both ends that would be lower than a quarter of a pixel."""
    heights = [k + d for k, d in zip(data.kept, data.dropped, strict=True)]
    shown = [i for i, height in enumerate(heights) if 400 * height >= max(heights) > 0]
    if not shown:
        return Histogram(data.title, (), (), ())
    first, last = shown[0], shown[-1] + 1
    return Histogram(data.title, data.edges[first : last + 1], data.kept[first:last], data.dropped[first:last])


def _steps(
    edges: tuple[float, ...],
    tops: tuple[int, ...],
    floors: tuple[int, ...],
    across: Linear,
    upright: Linear,
    style: str,
) -> Markup:
    """The area between two staircases."""
    upper, lower = [], []
    for i, (top, floor) in enumerate(zip(tops, floors, strict=True)):
        left, right = across(edges[i]), across(edges[i + 1])
        upper += [(left, upright(top)), (right, upright(top))]
        lower += [(left, upright(floor)), (right, upright(floor))]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in upper + lower[::-1])
    return tag("polygon", {"points": points, "class": style})


def _powers(edges: tuple[float, ...]) -> list[int]:
    first, last = math.ceil(edges[0]), math.floor(edges[-1])
    step = max(1, math.ceil((last - first + 1) / 8))
    return list(range(first, last + 1, step))


def _tick(power: int, across: Linear) -> Markup:
    x = across(power)
    line = tag("line", {"x1": x, "x2": x, "y1": BOTTOM, "y2": BOTTOM + 4, "class": "axis"})
    return join([line, text(x, BOTTOM + 17, tick(10.0**power), {"class": "tick mid"})])


def _names(data: Histogram, totals: Mapping[str, int], across: Linear, upright: Linear) -> Markup:
    """`kept` and `dropped`, each above its own highest step, with its count."""
    written = []
    for word, counts, both in (("dropped", data.dropped, data.kept), ("kept", data.kept, data.dropped)):
        if not sum(counts):
            continue
        i = max(range(len(counts)), key=counts.__getitem__)
        x = across((data.edges[i] + data.edges[i + 1]) / 2)
        x = min(RIGHT - 52, max(LEFT + 52, x))
        y = upright(counts[i] + both[i]) - 6
        written.append((x, y, f"{word} {totals[word]:,}", "label mid" if word == "kept" else "label mid quiet"))
    if len(written) == 2 and abs(written[0][0] - written[1][0]) < 110:
        written = [(LEFT + 2, TOP - 8, written[0][2], "label quiet"), (RIGHT - 2, TOP - 8, written[1][2], "label end")]
    return join([text(x, max(12, y), content, {"class": style}) for x, y, content, style in written])
