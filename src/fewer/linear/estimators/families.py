"""Beyond least squares: classes and counts. One loss each, the same price for columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fewer.linear.coupled import Multinomial
from fewer.linear.estimators.arguments import faults_in
from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.held_out import Fold
from fewer.linear.estimators.options import Chosen, Single
from fewer.linear.losses import Logistic, Poisson
from fewer.linear.result import Solution
from fewer.method import FewerError, Paper, method

__all__ = [
    "SparseLogistic",
    "SparseLogisticCV",
    "SparseMultinomial",
    "SparseMultinomialCV",
    "SparsePoisson",
    "SparsePoissonCV",
]

Vector = NDArray[np.float64]
GLMNET = Paper("Regularization Paths for Generalized Linear Models via Coordinate Descent", 2010)


class Classes(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Targets are labels; the solver sees their codes."""

    _numeric_target = False

    def _target(self, y: Any) -> Any:
        with faults_in("y", y):
            check_classification_targets(y)
            self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise FewerError(f"{type(self).__name__} needs at least two classes; the target has one class only")
        return codes.astype(np.float64)

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Vector | None]:
        X, y, weights = super()._check(X, y, sample_weight)
        if weights is not None and len(np.unique(y[weights > 0])) < 2:
            raise FewerError(f"{type(self).__name__}: the rows with a positive weight hold one class only")
        return X, y, weights

    def _check_fold(self, y: Any, weights: Vector | None, fold: Fold) -> None:
        """A class that the training rows lack has no probability that could be judged."""
        s = np.ones(len(y)) if weights is None else weights
        wanted, there = (np.unique(y[rows][s[rows] > 0]) for rows in (np.arange(len(y)), fold.train))
        lost = np.setdiff1d(wanted, there)
        if len(lost):
            raise FewerError(
                f"{type(self).__name__}: {fold} holds out every row of class {self.classes_[int(lost[0])]!r}; "
                "use fewer folds, or ones that spread the classes (StratifiedKFold)"
            )

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
            raise FewerError(
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
