"""Sparse regression in an entropic Wasserstein distance: samples may borrow from their neighbours (SWAP)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace, device

from fewer.method import FewerError, Paper, method
from fewer.types import Array, Mask
from fewer.update._supports import solve_on_supports
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["entropic_wasserstein"]


@method(
    "update",
    "entropic-wasserstein",
    papers=[Paper("SWAP: Sparse Entropic Wasserstein Regression for Robust Network Pruning", 2023, "2310.04918")],
    formula="min_w sum_ij P_ij (x_i w - x_j w0)^2 + lambda ||w - w0||^2, P the entropic transport plan, w sparse",
    unit="weight",
    status="variant",
    note="on a layer's inputs and responses, row by row, where the paper regresses on per-sample gradients",
)
def entropic_wasserstein(
    weight: Array,
    mask: Mask,
    input_sample: Array,
    /,
    *,
    rule: Rule | None = None,
    smoothing: float = 0.05,
    damping: float = 0.01,
    rounds: int = 5,
    sinkhorn: int = 30,
) -> Updated:
    """Fit the distribution of a layer's responses instead of each response by itself.

    Formula: alternate (1) the transport plan P between the responses x_i w and x_j w0, cost (x_i w - x_j w0)^2,
    uniform margins, entropy weight smoothing * mean cost, by Sinkhorn; (2) with targets t_i = n sum_j P_ij x_j w0,
    the least-squares fit of t by w on its support, pulled to w0 by damping * mean(diag X^T X / n). With a `rule`, the
    support is chosen anew in each round after a gradient step (iterative hard thresholding). smoothing -> 0
    matches the two sets of responses in sorted order.

    Args:
        weight: (out, in).
        mask: (out, in) bool; kept when `rule` is None.
        input_sample: (tokens, in) some inputs; time grows with tokens^2 * out.
        rule: what to keep.
        smoothing: entropy weight, as a share of the mean cost.
        damping: share of the mean diagonal.
        rounds: alternations.
        sinkhorn: scaling steps per plan.

    Returns:
        Weights and mask.

    Raises:
        FewerError: inputs that do not fit the weight, or a smoothing that is not positive.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.9], [-1.0, -1.1], [2.0, 2.0]])
        >>> made = entropic_wasserstein(np.array([[1.0, 1.0]]), np.array([[True, False]]), x, smoothing=1e-4)
        >>> made.weight.round(1)
        array([[2., 0.]])

    Reference: You et al. 2023, equations 6 to 9 and algorithm 1.
    """
    xp = array_namespace(weight, mask, input_sample)
    if smoothing <= 0:
        raise FewerError("entropic-wasserstein: smoothing must be positive")
    if input_sample.ndim != 2 or input_sample.shape[1] != weight.shape[1]:
        raise FewerError(f"inputs of shape {tuple(input_sample.shape)} for a weight with {weight.shape[1]} inputs")
    if 0 in weight.shape or (rule is None and bool(xp.all(mask))):
        return Updated(xp.where(mask, weight, xp.zeros_like(weight)), mask, {})
    inputs, dense = xp.astype(input_sample, xp.float64), xp.astype(weight, xp.float64)
    count = max(1, inputs.shape[0])
    gram = inputs.T @ inputs / count
    amount = damping * float(xp.mean(xp.linalg.diagonal(gram))) or 1e-9
    gram = gram + amount * xp.eye(gram.shape[0], dtype=gram.dtype, device=device(gram))
    wanted, kept = dense @ inputs.T, mask
    rows = xp.where(mask, dense, xp.zeros_like(dense))
    speed = 1.0 / float(xp.max(xp.sum(xp.abs(gram), axis=1)))
    for _ in range(rounds):
        target = _mixed(xp, rows @ inputs.T, wanted, smoothing, sinkhorn)
        right = target @ inputs / count + amount * dense
        if rule is not None:
            kept = rule.select((rows - speed * (rows @ gram - right)) ** 2)
        rows = solve_on_supports(gram, right, kept)
    final = xp.where(kept, xp.astype(rows, weight.dtype), xp.zeros_like(weight))
    return Updated(final, kept, {"damping": amount})


def _mixed(xp: Any, have: Array, want: Array, smoothing: float, steps: int) -> Array:
    """For every row of responses, what the transport plan sends each sample to: n P want.

    Row by row: a plan that stays in the cache is scaled several times faster than a stack of plans.
    """
    return xp.stack([_sent(xp, have[row, :], want[row, :], smoothing, steps) for row in range(have.shape[0])])


def _sent(xp: Any, have: Array, want: Array, smoothing: float, steps: int) -> Array:
    """Sinkhorn's scaling of one plan, on a kernel whose every row and column holds a one.

    The columns' shift is none of the first step's business, which scales them; the rows' is undone in what it starts
    from. What underflows beside a one is not missed.
    """
    cost = (have[:, None] - want[None, :]) ** 2
    scale = smoothing * float(xp.mean(cost)) or 1.0
    score = cost * (-1.0 / scale)
    score = score - xp.max(score, axis=0, keepdims=True)
    peak = xp.max(score, axis=1)
    kernel = xp.exp(score - peak[:, None])
    turned, left = xp.matrix_transpose(kernel), xp.exp(peak)
    right = left
    for _ in range(steps):
        right = 1.0 / (turned @ left)
        left = 1.0 / (kernel @ right)
    return left * (kernel @ (right * want))
