"""ADMM with a growing penalty finds the support, conjugate gradients finish on it (ALPS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update._projection import projection
from fewer.update._scaled import Scaled, finish, scaled
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["alps"]

_PAPER = Paper(
    "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models", 2024, "2406.07831"
)

#: Iterations between two growths of the penalty.
_PERIOD = 3
#: Fewer rows than this share of the columns: two thin products in the eigenbasis cost less than a new inverse.
_THIN = 1 / _PERIOD
#: The support has settled when less than this share of it changed over one period.
_SETTLED = 6e-3


@method(
    "update",
    "alps",
    papers=[_PAPER],
    formula="ADMM on min tr((W' - W) G (W' - W)^T) s.t. W' in the pattern, rho growing; then CG on the support",
    unit="weight",
    status="variant",
    note="geometric penalty from a lower start instead of the authors' support-driven steps; any pattern; the error "
    "on the same layers was at or below the authors' code (benchmarks/solvers)",
)
def alps(
    weight: Array,
    mask: Mask,
    input_gram: Array,
    /,
    *,
    rule: Rule | None = None,
    damping: float = 0.01,
    rho: float = 0.05,
    growth: float = 1.3,
    steps: int = 120,
    refit: int = 12,
) -> Updated:
    """Choose the support and the weights on it together, from the Gram matrix alone.

    Formula: in coordinates b = w d, d_j^2 = G_jj + damping * mean(diag G), A the Gram matrix scaled alike:
    B <- (B0 A + rho (D - U)) (A + rho I)^-1;  D <- P(B + U);  U <- U + B - D;  rho <- growth * rho every third step,
    where P keeps the entries that the rule selects by (B + U)^2. When the support has settled, conjugate gradients
    solve A on it, all rows at once. The eigenbasis of A makes every new rho one matrix product.

    Args:
        weight: (out, in).
        mask: (out, in) bool; only used when `rule` is None, and then kept: the weights on it are refitted.
        input_gram: (in, in) second moment of the inputs.
        rule: what to keep; any pattern.
        damping: share of the mean diagonal added to the Gram matrix.
        rho: first penalty, in units of the scaled diagonal (which is 1).
        growth: factor on the penalty every third iteration; nearer to 1 is slower and closer.
        steps: most ADMM iterations.
        refit: most conjugate-gradient steps.

    Returns:
        Weights, mask, and in the notes the iterations of both parts and the relative quadratic error.

    Raises:
        FewerError: the Gram matrix does not fit or is not finite.

    Example:
        >>> import numpy as np
        >>> from fewer.select import rule
        >>> gram = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
        >>> weight = np.array([[0.3, 1.1, 0.8]])
        >>> alps(weight, weight > 0, gram, rule=rule((1, 3), count=2), damping=0.0).weight.round(2)
        array([[0.  , 1.37, 0.8 ]])

    Reference: Meng et al. 2024, algorithm 1 and section 3.3; run beside the authors' code on the same layers.
    """
    xp = array_namespace(weight, mask, input_gram)
    problem = scaled(weight, input_gram, damping)
    if rule is None:
        return finish(weight, problem, mask, problem.dense * xp.astype(mask, problem.dense.dtype), refit, 0)
    mask, sparse, used = _find_support(problem, rule, rho, growth, steps)
    return finish(weight, problem, mask, sparse, refit, used)


def _find_support(problem: Scaled, rule: Rule, rho: float, growth: float, steps: int) -> tuple[Mask, Array, int]:
    """ADMM until the support has settled: the mask, the weights on it, and the iterations."""
    xp = array_namespace(problem.dense)
    base = problem.basis
    rows, columns = problem.dense.shape
    now = projection(problem, rule, rho)
    thin = rows < _THIN * columns
    settled = _SETTLED * max(1, rule.count)
    used = 0
    while used < steps and rows and columns:
        inverse = None if thin else base.inverse(rho)
        for place in range(_PERIOD):
            if inverse is None:
                free = ((now.pull @ base.vectors) / (base.values + rho)[None, :]) @ base.vectors.T
            else:
                free = now.pull @ inverse
            grows = place == _PERIOD - 1
            now.step(free, rho * growth if grows else rho, 1.0 / growth if grows else 1.0)
        used += _PERIOD
        rho *= growth
        if now.changed() <= settled:
            break
    mask = rule.select(now.moved * now.moved)
    return mask, now.moved * xp.astype(mask, now.moved.dtype), used
