"""The sparsest layer, in L1, whose responses stay within a tolerance: a convex program (Net-Trim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from array_api_compat import array_namespace, device

from fewer.method import FewerError, Paper, method
from fewer.types import Array, Mask
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["net_trim"]


@method(
    "update",
    "net-trim",
    papers=[Paper("Fast Convex Pruning of Deep Neural Networks", 2018, "1806.06457")],
    formula="min ||U||_1 s.t. ||(U x - y)_active||_F <= eps ||y_active||, (U x)_inactive <= 0; y = W x",
    unit="weight",
    note="the paper's program and ADMM; a count of kept weights is met by keeping the largest of its solution",
)
def net_trim(
    weight: Array,
    mask: Mask,
    input_sample: Array,
    /,
    *,
    rule: Rule | None = None,
    epsilon: float = 0.1,
    activation: Literal["none", "relu"] = "none",
    rho: float = 10.0,
    steps: int = 300,
) -> Updated:
    """Minimise the L1 norm of a layer under a bound on what its responses may change.

    Formula: min_U ||U||_1 with Z = U X^T subject to: sum over active responses of (Z - Y)^2 <= eps^2 sum Y^2,
    and Z <= 0 where a response is inactive (Y <= 0, `relu` only). ADMM on U = U_sparse, Z = U X^T.
    With a `rule`, its choice among the largest |U| is the support; the same constraints are then sought on it.

    Args:
        weight: (out, in).
        mask: (out, in) bool; when `rule` is None, U is zero off it.
        input_sample: (tokens, in) some inputs.
        rule: what to keep.
        epsilon: allowed relative change of the active responses.
        activation: `relu` if the layer feeds one: responses that it cuts off need only stay cut off.
        rho: penalty; the sparse copy is shrunk by mean |W| / rho.
        steps: ADMM iterations; as many again on the support.

    Returns:
        Weights, mask, and in the notes the relative change of the active responses and the largest inactive one.

    Raises:
        FewerError: a tolerance that is not positive, or inputs that do not fit the weight.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
        >>> made = net_trim(np.array([[1.0, 1.0]]), np.array([[True, False]]), x, epsilon=0.01)
        >>> bool(abs(made.weight[0, 0] - 2.0) < 0.05), made.weight[0, 1] == 0
        (True, np.True_)

    Reference: Aghasi, Abdi and Romberg 2018, equation 5 and algorithm 1.
    """
    xp = array_namespace(weight, mask, input_sample)
    if epsilon <= 0 or rho <= 0:
        raise FewerError("net-trim: epsilon and rho must be positive")
    if input_sample.ndim != 2 or input_sample.shape[1] != weight.shape[1]:
        raise FewerError(f"inputs of shape {tuple(input_sample.shape)} for a weight with {weight.shape[1]} inputs")
    if 0 in weight.shape or (rule is None and bool(xp.all(mask))):
        return Updated(xp.where(mask, weight, xp.zeros_like(weight)), mask, {})
    program = _Program(xp, weight, input_sample, epsilon, activation)
    if rule is None:
        sparse, kept = program.solve(mask, 1.0 / rho, steps), mask
    else:
        free = xp.ones(weight.shape, dtype=xp.bool, device=device(weight))
        kept = rule.select(program.solve(free, 1.0 / rho, steps) ** 2)
        sparse = program.solve(kept, 0.0, steps)
    final = xp.where(kept, xp.astype(sparse, weight.dtype), xp.zeros_like(weight))
    change, leak = program.violation(sparse)
    return Updated(final, kept, {"change": change, "largest inactive": leak})


class _Program:
    """The constraint set and what its ADMM needs of the inputs."""

    def __init__(self, xp: Any, weight: Array, inputs: Array, epsilon: float, activation: str) -> None:
        self.xp, self.start = xp, xp.astype(weight, xp.float64)
        self.inputs = xp.astype(inputs, xp.float64)
        size = float(xp.mean(self.inputs**2)) ** 0.5 * inputs.shape[0] ** 0.5
        self.inputs = self.inputs / size if size > 0 else self.inputs
        self.response = self.start @ self.inputs.T
        everything = xp.ones(self.response.shape, dtype=xp.bool, device=device(weight))
        self.active = self.response > 0 if activation == "relu" else everything
        wanted = xp.where(self.active, self.response, xp.zeros_like(self.response))
        self.radius = epsilon * float(xp.sum(wanted**2)) ** 0.5
        eye = xp.eye(weight.shape[1], dtype=xp.float64, device=device(weight))
        self.inverse = xp.linalg.inv(eye + self.inputs.T @ self.inputs)
        self.unit = float(xp.mean(xp.abs(self.start)))

    def project(self, responses: Array) -> Array:
        """The nearest responses that the constraints allow."""
        xp = self.xp
        step = xp.where(self.active, responses - self.response, xp.zeros_like(responses))
        size = float(xp.sum(step**2)) ** 0.5
        share = min(1.0, self.radius / size) if size > 0 else 1.0
        quiet = xp.where(responses < 0, responses, xp.zeros_like(responses))
        return xp.where(self.active, self.response + share * step, quiet)

    def solve(self, mask: Mask, shrink: float, steps: int) -> Array:
        """ADMM; the copy returned is zero off the mask."""
        xp = self.xp
        keep, cut = xp.astype(mask, xp.float64), shrink * self.unit
        both, lag, pull = self.start, xp.zeros_like(self.start), xp.zeros_like(self.response)
        sparse, image = self.start * keep, self.response
        for _ in range(steps):
            size = xp.abs(both - lag) - cut
            sparse = xp.sign(both - lag) * xp.where(size > 0, size, xp.zeros_like(size)) * keep
            allowed = self.project(image - pull)
            both = (sparse + lag + (allowed + pull) @ self.inputs) @ self.inverse
            lag = lag + sparse - both
            image = both @ self.inputs.T
            pull = pull + allowed - image
        return sparse

    def violation(self, weight: Array) -> tuple[float, float]:
        """(relative change of the active responses, largest response among the inactive)."""
        xp = self.xp
        made, nothing = weight @ self.inputs.T, xp.zeros_like(self.response)
        whole = float(xp.sum(xp.where(self.active, self.response, nothing) ** 2)) ** 0.5
        change = float(xp.sum(xp.where(self.active, made - self.response, nothing) ** 2)) ** 0.5
        return change / whole if whole > 0 else 0.0, float(xp.max(xp.where(self.active, nothing, made)))
