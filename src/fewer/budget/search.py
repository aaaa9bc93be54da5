"""Budgets found by trying: bisection to a tolerance, evolution of an allocation.

What is tried is either a stored curve (see `curve`) or `measure`, a function that takes an allocation, the units
kept in every layer, and returns the loss counted from the dense model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite, prod
from random import Random
from typing import Any, TypeAlias

from fewer.budget.allocation import Shapes, uniform
from fewer.budget.curve import Curve, _loss, _points
from fewer.method import FewerError, Paper, find, method

__all__ = ["affordable", "evolution", "tolerance"]

Measure: TypeAlias = Callable[[Mapping[str, int]], float]


@method(
    "budget",
    "tolerance",
    papers=[Paper("Adaptive MLP Pruning for Large Vision Transformers", 2026, "2603.08100")],
    formula="k_l = the least k with loss(layer l alone at k) <= rise, by bisection",
    unit="layer",
    note="works with any score and loss; the paper's are the entropy of predictions and MLP neurons",
)
def tolerance(
    shapes: Shapes, measure: Curve | Measure, /, *, rise: float = 0.01, resolution: float = 0.01
) -> dict[str, int]:
    """The least that each layer may keep, alone, for the loss to rise by no more than a tolerance.

    Formula: k_l = min { k : loss(layer l keeps k, the others all) <= rise }, bisected on a grid of `resolution`; the
    loss is taken to fall as k grows. There is no `keep`: the tolerance decides the total.

    Args:
        shapes: grid of units of every layer.
        measure: a function of an allocation that measures its loss, or a stored curve.
        rise: tolerated rise of the loss of each layer's cut; ln(1 + p / 100) for p % of perplexity.
        resolution: share of a layer that the search steps by.

    Returns:
        Units that stay in every layer.

    Raises:
        FewerError: no layer can give up even one step.

    >>> tolerance({"a": (1, 10)}, {"a": {0.1: 1.0, 0.5: 0.2, 0.9: 0.0}}, rise=0.2, resolution=0.1)
    {'a': 5}

    Reference: Shen 2026 (ranked neurons, binary search of how many of each module may go within a tolerance).
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    cost = _measure(measure, sizes)
    found = {}
    for name, size in sizes.items():
        step = max(round(resolution * size), 1)
        levels = [*range(size, -1, -step)]
        losses = partial(_alone, cost, sizes, name)
        found[name] = levels[_last_within(levels, losses, rise)]
    _check_moved(found, sizes, rise)
    return found


@method(
    "budget",
    "affordable",
    papers=[Paper("Sparsing Law: Towards Large Language Models with Greater Activation Sparsity", 2024, "2411.02335")],
    formula="the least keep with loss(budget at keep) <= rise, by bisection",
    unit="layer",
    status="variant",
    note="the paper's PPL-p% search, for the share of kept units instead of thresholds of activations",
)
def affordable(
    shapes: Shapes,
    measure: Curve | Measure,
    /,
    *,
    rise: float = 0.01,
    resolution: float = 0.005,
    budget: str = "uniform",
) -> dict[str, int]:
    """The sparsest allocation of a family whose loss rises by no more than a tolerance.

    Formula: min { keep : loss(budget(shapes, keep)) <= rise }, bisected on a grid of `resolution`.

    Args:
        shapes: grid of units of every layer.
        measure: a function that measures the loss of an allocation, or a stored curve (losses of layers are added up).
        rise: tolerated rise of the loss; ln(1 + p / 100) for PPL-p%.
        resolution: step of keep.
        budget: how a given keep is split: a budget that needs nothing but shapes.

    Returns:
        Units that stay in every layer.

    Raises:
        FewerError: not even the first step is affordable, or the budget needs more than shapes.

    >>> curve = {"a": {0.1: 1.0, 0.5: 0.2}, "b": {0.1: 1.0, 0.5: 0.0}}
    >>> affordable({"a": (1, 10), "b": (1, 10)}, curve, rise=0.2, resolution=0.1)
    {'a': 5, 'b': 5}

    Reference: Luo et al. 2024 (PPL-p% sparsity).
    """
    inner = find("budget", budget)
    if inner.needs != ("shapes", "keep"):
        raise FewerError(f"budget '{budget}' needs {', '.join(inner.needs)}; 'affordable' has only shapes to offer")
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    cost = _measure(measure, sizes)
    levels = [1.0 - resolution * i for i in range(round(1.0 / resolution))]
    best = _last_within(levels, lambda keep: cost(inner.target(shapes, keep)), rise)
    found: dict[str, int] = inner.target(shapes, levels[best])
    _check_moved(found, sizes, rise)
    return found


@method(
    "budget",
    "evolution",
    papers=[
        Paper("EvoPress: Accurate Dynamic Model Compression via Evolutionary Search", 2024, "2410.14649"),
    ],
    formula="mutate by moving units between two layers; the best of parent and offspring is the next parent",
    unit="layer",
    status="variant",
    note="mutation and elitism as published; every candidate is measured in full instead of in stages of growing data",
)
def evolution(
    shapes: Shapes,
    curve: Curve | Measure,
    keep: float,
    /,
    *,
    generations: int = 100,
    offspring: int = 32,
    step: float = 0.02,
    largest: float = 0.3,
    seed: int = 0,
) -> dict[str, int]:
    """Search the split over layers by evolution, from the uniform one.

    Formula: each child moves step * (size of the smallest layer) units from one random layer to another, one to
    three times (the lesser of two draws), and the least loss among parent and children goes on.

    Args:
        shapes: grid of units of every layer.
        curve: a stored curve, or a function of an allocation that measures its loss.
        keep: share of all units that stays.
        generations: rounds.
        offspring: children of a round.
        step: share of the smallest layer that moves at a time.
        largest: how far from `keep` the share of a layer may go.
        seed: of the draws.

    Returns:
        Units that stay in every layer; they add up to round(keep * units), and lose no more than the uniform split.

    Raises:
        FewerError: a layer without a curve, or one that does not reach down to `keep`.

    >>> robust, fragile = {0.2: 0.1, 0.6: 0.0}, {0.2: 9.0, 0.6: 3.0}
    >>> evolution({"a": (1, 10), "b": (1, 10)}, {"a": robust, "b": fragile}, 0.5, step=0.1)
    {'a': 2, 'b': 8}

    Reference: Sieberling et al. 2024, algorithm 1; mutation and elitism compared with the authors' code.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    parent, draw = uniform(shapes, keep), Random(seed)
    movable = [name for name in sizes if sizes[name]]
    if len(movable) < 2:
        return parent
    measure, lowest = _measure(curve, sizes), _lowest(curve, sizes)
    amount = max(round(step * min(sizes[name] for name in movable)), 1)
    below = next((n for n in movable if parent[n] < lowest[n] - 1), "")
    if below:
        raise FewerError(f"the curve of layer '{below}' has no level at or below keep {keep:g}; measure one")
    bounds = {n: (max(lowest[n], (keep - largest) * sizes[n]), (keep + largest) * sizes[n]) for n in movable}
    loss = measure(parent)
    for _ in range(generations):
        children = [_mutated(parent, movable, sizes, bounds, amount, draw) for _ in range(offspring)]
        distinct = {tuple(child.values()): child for child in children if child != parent}
        for child in distinct.values():
            found = measure(child)
            if isfinite(found) and not loss <= found:
                parent, loss = child, found
    if not isfinite(loss):
        raise FewerError(f"no split at keep {keep:g} has a finite loss; there is nothing to choose by")
    return parent


def _mutated(
    parent: Mapping[str, int],
    movable: list[str],
    sizes: Mapping[str, int],
    bounds: Mapping[str, tuple[float, float]],
    amount: int,
    draw: Random,
) -> dict[str, int]:
    child = dict(parent)
    for _ in range(min(draw.randint(1, 3), draw.randint(1, 3))):
        giver, taker = draw.sample(movable, 2)
        most = min(bounds[taker][1], sizes[taker])
        if child[giver] - amount >= bounds[giver][0] and child[taker] + amount <= most:
            child[giver] -= amount
            child[taker] += amount
    return child


def _measure(curve: Curve | Measure, sizes: Mapping[str, int]) -> Measure:
    """A function of an allocation: the one given, or the sum over the stored curve."""
    if callable(curve):
        return curve
    points = {name: _points(curve, name) for name in sizes if sizes[name]}
    return lambda counts: _loss(points, counts, {name: sizes[name] for name in points})


def _lowest(curve: Curve | Measure, sizes: Mapping[str, int]) -> dict[str, float]:
    """Units below which nothing was measured."""
    if callable(curve):
        return dict.fromkeys(sizes, 0.0)
    return {name: min(curve[name]) * size if size else 0.0 for name, size in sizes.items()}


def _alone(measure: Measure, sizes: Mapping[str, int], name: str, count: int) -> float:
    """The loss with one layer cut and the others whole."""
    return measure({**sizes, name: count})


def _last_within(levels: list[Any], losses: Callable[[Any], float], rise: float) -> int:
    """Index of the last level whose loss is tolerable, by bisection; the first one (dense) is taken to be."""
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if losses(levels[middle]) <= rise:
            low = middle
        else:
            high = middle - 1
    return low


def _check_moved(found: Mapping[str, int], sizes: Mapping[str, int], rise: float) -> None:
    if sizes and all(found[name] == sizes[name] for name in sizes):
        raise FewerError(f"no cut raises the loss by {rise:g} or less; allow a larger rise")
