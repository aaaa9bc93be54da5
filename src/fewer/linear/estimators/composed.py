"""Any loss with any penalty of the catalogue, and the fused lasso."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.base import Estimator, rescaled, spread
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.losses import Squared
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, find, method

__all__ = ["FusedLasso", "Plain", "SparseRegressor", "SparseRegressorCV", "general"]

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
        return general(self, X, y, weights, self._penalty(X.shape[1]), grid, factors)


def general(
    model: Any, X: Any, y: Any, weights: Vector | None, penalty: Any, grid: dict[str, Any], factors: Vector
) -> Path:
    """A path of any penalty; columns are scaled by their spread and their factors, free and excluded ones set apart."""
    from fewer.linear import general_path

    options = dict(weights=weights, intercept=model.fit_intercept, tol=model.tol, max_iter=model.max_iter, **grid)
    loss, keep = model._loss() or Squared(), np.flatnonzero(np.isfinite(factors))
    price = np.where(factors[keep] > 0, factors[keep], 1.0)
    scale = price * (spread(X, weights)[keep] if model.standardize else 1.0)
    if np.any(factors[keep] == 0):
        penalty = Partly(penalty, tuple(np.flatnonzero(factors[keep] > 0).tolist()))
    same = len(keep) == len(factors) and bool(np.all(scale == 1))
    path = general_path(X if same else rescaled(X[:, keep], scale), y, loss, penalty, **options)
    if same:
        return path
    values = path.values / scale[path.columns][:, None]
    return dataclasses.replace(path, values=values, columns=keep[path.columns], size=len(factors))


@dataclasses.dataclass(frozen=True)
class Partly:
    """A penalty on some coordinates; the others are free."""

    penalty: Any
    on: tuple[int, ...]
    lam: float = 1.0

    @property
    def convex(self) -> bool:
        """As the penalty."""
        return bool(self.penalty.convex)

    def _priced(self) -> Any:
        return dataclasses.replace(self.penalty, lam=self.lam)

    def value(self, w: Any) -> Any:
        """Price of the coordinates that have one."""
        return self._priced().value(w[list(self.on)])

    def prox(self, w: Any, step: Any) -> Any:
        """The penalty's prox there, the identity elsewhere."""
        out = w.copy()
        out[list(self.on)] = self._priced().prox(w[list(self.on)], step)
        return out

    def residual(self, w: Any, grad: Any) -> Any:
        """The penalty's residual there, the gradient elsewhere."""
        on = list(self.on)
        return np.concatenate([np.ravel(self._priced().residual(w[on], grad[on])), np.delete(grad, on)])

    def lam_max(self, grad0: Any) -> Any:
        """That of the penalty, before the free coordinates are fitted: a place to start a grid."""
        return dataclasses.replace(self.penalty, lam=1.0).lam_max(grad0[list(self.on)])


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


class _Composed(Plain):
    """Any loss with any penalty."""

    loss: Any
    penalty: Any

    def _loss(self) -> Any:
        return self.loss

    def _penalty(self, columns: int) -> Any:
        return find("penalty", self.penalty).target() if isinstance(self.penalty, str) else self.penalty

    def predict(self, X: Any) -> Vector:
        """Prediction on the scale of the target."""
        eta = self._linear(X)
        return eta if self.loss is None else np.asarray(self.loss.mean(eta))


@method(
    "estimator",
    "sparse-regressor",
    formula="mean loss + alpha * penalty, any of the catalogue",
    unit="feature",
    status="ours",
)
class SparseRegressor(_Composed):
    """Any loss with any penalty: the composition that the named estimators are made of.

    Args:
        alpha: strength of the penalty.
        loss: a loss of `fewer.linear` (an object), or None for squared error.
        penalty: name of a penalty of the catalogue, or a penalty object; its strength is replaced by `alpha`.
        penalty_factors: see `Lasso`; the penalty is applied to f_j b_j.
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
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.penalty = penalty
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


@method(
    "estimator",
    "sparse-regressor-cv",
    formula="mean loss + alpha * penalty; alpha by cross-validation",
    unit="feature",
    status="ours",
)
class SparseRegressorCV(_Composed, CrossValidated):
    """`SparseRegressor` whose strength is cross-validated by its loss; see `LassoCV` for the other options.

    Args:
        loss: see `SparseRegressor`.
        penalty: see `SparseRegressor`; without `alphas` it must have a `lam_max`.
        penalty_factors: see `SparseRegressor`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> SparseRegressorCV(penalty="mcp", cv=3, rule="1se").fit(X, 2 * X[:, 2]).selected_
    array([2])

    Reference: the contract of `fewer.penalty`.
    """

    _separate = True

    def __init__(
        self,
        *,
        loss: Any = None,
        penalty: Any = "l1",
        penalty_factors: Any = None,
        alphas: Any = None,
        n_alphas: int = 30,
        eps: float = 1e-2,
        cv: Any = None,
        rule: str = "min",
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
        n_jobs: int | None = None,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.penalty_factors = penalty_factors
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
