"""Any loss with any penalty of the catalogue, and the fused lasso."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.base import Estimator
from fewer.linear.losses import Squared
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, find, method

__all__ = ["FusedLasso", "Plain", "SparseRegressor", "general"]

Vector = NDArray[np.float64]


class Plain(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor whose columns all have the same price."""

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)

    def _penalty(self, columns: int) -> Any:
        """The penalty object; its strength is set by the path."""
        raise FewerError(f"{type(self).__name__} has no penalty")

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        return general(self, X, y, weights, self._penalty(X.shape[1]), grid)


def general(model: Any, X: Any, y: Any, weights: Vector | None, penalty: Any, grid: dict[str, Any]) -> Path:
    """A path of any penalty, on columns of unit variance where that is asked for."""
    from fewer.linear import general_path

    options = dict(weights=weights, intercept=model.fit_intercept, tol=model.tol, max_iter=model.max_iter, **grid)
    loss = model._loss() or Squared()
    if not model.standardize:
        return general_path(X, y, loss, penalty, **options)
    scale = _spread(X, weights)
    path = general_path(
        X / scale if isinstance(X, np.ndarray) else X.multiply(1 / scale).tocsc(), y, loss, penalty, **options
    )
    values = path.values / scale[path.columns][:, None]
    return dataclasses.replace(path, values=values)


def _spread(X: Any, weights: Vector | None) -> Vector:
    """Weighted standard deviations of the columns; 1 for constant ones."""
    s = np.ones(X.shape[0]) if weights is None else weights
    s = s / s.sum()
    mean = np.asarray(X.T @ s).ravel()
    square = np.asarray((X.multiply(X) if hasattr(X, "multiply") else X * X).T @ s).ravel()
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.asarray(np.where(spread > 1e-12 * np.sqrt(square + 1e-300), spread, 1.0), dtype=np.float64)


@method(
    "estimator",
    "fused-lasso",
    papers=[Paper("Sparsity and Smoothness via the Fused Lasso", 2005)],
    formula="squared error / (2n) + alpha (sum |b_j+1 - b_j| + sparse sum |b_j|)",
    unit="feature",
)
class FusedLasso(Plain):
    """Coefficients of neighbouring columns are drawn together, and optionally to zero.

    Args:
        alpha: strength of the price on differences.
        sparse: price on the coefficients themselves.
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
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.sparse = sparse
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def _penalty(self, columns: int) -> Any:
        return find("penalty", "fused").target(sparse=self.sparse)


@method(
    "estimator",
    "sparse-regressor",
    formula="mean loss + alpha * penalty, any of the catalogue",
    unit="feature",
    status="ours",
)
class SparseRegressor(Plain):
    """Any loss with any penalty: the composition that the named estimators are made of.

    Args:
        alpha: strength of the penalty.
        loss: a loss of `fewer.linear` (an object), or None for squared error.
        penalty: name of a penalty of the catalogue, or a penalty object; its strength is replaced by `alpha`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: largest residual at the end, relative to that at zero.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> SparseRegressor(0.3, penalty="mcp").fit(X, 2 * X[:, 2]).coef_.round(3)
    array([0., 0., 2., 0.])

    Reference: the contract of `fewer.penalty`; residuals are asserted in the tests.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        loss: Any = None,
        penalty: Any = "l1",
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def _loss(self) -> Any:
        return self.loss

    def _penalty(self, columns: int) -> Any:
        return find("penalty", self.penalty).target() if isinstance(self.penalty, str) else self.penalty

    def predict(self, X: Any) -> Vector:
        """Prediction on the scale of the target."""
        eta = self._linear(X)
        return eta if self.loss is None else np.asarray(self.loss.mean(eta))
