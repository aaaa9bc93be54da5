"""Penalties that know groups of columns: all of a group stay, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.composed import Plain, general
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.result import Path
from fewer.method import FewerError, Paper, find, method

__all__ = ["GroupLasso", "GroupLassoCV", "SparseGroupLasso", "SparseGroupLassoCV"]

Vector = NDArray[np.float64]
GROUP = Paper("Model Selection and Estimation in Regression with Grouped Variables", 2006)
SPARSE_GROUP = Paper("A Sparse-Group Lasso", 2013)


def _groups(groups: Any, columns: int) -> list[list[int]]:
    """Lists of positions from group numbers (p,); None puts every column in a group of its own."""
    if groups is None:
        return [[j] for j in range(columns)]
    labels = np.asarray(groups)
    if labels.shape != (columns,):
        raise FewerError(f"{labels.shape[0] if labels.ndim else 1} group numbers for {columns} columns")
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


class _GroupOptions:
    """The penalty of the group estimators."""

    groups: Any
    l1_ratio: Any

    def _penalty(self, columns: int) -> Any:
        return find("penalty", "group").target(_groups(self.groups, columns))


class _SparseGroupOptions:
    """The penalty of the sparse group estimators."""

    groups: Any
    l1_ratio: Any

    def _penalty(self, columns: int) -> Any:
        return find("penalty", "sparse-group").target(_groups(self.groups, columns), mix=float(self.l1_ratio))


class _Given(Plain):
    """Options of a group estimator with a given penalty."""

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        groups: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.groups = groups
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


class _GivenMix(Plain):
    """Options of a sparse group estimator with a given penalty."""

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        groups: Any = None,
        l1_ratio: float = 0.5,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.alpha = alpha
        self.groups = groups
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


class _CrossValidatedGroups(RegressorMixin, CrossValidated):  # type: ignore[misc]
    """Options of a group estimator whose penalty is cross-validated."""

    def __init__(
        self,
        *,
        groups: Any = None,
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
        self.groups = groups
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

    _separate = True

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)

    def _penalty(self, columns: int) -> Any:
        """The penalty object."""
        return find("penalty", "group").target(_groups(self.groups, columns))

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        return general(self, X, y, weights, self._penalty(X.shape[1]), grid)


@method(
    "estimator",
    "group-lasso",
    papers=[GROUP],
    formula="squared error / (2n) + alpha sum_g sqrt(p_g) |b_g|",
    unit="feature",
)
class GroupLasso(_GroupOptions, _Given):
    """Least squares with a price on whole groups of columns: all of a group stay or none.

    Args:
        alpha: strength of the penalty.
        groups: (p,) group number of each column; None gives every column a group of its own.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> GroupLasso(0.3, groups=[0, 0, 1, 1]).fit(X, X[:, 0] + X[:, 1]).selected_
    array([0, 1])

    Reference: Yuan and Lin 2006, equation 2.1.
    """


@method("estimator", "group-lasso-cv", papers=[GROUP], formula="group lasso; alpha by cross-validation", unit="feature")
class GroupLassoCV(_GroupOptions, _CrossValidatedGroups):
    """`GroupLasso` whose penalty is cross-validated; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> GroupLassoCV(groups=[0, 0, 1, 1], cv=3, rule="1se").fit(X, X[:, 0] + X[:, 1]).selected_
    array([0, 1])

    Reference: Yuan and Lin 2006.
    """


@method(
    "estimator",
    "sparse-group-lasso",
    papers=[SPARSE_GROUP],
    formula="squared error / (2n) + alpha (l1_ratio |b|_1 + (1 - l1_ratio) sum_g sqrt(p_g) |b_g|)",
    unit="feature",
)
class SparseGroupLasso(_SparseGroupOptions, _GivenMix):
    """Prices on groups and on the columns inside them.

    Args:
        alpha: strength of the penalty.
        groups: see `GroupLasso`.
        l1_ratio: share of the price on single columns.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `Lasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> SparseGroupLasso(0.3, groups=[0, 0, 1, 1]).fit(X, X[:, 0]).selected_
    array([0])

    Reference: Simon et al. 2013, equation 3.
    """


@method(
    "estimator",
    "sparse-group-lasso-cv",
    papers=[SPARSE_GROUP],
    formula="sparse group lasso; alpha by cross-validation",
    unit="feature",
)
class SparseGroupLassoCV(_CrossValidatedGroups):
    """`SparseGroupLasso` with equal shares whose penalty is cross-validated; see `LassoCV` for the options.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> 0 in SparseGroupLassoCV(groups=[0, 0, 1, 1], cv=3).fit(X, X[:, 0]).selected_
    True

    Reference: Simon et al. 2013.
    """

    def _penalty(self, columns: int) -> Any:
        return find("penalty", "sparse-group").target(_groups(self.groups, columns), mix=0.5)
