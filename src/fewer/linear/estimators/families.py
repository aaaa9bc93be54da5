"""Beyond least squares: classes, counts, survival times, heavy tails. One loss each, the same price for columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fewer.linear.coupled import Cox, Multinomial
from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.options import Chosen, Single
from fewer.linear.losses import Huber, Logistic, Poisson
from fewer.linear.result import Solution
from fewer.method import FewerError, Paper, method

__all__ = [
    "SparseCox",
    "SparseCoxCV",
    "SparseHuber",
    "SparseLogistic",
    "SparseLogisticCV",
    "SparseMultinomial",
    "SparseMultinomialCV",
    "SparsePoisson",
    "SparsePoissonCV",
]

Vector = NDArray[np.float64]
GLMNET = Paper("Regularization Paths for Generalized Linear Models via Coordinate Descent", 2010)
COX = Paper("Regularization Paths for Cox's Proportional Hazards Model via Coordinate Descent", 2011)


class Classes(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Targets are labels; the solver sees their codes."""

    _numeric_target = False

    def _target(self, y: Any) -> Any:
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least two classes; the target has one class only")
        return codes.astype(np.float64)

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Vector | None]:
        X, y, weights = super()._check(X, y, sample_weight)
        if weights is not None and len(np.unique(y[weights > 0])) < 2:
            raise ValueError(f"{type(self).__name__}: the rows with a positive weight hold one class only")
        return X, y, weights

    def predict(self, X: Any) -> Any:
        """The most probable label of every row."""
        check_is_fitted(self)
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]

    def predict_proba(self, X: Any) -> Vector:
        """(n, classes) probabilities."""
        raise FewerError(f"{type(self).__name__} gives no probabilities")


class _Binary(Classes):
    """Two classes, one linear predictor."""

    def __sklearn_tags__(self) -> Any:
        """Two classes only."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _target(self, y: Any) -> Any:
        codes = super()._target(y)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported by {type(self).__name__}; the type of the target is "
                f"multiclass ({len(self.classes_)} classes). Use SparseMultinomial"
            )
        return codes

    def _loss(self) -> Any:
        return Logistic()

    def _keep(self, solution: Solution, label: str) -> None:
        super()._keep(solution, label)
        self.coef_, self.intercept_ = solution.coef[None, :], np.atleast_1d(solution.intercept)

    def decision_function(self, X: Any) -> Vector:
        """Log odds of the second class, (n,)."""
        return self._linear(X)[:, 0]

    def predict_proba(self, X: Any) -> Vector:
        """(n, 2) probabilities."""
        second = Logistic().mean(self.decision_function(X))
        return np.column_stack([1.0 - second, second])


class _Many(Classes):
    """Several classes, one linear predictor each."""

    def _loss(self) -> Any:
        return Multinomial(len(self.classes_))

    def _keep(self, solution: Solution, label: str) -> None:
        super()._keep(solution, label)
        self.coef_, self.intercept_ = solution.coef.T, np.asarray(solution.intercept)

    def decision_function(self, X: Any) -> Vector:
        """(n, classes) linear predictors; (n,), the second minus the first, where there are two classes."""
        eta = self._linear(X)
        return eta if len(self.classes_) > 2 else eta[:, 1] - eta[:, 0]

    def predict_proba(self, X: Any) -> Vector:
        """(n, classes) probabilities."""
        check_is_fitted(self)
        return np.asarray(self._loss().mean(self._linear(X)))


class _Counts(RegressorMixin, Estimator):  # type: ignore[misc]
    """Counts, with a logarithmic link."""

    def __sklearn_tags__(self) -> Any:
        """The target may not be negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags

    def _loss(self) -> Any:
        return Poisson()

    def predict(self, X: Any) -> Vector:
        """Expected count of every row."""
        return np.asarray(Poisson().mean(self._linear(X)))


class _Survival(Estimator):
    """Times and events; the predictor is a log hazard ratio, without an intercept."""

    _numeric_target = False

    def __sklearn_tags__(self) -> Any:
        """The target has two columns."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Vector | None]:
        y = np.asarray(y, dtype=np.float64)
        if y.ndim != 2 or y.shape[1] != 2:
            raise FewerError(f"a survival target has two columns, time and event; this one has shape {y.shape}")
        from sklearn.utils.validation import _check_sample_weight, check_consistent_length, validate_data

        from fewer.linear.estimators.base import normalised

        X = validate_data(self, X, accept_sparse="csc", dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_consistent_length(X, y)
        if sample_weight is None:
            return X, y, None
        return X, y, normalised(_check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True))

    def _loss(self) -> Any:
        return Cox()

    def predict(self, X: Any) -> Vector:
        """Log hazard ratio of every row."""
        return self._linear(X)


@method(
    "estimator", "sparse-logistic", papers=[GLMNET], formula="mean log loss + alpha sum_j f_j |b_j|", unit="feature"
)
class SparseLogistic(_Binary, Single):
    """Logistic regression for two classes with an L1 (or elastic net) price.

    Formula: min 1/n sum_i s_i log(1 + exp(-z_i (b0 + x_i b))) + alpha * penalty, z in {-1, 1}.

    Args are those of `ElasticNet`, with `l1_ratio` 1 by default.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((80, 4))
    >>> SparseLogistic(alpha=0.1).fit(X, X[:, 1] > 0).selected_
    array([1])

    Reference: Friedman, Hastie and Tibshirani 2010.
    """


@method(
    "estimator",
    "sparse-logistic-cv",
    papers=[GLMNET],
    formula="sparse logistic; alpha by cross-validation",
    unit="feature",
)
class SparseLogisticCV(_Binary, Chosen):
    """`SparseLogistic` whose penalty is cross-validated by log loss; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((80, 4))
    >>> 1 in SparseLogisticCV(cv=3, n_alphas=20).fit(X, X[:, 1] > 0).selected_
    True

    Reference: Friedman, Hastie and Tibshirani 2010.
    """

    def _split_target(self, y: Any) -> Any:
        return y.astype(int)


@method(
    "estimator",
    "sparse-multinomial",
    papers=[GLMNET],
    formula="mean softmax loss + alpha sum_j f_j |b_jk|",
    unit="feature",
)
class SparseMultinomial(_Many, Single):
    """Multinomial regression with an L1 (or elastic net) price.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> SparseMultinomial(alpha=0.1).fit(X, np.digitize(X[:, 1], [-0.5, 0.5])).selected_
    array([1])

    Reference: Friedman, Hastie and Tibshirani 2010.
    """


@method(
    "estimator",
    "sparse-multinomial-cv",
    papers=[GLMNET],
    formula="sparse multinomial; alpha by cross-validation",
    unit="feature",
)
class SparseMultinomialCV(_Many, Chosen):
    """`SparseMultinomial` whose penalty is cross-validated by log loss; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 3))
    >>> model = SparseMultinomialCV(cv=3, n_alphas=10).fit(X, np.digitize(X[:, 1], [-0.5, 0.5]))
    >>> 1 in model.selected_
    True

    Reference: Friedman, Hastie and Tibshirani 2010.
    """

    def _split_target(self, y: Any) -> Any:
        return y.astype(int)


@method(
    "estimator",
    "sparse-poisson",
    papers=[GLMNET],
    formula="mean Poisson deviance / 2 + alpha sum_j f_j |b_j|",
    unit="feature",
)
class SparsePoisson(_Counts, Single):
    """Poisson regression (log link) with an L1 (or elastic net) price.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> SparsePoisson(alpha=0.2).fit(X, np.round(np.exp(X[:, 1]))).selected_
    array([1])

    Reference: Friedman, Hastie and Tibshirani 2010.
    """


@method(
    "estimator",
    "sparse-poisson-cv",
    papers=[GLMNET],
    formula="sparse Poisson; alpha by cross-validation",
    unit="feature",
)
class SparsePoissonCV(_Counts, Chosen):
    """`SparsePoisson` whose penalty is cross-validated by deviance; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> 1 in SparsePoissonCV(cv=3, n_alphas=20).fit(X, np.round(np.exp(X[:, 1]))).selected_
    True

    Reference: Friedman, Hastie and Tibshirani 2010.
    """


@method(
    "estimator",
    "sparse-cox",
    papers=[COX],
    formula="- log partial likelihood / n + alpha sum_j f_j |b_j|",
    unit="feature",
)
class SparseCox(_Survival, Single):
    """Cox's proportional hazards (Breslow ties) with an L1 (or elastic net) price; y is (n, 2): time, event.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 4))
    >>> y = np.column_stack([rng.exponential(np.exp(-2 * X[:, 1])), np.ones(90)])
    >>> SparseCox(alpha=0.3).fit(X, y).selected_
    array([1])

    Reference: Simon et al. 2011.
    """


@method("estimator", "sparse-cox-cv", papers=[COX], formula="sparse Cox; alpha by cross-validation", unit="feature")
class SparseCoxCV(_Survival, Chosen):
    """`SparseCox` whose penalty is cross-validated by the partial likelihood of the fold; see `LassoCV`.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((90, 4))
    >>> y = np.column_stack([rng.exponential(np.exp(-2 * X[:, 1])), np.ones(90)])
    >>> 1 in SparseCoxCV(cv=3, n_alphas=20).fit(X, y).selected_
    True

    Reference: Simon et al. 2011.
    """

    def _split_target(self, y: Any) -> Any:
        return y[:, 1].astype(int)


@method("estimator", "sparse-huber", papers=[Paper("Robust Estimation of a Location Parameter", 1964)],
        formula="mean Huber loss + alpha sum_j f_j |b_j|", unit="feature")  # fmt: skip
class SparseHuber(RegressorMixin, Estimator):  # type: ignore[misc]
    """Regression that bounds the influence of outliers, with an L1 (or elastic net) price.

    Args:
        alpha: strength of the penalty.
        delta: residual at which the loss turns from square to straight, in the units of the target.
        l1_ratio: see `ElasticNet`.
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
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.delta = delta
        self.l1_ratio = l1_ratio
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def _loss(self) -> Any:
        return Huber(self.delta)

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)
