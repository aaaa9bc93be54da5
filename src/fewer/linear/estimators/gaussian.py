"""Least squares with an L1 price: lasso, elastic net, adaptive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.base import Estimator
from fewer.linear.factors import Adaptive
from fewer.method import Paper, method

__all__ = ["AdaptiveLasso", "ElasticNet", "Lasso", "Pilot", "Regressor"]

Vector = NDArray[np.float64]


class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """An estimator whose prediction is its linear predictor."""

    def predict(self, X: Any) -> Vector:
        """Predicted target, (n,)."""
        return self._linear(X)


class Pilot:
    """Options `pilot` and `gamma` as factors that are learnt from the data."""

    pilot: str
    gamma: Any
    penalty_factors: Any

    def _asked(self) -> Adaptive:
        return Adaptive(self.pilot, self.gamma, base=self.penalty_factors)  # type: ignore[arg-type]


@method(
    "estimator",
    "lasso",
    papers=[Paper("Regression Shrinkage and Selection via the Lasso", 1996)],
    formula="min 1/(2n) |y - b0 - Xb|^2 + alpha sum_j f_j |b_j|",
    unit="feature",
)
class Lasso(Regressor):
    """Least squares with an L1 penalty, penalty factors, row weights and a certificate.

    Formula: min 1/(2n) sum_i s_i (y_i - b0 - x_i b)^2 + alpha sum_j f_j |b_j|, the weights s scaled to mean one.

    Args:
        alpha: strength of the penalty.
        penalty_factors: f, in [0, inf]: None (all 1), an array, a mapping by column name, or an object of
            `fewer.linear.factors`.
        fit_intercept: whether b0 is free (it is never penalised).
        standardize: penalise coefficients of columns scaled to unit variance; coefficients come back in the units
            of X.
        positive: coefficients may not be negative.
        tol: duality gap to reach, relative to the objective with every coefficient zero.
        max_iter: most rounds of the solver.

    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> model = Lasso(alpha=0.1).fit(X, X[:, 0])
    >>> model.selected_, bool(model.dual_gap_ < 1e-6)
    (array([0]), True)

    Reference: Tibshirani 1996. Objective and gap are compared with scikit-learn's in the tests.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter


@method(
    "estimator",
    "elastic-net",
    papers=[Paper("Regularization and Variable Selection via the Elastic Net", 2005)],
    formula="min 1/(2n) |y - b0 - Xb|^2 + alpha sum_j f_j (l1_ratio |b_j| + (1 - l1_ratio)/2 b_j^2)",
    unit="feature",
)
class ElasticNet(Regressor):
    """Lasso with a ridge part, which keeps correlated columns together.

    Formula: min 1/(2n) |y - b0 - Xb|^2 + alpha sum_j f_j (l1_ratio |b_j| + (1 - l1_ratio)/2 b_j^2)

    Args:
        alpha: strength of the penalty.
        l1_ratio: share of L1 in it, in [0, 1].
        groups: (p,) group numbers; the L1 part then prices groups as a whole, see `GroupLasso`.
        penalty_factors: see `Lasso`; they multiply both parts.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> ElasticNet(alpha=0.1, l1_ratio=0.5).fit(X, X[:, 0]).coef_.round(3)
    array([0.446, 0.446])

    Reference: Zou and Hastie 2005, in scikit-learn's parametrisation.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 0.5,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter


@method(
    "estimator",
    "adaptive-lasso",
    papers=[Paper("The Adaptive Lasso and Its Oracle Properties", 2006)],
    formula="lasso with f_j = 1 / |pilot_j|^gamma",
    unit="feature",
)
class AdaptiveLasso(Pilot, Regressor):
    """Lasso whose prices come from a first fit, so that large effects are shrunk less.

    Formula: f_j = 1 / |b_j|^gamma with b the pilot; then the lasso with these factors.

    Args:
        alpha: strength of the penalty.
        pilot: `ridge` or `lasso`.
        gamma: exponent.
        penalty_factors: see `Lasso`; they hold in the pilot, and multiply what it says.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        positive: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> AdaptiveLasso(alpha=0.05).fit(X, 3 * X[:, 1]).selected_
    array([1])

    Reference: Zou 2006, equation 4.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        pilot: str = "ridge",
        gamma: float = 1.0,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        positive: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.pilot = pilot
        self.gamma = gamma
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.positive = positive
        self.tol = tol
        self.max_iter = max_iter
