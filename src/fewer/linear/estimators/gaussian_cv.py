"""Least squares with an L1 price that cross-validation chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.estimators.gaussian import Pilot
from fewer.method import Paper, method

__all__ = ["AdaptiveLassoCV", "ElasticNetCV", "GaussianCV", "LassoCV"]

Vector = NDArray[np.float64]


class GaussianCV(RegressorMixin, CrossValidated):  # type: ignore[misc]
    """A cross-validated least squares estimator."""

    def predict(self, X: Any) -> Vector:
        """Predicted target, (n,)."""
        return self._linear(X)


@method(
    "estimator",
    "lasso-cv",
    papers=[Paper("Regression Shrinkage and Selection via the Lasso", 1996)],
    formula="lasso; alpha by cross-validation",
    unit="feature",
)
class LassoCV(GaussianCV):
    """Lasso whose penalty (and trust in beliefs) is chosen by cross-validation.

    Args:
        alphas: strengths to try, or how many: a whole number k makes a grid of k from lambda_max down to `eps` times
            it, as in scikit-learn; None makes `n_alphas` of them.
        n_alphas: length of the grid where `alphas` is None.
        eps: its end, relative to its start.
        cv: number of folds, or a splitter of scikit-learn; 5 by default.
        rule: `min`, or `1se` for the strongest penalty within one standard error of the best.
        penalty_factors: see `Lasso`; an object may offer several vectors, among which cross-validation chooses.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.
        n_jobs: folds at a time, under the active joblib backend.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> LassoCV(cv=3, rule="1se").fit(X, X[:, 2] + 0.1 * X[:, 0]).selected_
    array([0, 2])

    Reference: Tibshirani 1996; the one-standard-error rule is Breiman et al. 1984.
    """

    def __init__(
        self,
        *,
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs


@method(
    "estimator",
    "elastic-net-cv",
    papers=[Paper("Regularization and Variable Selection via the Elastic Net", 2005)],
    formula="elastic net; alpha and l1_ratio by cross-validation",
    unit="feature",
)
class ElasticNetCV(GaussianCV):
    """Elastic net whose strength and mix are chosen by cross-validation.

    Args:
        l1_ratio: one share of L1, or several to choose from.
        alphas: see `LassoCV`.
        n_alphas: see `LassoCV`.
        eps: see `LassoCV`.
        cv: see `LassoCV`.
        rule: see `LassoCV`.
        groups: (p,) group numbers; the L1 part then prices groups as a whole, see `GroupLasso`.
        penalty_factors: see `LassoCV`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.
        n_jobs: see `LassoCV`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> ElasticNetCV(cv=3, l1_ratio=[0.5, 1.0]).fit(X, X[:, 2]).l1_ratio_ in (0.5, 1.0)
    True

    Reference: Zou and Hastie 2005.
    """

    def __init__(
        self,
        *,
        l1_ratio: Any = 0.5,
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
        self.l1_ratio = l1_ratio
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


@method(
    "estimator",
    "adaptive-lasso-cv",
    papers=[Paper("The Adaptive Lasso and Its Oracle Properties", 2006)],
    formula="adaptive lasso; alpha by cross-validation",
    unit="feature",
)
class AdaptiveLassoCV(Pilot, GaussianCV):
    """Adaptive lasso whose strength (and exponent) is chosen by cross-validation.

    Every fold fits a pilot of its own: factors that have seen the held-out rows would flatter the model.

    Args:
        pilot: see `AdaptiveLasso`.
        gamma: one exponent, or several to choose from.
        penalty_factors: see `AdaptiveLasso`.
        alphas: see `LassoCV`.
        n_alphas: see `LassoCV`.
        eps: see `LassoCV`.
        cv: see `LassoCV`.
        rule: see `LassoCV`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.
        n_jobs: see `LassoCV`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> AdaptiveLassoCV(cv=3).fit(X, X[:, 2]).selected_
    array([2])

    Reference: Zou 2006.
    """

    def __init__(
        self,
        *,
        pilot: str = "ridge",
        gamma: Any = 1.0,
        penalty_factors: Any = None,
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        self.pilot = pilot
        self.gamma = gamma
        self.penalty_factors = penalty_factors
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
