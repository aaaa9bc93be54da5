"""Penalties that know groups of columns: all of a group stay, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from fewer.linear.estimators.base import Estimator, grouped
from fewer.linear.estimators.cv import CrossValidated
from fewer.linear.result import Path
from fewer.method import Paper, method

__all__ = ["GroupLasso", "GroupLassoCV", "SparseGroupLasso", "SparseGroupLassoCV"]

Vector = NDArray[np.float64]
GROUP = Paper("Model selection and estimation in regression with grouped variables", 2006)
SPARSE_GROUP = Paper("A Sparse-Group Lasso", 2013)


class _Groups(RegressorMixin, Estimator):  # type: ignore[misc]
    """Least squares with a price on groups."""

    def predict(self, X: Any) -> Vector:
        """Predicted target."""
        return self._linear(X)

    def _path(self, X: Any, y: Any, weights: Vector | None, factors: Vector, mix: float, **grid: Any) -> Path:
        return grouped(self, X, y, weights, factors, mix=1.0, share=self._share(mix), **grid)

    def _share(self, mix: float) -> float:
        """Share of single columns in the price."""
        return 0.0


class _SparseGroups(_Groups):
    """The share of single columns is `l1_ratio`, which cross-validation may choose."""

    def _share(self, mix: float) -> float:
        return mix


class _Given(_Groups):
    """Options of a group estimator with a given penalty."""

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.alpha = alpha
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


class _Chosen(CrossValidated):
    """Options of a group estimator whose penalty is cross-validated."""

    _separate = True

    def __init__(
        self,
        *,
        groups: Any = None,
        alphas: Any = None,
        n_alphas: int = 50,
        eps: float = 1e-2,
        cv: Any = None,
        rule: str = "min",
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
        n_jobs: int | None = None,
    ) -> None:
        self.groups = groups
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs


@method(
    "estimator",
    "group-lasso",
    papers=[GROUP],
    formula="squared error / (2n) + alpha sum_g f_g sqrt(p_g) |b_g|",
    unit="feature",
)
class GroupLasso(_Given):
    """Least squares with a price on whole groups of columns: all of a group stay or none.

    The estimators of other families take `groups` too.

    Args:
        alpha: strength of the penalty.
        groups: (p,) group number of each column; None gives every column a group of its own.
        penalty_factors: see `Lasso`; equal inside a group.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: most Newton steps.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> GroupLasso(0.3, groups=[0, 0, 1, 1]).fit(X, X[:, 0] + X[:, 1]).selected_
    array([0, 1])

    Reference: Yuan and Lin 2006, equation 2.1.
    """


@method("estimator", "group-lasso-cv", papers=[GROUP], formula="group lasso; alpha by cross-validation", unit="feature")
class GroupLassoCV(_Chosen, _Groups):
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
class SparseGroupLasso(_Given, _SparseGroups):
    """Prices on groups and on the columns inside them.

    Args:
        alpha: strength of the penalty.
        groups: see `GroupLasso`.
        l1_ratio: share of the price on single columns.
        penalty_factors: see `GroupLasso`.
        fit_intercept: see `Lasso`.
        standardize: see `Lasso`.
        tol: see `Lasso`.
        max_iter: see `GroupLasso`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> SparseGroupLasso(0.3, groups=[0, 0, 1, 1]).fit(X, X[:, 0]).selected_
    array([0])

    Reference: Simon et al. 2013, equation 3.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        groups: Any = None,
        l1_ratio: float = 0.5,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        super().__init__(
            alpha, groups=groups, penalty_factors=penalty_factors, fit_intercept=fit_intercept,
            standardize=standardize, tol=tol, max_iter=max_iter,
        )  # fmt: skip
        self.l1_ratio = l1_ratio


@method(
    "estimator",
    "sparse-group-lasso-cv",
    papers=[SPARSE_GROUP],
    formula="sparse group lasso; alpha and l1_ratio by cross-validation",
    unit="feature",
)
class SparseGroupLassoCV(_Chosen, _SparseGroups):
    """`SparseGroupLasso` whose strength and share are cross-validated; see `LassoCV` for the other options.

    Args:
        l1_ratio: one share of the price on single columns, or several to choose from.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> 0 in SparseGroupLassoCV(groups=[0, 0, 1, 1], cv=3).fit(X, X[:, 0]).selected_
    True

    Reference: Simon et al. 2013.
    """

    def __init__(
        self,
        *,
        groups: Any = None,
        l1_ratio: Any = 0.5,
        alphas: Any = None,
        n_alphas: int = 50,
        eps: float = 1e-2,
        cv: Any = None,
        rule: str = "min",
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            groups=groups, alphas=alphas, n_alphas=n_alphas, eps=eps, cv=cv, rule=rule,
            penalty_factors=penalty_factors, fit_intercept=fit_intercept, standardize=standardize, tol=tol,
            max_iter=max_iter, n_jobs=n_jobs,
        )  # fmt: skip
        self.l1_ratio = l1_ratio
