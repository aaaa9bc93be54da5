"""Any smooth loss with any penalty of `fewer.penalty`: accelerated proximal gradient, checked by its own residual.

Penalties that the compiled solvers know go to them: convex ones where the problem is small (`known`), those that are
concave in each coefficient where the loss is compiled (`concave`). Elsewhere a penalty enters through value, prox and
residual alone. Convex penalties that are norms also get a duality gap, from `lam_max`, which is their dual norm.
Nonconvex ones start from lassos that the certified core solves and from local linear approximations, and end where
their residual vanishes: a stationary point, and said to be no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, checked
from fewer.linear.arrays import Grid, Ratio
from fewer.linear.concave import concave, concave_path
from fewer.linear.coupled import Ordinal
from fewer.linear.glm import glm_path
from fewer.linear.known import known_path
from fewer.linear.losses import Loss
from fewer.linear.matrix import compact, constant_columns, refuse_sums
from fewer.linear.newton import best_shift
from fewer.linear.partly import has_strength, strengthened
from fewer.linear.paths import _grid_given, _weights
from fewer.linear.result import Path
from fewer.linear.smooth import Problem
from fewer.method import FewerError
from fewer.penalty import ElasticNet

__all__ = ["general_path"]

Vector = NDArray[np.float64]

#: Penalties that are norms at fixed proportions: their gap comes from the dual norm.
_NORMS = ("L1", "WeightedL1", "Group", "SparseGroup", "Slope")


@checked
def general_path(
    X: Any,
    y: Any,
    loss: Loss,
    penalty: Any,
    /,
    *,
    lams: Any = None,
    count: Grid = 30,
    ratio: Ratio = 1e-2,
    weights: Any = None,
    intercept: bool = True,
    tol: NotNegative = 1e-6,
    max_iter: Count = 20_000,
) -> Path:
    """Solutions along decreasing strengths for any smooth loss and any penalty.

    minimise 1/n sum_i s_i loss(y_i, b0 + x_i b) + penalty(b; lam)

    Args:
        penalty: an object with value, prox and residual; its field `lam` is replaced by each strength. One without
            `lam` (a constraint) gives a path of one.
        lams: strengths; None lays a grid from the penalty's `lam_max`, which it must then have.
        tol: largest residual relative to that at zero coefficients; for norms also the relative gap.

    The other arguments are those of `path`; the loss must have one linear predictor.

    Returns:
        A `Path`; `kkts` holds the residuals, `gaps` is nan unless the penalty is a norm.

    Raises:
        FewerError: a loss with several predictors or with cut points, a penalty that does not fit a vector of p
            coefficients, or no lams and no `lam_max`.

    >>> import numpy as np
    >>> from fewer.linear import Squared
    >>> from fewer.penalty import Group
    >>> X = np.eye(4); y = np.array([4.0, 4.0, 1.0, 0.0])
    >>> p = Group(((0, 1), (2, 3)), weights=(1, 1))
    >>> general_path(X, y, Squared(), p, lams=[0.5], intercept=False)[0].coef.round(4)
    array([2.5858, 2.5858, 0.    , 0.    ])

    Reference: Beck and Teboulle (2009), FISTA, with the restart of O'Donoghue and Candes (2015); Zou and Li (2008) for
    the local linear approximation; Breheny and Huang (2011) for coordinate descent on concave penalties.
    """
    if loss.width != 1 or isinstance(loss, Ordinal):
        raise FewerError(
            f"any penalty goes with one linear predictor a row; {type(loss).__name__} has more parameters: "
            "SparseMultinomial and OrdinalLogit fit it, with prices on columns or groups"
        )
    matrix = compact(X)
    n, p = matrix.shape
    _fits(penalty, p)
    target, s = loss.check(y), _weights(weights, n)
    if len(target) != n:
        raise FewerError(f"y has {len(target)} rows; X has {n}")
    refuse_sums(matrix.tdot(s[:, None]))
    constant = intercept and loss.intercept
    problem = Problem(matrix, target, loss, s, constant)
    b = np.zeros(p + 1)
    b[-1] = best_shift(loss, np.zeros(n), target, s) if constant else 0.0
    null, g0, slope = problem.gradient(b)
    if constant:
        g0[:-1][constant_columns(matrix)] = 0.0
    strengths, top = _strengths(penalty, g0[:-1], lams, count, ratio)
    rounding = 1e-8 * float(matrix.squares(s).max() * (slope[s > 0] ** 2 / s[s > 0]).sum()) ** 0.5
    scale = max(float(np.abs(g0).max()), rounding)
    compiled = known_path(
        matrix, target, loss, s, penalty, intercept, strengths, null, top, max(scale, 1e-300), tol, max_iter
    )
    if compiled is not None:
        return compiled
    pilots = [] if penalty.convex else _pilots(problem, b, intercept)
    shape = None if penalty.convex else concave(penalty, problem)
    if shape is not None:
        return concave_path(problem, shape, strengths, [b, *pilots], tol * scale, max_iter, null, top)
    smooth = _lipschitz(problem, b)
    found, coefs = [], np.empty((p, len(strengths)))
    for k, lam in enumerate(strengths):
        priced = strengthened(penalty, float(lam))
        if not priced.convex:  # a little way down from every start; the lowest then goes on
            starts = _starts(problem, priced, b, float(lam), pilots, intercept)
            ends = [_fista(problem, priced, v, smooth, tol, scale, 60) for v in starts]
            cost = [problem.value(end[0]) + float(priced.value(end[0][:-1])) for end in ends]
            b, smooth = ends[int(np.argmin(cost))][:2]
        b, smooth, rounds, residual, slope = _fista(problem, priced, b, smooth, tol, scale, max_iter)
        coefs[:, k] = b[:-1]
        value = problem.value(b) + float(priced.value(b[:-1]))
        gap = _gap(problem, priced, b, slope, value, float(lam))
        done = residual <= tol * max(scale, 1e-300)
        found.append((b[-1] - problem.means @ b[:-1], value, gap, residual, rounds, done))
    columns = np.flatnonzero(np.any(coefs != 0, axis=1))
    made = np.array([f[:5] for f in found])
    return Path(
        strengths, columns, coefs[columns], made[:, 0], made[:, 1], made[:, 2], made[:, 3], made[:, 4].astype(np.int64),
        np.array([f[5] for f in found]), null, top, p, "proximal gradient",
    )  # fmt: skip


def _fits(penalty: Any, p: int) -> None:
    """Refuse a penalty that is none, or one on something else than a vector of p coefficients."""
    name = type(penalty).__name__
    if not all(hasattr(penalty, part) for part in ("value", "prox", "residual", "convex")):
        raise FewerError(f"{name} is no penalty: it needs value, prox, residual and convex")
    try:
        shape = np.shape(penalty.prox(np.zeros(p), 1.0))
    except FewerError:
        raise
    except (ValueError, IndexError) as error:
        raise FewerError(f"{name} does not fit a vector of {p} coefficients: {error}") from None
    if shape != (p,):
        raise FewerError(f"{name} does not fit a vector of {p} coefficients: its prox has shape {shape}")


def _strengths(penalty: Any, g0: Vector, lams: Any, count: int, ratio: float) -> tuple[Vector, float]:
    top = float(penalty.lam_max(g0)) if hasattr(penalty, "lam_max") else float("nan")
    if not has_strength(penalty):
        return np.ones(1), top
    given = _grid_given(lams)
    if given is not None:
        return given, top
    if not np.isfinite(top):
        name = type(getattr(penalty, "penalty", penalty)).__name__
        raise FewerError(f"{name} has no strength at which everything is zero; give lams")
    grid = (top if top > 0 else 1.0) * ratio ** (np.arange(count) / max(1, count - 1))
    return np.asarray(grid), top


def _lipschitz(problem: Problem, b: Vector) -> float:
    """A first guess of the gradient's Lipschitz constant, by a few power rounds on the curvature at b."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=len(b) - 1)
    bend = problem.loss.bend(problem.eta(b), problem.y, problem.s)
    size = 1.0
    for _ in range(12):
        v /= max(float(np.linalg.norm(v)), 1e-300)
        u = problem.matrix.dot(problem.index, v) - float(problem.means @ v)
        v = problem.matrix.tdot((bend * u)[:, None])[:, 0] - problem.means * float(bend @ u)
        size = float(np.linalg.norm(v))
    return max(size, float(bend.sum()) if problem.constant else 0.0, 1e-12)


def _residual(priced: Any, b: Vector, g: Vector) -> float:
    out = np.max(np.abs(np.asarray(priced.residual(b[:-1], g[:-1]))), initial=0.0)
    return max(float(out), abs(float(g[-1])))


def _fista(
    problem: Problem, priced: Any, b: Vector, smooth: float, tol: float, scale: float, most: int
) -> tuple[Vector, float, int, float, Vector]:
    """Accelerated proximal gradient with backtracking and restart; monotone (no momentum) when not convex."""

    def descend(at: Vector, smooth: float) -> tuple[Vector, float]:
        value, g, _ = problem.gradient(at)
        while True:
            trial = at - g / smooth
            trial[:-1] = priced.prox(trial[:-1], 1.0 / smooth)
            move = trial - at
            bound = value + float(g @ move) + 0.5 * smooth * float(move @ move)
            if problem.value(trial) <= bound + 1e-14 * abs(value) or smooth > 1e18:
                return trial, smooth
            smooth *= 1.5

    point, t, rounds = b.copy(), 1.0, 0
    _, g, slope = problem.gradient(b)
    residual = _residual(priced, b, g)
    best, idle = residual, 0
    # Near the end of the digits momentum goes round in circles: a hundred looks without a gain there are enough.
    while residual > tol * scale and rounds < most and (idle < 100 or best > 1e-8 * scale):
        new, smooth = descend(point, smooth)
        turn = float((point - new) @ (new - b))
        later = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
        if turn > 0 or not priced.convex:
            point, t = new, 1.0
        else:
            point, t = new + (t - 1) / later * (new - b), later
        b = new
        rounds += 1
        if rounds % 5 == 0 or rounds == 1:
            _, g, slope = problem.gradient(b)
            residual = _residual(priced, b, g)
            best, idle = (residual, 0) if residual < 0.9 * best else (best, idle + 1)
    _, g, slope = problem.gradient(b)
    return b, smooth, rounds, _residual(priced, b, g), slope


def _lassos(problem: Problem, intercept: bool, lams: Sequence[float], factors: Vector | None) -> list[Vector]:
    """Certified weighted lassos of the same loss, as points of this problem."""
    path = glm_path(
        problem.matrix, problem.y, problem.loss, lams=lams, tol=1e-6, factors=factors,
        weights=problem.s * len(problem.s), intercept=intercept,
    )  # fmt: skip
    return [np.append(one.coef, float(one.intercept) + float(problem.means @ one.coef)) for one in path]


def _pilots(problem: Problem, b: Vector, intercept: bool) -> list[Vector]:
    """Starting points from sparse to dense: the lasso down to a hundredth of its lam_max."""
    top = float(np.abs(problem.gradient(b)[1][:-1]).max(initial=0.0))
    return _lassos(problem, intercept, [top * share for share in (0.5, 0.2, 0.05, 0.01)], None) if top > 0 else [b]


def _starts(
    problem: Problem, priced: Any, b: Vector, lam: float, pilots: list[Vector], intercept: bool
) -> list[Vector]:
    """Where descent on a nonconvex penalty begins: the last solution, the pilots, and the densest's linearisations."""
    starts = [b, *pilots]
    at = starts[-1]
    for _ in range(2 if hasattr(priced, "each") and lam > 0 else 0):
        a = np.maximum(np.abs(at[:-1]), 1e-6)
        factors = np.maximum(np.asarray(priced.each(a + 1e-7) - priced.each(a - 1e-7)) / (2e-7 * lam), 0.0)
        if not np.any(factors > 0):
            break
        at = _lassos(problem, intercept, [lam], factors)[0]
        starts.append(at)
    return starts


def _gap(problem: Problem, priced: Any, b: Vector, slope: Vector, value: float, lam: float) -> float:
    net = isinstance(priced, ElasticNet) and priced.mix < 1
    if type(priced).__name__ not in _NORMS and not net:
        return float("nan")
    slope = slope - problem.s * (slope.sum() / problem.s.sum()) if problem.constant else slope
    g = problem.matrix.tdot(slope[:, None])[:, 0]
    top = 0.0 if net else float(priced.lam_max(g))
    scale = min(1.0, lam / top) if top > 0 else 1.0
    bound = problem.loss.conjugate(scale * slope, problem.y, problem.s)
    if bound is None and hasattr(problem.loss, "floor"):  # convexity and a lower bound of the loss, see `losses`
        eta, floor = problem.eta(b), float(problem.loss.floor(problem.y, problem.s))
        touch = float(slope @ eta) - problem.loss.value(eta, problem.y, problem.s)
        bound = scale * touch - (1 - scale) * floor
    if bound is None:
        return float("nan")
    if net and lam > 0:
        bound += float(np.sum(np.maximum(np.abs(g) - lam * priced.mix, 0.0) ** 2) / (2 * lam * (1 - priced.mix)))
    return max(value + bound, 0.0)
