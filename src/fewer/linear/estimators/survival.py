"""Survival times: Cox's proportional hazards with a price on columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.validation import check_array, validate_data

from fewer.linear.coupled import Cox
from fewer.linear.estimators.arguments import faults_in
from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.options import Chosen, Single
from fewer.method import FewerError, Paper, method

__all__ = ["SparseCox", "SparseCoxCV"]

Vector = NDArray[np.float64]
COX = Paper("Regularization Paths for Cox's Proportional Hazards Model via Coordinate Descent", 2011)


class _Survival(Estimator):
    """Times and events; the predictor is a log hazard ratio, without an intercept."""

    _numeric_target = False
    ties: str

    def __sklearn_tags__(self) -> Any:
        """The target has two columns."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        return rows_of_times(self, X, y)

    def _target(self, y: Any) -> Any:
        return y

    def _loss(self) -> Any:
        return Cox(self.ties)  # type: ignore[arg-type]

    def predict(self, X: Any) -> Vector:
        """Log hazard ratio of every row."""
        return self._linear(X)

    def score(self, X: Any, y: Any) -> float:
        """Harrell's concordance: the share of comparable pairs that the predictor puts in the right order.

        Rows without a comparable pair have no concordance: nan, with a warning.
        """
        y, risk = _times_and_events(y), self.predict(X)
        time, event = y[:, 0], y[:, 1] > 0
        earlier = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
        if not earlier.any():
            warnings.warn(
                f"{type(self).__name__}.score: no pair of rows can be compared; the concordance is nan",
                UndefinedMetricWarning,
                stacklevel=2,
            )
            return float("nan")
        right = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
        return float((earlier * right).sum() / earlier.sum())


def rows_of_times(model: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """Validated columns, and (n, 2) times and events."""
    if y is None:
        raise FewerError(f"{type(model).__name__} requires y to be passed, but the target y is None")
    with faults_in("X", X):
        X = validate_data(model, X, accept_sparse="csc", dtype=[np.float64, np.float32], ensure_min_samples=2)
    y = _times_and_events(y)
    if len(y) != X.shape[0]:
        raise FewerError(f"X has {X.shape[0]} rows and y has {len(y)}; give one target a row")
    return X, y


def _times_and_events(y: Any) -> Vector:
    """(n, 2); one column of times alone holds events."""
    with faults_in("y", y):
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    if y.ndim < 2 or y.shape[1] == 1:
        y = np.column_stack([y.ravel(), np.ones(len(y))])
    if y.ndim != 2 or y.shape[1] != 2:
        raise FewerError(f"a survival target has two columns, time and event; this one has shape {y.shape}")
    return np.asarray(y)


@method(
    "estimator",
    "sparse-cox",
    papers=[COX],
    formula="- log partial likelihood / n + alpha sum_j f_j |b_j|",
    unit="feature",
)
class SparseCox(_Survival, Single):
    """Cox's proportional hazards with an L1 (or elastic net, or group) price; y is (n, 2): time, event.

    A target of one column holds times that are all events.

    Args:
        alpha: strength of the penalty.
        ties: `breslow` or `efron`, what to do with equal event times.
        l1_ratio: see `ElasticNet`.
        groups: see `GroupLasso`.
        penalty_factors: see `Lasso`.
        fit_intercept: without effect; the baseline hazard takes it up.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 4))
    >>> y = np.column_stack([rng.exponential(np.exp(-2 * X[:, 1])), np.ones(90)])
    >>> SparseCox(alpha=0.3).fit(X, y).selected_
    array([1])

    Reference: Simon et al. 2011.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        ties: str = "breslow",
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
        self.ties = ties


@method("estimator", "sparse-cox-cv", papers=[COX], formula="sparse Cox; alpha by cross-validation", unit="feature")
class SparseCoxCV(_Survival, Chosen):
    """`SparseCox` whose penalty is cross-validated; see `LassoCV`.

    A fold is judged by what its rows add to the partial likelihood: that of all rows minus that of the training rows
    (Verweij and van Houwelingen 1993).

    Args:
        ties: see `SparseCox`.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 4))
    >>> y = np.column_stack([rng.exponential(np.exp(-2 * X[:, 1])), np.ones(90)])
    >>> 1 in SparseCoxCV(cv=3, n_alphas=20).fit(X, y).selected_
    True

    Reference: Simon et al. 2011.
    """

    def __init__(
        self,
        *,
        ties: str = "breslow",
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
        self.ties = ties

    def _split_target(self, y: Any) -> Any:
        return y[:, 1].astype(int)
