"""Scores that weigh each weight by what flows through it."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array

__all__ = ["ria", "wanda"]


@method(
    "score",
    "wanda",
    papers=[Paper("A Simple and Effective Pruning Approach for Large Language Models", 2023, "2306.11695")],
    formula="|w_ij| ||x_j||^power",
    unit="weight",
    within="row",
    note="masks equal the authors' code; our norm is a root mean square, a constant factor that changes no ranking",
)
def wanda(weight: Array, input_norm: Array, /, *, power: float = 1.0) -> Array:
    """Magnitude times the norm of the input.

    Formula: |w_ij| * ||x_j||_2^power, compared within each row.

    Args:
        weight: (out, in).
        input_norm: (in,) root mean square of each input.
        power: exponent of the norm.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> wanda(np.array([[1.0, -2.0]]), np.array([3.0, 1.0]))
    array([[3., 2.]])

    Reference: Sun et al. 2023, equation 1; read beside the authors' `prune_wanda`.
    """
    xp = array_namespace(weight, input_norm)
    return xp.abs(weight) * (input_norm if power == 1.0 else input_norm**power)[None, :]


@method(
    "score",
    "ria",
    papers=[Paper("Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models", 2024)],
    formula="(|w_ij| / sum_j |w_ij| + |w_ij| / sum_i |w_ij|) ||x_j||^power",
    unit="weight",
    within="layer",
    note="the authors' code compares within the layer, or within rows on request",
)
def ria(weight: Array, input_norm: Array, /, *, power: float = 0.5) -> Array:
    """Relative importance and activation: a weight's share of its row and of its column, times the input's norm.

    Formula: (|w_ij| / sum_j |w_ij| + |w_ij| / sum_i |w_ij|) * ||x_j||_2^power

    Args:
        weight: (out, in).
        input_norm: (in,) root mean square of each input.
        power: exponent of the norm.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> ria(np.array([[1.0, 1.0], [1.0, 3.0]]), np.ones(2))
    array([[1.  , 0.75],
           [0.75, 1.5 ]])

    Reference: Zhang et al. 2024, section 3.2; read beside the authors' `prune_ria`, whose 0 / 0 in a row or column of
    zeros counts as 0 here.
    """
    xp = array_namespace(weight, input_norm)
    size = xp.abs(weight)
    rows = xp.sum(size, axis=1, keepdims=True)
    columns = xp.sum(size, axis=0, keepdims=True)
    one = xp.ones_like(size)
    share = size / xp.where(rows > 0, rows, one) + size / xp.where(columns > 0, columns, one)
    return share * (input_norm**power)[None, :]
