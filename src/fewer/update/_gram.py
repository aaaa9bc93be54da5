"""A Gram matrix made safe to factorise: inputs that never fire, damping, the Cholesky factor of the inverse."""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import array_namespace, device, is_torch_array

from fewer.method import FewerError
from fewer.types import Array, Mask

__all__ = [
    "SINGULAR", "Gram", "damped", "factor", "inverse_factor", "is_definite", "quadratic_error", "safe", "singular",
    "square",
]  # fmt: skip

#: What a result says of a layer whose Gram matrix could only be used damped.
SINGULAR = (
    "the Gram matrix is singular (fewer calibration tokens than inputs, or inputs that depend on each other); "
    "it was damped"
)


#: From this size on a symmetric product is formed in so many strips.
_SPLIT, _STRIPS = 128, 4


class Gram(NamedTuple):
    """`matrix` is symmetric positive definite, `alive` False where an input was always zero, `damping` was added."""

    matrix: Array
    alive: Mask
    damping: float


def quadratic_error(weight: Array, original: Array, gram: Array) -> Array:
    """trace((W - W0) G (W - W0)^T): the mean squared change of the layer's output, summed over outputs."""
    xp = array_namespace(weight, original, gram)
    step = xp.astype(weight, gram.dtype) - xp.astype(original, gram.dtype)
    return xp.sum((step @ gram) * step)


def damped(gram: Array, damping: float, dtype: object = None) -> Gram:
    """G + damping * mean(diag G) * I, with 1 on the diagonal of inputs that never fire.

    Raises:
        FewerError: not square, or holding a number that is not finite.
    """
    xp = array_namespace(gram)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise FewerError(f"a Gram matrix must be square, not {tuple(gram.shape)}")
    matrix = xp.astype(gram, dtype or gram.dtype, copy=True)
    if not bool(xp.all(xp.isfinite(matrix))):
        raise FewerError("the Gram matrix holds a number that is not finite; look at the calibration inputs")
    size = matrix.shape[0]
    if size == 0:
        return Gram(matrix, xp.zeros(0, dtype=xp.bool, device=device(gram)), 0.0)
    diagonal = xp.linalg.diagonal(matrix)
    alive = diagonal > 0
    amount = damping * float(xp.mean(diagonal))
    extra = xp.where(alive, xp.full_like(diagonal, amount), xp.ones_like(diagonal))
    return Gram(matrix + _diagonal(xp, extra), alive, amount)


def safe(gram: Array, damping: float, dtype: object = None) -> Gram:
    """`damped`, with more damping (tenfold steps from ten roundings) where the matrix is singular to rounding."""
    share, floor = damping, 10.0 * float(array_namespace(gram).finfo(gram.dtype).eps)
    while True:
        made = damped(gram, share, dtype)
        if made.matrix.shape[0] == 0 or is_definite(made.matrix, floor) or share > 1e6:
            return made
        share = max(10.0 * share, floor)


def is_definite(matrix: Array, margin: float = 0.0) -> bool:
    """Whether the smallest eigenvalue is above `margin` times the mean diagonal."""
    xp = array_namespace(matrix)
    diagonal = xp.linalg.diagonal(matrix)
    shift = margin * float(xp.mean(diagonal))
    return factor(matrix - _diagonal(xp, xp.full_like(diagonal, shift))) is not None


def singular(gram: Array) -> bool:
    """Whether a Gram matrix has no inverse to ten roundings: too few tokens, or inputs that depend on each other.

    >>> import numpy as np
    >>> singular(np.ones((2, 2))), singular(np.eye(2))
    (True, False)
    """
    return not is_definite(gram, 10.0 * float(array_namespace(gram).finfo(gram.dtype).eps))


def factor(matrix: Array) -> Array | None:
    """Lower Cholesky factor, or None if the matrix is not positive definite (numpy and torch raise differently)."""
    xp = array_namespace(matrix)
    try:
        lower = xp.linalg.cholesky(matrix)
    except (ValueError, RuntimeError):
        return None
    return lower if bool(xp.all(xp.isfinite(lower))) else None


def inverse_factor(matrix: Array) -> Array | None:
    """Upper triangular U with matrix^-1 = U^T U, or None if the matrix is not positive definite.

    One factorisation instead of three: with J the reversal, J M J = L L^T gives U = (J L J)^-1.
    """
    xp = array_namespace(matrix)
    lower = factor(xp.flip(xp.flip(matrix, axis=0), axis=1))
    if lower is None:
        return None
    return xp.flip(xp.flip(_lower_inverse(lower), axis=0), axis=1)


def _lower_inverse(lower: Array) -> Array:
    """Inverse of a lower triangular matrix, by halves: all work is in matrix products."""
    xp = array_namespace(lower)
    size = lower.shape[0]
    if size <= 128:
        return _small_lower_inverse(lower)
    half = size // 2
    first, last = _lower_inverse(lower[:half, :half]), _lower_inverse(lower[half:, half:])
    corner = -(last @ (lower[half:, :half] @ first))
    gap = xp.zeros((half, size - half), dtype=lower.dtype, device=device(lower))
    top, bottom = xp.concat([first, gap], axis=1), xp.concat([corner, last], axis=1)
    return xp.concat([top, bottom], axis=0)


def _small_lower_inverse(lower: Array) -> Array:
    """Inverse of a small lower triangular matrix."""
    xp = array_namespace(lower)
    if is_torch_array(lower):
        import torch

        eye = torch.eye(lower.shape[0], dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(lower, eye, upper=False)
    return xp.tril(xp.linalg.inv(lower))


def square(rows: Array) -> Array:
    """R R^T of R (n, k). Libraries that do not see that it is symmetric are given the upper part alone."""
    size = rows.shape[0]
    if size < _SPLIT or not is_torch_array(rows) or device(rows).type != "cpu":
        return rows @ rows.T
    found = rows.new_empty((size, size))
    step = -(-size // _STRIPS)
    for first in range(0, size, step):
        last = min(first + step, size)
        found[first:last, first:] = rows[first:last] @ rows[first:].T
        found[last:, first:last] = found[first:last, last:].T
    return found


def _diagonal(xp: object, values: Array) -> Array:
    """A diagonal matrix."""
    size = values.shape[0]
    eye = xp.eye(size, dtype=values.dtype, device=device(values))  # type: ignore[attr-defined]
    return eye * values[None, :]
