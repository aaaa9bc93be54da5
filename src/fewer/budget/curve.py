"""Budgets read off stored curves: how much each layer's damage grows as it keeps less.

A curve is, for each layer, a mapping from the share kept to the loss measured there with all other layers dense,
counted from the dense model (0 at a share of 1, which need not be stored). Between levels it is taken as straight.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite, prod
from typing import TypeAlias

from fewer.budget.allocation import Shapes, _round
from fewer.method import FewerError, Paper, method

__all__ = ["balanced", "essential", "sensitivity"]

Curve: TypeAlias = Mapping[str, Mapping[float, float]]
Points: TypeAlias = list[tuple[float, float]]

#: Bisections between the fairest split and the unconstrained one.
_HALVINGS = 20


@method(
    "budget",
    "sensitivity",
    papers=[Paper("Learning both Weights and Connections for Efficient Neural Networks", 2015, "1506.02626")],
    formula="min sum_l loss_l(k_l) subject to sum_l k_l = keep * units",
    unit="layer",
    status="ours",
    note="the paper sets thresholds by eye from such curves; this solves for them, on each curve's convex hull",
)
def sensitivity(shapes: Shapes, curve: Curve, keep: float, /) -> dict[str, int]:
    """The split over layers with the least summed loss on the stored curves.

    Formula: min sum_l loss_l(k_l / n_l) subject to sum_l k_l = round(keep * sum n_l), each curve replaced by its
    lower convex hull; then buying units where they save most is the optimum.

    Args:
        shapes: grid of units of every layer.
        curve: loss against share kept, for every layer.
        keep: share of all units that stays.

    Returns:
        Units that stay in every layer; they add up to round(keep * units).

    Raises:
        FewerError: a layer without a curve, a share outside (0, 1], a budget below the lowest levels.

    >>> robust, fragile = {0.2: 0.1, 0.6: 0.0}, {0.2: 9.0, 0.6: 3.0}
    >>> sensitivity({"a": (1, 10), "b": (1, 10)}, {"a": robust, "b": fragile}, 0.5)
    {'a': 2, 'b': 8}

    Reference: Han et al. 2015, section 3.1 (sensitivity of layers); the exchange argument is elementary.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    hulls = {name: _hull(_points(curve, name)) for name in sizes}
    total = round(keep * sum(sizes.values()))
    return _round(_spend(hulls, sizes, total), sizes, keep)


@method(
    "budget",
    "balanced",
    papers=[Paper("Balancing Act: Constraining Disparate Impact in Sparse Models", 2024, "2310.20673")],
    formula="min mean_g L_g subject to L_g - mean L <= eps for every slice g; multipliers by dual ascent",
    unit="layer",
    status="variant",
    note="the paper's constraint and dual ascent, with the allocation on stored curves in place of weights in training",
)
def balanced(
    shapes: Shapes,
    slices: Mapping[str, Curve],
    keep: float,
    /,
    *,
    eps: float = 0.01,
    steps: int = 100,
    rate: float = 0.5,
) -> dict[str, int]:
    """The least mean loss such that no slice of the data loses more than `eps` above the mean.

    Formula: min over k of mean_g L_g(k), L_g = sum_l loss_gl, subject to L_g - mean L <= eps. The multipliers climb,
    lambda_g <- max(0, lambda_g + rate (L_g - mean L - eps) / scale), for this eps and for the strictest; the split
    for given multipliers is that of `sensitivity` on the weighted sum of the slices' curves. Of the splits visited,
    their running means and the line from the fairest to the unconstrained one, the best that meets the constraints
    wins.

    Args:
        shapes: grid of units of every layer.
        slices: a curve for every slice of the data.
        keep: share of all units that stays.
        eps: how much worse than the mean a slice may fare, in units of the loss.
        steps: of the ascent.
        rate: its step length, relative to the largest loss seen at first.

    Returns:
        Units that stay in every layer; they add up to round(keep * units).

    Raises:
        FewerError: no split that was tried meets the constraint; the smallest excess is named.

    >>> common = {"a": {0.2: 1.0, 0.6: 0.3}, "b": {0.2: 5.0, 0.6: 0.8}}
    >>> rare = {"a": {0.2: 4.0, 0.6: 1.5}, "b": {0.2: 1.0, 0.6: 0.1}}
    >>> shapes, slices = {"a": (1, 10), "b": (1, 10)}, {"common": common, "rare": rare}
    >>> balanced(shapes, slices, 0.5, eps=9.0), balanced(shapes, slices, 0.5, eps=0.2)
    ({'a': 4, 'b': 6}, {'a': 5, 'b': 5})

    Reference: Hashemizadeh et al. 2024 (excess gaps of groups); the constraint compared with the authors' code, whose
    surrogate gradients and replay buffers belong to training and have no part here.
    """
    if not slices:
        raise FewerError("budget 'balanced' needs the curve of at least one slice of the data")
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    points = {g: {name: _points(curve, name) for name in sizes} for g, curve in slices.items()}
    total = round(keep * sum(sizes.values()))
    splits = [s for e in (eps, 0.0) for s in _ascend(points, sizes, total, e, steps, rate)]

    def judged(split: Mapping[str, float]) -> tuple[float, float, dict[str, int]]:
        counts = _round(split, sizes, keep)
        mean, excess = _excess(points, counts, sizes)
        return max(excess.values()), mean, counts

    tried = [judged(split) for split in splits]
    tight = splits[min(range(len(splits)), key=lambda i: tried[i][:2])]
    # The optimum lies between corners: go from the fairest split towards the unconstrained one as far as eps allows.
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tried.append(judged({name: tight[name] + middle * (splits[0][name] - tight[name]) for name in sizes}))
        low, high = (middle, high) if tried[-1][0] <= eps else (low, middle)
    fair = [(mean, counts) for worst, mean, counts in tried if worst <= eps + 1e-12]
    if not fair:
        nearest = min(worst for worst, _, _ in tried)
        raise FewerError(
            f"no split at keep {keep:g} keeps every slice within {eps:g} of the mean loss; "
            f"the nearest has one {nearest:.4g} above it; raise eps or keep"
        )
    return min(fair, key=lambda found: found[0])[1]


@method(
    "curve",
    "essential",
    papers=[
        Paper(
            "The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter",
            2023,
            "2306.03805",
        )
    ],
    formula="the level farthest below the chord of the curve of loss against sparsity",
    unit="share",
    status="variant",
    note="the paper reads the knee off a plot; the farthest point from the chord is our reading of it",
)
def essential(losses: Mapping[float, float], /) -> float:
    """The share kept at the knee: below it the loss rises steeply, above it little is lost.

    Formula: argmax over stored shares k of chord(k) - loss(k), the chord joining the two end levels.

    Args:
        losses: loss of the whole model against the share kept, at three levels or more.

    Returns:
        One of the stored shares.

    Raises:
        FewerError: fewer than three levels.

    >>> essential({1.0: 0.0, 0.8: 0.01, 0.6: 0.02, 0.4: 0.1, 0.2: 3.0})
    0.4

    Reference: Jaiswal et al. 2023.
    """
    levels = sorted(losses)
    if len(levels) < 3:
        raise FewerError(f"a knee needs at least three levels; {len(levels)} are given")
    wrong = next((level for level in levels if not isfinite(losses[level])), None)
    if wrong is not None:
        raise FewerError(f"the loss at share {wrong:g} is not finite; a knee cannot be found")
    low, high = levels[0], levels[-1]

    def below(level: float) -> float:
        part = (level - low) / (high - low)
        return losses[low] + part * (losses[high] - losses[low]) - losses[level]

    return max(reversed(levels), key=below)


def _points(curve: Curve, name: str) -> Points:
    """Levels of one layer, upwards, ending in the dense one."""
    if not curve.get(name):
        raise FewerError(f"the curve holds no level of layer '{name}'; measure it first")
    points = sorted((float(share), float(loss)) for share, loss in curve[name].items())
    if points[0][0] < 0.0 or points[-1][0] > 1.0:
        raise FewerError(f"the curve of layer '{name}' has a share outside 0 to 1")
    wrong = next((share for share, loss in points if not isfinite(loss)), None)
    if wrong is not None:
        raise FewerError(f"the curve of layer '{name}' has a loss that is not finite at share {wrong:g}")
    return points if points[-1][0] == 1.0 else [*points, (1.0, 0.0)]


def _hull(points: Points) -> Points:
    """The lower convex hull of points sorted by share."""
    hull: Points = []
    for x, y in points:
        while len(hull) > 1:
            (a, b), (c, d) = hull[-2], hull[-1]
            if (d - b) * (x - a) < (y - b) * (c - a):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def _spend(hulls: Mapping[str, Points], sizes: Mapping[str, int], total: int) -> dict[str, float]:
    """Buy units segment by segment, the steepest fall of the loss first, until the total is spent."""
    wanted = {name: hull[0][0] * sizes[name] for name, hull in hulls.items()}
    left = total - sum(wanted.values())
    if left < -0.5 * len(wanted):
        floor = sum(wanted.values()) / max(sum(sizes.values()), 1)
        raise FewerError(f"the lowest levels of the curve keep {floor:.4g}; measure lower ones or keep more")
    segments = sorted(
        ((d - b) / ((c - a) * sizes[name]), order, place, (c - a) * sizes[name], name)
        for order, (name, hull) in enumerate(hulls.items())
        for place, ((a, b), (c, d)) in enumerate(pairwise(hull))
        if sizes[name]
    )
    for _, _, _, room, name in segments:
        taken = min(room, max(left, 0.0))
        wanted[name] += taken
        left -= taken
    return wanted


def _ascend(
    points: Mapping[str, Mapping[str, Points]],
    sizes: Mapping[str, int],
    total: int,
    eps: float,
    steps: int,
    rate: float,
) -> list[dict[str, float]]:
    """The splits that dual ascent visits, the unconstrained one first, and their running means."""
    prices, scale = dict.fromkeys(points, 0.0), 0.0
    mixture, found = dict.fromkeys(sizes, 0.0), []
    for step in range(1, steps + 1):
        share = (1.0 - sum(prices.values())) / len(points)
        hulls = {name: _hull(_mix({g: points[g][name] for g in points}, prices, share)) for name in sizes}
        split = _spend(hulls, sizes, total)
        mixture = {name: mixture[name] + (split[name] - mixture[name]) / step for name in sizes}
        found += [split, mixture]
        mean, excess = _excess(points, split, sizes)
        scale = scale or max(mean + max(excess.values()), 1e-12)
        prices = {g: max(0.0, prices[g] + rate * (excess[g] - eps) / scale) for g in points}
    return found


def _excess(
    points: Mapping[str, Mapping[str, Points]], counts: Mapping[str, float], sizes: Mapping[str, int]
) -> tuple[float, dict[str, float]]:
    """The mean loss over slices, and what each slice loses above it."""
    losses = {g: _loss(lines, counts, sizes) for g, lines in points.items()}
    mean = sum(losses.values()) / len(losses)
    return mean, {g: loss - mean for g, loss in losses.items()}


def _mix(points: Mapping[str, Points], prices: Mapping[str, float], share: float) -> Points:
    """The slices' curves of one layer added up, each times what its loss costs."""
    levels = sorted({x for line in points.values() for x, _ in line})
    lowest = max(line[0][0] for line in points.values())
    return [(x, sum((share + prices[g]) * _at(line, x) for g, line in points.items())) for x in levels if x >= lowest]


def _at(points: Points, share: float) -> float:
    """The loss at a share, straight between levels and level beyond the lowest."""
    place = bisect_left(points, (share, float("-inf")))
    if place == 0:
        return points[0][1]
    if place == len(points):
        return points[-1][1]
    (a, b), (c, d) = points[place - 1], points[place]
    return b + (d - b) * (share - a) / (c - a)


def _loss(points: Mapping[str, Points], counts: Mapping[str, float], sizes: Mapping[str, int]) -> float:
    """Summed loss of an allocation."""
    return sum(_at(points[name], counts[name] / sizes[name]) for name in sizes if sizes[name])
