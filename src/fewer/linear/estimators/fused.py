"""Coefficients of neighbouring columns drawn together: the fused lasso."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.chain import Chain
from fewer.linear.estimators.base import Estimator, rescaled, spread
from fewer.linear.estimators.composed import general
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, method

__all__ = ["FusedLasso", "FusedLassoCV"]

Vector = NDArray[np.float64]
FUSED = Paper("Sparsity and Smoothness via the Fused Lasso", 2005)


class _FusedRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """Least squares with a price on the differences of neighbours."""

    sparse: Any

    def _mix(self) -> float:
        return float(self.sparse)

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        if not np.all((factors == 0) | (factors == 1) | np.isinf(factors)):
            raise FewerError("a chain compares neighbours: penalty factors are 1, 0 (outside of it, free) or inf")
        if not 0 <= mix < np.inf:
            raise FewerError(f"sparse is {mix:g}; the price of coefficients beside that of differences is not negative")
        scale = spread(X, weights) if self.standardize else np.ones(X.shape[1])
        Z = X if not self.standardize else rescaled(X, scale)
        kept = np.flatnonzero(np.isfinite(factors))
        chain, free = np.flatnonzero(factors == 1), np.flatnonzero(factors == 0)
        if mix == 0 and len(chain) and not hasattr(X, "toarray"):
            found = self._by_steps(Z, y, weights, chain, free, grid)
        else:
            place = np.searchsorted(kept, free)
            plain = np.where(np.isin(np.arange(len(kept)), place), 0.0, 1.0)
            found = general(self, Z[:, kept], y, weights, Chain(mix), grid, plain, np.ones(len(kept)))
            found = dataclasses.replace(found, columns=kept[found.columns], size=X.shape[1])
        return dataclasses.replace(found, values=found.values / scale[found.columns][:, None])

    def _by_steps(
        self, X: Any, y: Any, weights: Vector | None, chain: NDArray[np.int64], free: NDArray[np.int64],
        grid: dict[str, Any],
    ) -> Path:  # fmt: skip
        """The lasso of the differences, which is certified: b is a sum of steps, whose first is free."""
        from fewer.linear import path

        steps = np.cumsum(np.asarray(X[:, chain], dtype=np.float64)[:, ::-1], axis=1)[:, ::-1]
        prices = np.concatenate([np.minimum(np.arange(len(chain)), 1.0), np.zeros(len(free))])
        found = path(
            np.column_stack([steps, X[:, free]]), y, factors=prices, weights=weights, intercept=self.fit_intercept,
            tol=self.tol, max_iter=self.max_iter, **grid,
        )  # fmt: skip
        full = found.coefs
        full[: len(chain)] = np.cumsum(full[: len(chain)], axis=0)
        columns = np.concatenate([chain, free])
        order = np.argsort(columns)
        return dataclasses.replace(
            found, columns=columns[order], values=full[order], stored=found.duals, source=None, size=X.shape[1]
        )


@method(
    "estimator",
    "fused-lasso",
    papers=[FUSED],
    formula="squared error / (2n) + alpha (sum |b_j+1 - b_j| + sparse sum |b_j|)",
    unit="feature",
)
class FusedLasso(_FusedRegressor):
    """Coefficients of neighbouring columns are drawn together, and optionally to zero.

    Args:
        alpha: strength of the price on differences.
        sparse: price on the coefficients themselves, relative to that; at 0 the answer has a duality gap.
        penalty_factors: see `Lasso`; 1, 0 (the column is free and no link of the chain) or inf (it is left out, and
            its neighbours are each other's).
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.eye(6)
    >>> FusedLasso(0.05, fit_intercept=False).fit(X, np.array([0.0, 0, 0, 5, 5, 5])).coef_.round(2)
    array([0.1, 0.1, 0.1, 4.9, 4.9, 4.9])

    Reference: Tibshirani et al. 2005, equation 3, in Lagrangian form.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        sparse: float = 0.0,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.sparse = sparse
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


@method("estimator", "fused-lasso-cv", papers=[FUSED], formula="fused lasso; alpha and sparse by cross-validation",
        unit="feature")  # fmt: skip
class FusedLassoCV(_FusedRegressor, CrossValidated):
    """`FusedLasso` whose strength is cross-validated; see `LassoCV` for the options.

    Args:
        sparse: one price on the coefficients, or several to choose from; `l1_ratio_` is the one chosen.
        penalty_factors: see `FusedLasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 6))
    >>> y = X[:, 3:].sum(axis=1) + 0.1 * np.random.default_rng(1).standard_normal(60)
    >>> FusedLassoCV(cv=3, rule="1se").fit(X, y).coef_.round(1) + 0.0
    array([0., 0., 0., 1., 1., 1.])

    Reference: Tibshirani et al. 2005.
    """

    _separate = True

    def __init__(
        self,
        *,
        sparse: Any = 0.0,
        penalty_factors: Any = None,
        alphas: Any = None,
        n_alphas: int = 50,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
        n_jobs: int | None = None,
    ) -> None:
        self.sparse = sparse
        self.penalty_factors = penalty_factors
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def _mixes(self) -> Any:
        return self.sparse
