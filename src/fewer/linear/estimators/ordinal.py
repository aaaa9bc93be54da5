"""Ordered classes: cumulative logit with an L1 price."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fewer.linear.coupled import Ordinal
from fewer.linear.estimators.families import Classes
from fewer.linear.estimators.held_out import Fold
from fewer.linear.estimators.options import Chosen, Single
from fewer.linear.result import Path, Solution
from fewer.method import Paper, method

__all__ = ["OrdinalLogit", "OrdinalLogitCV"]

Vector = NDArray[np.float64]


class _Ordered(Classes):
    """Ordered classes: one linear predictor, cut points between the classes."""

    def __sklearn_tags__(self) -> Any:
        """Classes without an order are fitted badly, and should be."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def _loss(self) -> Any:
        return Ordinal(len(self.classes_))

    def _keep(self, solution: Solution, label: str) -> None:
        super()._keep(solution, label)
        self.cuts_ = np.asarray(solution.intercept)
        self.intercept_ = 0.0

    def predict_proba(self, X: Any) -> Vector:
        """(n, classes) probabilities."""
        check_is_fitted(self)
        return np.asarray(Ordinal(len(self.classes_), tuple(self.cuts_)).mean(self._linear(X)))


@method("estimator", "ordinal-logit", papers=[Paper("Regression Models for Ordinal Data", 1980)],
        formula="P(y <= k) = sigmoid(c_k - x b); mean log loss + alpha sum_j f_j |b_j|", unit="feature")  # fmt: skip
class OrdinalLogit(_Ordered, Single):
    """Cumulative logit (proportional odds) for ordered classes, with an L1 (or elastic net) price.

    Classes are ordered as their labels sort; `cuts_` holds the cut points.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 4))
    >>> OrdinalLogit(alpha=0.1).fit(X, np.digitize(X[:, 1], [-0.5, 0.5])).selected_
    array([1])

    Reference: McCullagh 1980.
    """


@method(
    "estimator",
    "ordinal-logit-cv",
    papers=[Paper("Regression Models for Ordinal Data", 1980)],
    formula="ordinal logit; alpha by cross-validation",
    unit="feature",
)
class OrdinalLogitCV(_Ordered, Chosen):
    """`OrdinalLogit` whose penalty is cross-validated by log loss; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((90, 3))
    >>> 1 in OrdinalLogitCV(cv=3, n_alphas=10).fit(X, np.digitize(X[:, 1], [-0.5, 0.5])).selected_
    True

    Reference: McCullagh 1980.
    """

    def _split_target(self, y: Any) -> Any:
        return y.astype(int)

    def _held_out_loss(self, path: Path, X: Any, y: Any, weights: Vector, fold: Fold) -> Vector:
        X, y, weights, sums = X[fold.test], y[fold.test], weights[fold.test], []
        for solution in path:
            loss = Ordinal(len(self.classes_), tuple(solution.intercept))
            with np.errstate(all="ignore"):  # what is not finite is reported
                sums.append(loss.value(np.asarray(X @ solution.coef), y, weights))
        return np.asarray(np.array(sums) / weights.sum())
