"""Losses that do not square: Huber against outliers, quantiles instead of means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.options import Chosen, Single
from fewer.linear.losses import Huber, Quantile
from fewer.method import Paper, method

__all__ = ["SparseHuber", "SparseHuberCV", "SparseQuantile", "SparseQuantileCV"]

Vector = NDArray[np.float64]
HUBER = Paper("Robust Estimation of a Location Parameter", 1964)
QUANTILE = Paper("L1-Penalized Quantile Regression in High-Dimensional Sparse Models", 2011, "0904.2931")


class _Plain(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor whose prediction is its linear predictor."""

    def predict(self, X: Any) -> Vector:
        """Predicted location of every row's target."""
        return self._linear(X)


class _Huber(_Plain):
    delta: float

    def _loss(self) -> Any:
        return Huber(float(self.delta))


@method("estimator", "sparse-huber", papers=[HUBER], formula="mean Huber loss + alpha sum_j f_j |b_j|", unit="feature")
class SparseHuber(_Huber, Single):
    """Regression that bounds the influence of outliers, with an L1 (or elastic net, or group) price.

    Args:
        alpha: strength of the penalty.
        delta: residual at which the loss turns from square to straight, in the units of the target.
        l1_ratio: see `ElasticNet`.
        groups: see `GroupLasso`.
        penalty_factors: see `Lasso`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> y = X[:, 1] + 50 * (np.arange(90) == 3)
    >>> SparseHuber(alpha=0.1).fit(X, y).selected_
    array([1])

    Reference: Huber 1964, equation 3.7.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        delta: float = 1.35,
        l1_ratio: float = 1.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        super().__init__(
            alpha, l1_ratio=l1_ratio, groups=groups, penalty_factors=penalty_factors, fit_intercept=fit_intercept,
            standardize=standardize, tol=tol, max_iter=max_iter,
        )  # fmt: skip
        self.delta = delta


@method("estimator", "sparse-huber-cv", papers=[HUBER], formula="sparse Huber; alpha by cross-validation",
        unit="feature")  # fmt: skip
class SparseHuberCV(_Huber, Chosen):
    """`SparseHuber` whose penalty is cross-validated by the Huber loss; see `LassoCV` for the options.

    Args:
        delta: see `SparseHuber`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> 1 in SparseHuberCV(cv=3, n_alphas=10).fit(X, X[:, 1]).selected_
    True

    Reference: Huber 1964.
    """

    def __init__(
        self,
        *,
        delta: float = 1.35,
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        l1_ratio: Any = 1.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            alphas=alphas, n_alphas=n_alphas, eps=eps, cv=cv, rule=rule, l1_ratio=l1_ratio, groups=groups,
            penalty_factors=penalty_factors, fit_intercept=fit_intercept, standardize=standardize,
            tol=tol, max_iter=max_iter, n_jobs=n_jobs,
        )  # fmt: skip
        self.delta = delta


@method(
    "estimator",
    "sparse-quantile",
    papers=[QUANTILE],
    formula="mean pinball loss at q + alpha sum_j f_j |b_j|, solved exactly",
    unit="feature",
)
class SparseQuantile(_Plain):
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


@method(
    "estimator",
    "sparse-quantile-cv",
    papers=[QUANTILE],
    formula="sparse quantile (smoothed pinball loss); alpha by cross-validation",
    unit="feature",
    status="variant",
    note="the path is that of the smoothed loss; `SparseQuantile` solves one penalty exactly",
)
class SparseQuantileCV(_Plain, Chosen):
    """Quantile regression, smoothed near zero, whose penalty is cross-validated; see `LassoCV` for the options.

    Args:
        q: quantile in (0, 1).
        smooth: width over which the kink of the loss is rounded off, in units of the target's interquartile range;
            the objective is within an eighth of it of the exact one. `smooth_` holds it in the units of the target.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> 2 in SparseQuantileCV(cv=3, n_alphas=10).fit(X, X[:, 2]).selected_
    True

    Reference: Belloni and Chernozhukov 2011.
    """

    def __init__(
        self,
        *,
        q: float = 0.5,
        smooth: float = 0.05,
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        l1_ratio: Any = 1.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            alphas=alphas, n_alphas=n_alphas, eps=eps, cv=cv, rule=rule, l1_ratio=l1_ratio, groups=groups,
            penalty_factors=penalty_factors, fit_intercept=fit_intercept, standardize=standardize,
            tol=tol, max_iter=max_iter, n_jobs=n_jobs,
        )  # fmt: skip
        self.q = q
        self.smooth = smooth

    def _target(self, y: Any) -> Any:
        y = super()._target(y)
        low, high = np.quantile(y, [0.25, 0.75])
        self.smooth_ = float(self.smooth) * float(high - low if high > low else np.std(y) or 1.0)
        return y

    def _loss(self) -> Any:
        return Quantile(float(self.q), self.smooth_)
