"""Scores that look at the weights alone.

Signature of every score: evidence first, positional-only and named as in `fewer.types.EVIDENCE`; knobs after it,
keyword-only; an array of the weight's shape comes back, larger is worth more.
"""

from __future__ import annotations

from array_api_compat import array_namespace, device

from fewer.method import Paper, method
from fewer.types import Array

__all__ = ["magnitude", "random"]


@method(
    "score",
    "magnitude",
    papers=[
        Paper("To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017, "1710.01878"),
        Paper(
            "The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter",
            2023,
            "2306.03805",
        ),
    ],
    formula="|w|^power",
    unit="weight",
)
def magnitude(weight: Array, /, *, power: float = 1.0) -> Array:
    """Absolute value.

    Formula: |w_ij|^power; the power matters only where scores are added up over a unit or compared between layers.

    Args:
        weight: (out, in).
        power: 2 for the energy of a unit.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> magnitude(np.array([[-2.0, 1.0]]))
    array([[2., 1.]])

    Reference: Zhu and Gupta 2017, section 3; pruned once without retraining, Jaiswal et al. 2023.
    """
    size = array_namespace(weight).abs(weight)
    return size if power == 1.0 else size**power


@method(
    "score",
    "random",
    papers=[
        Paper(
            "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training",
            2022,
            "2202.02643",
        ),
        Paper("Why Random Pruning Is All We Need to Start Sparse", 2023, "2210.02412"),
    ],
    formula="u ~ Uniform[0, 1)",
    unit="weight",
    note="the papers draw masks at layer densities: budget er or erk; counts are exact here, not binomial",
)
def random(weight: Array, /, *, seed: int = 0) -> Array:
    """Uniform numbers: the control of every comparison.

    The numbers are a hash of seed and position in integer arithmetic, so that every array library gives the same.

    Formula: u_ij = hash(seed, i * in + j) / 2^24, 24 bits. With the budgets er and erk it is static random pruning.

    Args:
        weight: (out, in); only its shape, dtype and device are used.
        seed: any whole number.

    Returns:
        (out, in) numbers in [0, 1).

    >>> import numpy as np
    >>> bool(np.all(random(np.ones((2, 2)), seed=1) == random(np.zeros((2, 2)), seed=1)))
    True

    Reference: Liu et al. 2022, section 3; Gadhikar et al. 2023.
    """
    xp = array_namespace(weight)
    rows, columns = weight.shape
    place = xp.arange(rows * columns, dtype=xp.int64, device=device(weight))
    mixed = _mix(_mix(place + 1) ^ (seed * 0x2545F491 & 0xFFFFFFFF))
    # 24 bits fit every floating point type down to float32 exactly.
    values = xp.astype(mixed >> 8, xp.float32) / 16777216.0
    return xp.astype(xp.reshape(values, (rows, columns)), weight.dtype)


def _mix(x: Array) -> Array:
    """A 32-bit integer hash (multiply, shift, exclusive or) whose products stay below 2^63."""
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return x ^ (x >> 16)
