"""Quality at one sparsity: a row a method, a dot where it stands, random drawn as the floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fewer.report.measures import Measure, tooltip
from fewer.report.order import Look, Setting
from fewer.report.scale import Linear, Log
from fewer.report.svg import Attributes, Markup, clip, join, mark, picture, tag, text
from fewer.verbs.result import Candidate

__all__ = ["dots"]

WIDTH, LEFT, RIGHT, TOP, ROW, HEAD = 420.0, 112.0, 402.0, 20.0, 25.0, 27.0


def dots(measure: Measure, found: Sequence[Setting], looks: Mapping[str, Look], dense: Candidate) -> Markup:
    """One chart: all settings below each other on one axis, so that they compare.

    Args:
        measure: what the axis measures.
        found: settings, each with its candidates in the order in which they are listed.
        looks: how each group is drawn.
        dense: the reference.
    """
    base = measure.base(dense)
    values = measure.span([c for s in found for c in s.candidates], dense)
    if not measure.known(c for s in found for c in s.candidates):
        return Markup("")
    across = measure.scale(values, LEFT + 8, RIGHT - 8)
    height = TOP + sum(HEAD + ROW * len(s.candidates) for s in found) + 26
    body = [_axis(across, measure, height - 26), _reference(across, base, measure, height - 26)]
    top = TOP
    for setting in found:
        body.append(_setting(setting, top, across, measure, looks))
        top += HEAD + ROW * len(setting.candidates)
    said = f"{measure.title} of every candidate; the numbers are in the table"
    return picture(WIDTH, height, said, *body)


def _axis(across: Linear | Log, measure: Measure, bottom: float) -> Markup:
    lines = []
    for value in across.ticks():
        x = across(value)
        lines.append(tag("line", {"x1": x, "x2": x, "y1": TOP, "y2": bottom, "class": "grid"}))
        lines.append(text(x, bottom + 15, measure.tick(value), {"class": "tick mid"}))
    return join(lines)


def _reference(across: Linear | Log, base: float | None, measure: Measure, bottom: float) -> Markup:
    if base is None:
        return Markup("")
    x = across(base)
    side = "mid" if LEFT + 40 < x < RIGHT - 40 else "end" if x >= RIGHT - 40 else "start"
    label = text(x, TOP - 7, f"dense {measure.write(base)}", {"class": f"tick strong {side}"})
    return join([tag("line", {"x1": x, "x2": x, "y1": TOP - 3, "y2": bottom, "class": "dense"}), label])


def _setting(setting: Setting, top: float, across: Linear | Log, measure: Measure, looks: Mapping[str, Look]) -> Markup:
    body = [text(0, top + 18, setting.title, {"class": "setting"})]
    first = top + HEAD
    bottom = first + ROW * len(setting.candidates)
    body.extend(_floor(c, first, bottom, across, measure) for c in setting.candidates if c.random)
    for i, candidate in enumerate(setting.candidates):
        body.append(_row(candidate, first + ROW * (i + 0.5), across, measure, looks[candidate.group]))
    return join(body)


def _floor(candidate: Candidate, first: float, bottom: float, across: Linear | Log, measure: Measure) -> Markup:
    """The region worse than this random selection."""
    value = measure.of(candidate)
    if value is None or not across.holds(value):
        return Markup("")
    x = across(value)
    left, right = (x, RIGHT) if measure.lower_is_better else (LEFT, x)
    box: Attributes = {"x": left, "y": first + 1, "width": right - left, "height": bottom - first - 2, "class": "floor"}
    edge: Attributes = {"x1": x, "x2": x, "y1": first + 1, "y2": bottom - 1, "class": "edge"}
    return join([tag("rect", box), tag("line", edge)])


def _row(candidate: Candidate, y: float, across: Linear | Log, measure: Measure, look: Look) -> Markup:
    value = measure.of(candidate)
    name = text(LEFT - 8, y + 4, clip(candidate.label, 17), {"class": f"label end {look.colour}"})
    rail = tag("line", {"x1": LEFT, "x2": RIGHT, "y1": y, "y2": y, "class": "rail"})
    if value is None or not math.isfinite(value):
        return join([rail, name, text(LEFT + 8, y + 4, measure.write(value), {"class": "value"})])
    if not across.holds(value):
        far = text(RIGHT, y + 4, f"off the scale: {measure.write(value)} →", {"class": "value end"})
        return join([rail, name, far])
    x = across(value)
    right = x < RIGHT - 62
    written = text(x + (9 if right else -9), y + 4, measure.write(value), {"class": "value" if right else "value end"})
    given: Attributes = {"class": "mark", "tabindex": 0, "data-tip": tooltip(candidate)}
    return join([rail, name, tag("g", {"class": look.colour}, mark(look.shape, x, y, 4.6, given)), written])
