"""Budgets that follow depth or the shape of spectra: no data needed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import log10, prod
from typing import Any

from array_api_compat import array_namespace

from fewer.budget.allocation import Shapes, _round
from fewer.method import FewerError, Paper, method
from fewer.types import Array

__all__ = ["arithmetic", "spectral"]

#: Bins of the histogram in which the peak of a spectrum is looked for.
_BINS = 100


@method(
    "budget",
    "arithmetic",
    papers=[
        Paper(
            "Determining Layer-wise Sparsity for Large Language Models Through a Theoretical Perspective",
            2025,
            "2502.14770",
        )
    ],
    formula="sparsity_b = 1 - keep + beta (b - (B - 1) / 2), b = 0 ... B - 1",
    unit="layer",
)
def arithmetic(
    shapes: Shapes, blocks: Mapping[str, int | None], keep: float, /, *, beta: float = 0.005
) -> dict[str, int]:
    """Sparsity grows by the same step from block to block: early errors are the dear ones, since they spread.

    Formula: sparsity_b = 1 - keep + beta * (b - (B - 1) / 2) over B blocks; layers outside blocks get `keep`.

    Args:
        shapes: grid of units of every layer.
        blocks: block index of every layer, or None.
        keep: share of all units that stays.
        beta: common difference; a few values are tried in the paper.

    Returns:
        Units that stay in every layer; they add up to round(keep * units).

    Raises:
        FewerError: a step that would leave the range 0 to 1 (the largest legal one is named).

    >>> arithmetic({"a": (1, 10), "b": (1, 10), "c": (1, 10)}, {"a": 0, "b": 1, "c": 2}, 0.5, beta=0.2)
    {'a': 7, 'b': 5, 'c': 3}

    Reference: Huang et al. 2025; rates and range check compared with the authors' code.
    """
    order = sorted({block for block in (blocks.get(name) for name in shapes) if block is not None})
    middle = (len(order) - 1) / 2
    limit = min(keep, 1.0 - keep) / middle if middle > 0 else float("inf")
    if abs(beta) > limit + 1e-12:
        raise FewerError(f"beta of budget 'arithmetic' is {beta:g}; for keep {keep:g} it may be {limit:.4g} at most")
    place = {block: index - middle for index, block in enumerate(order)}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    steps = {name: place.get(blocks.get(name), 0.0) for name in shapes}  # type: ignore[arg-type]
    return _round({name: (keep - beta * steps[name]) * sizes[name] for name in sizes}, sizes, keep)


@method(
    "budget",
    "spectral",
    papers=[
        Paper(
            "AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise Pruning of Large "
            "Language Models",
            2024,
            "2410.10912",
        )
    ],
    formula="sparsity_b ~ 1 - epsilon + 2 epsilon (alpha_b - min) / (max - min), alpha the tail exponent of eig(W'W)",
    unit="layer",
    note="counts are exact and bounded by the layer; exponents equal the authors' code",
)
def spectral(
    weights: Mapping[str, Array],
    blocks: Mapping[str, int | None],
    keep: float,
    /,
    *,
    epsilon: float = 0.3,
    fit: str = "peak",
) -> dict[str, int]:
    """Blocks whose weight spectra have heavier tails, a sign of better training, keep more.

    Formula: alpha = 1 + n / sum ln(lambda_i / lambda_min) over the n eigenvalues of W'W from lambda_min on (Hill's
    estimate), averaged over a block; sparsity is linear in it from 1 - epsilon to 1 + epsilon, then scaled so that
    the whole model keeps `keep`.

    Args:
        weights: (out, in) of every layer.
        blocks: block index of every layer; a layer without one stands alone.
        keep: share of all weights that stays.
        epsilon: half the range of relative sparsities.
        fit: where the tail begins: "peak", by the best fit among eigenvalues around the histogram's peak and below
            (the authors' default); "mid", at the median; "best", by the best fit anywhere.

    Returns:
        Weights that stay in every layer; they add up to round(keep * weights).

    Raises:
        FewerError: an unknown fit.

    >>> import numpy as np
    >>> light, heavy = np.diag([1.0, 1.1, 1.2, 1.3]), np.diag([1.0, 2.0, 8.0, 64.0])
    >>> spectral({"light": light, "heavy": heavy}, {"light": 0, "heavy": 1}, 0.5, fit="mid")
    {'light': 6, 'heavy': 10}

    Reference: Lu et al. 2024; exponents compared with the authors' code on 48 random matrices (relative difference
    below 2e-6, theirs in float32), the mapping with a loop.
    """
    if fit not in ("peak", "mid", "best"):
        raise FewerError(f"unknown fit '{fit}' of budget 'spectral'; it may be peak, mid or best")
    members: dict[Any, list[str]] = {}
    for name in weights:
        block = blocks.get(name)
        members.setdefault(name if block is None else block, []).append(name)
    alphas: dict[str, float] = {}
    for names in members.values():
        found = [tail_exponent(weights[name], fit) for name in names]
        alphas.update(dict.fromkeys(names, sum(found) / len(found)))
    low = min(alphas.values(), default=0.0)
    wide = max(alphas.values(), default=0.0) - low
    places = {name: (alpha - low) / wide if wide else 0.5 for name, alpha in alphas.items()}
    relative = {name: 1.0 + epsilon * (2.0 * place - 1.0) for name, place in places.items()}
    sizes = {name: prod(weight.shape) for name, weight in weights.items()}
    mean = sum(relative[name] * sizes[name] for name in sizes)
    scale = (1.0 - keep) * sum(sizes.values()) / mean if mean else 0.0
    return _round({name: (1.0 - scale * relative[name]) * sizes[name] for name in sizes}, sizes, keep)


def tail_exponent(weight: Array, fit: str) -> float:
    """Exponent of the power law that the largest eigenvalues of W'W follow, by Hill's estimate."""
    xp = array_namespace(weight)
    values = xp.sort(xp.linalg.svdvals(xp.astype(weight, xp.float64)) ** 2)
    # Eigenvalues that are zero to rounding have no logarithm and belong to no tail.
    largest = float(values[-1]) if values.shape[0] else 0.0
    values = values[int(xp.count_nonzero(values <= 1e-30 * largest)) :]
    size = int(values.shape[0])
    if size < 2:
        return 1.0
    logs = xp.log(values)
    if fit == "mid":
        return _hill(logs, size // 2)
    first, last = _around_peak(values) if fit == "peak" else (0, size - 1)
    best = min(range(first, last), key=lambda start: _misfit(values, logs, start), default=0)
    return _hill(logs, best)


def _hill(logs: Array, start: int) -> float:
    xp = array_namespace(logs)
    count = int(logs.shape[0]) - start
    excess = float(xp.sum(logs[start:])) - count * float(logs[start])
    return 1.0 + count / excess if excess > 0 else float(count)


def _misfit(values: Array, logs: Array, start: int) -> float:
    """Largest distance between the empirical tail and the fitted power law (Kolmogorov and Smirnov)."""
    xp = array_namespace(values)
    count, alpha = int(values.shape[0]) - start, _hill(logs, start)
    if alpha <= 1.0:
        return 1.0
    steps = xp.arange(count, dtype=values.dtype) / count
    return float(xp.max(xp.abs(1.0 - xp.exp((1.0 - alpha) * (logs[start:] - logs[start])) - steps)))


def _around_peak(values: Array) -> tuple[int, int]:
    """Where the tail may begin. The authors compare an eigenvalue with the logarithm of a bound; so does this."""
    xp = array_namespace(values)
    logs = xp.log(values) / xp.log(xp.asarray(10.0, dtype=values.dtype))
    low, high = float(logs[0]), float(logs[-1])
    if high <= low:
        return 0, int(values.shape[0]) - 1
    edges = [low + (high - low) * i / _BINS for i in range(_BINS + 1)]
    below = [int(xp.count_nonzero(logs < edge)) for edge in edges[:-1]] + [int(values.shape[0])]
    counts = [after - before for before, after in pairwise(below)]
    peak = 10.0 ** edges[counts.index(max(counts))]
    first = int(xp.count_nonzero(values < log10(0.95 * peak)))
    last = int(xp.count_nonzero(values <= 1.5 * peak))
    last = min(last, int(values.shape[0]) - 1)
    return (first, last) if first < last else (0, int(values.shape[0]) - 1)
