"""Estimators with scikit-learn's conventions on the solver core. The only folder that imports scikit-learn."""

from __future__ import annotations

from fewer.linear.estimators.composed import SparseRegressor, SparseRegressorCV
from fewer.linear.estimators.families import (
    SparseLogistic,
    SparseLogisticCV,
    SparseMultinomial,
    SparseMultinomialCV,
    SparsePoisson,
    SparsePoissonCV,
)
from fewer.linear.estimators.fused import FusedLasso, FusedLassoCV
from fewer.linear.estimators.gaussian import AdaptiveLasso, ElasticNet, Lasso
from fewer.linear.estimators.gaussian_cv import AdaptiveLassoCV, ElasticNetCV, LassoCV
from fewer.linear.estimators.groups import GroupLasso, GroupLassoCV, SparseGroupLasso, SparseGroupLassoCV
from fewer.linear.estimators.ordinal import OrdinalLogit, OrdinalLogitCV
from fewer.linear.estimators.relaxed import RelaxedLasso, RelaxedLassoCV
from fewer.linear.estimators.robust import SparseHuber, SparseHuberCV, SparseQuantile, SparseQuantileCV
from fewer.linear.estimators.special import BestSubset, BestSubsetCV, SparsePrecision, SquareRootLasso
from fewer.linear.estimators.survival import SparseCox, SparseCoxCV

__all__ = [
    "AdaptiveLasso",
    "AdaptiveLassoCV",
    "BestSubset",
    "BestSubsetCV",
    "ElasticNet",
    "ElasticNetCV",
    "FusedLasso",
    "FusedLassoCV",
    "GroupLasso",
    "GroupLassoCV",
    "Lasso",
    "LassoCV",
    "OrdinalLogit",
    "OrdinalLogitCV",
    "RelaxedLasso",
    "RelaxedLassoCV",
    "SparseCox",
    "SparseCoxCV",
    "SparseGroupLasso",
    "SparseGroupLassoCV",
    "SparseHuber",
    "SparseHuberCV",
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
    "SparseRegressorCV",
    "SquareRootLasso",
]
