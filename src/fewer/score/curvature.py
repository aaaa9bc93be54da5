"""Scores of second order, from the curvature of a layer's reconstruction error."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from fewer._fast import inverse_diagonal
from fewer.method import FewerError, Paper, method
from fewer.types import Array

__all__ = ["obs"]


@method(
    "score",
    "obs",
    papers=[
        Paper("SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023, "2301.00774"),
        Paper("Optimal Brain Surgeon and general network pruning", 1993),
    ],
    formula="w_ij^2 / [H^-1]_jj",
    unit="weight",
)
def obs(weight: Array, input_gram: Array, /, *, damping: float = 0.01) -> Array:
    """Error of the layer's output when one weight is removed and the rest of its row makes up for it.

    Formula: w_ij^2 / [H^-1]_jj with H = G + damping * mean(diag G) * I

    Args:
        weight: (out, in).
        input_gram: (in, in) second moment of the inputs.
        damping: share of the mean diagonal added to it.

    Returns:
        (out, in) scores, 0 on inputs that never fire.

    Raises:
        FewerError: the damped Gram matrix is singular.

    >>> import numpy as np
    >>> obs(np.array([[2.0, 1.0]]), np.eye(2), damping=0.0)
    array([[4., 1.]])

    Reference: Hassibi et al. 1993, equation 5, for the layer-wise problem of Frantar and Alistarh 2023.
    """
    xp = array_namespace(weight, input_gram)
    gram = xp.astype(input_gram, xp.float64)
    diagonal = xp.linalg.diagonal(gram)
    # An input that never fires has no curvature: any positive number keeps the matrix invertible, and its weights
    # are worth nothing.
    dead = diagonal == 0
    extra = damping * xp.mean(diagonal) + xp.astype(dead, xp.float64)
    size = int(gram.shape[0])
    try:
        spread = inverse_diagonal(gram + xp.eye(size, dtype=xp.float64, device=device(gram)) * extra)
    except Exception as error:
        raise FewerError(f"score 'obs': the Gram matrix is singular ({error}); raise damping") from None
    worth = xp.where(dead, xp.zeros_like(diagonal), 1.0 / spread)
    return xp.astype(xp.astype(weight, xp.float64) ** 2 * worth[None, :], weight.dtype)
