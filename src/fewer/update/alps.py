"""ADMM with a growing penalty finds the support, conjugate gradients finish on it (ALPS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update._keep import kept
from fewer.update._scaled import Scaled, conjugate_gradient, scaled
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["alps", "solve_levels"]

_PAPER = Paper(
    "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models", 2024, "2406.07831"
)

#: Iterations between two growths of the penalty.
_PERIOD = 3
#: Fewer rows than this share of the columns: two thin products in the eigenbasis cost less than a new inverse.
_THIN = 1 / _PERIOD
#: The support has settled when less than this share of it changed over one period.
_SETTLED = 3e-3
#: Relative residual at which the refit stops.
_TOLERANCE = 1e-4


@dataclass(slots=True)
class _State:
    """Where ADMM stands: the sparse copy, the scaled dual, the penalty."""

    sparse: Array
    dual: Array
    rho: float
    mask: Mask
    steps: int = 0


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
        >>> alps(weight, weight > 0, gram, rule=rule((1, 3), 2), damping=0.0).weight.round(2)
        array([[0.  , 1.37, 0.8 ]])

    Reference: Meng et al. 2024, algorithm 1 and section 3.3; run beside the authors' code on the same layers.
    """
    xp = array_namespace(weight, mask, input_gram)
    problem = scaled(weight, input_gram, damping)
    if rule is None:
        return _finish(weight, problem, mask, problem.dense * xp.astype(mask, problem.dense.dtype), refit, 0)
    state = _begin(problem, rule, rho)
    _find_support(problem, rule, state, growth, steps)
    return _finish(weight, problem, state.mask, state.sparse, refit, state.steps)


def solve_levels(
    weight: Array,
    input_gram: Array,
    rules: Sequence[Rule],
    /,
    *,
    damping: float = 0.01,
    rho: float = 0.05,
    growth: float = 1.3,
    steps: int = 120,
    restart: float = 0.3,
    refit: int = 12,
) -> list[Updated]:
    """`alps` at several levels of one layer: one eigenbasis, and each level starts from the one before it.

    Formula: as `alps`; the first rule starts cold, each later one from the sparse copy and dual of its predecessor
    at penalty `restart`.

    Args:
        weight: (out, in).
        input_gram: (in, in) second moment of the inputs.
        rules: neighbours should be near each other; order them by keep, largest first.
        damping: share of the mean diagonal added to the Gram matrix.
        rho: first penalty of the first level.
        growth: factor on the penalty every third iteration.
        steps: most ADMM iterations of each level.
        restart: first penalty of the later levels.
        refit: most conjugate-gradient steps of each level.

    Returns:
        One result per rule, in order.

    Raises:
        FewerError: the Gram matrix does not fit or is not finite.

    Example:
        >>> import numpy as np
        >>> from fewer.select import rule
        >>> weight = np.array([[1.0, 1.1, 0.8]])
        >>> [int(u.mask.sum()) for u in solve_levels(weight, np.eye(3), [rule((1, 3), k) for k in (3, 2, 1)])]
        [3, 2, 1]

    Reference: ours; the inner solver is Meng et al. 2024.
    """
    problem = scaled(weight, input_gram, damping)
    results: list[Updated] = []
    state: _State | None = None
    for rule in rules:
        if state is None:
            state = _begin(problem, rule, rho)
        else:
            state.dual, state.rho, state.steps = state.dual * (state.rho / restart), restart, 0
        _find_support(problem, rule, state, growth, steps)
        results.append(_finish(weight, problem, state.mask, state.sparse, refit, state.steps))
    return results


def _begin(problem: Scaled, rule: Rule, rho: float) -> _State:
    """Start from the largest scaled weights."""
    xp = array_namespace(problem.dense)
    mask = rule.select(problem.dense * problem.dense)
    sparse = xp.where(mask, problem.dense, xp.zeros_like(problem.dense))
    return _State(sparse, xp.zeros_like(problem.dense), rho, mask)


def _find_support(problem: Scaled, rule: Rule, state: _State, growth: float, steps: int) -> None:
    """ADMM until the support has settled, in place on `state`."""
    xp = array_namespace(problem.dense)
    base = problem.basis
    rows, columns = problem.dense.shape
    if rows == 0 or columns == 0:
        return
    thin = rows < _THIN * columns
    settled = _SETTLED * max(1, rule.count)
    before = xp.astype(state.mask, problem.dense.dtype)
    moved, now = state.sparse, before
    while state.steps < steps:
        inverse = None if thin else base.inverse(state.rho)
        for _ in range(_PERIOD):
            pull = problem.target + state.rho * (state.sparse - state.dual)
            if inverse is None:
                free = ((pull @ base.vectors) / (base.values + state.rho)[None, :]) @ base.vectors.T
            else:
                free = pull @ inverse
            moved = free + state.dual
            now = kept(rule, moved * moved)
            state.sparse = moved * now
            state.dual = moved - state.sparse
            state.steps += 1
        changed = float(xp.sum(xp.abs(now - before)))
        before = now
        state.dual = state.dual / growth
        state.rho *= growth
        if changed <= settled:
            break
    state.mask = rule.select(moved * moved)
    state.sparse = moved * xp.astype(state.mask, moved.dtype)


def _finish(weight: Array, problem: Scaled, mask: Mask, start: Array, refit: int, steps: int) -> Updated:
    """Refit on the support and go back to the layer's own coordinates; rows that keep everything stay untouched."""
    xp = array_namespace(weight, mask)
    base = problem.basis
    rows, used = conjugate_gradient(base.matrix, problem.target, mask, start, refit, _TOLERANCE)
    solved = xp.astype(rows / base.scale[None, :], weight.dtype)
    untouched = xp.all(mask, axis=1)[:, None] | ~base.alive[None, :]
    final = xp.where(mask & untouched, weight, xp.where(mask, solved, xp.zeros_like(weight)))
    notes: dict[str, float | str] = {"iterations": float(steps), "refit": float(used), "error": problem.error(rows)}
    return Updated(final, mask, notes)
