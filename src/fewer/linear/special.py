"""Relatives of the lasso that the core solves after a change of variables or in alternation with a closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, Range, checked
from fewer.linear import kernels
from fewer.linear.arrays import Grid, Ratio, factors_of, numbers_of, plain
from fewer.linear.kernels import Warm
from fewer.linear.losses import Quantile
from fewer.linear.matrix import as_matrix, refuse_sums
from fewer.linear.paths import _grid_given, _target, _weights, path, prices, solve
from fewer.linear.result import Path, Solution
from fewer.linear.terms import Terms
from fewer.method import FewerError

__all__ = ["Precision", "graphical_lasso", "quantile_solve", "refit", "square_root_path"]

Vector = NDArray[np.float64]


@checked
def refit(X: Any, y: Any, support: Any, /, *, weights: Any = None, intercept: bool = True) -> Solution:
    """Least squares on some columns only: the relaxed end of a lasso solution.

    Args:
        support: positions or a boolean mask of the columns to use.

    >>> import numpy as np
    >>> refit(np.eye(3), np.array([1.0, 2.0, 3.0]), [1, 2], intercept=False).coef.round(6)
    array([0., 2., 3.])
    """
    matrix = as_matrix(X)
    factors = np.full(matrix.shape[1], np.inf)
    factors[_chosen(support, matrix.shape[1])] = 1.0
    return solve(matrix, y, 0.0, factors=factors, weights=weights, intercept=intercept)


def _chosen(support: Any, p: int) -> NDArray[np.int64]:
    """Positions from positions or a mask."""
    at = plain(support, "support")
    if at.dtype == bool and at.shape == (p,):
        return np.flatnonzero(at)
    if at.ndim != 1 or at.dtype == bool or np.any((at != np.floor(at)) | (at < 0) | (at >= p)):
        raise FewerError(f"support must be a mask of {p} columns, or positions in 0 .. {p - 1}")
    return at.astype(np.int64)


@checked
def square_root_path(
    X: Any,
    y: Any,
    /,
    *,
    lams: Any = None,
    count: Grid = 30,
    ratio: Ratio = 0.05,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    tol: NotNegative = 1e-6,
    max_iter: Count = 100,
) -> Path:
    """The square-root lasso: the scale of the noise is estimated along, so lam needs no knowledge of it.

    minimise sqrt(1/n sum_i s_i (y_i - b0 - x_i b)^2) + lam sum_j f_j |b_j|

    For given b the best scale is the root mean square residual r, and for given scale the problem is a lasso at
    lam * r: the two are alternated (Sun and Zhang), with the lasso at each step certified. The gap is of
    this problem itself.

    Args:
        lams: strengths (of order sqrt(2 log p / n) for unit columns); None lays a grid from lam_max.

    Returns:
        A `Path`; the fitted scale is `objectives - lam * penalty`.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0); X = rng.normal(size=(50, 4)); y = 3 * X[:, 0] + rng.normal(size=50)
    >>> found = square_root_path(X, y, lams=[0.5]); bool(found.converged.all()), found.sizes.tolist()
    (True, [1])

    Reference: Belloni, Chernozhukov and Wang (2011); Sun and Zhang (2012), algorithm 1.
    """
    matrix = as_matrix(X)
    n, p = matrix.shape
    target, s = _target(y, n), _weights(weights, n)
    options: dict[str, Any] = {
        "factors": factors, "weights": weights, "intercept": intercept, "standardize": standardize,
    }  # fmt: skip
    first = path(matrix, target, count=1, **options)
    scale = float((2 * first.null) ** 0.5)
    top = first.lam_max / scale if scale > 0 else 0.0
    grid = _grid_given(lams)
    if grid is None:
        grid = (top if top > 0 else 1.0) * ratio ** (np.arange(count) / max(1, count - 1))
    null, out, sigma = scale, [], scale
    coefs = np.zeros((p, len(grid)))
    f = factors_of(factors, p)
    if standardize:
        means = matrix.tdot(s[:, None])[:, 0] / s.sum()
        f = f * np.sqrt(np.maximum(matrix.squares(s) / s.sum() - means**2, 0.0))
    for k, lam in enumerate(grid):
        rounds = 0
        while rounds < max_iter:
            rounds += 1
            inner = solve(matrix, target, float(lam) * max(sigma, 1e-300), tol=1e-3 * tol, **options)
            r = target - matrix.dot(inner.support, inner.coef[inner.support]) - inner.intercept
            now = float(s @ r**2) ** 0.5
            on = inner.support
            value = now + lam * float(f[on] @ np.abs(inner.coef[on]))
            # Dual: max <theta, y> with |theta| <= 1 in the weighted norm and |X' S theta| <= lam f.
            theta = r / now if now > 0 else np.zeros(n)
            g = np.abs(matrix.tdot((s * theta)[:, None])[:, 0])
            with np.errstate(divide="ignore", invalid="ignore"):
                over = np.nanmax(np.where(f > 0, g / (lam * f), 0.0), initial=1.0)
            centre = float(s @ target) / float(s.sum()) if intercept else 0.0
            gap = max(value - float((s * theta) @ (target - centre)) / over, 0.0)
            if gap <= tol * max(null, 1e-300) or abs(now - sigma) <= 1e-15 * null:
                break
            sigma = now
        coefs[:, k] = inner.coef
        out.append((inner.intercept, value, gap, inner.kkt / max(now, 1e-300), rounds))
    made = np.array(out)
    columns = np.flatnonzero(np.any(coefs != 0, axis=1))
    return Path(
        grid, columns, coefs[columns], made[:, 0], made[:, 1], made[:, 2], made[:, 3], made[:, 4].astype(np.int64),
        made[:, 2] <= tol * max(null, 1e-300), null, top, p, "alternating scale",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Precision:
    """A sparse inverse covariance with its certificate.

    Attributes:
        precision: (p, p) estimate, symmetric positive definite.
        covariance: (p, p) dual point: its entries are within lam of the sample's.
        objective, gap: of  -log det + tr(S Theta) + lam sum_{i != j} f_ij |Theta_ij|.
        iterations: rounds over all columns.
        converged: gap <= tol * p.
    """

    precision: Vector
    covariance: Vector
    objective: float
    gap: float
    iterations: int
    converged: bool


@checked
def graphical_lasso(
    covariance: Any, lam: NotNegative, /, *, factors: Any = None, tol: NotNegative = 1e-6, max_iter: Count = 200
) -> Precision:
    """Sparse inverse covariance by the graphical lasso, one lasso per column on the working covariance.

    minimise -log det Theta + tr(S Theta) + lam sum_{i != j} f_ij |Theta_ij|

    Args:
        covariance: (p, p) sample covariance S.
        lam: strength, > 0 (>= 0 when S is positive definite).
        factors: (p, p) symmetric factors in [0, inf]; None is all ones.
        tol: duality gap per variable at which to stop.

    >>> import numpy as np
    >>> graphical_lasso(np.array([[1.0, 0.4], [0.4, 1.0]]), 0.5).precision
    array([[1., 0.],
           [0., 1.]])

    Reference: Friedman, Hastie and Tibshirani (2008), "Sparse inverse covariance estimation with the graphical lasso";
    Banerjee et al. (2008) for the dual.
    """
    S = numbers_of(covariance, "covariance")
    p = len(S) if S.ndim else 0
    if (
        not p
        or S.shape != (p, p)
        or not np.all(np.isfinite(S))
        or not np.allclose(S, S.T, atol=1e-10 * max(1.0, np.abs(S).max()))
    ):
        raise FewerError(f"the covariance has shape {S.shape}; give a finite symmetric matrix")
    if np.any(np.diag(S) <= 0):
        raise FewerError(f"variable {int(np.argmin(np.diag(S)))} has variance {np.diag(S).min():g}; it must be above 0")
    f = np.ones((p, p)) if factors is None else numbers_of(factors, "factors").copy()
    if f.shape != (p, p) or not np.all(f >= 0) or not np.array_equal(f, f.T):
        raise FewerError(f"factors have shape {f.shape}; give a symmetric ({p}, {p}) matrix in [0, inf]")
    with np.errstate(invalid="ignore"):
        L = np.where(f > 0, lam * f, 0.0)
    L = np.where(np.isinf(f), np.inf, L)
    np.fill_diagonal(L, 0.0)
    # A feasible positive definite start: shrink the off-diagonal as far as the constraints force it, and half on.
    W = np.sign(S) * np.maximum(np.abs(S) - L, 0.0)
    np.fill_diagonal(W, np.diag(S))
    if np.linalg.eigvalsh(W)[0] <= 1e-12 * np.diag(S).max():
        W = S.copy()
        if np.linalg.eigvalsh(W)[0] <= 1e-12 * np.diag(S).max():
            t = lam / max(lam, float(np.abs(S - np.diag(np.diag(S))).max()), 1e-300)
            W = (1 - 0.999 * t) * S + 0.999 * t * np.diag(np.diag(S))
    beta = np.zeros((p, p))
    best: tuple[float, float, Vector] | None = None
    rounds = 0
    while rounds < max_iter:
        rounds += 1
        for j in range(p):
            rest = np.delete(np.arange(p), j)
            V, u = np.ascontiguousarray(W[np.ix_(rest, rest)]), np.ascontiguousarray(S[rest, j])
            b = beta[rest, j]
            terms = Terms(np.ascontiguousarray(L[rest, j]), np.zeros(p - 1))
            yy = float(u @ u) / max(float(np.min(np.diag(V))), 1e-300) * p + float(np.diag(S)[j])
            B, _, _ = kernels.gram_path(V, yy, u, terms, Warm(b.copy(), b.copy()), np.ones(1), 1e-3 * tol, 10_000)
            beta[rest, j] = B[0]
            W[rest, j] = W[j, rest] = V @ B[0]
        found = _precision(S, L, W, beta)
        if found is not None and (best is None or found[1] < best[1]):
            best = found
        if best is not None and best[1] <= tol * p:
            break
    if best is None:
        raise FewerError("graphical lasso: no positive definite estimate was reached; raise lam")
    return Precision(best[2], W, best[0], best[1], rounds, best[1] <= tol * p)


def _precision(S: Vector, L: Vector, W: Vector, beta: Vector) -> tuple[float, float, Vector] | None:
    """Objective, gap and Theta from the regressions, or None while not positive definite."""
    diagonal = np.diag(W) - np.einsum("ij,ij->j", W - np.diag(np.diag(W)), beta)
    if np.any(diagonal <= 0):
        return None
    theta = -beta / diagonal
    theta[np.diag_indices_from(theta)] = 1.0 / diagonal
    theta = np.where((theta == 0) | (theta.T == 0), 0.0, 0.5 * (theta + theta.T))
    sign, logdet = np.linalg.slogdet(theta)
    # The working covariance may break a bound by rounding or in mid-sweep: clip it to be a dual point.
    dual = np.clip(W, S - L, S + L)
    other, logdual = np.linalg.slogdet(dual)
    if sign <= 0 or other <= 0 or np.linalg.eigvalsh(theta)[0] <= 0 or np.linalg.eigvalsh(dual)[0] <= 0:
        return None
    on = theta != 0
    objective = -logdet + float(np.sum(S * theta)) + float(np.sum(L[on] * np.abs(theta[on])))
    return objective, max(objective - (logdual + len(S)), 0.0), theta


@checked
def quantile_solve(
    X: Any,
    y: Any,
    q: Annotated[float, Range(0, 1, above=True)],
    lam: NotNegative,
    /,
    *,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
) -> Solution:
    """L1-penalised quantile regression, exactly, as a linear programme.

    minimise 1/n sum_i s_i max(q r_i, (q - 1) r_i) + lam sum_j f_j |b_j|,  r = y - b0 - X b

    Args:
        q: quantile in (0, 1).

    Returns:
        A `Solution` whose dual point and gap come from the programme's multipliers.

    Raises:
        FewerError: the programme has no finite solution.

    >>> import numpy as np
    >>> found = quantile_solve(np.zeros((5, 1)), np.array([1.0, 2.0, 3.0, 4.0, 9.0]), 0.5, 0.1)
    >>> found.intercept
    3.0

    Reference: Koenker and Bassett (1978); Belloni and Chernozhukov (2011) for the penalty. Needs scipy (HiGHS).
    """
    from scipy import sparse
    from scipy.optimize import linprog

    matrix = as_matrix(X)
    n, p = matrix.shape
    Quantile(q)
    target, s = _target(y, n), _weights(weights, n)
    f = prices(p, 1.0, factors, None, None).l1
    use = np.flatnonzero(np.isfinite(f))
    refuse_sums(matrix.tdot(s[:, None]))
    A = sparse.csc_matrix(matrix.columns(use))
    one = sparse.csc_matrix(np.ones((n, 1)) if intercept else np.zeros((n, 0)))
    eye = sparse.identity(n, format="csc")
    k = len(use)
    cost = np.concatenate([lam * f[use], lam * f[use], np.zeros(one.shape[1]), q * s, (1 - q) * s])
    free = [(0, None)] * (2 * k) + [(None, None)] * one.shape[1] + [(0, None)] * (2 * n)
    made = linprog(
        cost, A_eq=sparse.hstack([A, -A, one, eye, -eye], format="csc"), b_eq=target, bounds=free, method="highs"
    )
    if made.status != 0:
        raise FewerError(f"quantile programme: {made.message}")
    coef = np.zeros(p)
    coef[use] = made.x[:k] - made.x[k : 2 * k]
    b0 = float(made.x[2 * k]) if intercept else 0.0
    r = target - matrix.dot(use, coef[use]) - b0
    loss = float(s @ np.maximum(q * r, (q - 1) * r))
    objective = loss + lam * float(f[use] @ np.abs(coef[use]))
    dual = np.clip(np.asarray(made.eqlin.marginals), (q - 1) * s, q * s)
    g = np.abs(matrix.tdot(dual[:, None])[:, 0])[use]
    with np.errstate(divide="ignore", invalid="ignore"):
        over = float(np.max(np.where(lam * f[use] > 0, g / (lam * f[use]), 1.0), initial=1.0))
    low = np.quantile(target, q, method="inverted_cdf") if intercept else 0.0
    null = float(s @ np.maximum(q * (target - low), (q - 1) * (target - low)))
    gap = max(objective - float(dual @ target) / over, 0.0)
    kkt = float(np.max(np.maximum(g - lam * f[use], 0.0), initial=0.0))
    return Solution(
        coef, b0, float(lam), objective, gap, null, kkt, dual / over, int(made.nit), gap <= 1e-6 * max(null, 1e-300),
        "linear programme",
    )  # fmt: skip
