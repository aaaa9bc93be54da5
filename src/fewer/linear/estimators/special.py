"""Estimators with a solver of their own: pivotal scale, counts, covariances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from fewer.linear.arrays import numbers_of
from fewer.linear.estimators.arguments import check_arguments, faults_in
from fewer.linear.estimators.base import Estimator, names_of, weights_of
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.estimators.relaxed import refit
from fewer.linear.factors import Candidate
from fewer.linear.matrix import refuse_extremes
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, method

__all__ = ["BestSubset", "BestSubsetCV", "SparsePrecision", "SquareRootLasso"]

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

    The noise is the root of the (weighted) mean squared residual.

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

        found = square_root_path(
            X, y, factors=factors, weights=weights, intercept=self.fit_intercept, standardize=self.standardize,
            tol=self.tol, max_iter=self.max_iter, **grid,
        )  # fmt: skip
        s, rest = np.ones(len(y)) if weights is None else weights, y - found.linear(X)[:, 0]
        self.sigma_ = float(np.sqrt(s @ rest**2 / s.sum()))
        return found

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)


@method(
    "estimator",
    "best-subset",
    papers=[FAST_SUBSET],
    formula="min squared error / (2n) + ridge/2 |b|^2 subject to #{b != 0} <= size",
    unit="feature",
)
class BestSubset(RegressorMixin, Estimator):  # type: ignore[misc]
    """Least squares with at most `size` columns: a count instead of a price.

    The support is one that no exchange of a single column improves; it need not be the global best.

    Args:
        size: most columns that stay.
        ridge: squared-L2 strength.
        penalty_factors: see `Lasso`; 1, 0 (the column stays and is not counted) or inf (it is left out).
        fit_intercept: see `Lasso`.
        max_iter: most exchanges.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 6))
    >>> BestSubset(2).fit(X, X[:, 2] - X[:, 5]).selected_
    array([2, 5])

    Reference: Hazimeh and Mazumder 2020, with exchanges of one column.
    """

    tol = 1e-6

    def __init__(
        self,
        size: int = 1,
        *,
        ridge: float = 0.0,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        max_iter: int = 1000,
    ) -> None:
        self.size = size
        self.ridge = ridge
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BestSubset:
        """Find the support and its least squares coefficients."""
        from fewer.linear import best_subset

        check_arguments(self)
        X, y, weights = self._check(X, y, sample_weight)
        choice = one_choice(self, X, y, weights)
        sizes = range(min(int(self.size), countable(choice.factors, len(y))) + 1)
        path = best_subset(
            X, y, sizes, factors=choice.factors, weights=weights, intercept=self.fit_intercept, ridge=self.ridge,
            max_iter=self.max_iter,
        )  # fmt: skip
        self._keep(path[0], choice.label)
        self._warn_unless_converged()
        polish(self, X, y, weights)
        return self

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)


def one_choice(model: Any, X: Any, y: Any, weights: Vector | None) -> Candidate:
    """The one vector of penalty factors of a model that cannot choose among several."""
    choices: list[Candidate] = model._candidates(X, y, weights)
    if len(choices) > 1:
        raise FewerError(f"{type(model).__name__} takes one vector of penalty factors, not {len(choices)}")
    return choices[0]


def countable(factors: Vector, rows: int) -> int:
    """How many columns a count may hold."""
    return min(int(np.count_nonzero((factors > 0) & np.isfinite(factors))), rows)


def polish(model: Any, X: Any, y: Vector, weights: Vector | None) -> None:
    """Least squares on the support from the data themselves: a Gram matrix squares their condition number."""
    if model.ridge == 0:
        model.coef_, model.intercept_ = refit(X, y, weights, np.flatnonzero(model.coef_), bool(model.fit_intercept))


@method("estimator", "best-subset-cv", papers=[FAST_SUBSET], formula="best subset; size by cross-validation",
        unit="feature")  # fmt: skip
class BestSubsetCV(RegressorMixin, CrossValidated):  # type: ignore[misc]
    """`BestSubset` whose size is cross-validated; `size_` is the one chosen.

    Args:
        max_size: largest size to try; None is the least of 20, the number of columns, and half the rows.
        ridge: see `BestSubset`.
        penalty_factors: see `BestSubset`.
        cv: see `LassoCV`.
        rule: `min`, or `1se` for the smallest size within one standard error of the best.
        fit_intercept: see `Lasso`.
        max_iter: see `BestSubset`.
        n_jobs: see `LassoCV`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 6))
    >>> y = X[:, 2] - X[:, 5] + 0.1 * np.random.default_rng(1).standard_normal(60)
    >>> BestSubsetCV(cv=4, rule="1se").fit(X, y).size_
    2

    Reference: Hazimeh and Mazumder 2020.
    """

    tol = 1e-6
    _separate = True

    def __init__(
        self,
        *,
        max_size: int | None = None,
        ridge: float = 0.0,
        penalty_factors: Any = None,
        cv: Any = None,
        rule: str = "min",
        fit_intercept: bool = True,
        max_iter: int = 1000,
        n_jobs: int | None = None,
    ) -> None:
        self.max_size = max_size
        self.ridge = ridge
        self.penalty_factors = penalty_factors
        self.cv = cv
        self.rule = rule
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> BestSubsetCV:
        """Cross-validate the size and keep the support found on all rows; arguments as for `LassoCV`."""
        super().fit(X, y, sample_weight, **params)
        self.size_ = int(self.alpha_)
        polish(self, *self._check(X, y, sample_weight))
        return self

    def _grid(self) -> dict[str, Any]:
        return {}

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Any:
        from fewer.linear import best_subset

        n, p = len(y), countable(factors, len(y))
        most = min(p, 20, n // 2) if self.max_size is None else int(self.max_size)
        if self.max_size is not None and not 1 <= most <= p:
            raise FewerError(f"max_size is {most}; with {n} rows and {p} columns to count it must lie in 1..{p}")
        sizes = [int(k) for k in grid.get("lams", range(most + 1))]
        path = best_subset(
            X, y, sizes, factors=factors, weights=weights, intercept=self.fit_intercept, ridge=self.ridge,
            max_iter=self.max_iter,
        )  # fmt: skip
        return path.reversed()  # the smallest first, as the strongest penalty is elsewhere

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)


@method(
    "estimator",
    "sparse-precision",
    papers=[Paper("Sparse inverse covariance estimation with the graphical lasso", 2008, "0708.3517")],
    formula="min -log det P + tr(S P) + alpha sum_{i != j} f_ij |P_ij|",
    unit="feature",
)
class SparsePrecision(BaseEstimator):  # type: ignore[misc]
    """Sparse inverse covariance: which columns are related once all others are known.

    Args:
        alpha: price of every entry off the diagonal.
        penalty_factors: (p, p) symmetric, in [0, inf]: 0 leaves a relation free, inf excludes it; None is all 1.
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
        self,
        alpha: float = 0.1,
        *,
        penalty_factors: Any = None,
        assume_centered: bool = False,
        tol: float = 1e-6,
        max_iter: int = 200,
    ) -> None:
        self.alpha = alpha
        self.penalty_factors = penalty_factors
        self.assume_centered = assume_centered
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SparsePrecision:
        """Estimate from (n, p) data; `sample_weight` (n,) is not negative, and only its ratios matter."""
        from sklearn.utils.validation import validate_data

        from fewer.linear import graphical_lasso

        check_arguments(self)
        with faults_in("X", X):
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_min_features=2)
        refuse_extremes(X, lambda j: f"column '{names_of(self)[j]}' of X")
        s = weights_of(sample_weight, X) / len(X)
        prices = self.penalty_factors
        if prices is not None:
            prices = numbers_of(prices, "penalty_factors", (X.shape[1], X.shape[1]))
        centred = X if self.assume_centered else X - s @ X
        found = graphical_lasso(
            (centred.T * s) @ centred, float(self.alpha), factors=prices, tol=self.tol, max_iter=self.max_iter,
        )  # fmt: skip
        self.precision_, self.covariance_ = found.precision, found.covariance
        self.dual_gap_, self.n_iter_ = found.gap, max(found.iterations, 1)
        self.names_ = names_of(self)
        return self
