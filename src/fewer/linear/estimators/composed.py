"""Any loss with any penalty of the catalogue."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.coupled import Cox
from fewer.linear.estimators.base import Estimator, rescaled, spread
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.estimators.survival import rows_of_times
from fewer.linear.losses import Gamma, Huber, Logistic, Poisson, Quantile, Squared
from fewer.linear.partly import Partly
from fewer.linear.result import Path
from fewer.method import FewerError, find, method, nearest

__all__ = ["Plain", "SparseRegressor", "SparseRegressorCV", "general"]

Vector = NDArray[np.float64]
#: Losses of one linear predictor, by name.
LOSSES: dict[str, Any] = {
    "squared": Squared, "logistic": Logistic, "poisson": Poisson, "gamma": Gamma, "cox": Cox, "huber": Huber,
    "quantile": Quantile,
}  # fmt: skip


class Plain(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor whose columns all have the same price."""

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)

    def _penalty(self, columns: int) -> Any:
        """The penalty object; its strength is set by the path."""
        raise FewerError(f"{type(self).__name__} has no penalty")

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        scale = spread(X, weights) if self.standardize else np.ones(X.shape[1])
        return general(self, X, y, weights, self._penalty(X.shape[1]), grid, factors, scale)


def general(
    model: Any,
    X: Any,
    y: Any,
    weights: Vector | None,
    penalty: Any,
    grid: dict[str, Any],
    factors: Vector,
    scale: Vector,
) -> Path:
    """A path of any penalty on scale_j f_j b_j.

    Columns that are left out become zeros and free ones are hidden from the penalty, so that positions in it stand.
    """
    from fewer.linear import general_path

    options = dict(weights=weights, intercept=model.fit_intercept, tol=model.tol, max_iter=model.max_iter, **grid)
    free = factors == 0
    scale = np.where(free, 1.0, factors) * scale
    priced = Partly(penalty, tuple(np.flatnonzero(~free).tolist())) if free.any() else penalty
    same = bool(np.all(scale == 1))
    path = general_path(X if same else rescaled(X, scale), y, model._loss() or Squared(), priced, **options)
    if same:
        return path
    values = path.values / scale[path.columns][:, None]
    return dataclasses.replace(path, values=values)


class _Composed(Plain):
    """Any loss with any penalty."""

    loss: Any
    penalty: Any

    def _loss(self) -> Any:
        if not isinstance(self.loss, str):
            return self.loss
        if self.loss not in LOSSES:
            raise FewerError(f"unknown loss '{self.loss}'{nearest(self.loss, LOSSES)}; known: {', '.join(LOSSES)}")
        return LOSSES[self.loss]()

    def _penalty(self, columns: int) -> Any:
        if not isinstance(self.penalty, str):
            return self.penalty
        kind: Any = find("penalty", self.penalty).target
        needs = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
        if needs:
            raise FewerError(
                f"penalty '{self.penalty}' needs {', '.join(needs)}: give an object, "
                f"fewer.penalty.{kind.__name__}({needs[0]}=...)"
            )
        return kind()

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        if getattr(self._loss(), "columns", 1) == 1:
            return super()._validated(X, y)
        return rows_of_times(self, X, y)

    def predict(self, X: Any) -> Vector:
        """Prediction on the scale of the target."""
        eta, loss = self._linear(X), self._loss()
        return eta if loss is None else np.asarray(loss.mean(eta))


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
        loss: a loss object (see `fewer.linear`), its name where it needs no options ("squared", "logistic", "poisson",
            "gamma", "cox", "huber", "quantile"), or None for squared error.
        penalty: a penalty object of `fewer.penalty`, or its name in the catalogue where it needs no options; its
            strength is replaced by `alpha`.
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
