"""Estimators with a solver of their own: pivotal scale, quantiles, counts, covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from fewer.linear.estimators.base import Estimator, names_of
from fewer.linear.estimators.options import Chosen
from fewer.linear.losses import Quantile
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, method

__all__ = ["BestSubset", "SparsePrecision", "SparseQuantile", "SparseQuantileCV", "SquareRootLasso"]

Vector = NDArray[np.float64]
FAST_SUBSET = Paper(
    "Fast Best Subset Selection: Coordinate Descent and Local Combinatorial Optimization Algorithms", 2020, "1803.01454"
)


@method(
    "estimator",
    "square-root-lasso",
    papers=[Paper("Square-Root Lasso: Pivotal Recovery of Sparse Signals via Conic Programming", 2011, "1009.5689")],
    formula="sqrt(squared error / n) + alpha sum_j f_j |b_j|",
    unit="feature",
)
class SquareRootLasso(RegressorMixin, Estimator):  # type: ignore[misc]
    """Lasso whose best penalty does not depend on the noise level; `sigma_` is the noise it finds.

    Args:
        alpha: strength; of order sqrt(2 log(p) / n) for columns of unit variance.
        penalty_factors: see `Lasso`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: rounds of the alternation.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> y = X[:, 2] + 0.1 * np.random.default_rng(1).standard_normal(60)
    >>> SquareRootLasso(0.6).fit(X, y).selected_
    array([2])

    Reference: Belloni, Chernozhukov and Wang 2011, equation 2.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100,
    ) -> None:
        self.alpha = alpha
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        from fewer.linear import square_root_path

        return square_root_path(
            X, y, factors=factors, weights=weights, intercept=self.fit_intercept, standardize=self.standardize,
            tol=self.tol, max_iter=self.max_iter, **grid,
        )  # fmt: skip

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)


@method(
    "estimator",
    "sparse-quantile",
    papers=[Paper("L1-Penalized Quantile Regression in High-Dimensional Sparse Models", 2011, "0904.2931")],
    formula="mean pinball loss at q + alpha sum_j f_j |b_j|, solved exactly",
    unit="feature",
)
class SparseQuantile(RegressorMixin, Estimator):  # type: ignore[misc]
    """Quantile regression with an L1 price, solved exactly as a linear programme.

    Args:
        alpha: strength of the penalty.
        q: quantile in (0, 1).
        penalty_factors: see `Lasso`.
        fit_intercept: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> SparseQuantile(0.1).fit(X, X[:, 2]).selected_
    array([2])

    Reference: Belloni and Chernozhukov 2011, equation 2.6.
    """

    tol = 1e-6

    def __init__(
        self, alpha: float = 1.0, *, q: float = 0.5, penalty_factors: Any = None, fit_intercept: bool = True
    ) -> None:
        self.alpha = alpha
        self.q = q
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Any:
        from fewer.linear import quantile_solve

        lams: Sequence[float] = grid["lams"]
        options: dict[str, Any] = {"factors": factors, "weights": weights, "intercept": self.fit_intercept}
        return [quantile_solve(X, y, float(self.q), float(lam), **options) for lam in lams]

    def predict(self, X: Any) -> Vector:
        """Predicted quantile."""
        return self._linear(X)


@method(
    "estimator",
    "sparse-quantile-cv",
    papers=[Paper("L1-Penalized Quantile Regression in High-Dimensional Sparse Models", 2011, "0904.2931")],
    formula="sparse quantile (smoothed pinball loss); alpha by cross-validation",
    unit="feature",
    status="variant",
    note="the path is that of the smoothed loss; `SparseQuantile` solves one penalty exactly",
)
class SparseQuantileCV(RegressorMixin, Chosen):  # type: ignore[misc]
    """Median regression, smoothed near zero, whose penalty is cross-validated; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> 2 in SparseQuantileCV(cv=3, n_alphas=10).fit(X, X[:, 2]).selected_
    True

    Reference: Belloni and Chernozhukov 2011.
    """

    def _loss(self) -> Any:
        return Quantile()

    def predict(self, X: Any) -> Vector:
        """Predicted median."""
        return self._linear(X)


@method(
    "estimator",
    "best-subset",
    papers=[
        Paper(
            "Fast Best Subset Selection: Coordinate Descent and Local Combinatorial Optimization Algorithms",
            2020,
            "1803.01454",
        )
    ],
    formula="min squared error / (2n) + ridge/2 |b|^2 subject to #{b != 0} <= size",
    unit="feature",
)
class BestSubset(RegressorMixin, Estimator):  # type: ignore[misc]
    """Least squares with at most `size` columns: a count instead of a price.

    The support is one that no exchange of a single column improves; it need not be the global best.

    Args:
        size: most columns that stay.
        ridge: squared-L2 strength.
        fit_intercept: see `Lasso`.
        max_iter: most exchanges.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 6))
    >>> BestSubset(2).fit(X, X[:, 2] - X[:, 5]).selected_
    array([2, 5])

    Reference: Hazimeh and Mazumder 2020, with exchanges of one column.
    """

    tol = 1e-6

    def __init__(self, size: int = 1, *, ridge: float = 0.0, fit_intercept: bool = True, max_iter: int = 1000) -> None:
        self.size = size
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BestSubset:
        """Find the support and its least squares coefficients."""
        from fewer.linear import best_subset

        X, y, weights = self._check(X, y, sample_weight)
        if self.size < 1:
            raise FewerError(f"size is {self.size}; at least one column must be allowed")
        sizes = range(1, min(int(self.size), X.shape[1]) + 1)
        path = best_subset(
            X, y, sizes, weights=weights, intercept=self.fit_intercept, ridge=self.ridge, max_iter=self.max_iter
        )
        self._keep(path[0], "count")
        return self

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)


@method(
    "estimator",
    "sparse-precision",
    papers=[Paper("Sparse inverse covariance estimation with the graphical lasso", 2008, "0708.3517")],
    formula="min -log det P + tr(S P) + alpha sum_{i != j} |P_ij|",
    unit="feature",
)
class SparsePrecision(BaseEstimator):  # type: ignore[misc]
    """Sparse inverse covariance: which columns are related once all others are known.

    Args:
        alpha: price of every entry off the diagonal.
        assume_centered: the columns have mean zero already.
        tol: duality gap per column.
        max_iter: most rounds.

    Fitted: `precision_`, `covariance_`, `dual_gap_`, `n_iter_`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> X[:, 1] += X[:, 0]
    >>> SparsePrecision(0.2).fit(X).precision_[0, 2].item()
    0.0

    Reference: Friedman, Hastie and Tibshirani 2008.
    """

    def __init__(
        self, alpha: float = 0.1, *, assume_centered: bool = False, tol: float = 1e-6, max_iter: int = 200
    ) -> None:
        self.alpha = alpha
        self.assume_centered = assume_centered
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any = None) -> SparsePrecision:
        """Estimate from (n, p) data."""
        from sklearn.utils.validation import validate_data

        from fewer.linear import graphical_lasso

        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_min_features=2)
        centred = X if self.assume_centered else X - X.mean(axis=0)
        found = graphical_lasso(centred.T @ centred / len(X), float(self.alpha), tol=self.tol, max_iter=self.max_iter)
        self.precision_, self.covariance_ = found.precision, found.covariance
        self.dual_gap_, self.n_iter_ = found.gap, max(found.iterations, 1)
        self.names_ = names_of(self)
        return self
