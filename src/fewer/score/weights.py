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
        Paper("To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017, "1710.01878")
    ],
    formula="|w|",
    unit="weight",
)
def magnitude(weight: Array, /) -> Array:
    """Absolute value.

    Formula: |w_ij|

    Args:
        weight: (out, in).

    >>> import numpy as np
    >>> magnitude(np.array([[-2.0, 1.0]]))
    array([[2., 1.]])

    Reference: Zhu and Gupta 2017, section 3.
    """
    xp = array_namespace(weight)
    return xp.abs(weight)


@method("score", "random", formula="u ~ Uniform[0, 1)", unit="weight", status="ours")
def random(weight: Array, /, *, seed: int = 0) -> Array:
    """Uniform numbers: the control of every comparison.

    The numbers are a hash of seed and position in integer arithmetic, so that every array library gives the same.

    Args:
        weight: (out, in); only its shape, dtype and device are used.
        seed: any whole number.

    >>> import numpy as np
    >>> bool(np.all(random(np.ones((2, 2)), seed=1) == random(np.zeros((2, 2)), seed=1)))
    True
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
