"""The lasso chooses, least squares estimates: shrinkage taken back, wholly or in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.estimators.gaussian import Regressor
from fewer.linear.estimators.gaussian_cv import GaussianCV
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, method

__all__ = ["RelaxedLasso", "RelaxedLassoCV", "refit", "relaxed"]

Vector = NDArray[np.float64]
RELAXED = Paper("Relaxed Lasso", 2007)


@method(
    "estimator",
    "relaxed-lasso",
    papers=[RELAXED],
    formula="phi * lasso + (1 - phi) * least squares on the lasso's support",
    unit="feature",
    note="the blend of Hastie, Tibshirani and Tibshirani (2020), which needs one refit only",
    status="variant",
)
class RelaxedLasso(Regressor):
    """The lasso chooses, least squares estimates: shrinkage is taken back on the chosen columns.

    Formula: b = phi * b_lasso + (1 - phi) * b_ls, b_ls least squares on the support of b_lasso.

    Args:
        alpha: strength of the lasso's penalty.
        phi: share of the lasso's coefficients, in [0, 1]; 0 is the plain refit.
        groups: see `GroupLasso`; the group lasso then chooses.
        penalty_factors: see `Lasso`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`; holds for the lasso, not for the refit.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> RelaxedLasso(alpha=0.1).fit(X, 2 * X[:, 0]).coef_.round(6)
    array([2., 0.])

    Reference: Meinshausen 2007; the blend is equation 4 of Hastie et al. 2020.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        phi: float = 0.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.phi = phi
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        path = super()._path(X, y, weights, factors, 1.0, **grid)
        return relaxed(path, X, y, weights, bool(self.fit_intercept), [float(self.phi)])[0]


@method("estimator", "relaxed-lasso-cv", papers=[RELAXED], formula="relaxed lasso; alpha and phi by cross-validation",
        unit="feature")  # fmt: skip
class RelaxedLassoCV(GaussianCV):
    """Relaxed lasso whose strength and share phi are cross-validated together; `phi_` is the share chosen.

    Args:
        phi: shares of the lasso to choose from: 1 is the lasso, 0 least squares on its support.
        alphas: see `LassoCV`.
        n_alphas: see `LassoCV`.
        eps: see `LassoCV`.
        cv: see `LassoCV`.
        rule: see `LassoCV`.
        groups: see `GroupLasso`; the group lasso then chooses.
        penalty_factors: see `LassoCV`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `RelaxedLasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.
        n_jobs: see `LassoCV`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> y = X[:, 2] + 0.1 * np.random.default_rng(1).standard_normal(60)
    >>> RelaxedLassoCV(cv=3, rule="1se").fit(X, y).selected_
    array([2])

    Reference: Meinshausen 2007; Hastie, Tibshirani and Tibshirani 2020.
    """

    _separate = True

    def __init__(
        self,
        *,
        phi: Any = (0.0, 0.5, 1.0),
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        self.phi = phi
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def _mixes(self) -> Any:
        return self.phi

    def _paths(
        self, X: Any, y: Any, weights: Vector | None, factors: Vector, mixes: Sequence[float],
        grids: Sequence[dict[str, Any]],
    ) -> list[Path]:  # fmt: skip
        """One lasso path and one refit a support serve every share."""
        path = self._path(X, y, weights, factors, 1.0, **grids[0])
        return relaxed(path, X, y, weights, bool(self.fit_intercept), mixes)

    @property
    def phi_(self) -> float:
        """The share of the lasso that was chosen."""
        return float(self.l1_ratio_)


def relaxed(
    path: Path, X: Any, y: Vector, weights: Vector | None, intercept: bool, shares: Sequence[float]
) -> list[Path]:
    """Lasso paths with shrinkage taken back: phi of the coefficients, 1 - phi of least squares on each support.

    Objectives and gaps stay those of the lasso that chose the supports.
    """
    wrong = [phi for phi in shares if not 0 <= phi <= 1]
    if wrong:
        raise FewerError(f"phi is {wrong[0]:g}; it is a share, in [0, 1]")
    if all(phi == 1 for phi in shares):
        return [path for _ in shares]
    free, constants = _refits(path, X, y, weights, intercept)
    made = []
    for phi in shares:
        values, intercepts = phi * path.values + (1 - phi) * free, phi * path.intercepts + (1 - phi) * constants
        made.append(replace(path, values=values, intercepts=intercepts, stored=path.duals, source=None))
    return made


def _refits(path: Path, X: Any, y: Vector, weights: Vector | None, intercept: bool) -> tuple[Vector, Vector]:
    """(u, L) least squares coefficients on the support of every solution of a path, and the constants (L,)."""
    s = np.ones(len(y)) if weights is None else weights
    Z = X[:, path.columns]
    means = np.asarray(Z.T @ s).ravel() / s.sum() if intercept else np.zeros(len(path.columns))
    middle = float(s @ y) / float(s.sum()) if intercept else 0.0
    if not hasattr(Z, "toarray"):
        Z, shift = np.asarray(Z, dtype=np.float64) - means, np.zeros(len(means))
    else:
        shift = means  # centring would fill the zeros of sparse data: it is taken off the products
    scaled = Z.multiply(s[:, None]).tocsc() if hasattr(Z, "toarray") else Z * s[:, None]
    G = scaled.T @ Z
    G = np.asarray(G.toarray() if hasattr(G, "toarray") else G) - s.sum() * np.outer(shift, shift)
    c = np.asarray(scaled.T @ (y - middle)).ravel()
    out = np.zeros_like(path.values)
    known: dict[bytes, Vector] = {}
    for k in range(len(path)):
        on = np.flatnonzero(path.values[:, k])
        key = on.tobytes()
        if key not in known:
            known[key] = _least_squares(G, c, Z, scaled, shift, y - middle, s, on)
        out[on, k] = known[key]
    return out, middle - means @ out


def _least_squares(
    G: Vector, c: Vector, Z: Any, scaled: Any, shift: Vector, y: Vector, s: Vector, on: NDArray[np.int64]
) -> Vector:
    """Normal equations with one correction from the rows; the shortest solution where columns are collinear."""
    root = np.sqrt(np.maximum(np.diag(G)[on], 0.0))
    if len(on) < len(y) and np.all(root > 0):
        try:
            L = np.linalg.cholesky(G[np.ix_(on, on)] / np.outer(root, root))
        except np.linalg.LinAlgError:
            L = np.zeros((1, 1))
        if np.diag(L).min(initial=1.0) > 1e-4:
            b = _solved(L, c[on] / root) / root
            rest = y - (Z[:, on] @ b - float(shift[on] @ b))
            pull = np.asarray(scaled[:, on].T @ rest).ravel() - shift[on] * float(s @ rest)
            return b + _solved(L, pull / root) / root
    columns = Z[:, on]
    columns = (columns.toarray() if hasattr(columns, "toarray") else columns) - shift[on]
    solved, *_ = np.linalg.lstsq(columns * np.sqrt(s)[:, None], y * np.sqrt(s), rcond=None)
    return np.asarray(solved, dtype=np.float64)


def _solved(L: Vector, c: Vector) -> Vector:
    from scipy.linalg import cho_solve

    return np.asarray(cho_solve((L, True), c), dtype=np.float64)


def refit(X: Any, y: Vector, weights: Vector | None, support: Any, intercept: bool) -> tuple[Vector, float]:
    """Weighted least squares on some columns; the shortest solution where they are collinear."""
    n, p = X.shape
    root = np.ones(n) if weights is None else np.sqrt(weights)
    columns = X[:, support]
    columns = np.asarray(columns.toarray() if hasattr(columns, "toarray") else columns, dtype=np.float64)
    # In units of their own, by powers of two: beside a constant a small column would count as collinear.
    unit = np.exp2(np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1].astype(np.float64))
    design = np.column_stack([columns / unit, np.ones(n)]) if intercept else columns / unit
    solved, *_ = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)
    coef = np.zeros(p)
    coef[support] = solved[: columns.shape[1]] / unit
    return coef, float(solved[-1]) if intercept else 0.0
