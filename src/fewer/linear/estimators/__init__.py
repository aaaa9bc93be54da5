"""Estimators with scikit-learn's conventions on the solver core. The only folder that imports scikit-learn."""

from __future__ import annotations

from fewer.linear.estimators.families import (
    OrdinalLogit,
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
from fewer.linear.estimators.gaussian import (
    AdaptiveLasso,
    AdaptiveLassoCV,
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    RelaxedLasso,
)

__all__ = [
    "AdaptiveLasso",
    "AdaptiveLassoCV",
    "ElasticNet",
    "ElasticNetCV",
    "Lasso",
    "LassoCV",
    "OrdinalLogit",
    "RelaxedLasso",
    "SparseCox",
    "SparseCoxCV",
    "SparseHuber",
    "SparseLogistic",
    "SparseLogisticCV",
    "SparseMultinomial",
    "SparseMultinomialCV",
    "SparsePoisson",
    "SparsePoissonCV",
]
