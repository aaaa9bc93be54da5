"""ADMM with a fixed penalty while the mask is thinned step by step (gradual masks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update._gram import damped, factor
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["admm"]


@method(
    "update",
    "admm",
    papers=[
        Paper("Fast and Effective Weight Update for Pruned Large Language Models", 2024, "2401.02938"),
    ],
    formula="W <- (W0 A + rho (Z - U))(A + rho I)^-1; Z <- M (W + U); U <- U + W - Z; M thinned by a cubic ramp",
    unit="weight",
    status="variant",
    note="the ramp thins as the paper says; the authors' code holds an unstructured mask at the final count from the "
    "first step on and thins only N:M masks",
)
def admm(
    weight: Array,
    mask: Mask,
    input_gram: Array,
    /,
    *,
    rule: Rule | None = None,
    damping: float = 0.1,
    rho: float = 1.0,
    steps: int = 20,
    ramp: int = 15,
) -> Updated:
    """Alternate between the best dense weights near a sparse copy and the best sparse copy of them.

    Formula: in coordinates scaled by d_j = sqrt(G_jj), A = G / (d d^T) + damping * I:
    Z <- M * (W + U); U <- U + W - Z; W <- (W0 A + rho (Z - U)) (A + rho I)^-1; the answer is M * (W + U).
    With a `rule`, M drops the smallest |W + U|; the share dropped grows as s (1 - (1 - t/ramp)^3) over `ramp` steps.

    Args:
        weight: (out, in).
        mask: (out, in) bool; kept as it is when `rule` is None.
        input_gram: (in, in) second moment of the inputs.
        rule: what to keep; for patterns other than unstructured the final selection is ramped in by the same share.
        damping: added to the scaled diagonal, which is 1.
        rho: penalty.
        steps: iterations.
        ramp: steps over which the mask is thinned.

    Returns:
        Weights, mask, and the number of iterations in the notes.

    Raises:
        FewerError: the Gram matrix is not square or not finite.

    Example:
        >>> import numpy as np
        >>> gram = np.array([[1.0, 0.5], [0.5, 1.0]])
        >>> admm(np.array([[2.0, 1.0]]), np.array([[True, False]]), gram, damping=0.0, steps=60).weight.round(3)
        array([[2.5, 0. ]])

    Reference: Boza 2024, algorithms 1 and 2; compared with a literal float64 loop and, masks fixed, with exact
    least squares.
    """
    xp = array_namespace(weight, mask, input_gram)
    if bool(xp.all(mask)) and rule is None:
        return Updated(weight, mask, {})
    plain = damped(input_gram, 0.0, xp.result_type(xp.float32, input_gram.dtype))
    scale = xp.sqrt(xp.linalg.diagonal(plain.matrix))
    matrix = plain.matrix / scale[None, :] / scale[:, None]
    # A weight on an input that never fires is worth next to nothing, whatever its size.
    scale = xp.where(plain.alive, scale, xp.full_like(scale, 1e-8))
    matrix = matrix + damping * _identity_like(xp, matrix)
    shifted = matrix + rho * _identity_like(xp, matrix)
    inverse = xp.linalg.inv(shifted) if factor(shifted) is not None else xp.linalg.pinv(shifted)
    dense = xp.astype(weight, matrix.dtype) * scale[None, :]
    target = dense @ matrix
    free, dual, kept = dense, xp.zeros_like(dense), mask
    for step in range(steps):
        if rule is not None and step < ramp:
            kept = _thinned(rule, free + dual, 1.0 - (1.0 - (step + 1) / ramp) ** 3)
        moved = free + dual
        sparse = moved * xp.astype(kept, moved.dtype)
        dual = moved - sparse
        free = (target + rho * (sparse - dual)) @ inverse
    final = xp.astype((free + dual) / scale[None, :], weight.dtype)
    kept = rule.select((free + dual) ** 2) if rule is not None and ramp > steps else kept
    return Updated(xp.where(kept, final, xp.zeros_like(final)), kept, {"iterations": float(steps)})


def _thinned(rule: Rule, values: Array, progress: float) -> Mask:
    """The rule's mask, and beside it the largest of the entries that it will drop but need not drop yet."""
    from fewer.select import top

    xp = array_namespace(values)
    scores = values * values
    final = rule.select(scores)
    dropped = int(xp.sum(xp.astype(~final, xp.int64)))
    late = dropped - round(dropped * progress)
    if late == 0:
        return final
    doomed = xp.where(final, xp.full_like(scores, -1.0), scores)
    return final | xp.reshape(top(xp.reshape(doomed, (-1,)), late), doomed.shape)


def _identity_like(xp: object, matrix: Array) -> Array:
    """The identity of a matrix's size, dtype and device."""
    from array_api_compat import device

    return xp.eye(matrix.shape[0], dtype=matrix.dtype, device=device(matrix))  # type: ignore[attr-defined]
