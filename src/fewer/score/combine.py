"""Scores made of scores: sums, products, and the contrast of two references."""

from __future__ import annotations

from functools import reduce

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.score.weights import random
from fewer.types import Array

__all__ = ["contrast", "product", "sample", "total"]


@method("combine", "sum", formula="sum_k weights_k score_k", unit="weight", status="ours")
def total(*scores: Array, weights: tuple[float, ...] = (), scale: str = "none") -> Array:
    """A weighted sum of scores of the same shape.

    Args:
        scores: any number of them.
        weights: one for each; all 1 if left out.
        scale: "mean" divides each score by its mean first, so that scores of other units compare; "none" does not.

    Raises:
        FewerError: another number of weights than of scores, or an unknown scale.

    In a recipe: score = "sum(wanda, magnitude)" with score_options weights and scale.

    >>> import numpy as np
    >>> total(np.array([1.0]), np.array([2.0]), weights=(1.0, 0.5))
    array([2.])
    """
    shares = weights or (1.0,) * len(scores)
    if len(shares) != len(scores) or not scores:
        raise FewerError(f"combine 'sum': {len(scores)} scores and {len(shares)} weights; give one weight for each")
    return reduce(lambda a, b: a + b, (w * s for w, s in zip(shares, _scaled(scores, scale, "sum"), strict=True)))


@method("combine", "product", formula="prod_k score_k", unit="weight", status="ours")
def product(*scores: Array) -> Array:
    """The product of scores of the same shape: worth keeping for every one of them.

    In a recipe: score = "product(wanda, taylor)".

    >>> import numpy as np
    >>> product(np.array([2.0]), np.array([3.0]))
    array([6.])
    """
    if not scores:
        raise FewerError("combine 'product' needs at least one score")
    return reduce(lambda a, b: a * b, scores)


@method(
    "combine",
    "contrast",
    formula="score_target - lam score_reference",
    unit="weight",
    status="ours",
)
def contrast(target: Array, reference: Array, /, *, lam: float = 1.0, scale: str = "mean") -> Array:
    """What matters on one data set more than on another.

    Formula: s_ij = t_ij / mean(t) - lam * r_ij / mean(r), so that data sets of different loss or length compare.

    Args:
        target: score on the data to be served.
        reference: the same score on the data to be contrasted with.
        lam: how much the reference counts against a unit; negative, for it.
        scale: "mean" divides each score by its mean; "none" takes them as they are.

    Returns:
        Scores of both signs.

    Raises:
        FewerError: an unknown scale.

    In a recipe: score = "contrast(fisher, reference(fisher))".

    >>> import numpy as np
    >>> contrast(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    array([-0.5,  0.5])
    """
    first, second = _scaled((target, reference), scale, "contrast")
    return first - lam * second


def _scaled(scores: tuple[Array, ...], scale: str, name: str) -> tuple[Array, ...]:
    """Each score divided by its mean, or as it is."""
    if scale not in ("mean", "none"):
        raise FewerError(f"unknown scale '{scale}' of combine '{name}'; it may be mean or none")
    if scale == "none":
        return scores
    xp = array_namespace(*scores)
    means = [xp.mean(score) for score in scores]
    return tuple(s / xp.where(m == 0, xp.ones_like(m), m) for s, m in zip(scores, means, strict=True))


@method(
    "combine",
    "sample",
    papers=[Paper("Pruning at Initialization -- A Sketching Perspective", 2023, "2305.17559")],
    formula="max(score, 0) / u, u ~ Uniform(0, 1]",
    unit="weight",
    status="variant",
    note="priority sampling draws without repetition and keeps the exact count; kept weights are not rescaled by 1 / p",
)
def sample(score: Array, /, *, seed: int = 0) -> Array:
    """Draw weights with chances that follow a score, instead of taking the largest.

    Formula: max(s_ij, 0) / u_ij. Of the largest values, a weight is kept with probability min(1, s_ij / tau) given
    the largest value tau of the others that is dropped: large scores (nearly) always, small ones in proportion.

    Args:
        score: of at least zero; what is below counts as zero.
        seed: of the draw.

    Returns:
        Scores of the same shape.

    In a recipe: score = "sample(synflow)".

    >>> import numpy as np
    >>> float(sample(np.array([[0.0, 2.0]]))[0, 0])
    0.0

    Reference: Bar and Giryes 2023, which sees a mask at initialisation as a sketch of a matrix product and so picks
    at random in proportion to SNIP's or SynFlow's score; the draw is that of Duffield et al. 2007.
    """
    xp = array_namespace(score)
    chance = xp.astype(random(score, seed=seed), score.dtype)
    # Draws are multiples of 2^-24; half a step keeps 0 out.
    return xp.where(score > 0, score, xp.zeros_like(score)) / (chance + 2.0**-25)
