"""What all estimators share: checking data the way scikit-learn does, solving, and keeping the certificate.

An estimator is thin. It says which solver answers for a run of penalties (`_path`) and what a linear predictor means
(`predict`); everything else stands here, once.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, _check_y, assert_all_finite, check_is_fitted, validate_data

from fewer.linear import Path, Solution
from fewer.linear.estimators.arguments import check_arguments, faults_in
from fewer.linear.factors import Candidate, Factors, as_factors
from fewer.linear.matrix import refuse_extremes
from fewer.method import FewerError

__all__ = ["Estimator", "grouped", "names_of", "paths_of", "rescaled", "spread", "weights_of"]

Vector = NDArray[np.float64]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """Base of all estimators; see its subclasses.

    Fitted attributes, everywhere: `coef_`, `intercept_`, `alpha_` (the penalty used), `solution_` (coefficients with
    duality gap, KKT distance and rounds), `dual_gap_`, `n_iter_`, `selected_` (names of the columns that are not
    zero, their positions if the data had no names), `factors_` (label of the penalty factors).
    """

    def __sklearn_tags__(self) -> Any:
        """Sparse data are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Estimator:
        """Fit at the penalty `alpha`.

        Args:
            X: (n, p) numpy, data frame or scipy sparse.
            y: (n,) target.
            sample_weight: (n,) not negative; only their ratios matter.
        """
        check_arguments(self)
        X, y, weights = self._check(X, y, sample_weight)
        choices = self._candidates(X, y, weights)
        if len(choices) > 1:
            raise FewerError(
                f"{type(self).__name__} got {len(choices)} vectors of penalty factors to choose from; "
                f"use {type(self).__name__}CV"
            )
        path = self._path(X, y, weights, choices[0].factors, self._mix(), lams=[float(self.alpha)])
        self._keep(path[0], choices[0].label)
        self._warn_unless_converged()
        return self

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Vector | None]:
        """Validated data: floats, CSC if sparse, weights of mean one."""
        X, y = self._validated(X, y)
        refuse_extremes(X, lambda j: f"column '{names_of(self)[j]}' of X")
        y = self._target(y)
        if self._numeric_target and np.ndim(y) == 1 and np.asarray(y).dtype.kind == "f":
            refuse_extremes(y[:, None], lambda _: "the target")
        return X, y, None if sample_weight is None else weights_of(sample_weight, X)

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        if y is None:
            raise FewerError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        with faults_in("X", X):
            X = validate_data(self, X, accept_sparse="csc", dtype=[np.float64, np.float32], ensure_min_samples=2)
        with faults_in("y", y):
            y = _check_y(y, y_numeric=self._numeric_target, estimator=self)
        if len(y) != X.shape[0]:
            raise FewerError(f"X has {X.shape[0]} rows and y has {len(y)}; give one target a row")
        if self._numeric_target:
            with faults_in("y", np.asarray(y, dtype=np.float64)):  # objects are looked into once they are numbers
                assert_all_finite(np.asarray(y, dtype=np.float64), input_name="y")
        return X, y

    #: Whether the target must be numbers.
    _numeric_target = True

    def _target(self, y: Any) -> Any:
        return np.asarray(y, dtype=np.float64)

    def _mix(self) -> float:
        return float(getattr(self, "l1_ratio", 1.0))

    def _loss(self) -> Any:
        """The loss; None stands for squared error."""
        return None

    def _asked(self) -> Factors | None:
        """The penalty factors as an object, or None."""
        return as_factors(getattr(self, "penalty_factors", None))

    def _candidates(self, X: Any, y: Any, weights: Vector | None) -> list[Candidate]:
        made = self._asked()
        names = [str(name) for name in names_of(self)]
        if made is None:
            return [Candidate("equal", np.ones(len(names)))]
        if getattr(made, "learnt", False) and getattr(self, "standardize", False):
            X = rescaled(X, spread(X, weights))  # a pilot sees columns as the penalty does
        return made.candidates(X, y, weights, names, self._loss())

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        if getattr(self, "groups", None) is not None:
            if getattr(self, "positive", False):
                raise FewerError(
                    f"{type(self).__name__}: positive coefficients and groups cannot be asked for together"
                )
            return grouped(self, X, y, weights, factors, mix=mix, **grid)
        options = dict(
            mix=mix, factors=factors, weights=weights, intercept=self.fit_intercept, tol=self.tol,
            standardize=self.standardize, max_iter=self.max_iter, **self._bounds(X.shape[1]), **grid,
        )  # fmt: skip
        return paths_of(self._loss(), X, y, **options)

    def _bounds(self, columns: int) -> dict[str, Any]:
        """Bounds on the coefficients, where the estimator has them."""
        lower = np.zeros(columns) if getattr(self, "positive", False) else None
        return {} if lower is None else {"lower": lower}

    def _keep(self, solution: Solution, label: str) -> None:
        """Store a solution under scikit-learn's names."""
        self.solution_ = solution
        self.coef_, self.intercept_ = solution.coef, solution.intercept
        self.alpha_, self.dual_gap_, self.n_iter_ = solution.lam, solution.gap, max(int(solution.iterations), 1)
        self.factors_ = label

    def _warn_unless_converged(self) -> None:
        found = self.solution_
        if not found.converged:
            warnings.warn(
                f"{type(self).__name__}: gap {found.gap:.1e} after {found.iterations} rounds, "
                f"asked for {self.tol * found.null:.1e}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )

    @property
    def selected_(self) -> NDArray[Any]:
        """Names of the columns whose coefficients are not zero."""
        check_is_fitted(self)
        coef = self.coef_ if self.coef_.ndim == 1 else np.any(self.coef_ != 0, axis=0)
        return names_of(self)[np.flatnonzero(coef)]

    def _linear(self, X: Any) -> Vector:
        """Linear predictor X b + b0, (n,) or (n, classes)."""
        check_is_fitted(self)
        with faults_in("X", X):
            X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_, dtype=np.float64)


def paths_of(loss: Any, X: Any, y: Any, **options: Any) -> Path:
    """The path of a loss; None is squared error, which has a solver of its own."""
    if loss is None:
        from fewer.linear import path

        return path(X, y, **options)
    from fewer.linear import glm_path

    return glm_path(X, y, loss, **options)


def grouped(model: Any, X: Any, y: Any, weights: Vector | None, factors: Vector, **options: Any) -> Path:
    """The path of a loss with a price on the groups of columns that `model` names."""
    from fewer.linear import Squared, group_path

    return group_path(
        X, y, model._loss() or Squared(), model.groups, factors=factors, weights=weights,
        intercept=model.fit_intercept, standardize=model.standardize, tol=model.tol, max_iter=model.max_iter, **options,
    )  # fmt: skip


def names_of(estimator: Any) -> NDArray[Any]:
    """Column names as the data had them, else positions."""
    names = getattr(estimator, "feature_names_in_", None)
    return np.arange(estimator.n_features_in_) if names is None else np.asarray(names)


def spread(X: Any, weights: Vector | None) -> Vector:
    """Weighted standard deviations of the columns; 1 for constant ones."""
    s = np.ones(X.shape[0]) if weights is None else weights
    s = s / s.sum()
    mean = np.asarray(X.T @ s).ravel()
    square = np.asarray((X.multiply(X) if hasattr(X, "multiply") else X * X).T @ s).ravel()
    found = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.asarray(np.where(found > 1e-12 * np.sqrt(square + 1e-300), found, 1.0), dtype=np.float64)


def rescaled(X: Any, scale: Vector) -> Any:
    """Columns divided by their scales; sparse data stay sparse."""
    return X.multiply(1 / scale).tocsc() if hasattr(X, "multiply") else X / scale


def weights_of(sample_weight: Any, X: Any) -> Vector:
    """Weights of mean one: the objective is then a weighted mean, and repeating a row equals weighting it.

    Raises:
        FewerError: not a number >= 0 for every row, or all zero, or infinite in sum.
    """
    with faults_in("sample_weight", sample_weight):
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    total = float(weights.sum())
    if not 0 < total < np.inf:
        raise FewerError(f"sample_weight adds up to {total}; only ratios matter: give finite numbers, not all zero")
    return np.asarray(weights * (len(weights) / total), dtype=np.float64)
