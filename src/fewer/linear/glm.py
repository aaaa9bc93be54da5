"""Paths for any loss: compiled proximal Newton where loss and data allow, the general one elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, Share, checked
from fewer.linear import tiers
from fewer.linear.arrays import Grid, Ratio
from fewer.linear.blocks import Blocks
from fewer.linear.ends import end_of, unit_of
from fewer.linear.joint import can_join, joint_path
from fewer.linear.kernels import _at
from fewer.linear.losses import Loss, Squared
from fewer.linear.matrix import Dense, Matrix, compact, constant_columns, refuse_sums
from fewer.linear.newton import newton_path
from fewer.linear.paths import _grid_given, _weights, path, prices
from fewer.linear.result import Path, Solution
from fewer.linear.terms import Terms
from fewer.method import FewerError

__all__ = ["glm_path", "glm_solve"]

Vector = NDArray[np.float64]


@checked
def glm_solve(X: Any, y: Any, loss: Loss, lam: NotNegative, /, **options: Any) -> Solution:
    """One solution for a general loss; options as for `glm_path`.

    >>> import numpy as np
    >>> from fewer.linear.losses import Logistic
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]]); y = np.array([0.0, 0.0, 1.0, 1.0])
    >>> glm_solve(X, y, Logistic(), 1.0).coef
    array([0.])
    """
    return glm_path(X, y, loss, lams=[lam], **options)[0]


@checked
def glm_path(
    X: Any,
    y: Any,
    loss: Loss,
    /,
    *,
    lams: Any = None,
    count: Grid = 100,
    ratio: Ratio | None = None,
    mix: Share = 1.0,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    lower: Any = None,
    upper: Any = None,
    tol: NotNegative = 1e-6,
    max_iter: Count = 1000,
    duals: bool = True,
) -> Path:
    """Solutions along decreasing penalties for any loss, by proximal Newton, every one certified.

    minimise 1/n sum_i s_i loss(y_i, b0 + x_i b) + lam sum_j f_j (mix |b_j| + (1 - mix)/2 b_j^2)

    Args:
        X: (n, p) numpy or scipy sparse.
        y: the target, in the shape that `loss.check` asks for.
        loss: one of `fewer.linear.losses`, or any object of that shape.
        max_iter: Newton steps for one penalty.

    The other arguments are those of `path`.

    Returns:
        A `Path`. For a loss with K linear predictors `values` is (u, L, K) and `intercepts` (L, K); for `Ordinal` the
        intercepts are the cut points (L, K - 1). Gaps of losses without a short conjugate (Cox, ordinal) rest on
        convexity and a floor of the loss: valid, and looser.

    >>> import numpy as np
    >>> from fewer.linear.losses import Poisson
    >>> rng = np.random.default_rng(0); X = rng.normal(size=(50, 3)); y = rng.poisson(np.exp(X[:, 0]))
    >>> bool(glm_path(X, y, Poisson(), count=10).converged.all())
    True

    Reference: Friedman, Hastie and Tibshirani (2010), "Regularization Paths for Generalized Linear Models via
    Coordinate Descent"; gaps recomputed from scratch in the tests, objectives compared with scikit-learn.
    """
    if isinstance(loss, Squared):
        return path(
            X, y, lams=lams, count=count, ratio=ratio, mix=mix, factors=factors, weights=weights, intercept=intercept,
            standardize=standardize, lower=lower, upper=upper, tol=tol, duals=duals,
        )  # fmt: skip
    matrix = compact(X)
    n, p = matrix.shape
    target = loss.check(y)
    if len(target) != n:
        raise FewerError(f"y has {len(target)} rows; X has {n}")
    s, terms = _weights(weights, n), prices(p, mix, factors, lower, upper)
    sums = matrix.tdot(np.column_stack([s, np.ones(n)]))
    refuse_sums(sums)
    if intercept or not loss.intercept:  # a constant, cut points or relative risks take up what such columns say
        terms = _without(terms, constant_columns(matrix))
    if standardize:
        terms = _standardised(matrix, s, sums[:, 0] / s.sum(), terms)
    ratio = (1e-3 if n > p else 1e-2) if ratio is None else ratio
    given = _grid_given(lams)
    native = tiers.native()
    if native is not None and isinstance(matrix, Dense) and hasattr(loss, "code"):
        return _compiled(native, matrix, target, loss, s, terms, intercept, given, count, ratio, tol, max_iter, duals)
    if terms.low is None and can_join(matrix, loss):
        out = np.isinf(terms.l1)
        shape = Blocks(
            np.ones(p, np.int64), np.where(out, 0.0, terms.l1), np.where(out, np.inf, 0.0), np.where(out, 0.0, terms.l2)
        )
        return joint_path(matrix, target, loss, s, shape, intercept, given, count, ratio, tol, max_iter, duals)
    return newton_path(matrix, target, loss, s, terms, intercept, given, count, ratio, tol, max_iter, duals)


def _without(terms: Terms, out: NDArray[np.bool_]) -> Terms:
    """The same terms with some columns left out, unless they are free."""
    out = out & ((terms.l1 > 0) | (terms.l2 > 0))
    return replace(terms, l1=np.where(out, np.inf, terms.l1), l2=np.where(out, 0.0, terms.l2))


def _standardised(matrix: Matrix, s: Vector, means: Vector, terms: Terms) -> Terms:
    spread = matrix.squares(s) / s.sum() - means**2
    spread = np.sqrt(np.where(spread > 1e-13 * means**2, np.maximum(spread, 0.0), 0.0))
    with np.errstate(invalid="ignore"):
        l1 = np.where(spread > 0, terms.l1 * spread, np.inf)
    return Terms(l1, np.where(spread > 0, terms.l2 * spread**2, 0.0), terms.low, terms.high)


def _compiled(
    native: Any, matrix: Dense, y: Vector, loss: Any, s: Vector, terms: Terms, intercept: bool, lams: Vector | None,
    count: int, ratio: float, tol: float, most: int, duals: bool,
) -> Path:  # fmt: skip
    """The C path: null model first (its gradient gives lam_max), then the grid."""
    n, p = matrix.shape
    X = np.asfortranarray(matrix.X, dtype=np.float64)
    b, eta = np.zeros(p), np.zeros(n)
    low, high = terms.low, terms.high

    def run(
        l1: Vector, l2: Vector, b0: float, grid: Vector, lam_at: float, goal: float
    ) -> tuple[Vector, Vector, Vector]:
        B, stats, slopes = np.empty((len(grid), p)), np.empty((len(grid), 7)), np.empty((len(grid), n))
        native.glm_path(
            n, p, loss.code, int(intercept), float(loss.shape[0]), float(loss.shape[1]), X.ctypes.data, y.ctypes.data,
            s.ctypes.data, l1.ctypes.data, l2.ctypes.data, _at(low), _at(high), len(grid), grid.ctypes.data, lam_at,
            goal, most, b.ctypes.data, b0, eta.ctypes.data, B.ctypes.data, stats.ctypes.data, slopes.ctypes.data,
        )  # fmt: skip
        return B, stats, slopes

    free = (terms.l1 == 0) & (terms.l2 == 0)
    start = loss.value(eta, y, s)
    shut = np.where(free, 0.0, np.inf)
    _, stats, slopes = run(shut, np.zeros(p), 0.0, np.ones(1), np.inf, 1e-13 * abs(start))
    null, b0 = float(stats[0, 3]), float(stats[0, 6])
    g = -(X.T @ slopes[0])
    paid = (terms.l1 > 0) & np.isfinite(terms.l1)
    size = np.abs(g)
    if low is not None and high is not None:
        size = np.where(np.where(g > 0, high > 0, low < 0), size, 0.0)
    lam_max = float(np.max(size[paid] / terms.l1[paid], initial=0.0))
    if lams is None:
        top = lam_max if lam_max > 0 else 1.0
        lams = top * ratio ** (np.arange(count) / max(1, count - 1))
        lams[0] = top
    end = end_of(tol, unit_of(null, loss, y, s), float(size.max(initial=0.0)), terms.squares)
    B, stats, slopes = run(
        np.ascontiguousarray(terms.l1), np.ascontiguousarray(terms.l2), b0, lams, max(lam_max, float(lams[0])), end.goal
    )
    columns = np.flatnonzero(B.any(axis=0))
    return Path(
        lams, columns, np.ascontiguousarray(B[:, columns].T), stats[:, 6].copy(), stats[:, 3].copy(),
        stats[:, 0].copy(), stats[:, 4].copy(), stats[:, 2].astype(np.int64),
        end.met(stats[:, 0], stats[:, 4]), null, lam_max, p, "compiled newton",
        -slopes * stats[:, 5:6] if duals else None,
    )  # fmt: skip
