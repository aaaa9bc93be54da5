"""Estimators with scikit-learn's conventions on the solver core. The only folder that imports scikit-learn."""

from __future__ import annotations

from fewer.linear.estimators.composed import FusedLasso, SparseRegressor
from fewer.linear.estimators.families import (
    SparseCox,
    SparseCoxCV,
    SparseHuber,
    SparseLogistic,
    SparseLogisticCV,
    SparseMultinomial,
    SparseMultinomialCV,
    SparsePoisson,
    SparsePoissonCV,
)
from fewer.linear.estimators.gaussian import AdaptiveLasso, ElasticNet, Lasso, RelaxedLasso
from fewer.linear.estimators.gaussian_cv import AdaptiveLassoCV, ElasticNetCV, LassoCV
from fewer.linear.estimators.groups import GroupLasso, GroupLassoCV, SparseGroupLasso, SparseGroupLassoCV
from fewer.linear.estimators.ordinal import OrdinalLogit, OrdinalLogitCV
from fewer.linear.estimators.special import (
    BestSubset,
    SparsePrecision,
    SparseQuantile,
    SparseQuantileCV,
    SquareRootLasso,
)

__all__ = [
    "AdaptiveLasso",
    "AdaptiveLassoCV",
    "BestSubset",
    "ElasticNet",
    "ElasticNetCV",
    "FusedLasso",
    "GroupLasso",
    "GroupLassoCV",
    "Lasso",
    "LassoCV",
    "OrdinalLogit",
    "OrdinalLogitCV",
    "RelaxedLasso",
    "SparseCox",
    "SparseCoxCV",
    "SparseGroupLasso",
    "SparseGroupLassoCV",
    "SparseHuber",
    "SparseLogistic",
    "SparseLogisticCV",
    "SparseMultinomial",
    "SparseMultinomialCV",
    "SparsePoisson",
    "SparsePoissonCV",
    "SparsePrecision",
    "SparseQuantile",
    "SparseQuantileCV",
    "SparseRegressor",
    "SquareRootLasso",
]
