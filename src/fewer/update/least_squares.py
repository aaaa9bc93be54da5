"""The best weights on a given support: exact least squares, row by row."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update._gram import SINGULAR, damped, is_definite, safe
from fewer.update._supports import solve_on_supports
from fewer.update.updated import Updated

__all__ = ["least_squares"]


@method(
    "update",
    "least-squares",
    papers=[
        Paper("Optimal Brain Surgeon and general network pruning", 1993),
        Paper("SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023, "2301.00774"),
    ],
    formula="min_W' tr((W' - W) G (W' - W)^T), W' = 0 off the mask; per row W'_S = G_SS^-1 (G w)_S",
    unit="weight",
    note="equals row-by-row normal equations in float64 (numpy.linalg.lstsq on the inputs)",
)
def least_squares(weight: Array, mask: Mask, input_gram: Array, /, *, damping: float = 0.0) -> Updated:
    """Refit the kept weights of every row so that the layer's output changes least.

    Formula: for a row w with support S and complement P, w'_S = w_S + G_SS^-1 G_SP w_P, with
    G = mean x x^T + damping * mean(diag) * I. All in float64; solved on the smaller of S and P (through G^-1).

    Args:
        weight: (out, in).
        mask: (out, in) bool, True is kept; never changed.
        input_gram: (in, in) second moment of the inputs.
        damping: share of the mean diagonal added to it. A Gram matrix that is singular
            to rounding gets ten roundings of it, or tenfold more until it is not.

    Returns:
        Weights, the same mask, and in the notes the damping that was used.

    Raises:
        FewerError: the Gram matrix is not square or not finite.

    Example:
        >>> import numpy as np
        >>> gram = np.array([[1.0, 0.5], [0.5, 1.0]])
        >>> least_squares(np.array([[2.0, 1.0]]), np.array([[True, False]]), gram).weight
        array([[2.5, 0. ]])

    Reference: SparseGPT (2301.00774), equation 2, solved exactly for every row.
    """
    xp = array_namespace(weight, mask, input_gram)
    if bool(xp.all(mask)):
        return Updated(weight, mask, {})
    gram = safe(input_gram, damping, dtype=xp.float64)
    dense = xp.astype(weight, xp.float64)
    kept = int(xp.sum(xp.astype(mask, xp.int64)))
    if 2 * kept <= mask.shape[0] * mask.shape[1] or not is_definite(gram.matrix, 1e-9):
        solved = solve_on_supports(gram.matrix, dense @ gram.matrix, mask)
    else:
        inverse = xp.linalg.inv(gram.matrix)
        inverse = (inverse + xp.matrix_transpose(inverse)) / 2
        solved = dense - solve_on_supports(inverse, dense, ~mask) @ inverse
    full = xp.all(mask, axis=1)[:, None]
    solved = xp.where(mask, xp.astype(solved, weight.dtype), xp.zeros_like(weight))
    notes: dict[str, float | str] = {"damping": gram.damping} if gram.damping else {}
    if gram.damping > damped(input_gram, damping).damping * 1.5:
        notes["singular"] = SINGULAR
    return Updated(xp.where(full, weight, solved), mask, notes)
