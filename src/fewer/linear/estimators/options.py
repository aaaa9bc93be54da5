"""The options that estimators of one linear predictor share, with a given penalty and with a cross-validated one."""

from __future__ import annotations

from typing import Any

from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.cv import CrossValidated

__all__ = ["Chosen", "Single"]


class Single(Estimator):
    """Options of an estimator with a given penalty.

    With `groups`, (p,) group numbers, the L1 part of the price is sum_g f_g sqrt(p_g) |b_g|: a group of columns enters
    as a whole, for all classes where there are several.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        l1_ratio: float = 1.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter


class Chosen(CrossValidated):
    """Options of an estimator whose penalty is cross-validated."""

    def __init__(
        self,
        *,
        alphas: Any = None,
        n_alphas: int = 100,
        eps: float = 1e-3,
        cv: Any = None,
        rule: str = "min",
        l1_ratio: Any = 1.0,
        groups: Any = None,
        penalty_factors: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 100_000,
        n_jobs: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.rule = rule
        self.l1_ratio = l1_ratio
        self.groups = groups
        self.penalty_factors = penalty_factors
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
