"""Scores made of scores: sums, products, and the contrast of two references."""

from __future__ import annotations

from functools import reduce

from array_api_compat import array_namespace

from fewer.method import FewerError, method
from fewer.types import Array

__all__ = ["contrast", "product", "total"]


@method("combine", "sum", formula="sum_k weights_k score_k", unit="weight", status="ours")
def total(*scores: Array, weights: tuple[float, ...] = ()) -> Array:
    """A weighted sum of scores of the same shape.

    >>> import numpy as np
    >>> total(np.array([1.0]), np.array([2.0]), weights=(1.0, 0.5))
    array([2.])
    """
    shares = weights or (1.0,) * len(scores)
    if len(shares) != len(scores) or not scores:
        raise FewerError(f"combine 'sum': {len(scores)} scores and {len(shares)} weights; give one weight for each")
    return reduce(lambda a, b: a + b, (w * s for w, s in zip(shares, scores, strict=True)))


@method("combine", "product", formula="prod_k score_k", unit="weight", status="ours")
def product(*scores: Array) -> Array:
    """The product of scores of the same shape: worth keeping for every one of them.

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
    formula="score_target - weight * score_reference",
    unit="weight",
    status="ours",
)
def contrast(target: Array, reference: Array, /, *, weight: float = 1.0, scale: str = "mean") -> Array:
    """What matters on one data set more than on another.

    Formula: s_ij = t_ij / mean(t) - weight * r_ij / mean(r), so that data sets of different loss or length compare.

    Args:
        target: score on the data to be served.
        reference: the same score on the data to be contrasted with.
        weight: how much the reference counts against a unit; negative, for it.
        scale: "mean" divides each score by its mean; "none" takes them as they are.

    Returns:
        Scores of both signs.

    Raises:
        FewerError: an unknown scale.

    >>> import numpy as np
    >>> contrast(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    array([-0.5,  0.5])
    """
    if scale not in ("mean", "none"):
        raise FewerError(f"unknown scale '{scale}' of combine 'contrast'; it may be mean or none")
    if scale == "none":
        return target - weight * reference
    xp = array_namespace(target, reference)
    scaled = []
    for score in (target, reference):
        mean = xp.mean(score)
        scaled.append(score / xp.where(mean == 0, xp.ones_like(mean), mean))
    return scaled[0] - weight * scaled[1]
