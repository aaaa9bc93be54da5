"""The layers part of the page: where was cut, where it hurts, and what the removed weights were like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from fewer.report import numbers
from fewer.report.bars import histogram
from fewer.report.heat import field, legend
from fewer.report.order import Look, Setting, kind_of, settings
from fewer.report.scale import Log
from fewer.report.story import headline
from fewer.report.svg import Markup, tag
from fewer.verbs.result import Candidate, Comparison, LayerResult

__all__ = ["section"]

_Value = Callable[[LayerResult], float | None]


def section(comparison: Comparison, looks: Mapping[str, Look]) -> Markup:
    """Damage, sparsity and histograms; the first setting in the open, the others folded."""
    found = settings(comparison)
    first = headline(comparison)
    if first is None:
        return Markup("")
    ordered = sorted(found, key=lambda s: s.place != first.place)
    return Markup(_damage(ordered) + _sparsity(ordered) + _histograms(ordered, looks))


def _folded(ordered: Sequence[Setting], draw: Callable[[Setting], list[Markup]]) -> list[Markup]:
    """The panels of every setting, all but the first that has any behind a summary."""
    parts: list[Markup] = []
    for setting in ordered:
        panels = draw(setting)
        if not panels:
            continue
        grid = tag("div", {"class": "grid-of"}, *panels)
        if parts:
            grid = tag("details", None, tag("summary", None, setting.title), grid)
        else:
            grid = Markup(tag("h4", None, setting.title) + grid)
        parts.append(grid)
    return parts


def _damage(ordered: Sequence[Setting]) -> Markup:
    rows = [row for s in ordered for c in s.candidates for row in c.layers]
    known = [row.damage for row in rows if row.damage is not None and 0 < row.damage < math.inf]
    if not known:
        return Markup("")
    scale = Log(min(known), max(max(known), min(known) * 1.0001), 0.0, 1.0)
    ends = (numbers.nats(min(known)), numbers.nats(max(known)))

    def draw(setting: Setting) -> list[Markup]:
        return [
            _map(c, lambda row: row.damage, scale, lambda v: f"{v:#.2g}", "output error by block and kind of layer")
            for c in setting.candidates
            if any(row.damage is not None for row in c.layers)
        ]

    note = (
        "The share of each layer's output that pruning changed, on the calibration inputs: "
        "‖X(W − W′)ᵀ‖ over ‖XWᵀ‖. All maps share one logarithmic scale."
    )
    scale_key = legend(*ends, "Relative output error")
    heading = tag("h2", None, "Where it hurts")
    return tag("section", None, heading, tag("p", None, note), scale_key, *_folded(ordered, draw))


def _sparsity(ordered: Sequence[Setting]) -> Markup:
    def even(candidate: Candidate) -> bool:
        shares = [row.sparsity for row in candidate.layers]
        return not shares or max(shares) - min(shares) < 2e-3

    def draw(setting: Setting) -> list[Markup]:
        return [
            _map(c, lambda row: row.sparsity, lambda v: v, lambda v: f"{100 * v:.0f}", "sparsity in percent")
            for c in setting.candidates
            if not even(c)
        ]

    candidates = [c for s in ordered for c in s.candidates]
    flat = [c for c in candidates if even(c)]
    heading = tag("h2", None, "Where the zeros are")
    if len(flat) == len(candidates):
        layers = max((len(c.layers) for c in candidates), default=0)
        kinds = " and ".join(dict.fromkeys(s.title for s in ordered))
        note = f"Evenly spread: in every candidate all {layers} layers have the same sparsity ({kinds})."
        return tag("section", None, heading, tag("p", None, note))
    names = f" Not drawn, because all their layers are alike: {', '.join(c.label for c in flat)}." if flat else ""
    note = tag("p", None, "Percent of zeros in each layer, counted after the run." + names)
    return tag("section", None, heading, note, *_folded(ordered, draw))


def _map(
    candidate: Candidate, value: _Value, depth: Callable[[float], float], write: Callable[[float], str], what: str
) -> Markup:
    cells: dict[tuple[str, str], list[float]] = {}
    for layer in candidate.layers:
        number = value(layer)
        if number is not None and math.isfinite(number):
            column = "–" if layer.block is None else str(layer.block)
            cells.setdefault((kind_of(layer.name, layer.block), column), []).append(number)
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    means = {place: sum(numbers_) / len(numbers_) for place, numbers_ in cells.items()}
    short = {row: row.rsplit(".", 1)[-1] for row in rows}
    if len(set(short.values())) < len(rows):
        short = {row: row for row in rows}
    values = {(short[row], column): mean for (row, column), mean in means.items()}
    said = f"{candidate.label}: {what}, {len(rows)} kinds by {len(columns)} blocks"
    drawing = field([short[row] for row in rows], columns, values, depth, write, said)
    caption = tag("figcaption", None, tag("h3", None, candidate.label), tag("span", None, _extreme(means, what, write)))
    return tag("figure", None, caption, drawing)


def _extreme(means: Mapping[tuple[str, str], float], what: str, write: Callable[[float], str]) -> str:
    if not means:
        return ""
    (row, column), value = max(means.items(), key=lambda item: item[1])
    place = f"{row} of block {column}" if column != "–" else row
    word = "most zeros" if what.startswith("sparsity") else "largest error"
    return f"{word}: {place}, {write(value)}{' %' if what.startswith('sparsity') else ''}"


def _histograms(ordered: Sequence[Setting], looks: Mapping[str, Look]) -> Markup:
    def draw(setting: Setting) -> list[Markup]:
        panels = []
        for candidate in setting.candidates:
            for data in candidate.histograms:
                drawing = histogram(data, looks[candidate.group], candidate.label)
                caption = tag("figcaption", None, tag("h3", None, candidate.label), tag("span", None, data.title))
                if drawing:
                    panels.append(tag("figure", None, caption, drawing))
        return panels

    parts = _folded(ordered, draw)
    if not parts:
        return Markup("")
    note = (
        "Absolute values on a logarithmic axis. Solid: kept. Hatched: removed. A rule that looks at the weight alone "
        "cuts the left chart with a knife; one that looks at inputs or curvature does not."
    )
    return tag("section", None, tag("h2", None, "What was removed"), tag("p", None, note), *parts)
