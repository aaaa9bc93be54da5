"""Choosing the penalty by cross-validation: jointly over strength, mix and penalty factors.

One warm path is fitted on all rows; its strengths are the grid. Every fold follows the same grid. For squared error
all folds and all vectors of penalty factors are solved together, from one downdated Gram matrix or one product for all
gradients. With `n_jobs`, row weights or another loss, folds run under whatever joblib backend is active
(`joblib.parallel_config`), so a cluster that registers one serves here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

from fewer.linear import Path
from fewer.linear.estimators.base import Estimator
from fewer.linear.factors import Candidate
from fewer.method import FewerError, nearest

__all__ = ["CrossValidated", "Tried"]

Vector = NDArray[np.float64]
RULES = ("min", "1se")


@dataclass(frozen=True, eq=False)
class Tried:
    """One combination of mix and factors over the grid: mean loss on held-out rows and its standard error."""

    label: str
    l1_ratio: float
    alphas: Vector
    mean: Vector
    error: Vector
    path: Path

    def pick(self, rule: str) -> int:
        """Position of the smallest mean, or of the strongest penalty within one standard error of it."""
        best = int(np.argmin(self.mean))
        if rule == "min":
            return best
        return int(np.flatnonzero(self.mean <= self.mean[best] + self.error[best])[0])


class CrossValidated(Estimator):
    """Base of the estimators whose name ends in CV; see their classes.

    Fitted attributes beside those of `Estimator`: `alphas_`, `cv_mean_`, `cv_error_` (mean held-out loss and its
    standard error along the grid of the chosen combination), `tried_` (every combination), `l1_ratio_`, `path_`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CrossValidated:
        """Cross-validate, choose, and keep the solution on all rows.

        Args:
            X: (n, p) numpy, data frame or scipy sparse.
            y: (n,) target.
            sample_weight: (n,) not negative; used in fitting and in scoring.
        """
        if self.rule not in RULES:
            raise FewerError(f"unknown rule '{self.rule}'{nearest(str(self.rule), RULES)}; known: min, 1se")
        X, y, weights = self._check(X, y, sample_weight)
        folds = list(
            check_cv(self.cv, self._split_target(y), classifier=is_classifier(self)).split(X, self._split_target(y))
        )
        ratios = np.atleast_1d(np.asarray(self._mixes(), dtype=np.float64))
        choices = self._candidates(X, y, weights)
        batched = (
            not (self._separate or self._learnt) and self._loss() is None and weights is None and self.n_jobs is None
        )
        explore = self._together if batched else self._apart
        self.tried_ = explore(X, y, weights, choices, [float(mix) for mix in ratios], folds)
        best = min(self.tried_, key=lambda tried: float(tried.mean.min()))
        at = best.pick(self.rule)
        self.alphas_, self.cv_mean_, self.cv_error_ = best.alphas, best.mean, best.error
        self.l1_ratio_, self.path_ = best.l1_ratio, best.path
        self._keep(best.path[at], best.label)
        return self

    #: Whether the penalty is more than a price for each column, so that folds share nothing.
    _separate = False

    def _mixes(self) -> Any:
        """One share of L1, or those to choose from."""
        return getattr(self, "l1_ratio", 1.0)

    @property
    def _learnt(self) -> bool:
        """Whether the factors depend on the target, so that every fold must make its own."""
        return bool(getattr(self._asked(), "learnt", False))

    def _split_target(self, y: Any) -> Any:
        """What the splitter stratifies by."""
        return y

    def _grid(self) -> dict[str, Any]:
        return {"lams": self.alphas} if self.alphas is not None else {"count": self.n_alphas, "ratio": self.eps}

    def _together(
        self, X: Any, y: Any, weights: Vector | None, choices: list[Candidate], mixes: list[float], folds: list[Any]
    ) -> list[Tried]:
        """All folds and all vectors of factors in one call, which shares what they share (squared error only)."""
        from fewer.linear import cross_paths

        options = dict(
            intercept=self.fit_intercept, standardize=self.standardize, tol=self.tol,
            max_iter=self.max_iter, **self._bounds(X.shape[1]), **self._grid(),
        )  # fmt: skip
        factors = np.stack([choice.factors for choice in choices], axis=1)
        held = [test for _, test in folds]
        rows = X.tocsr() if hasattr(X, "tocsr") else X
        made = []
        for mix in mixes:
            found = cross_paths(X, y, held, factors=factors, mix=mix, **options)
            for choice, paths in zip(choices, found, strict=True):
                full = self._path(X, y, None, choice.factors, mix, lams=paths[0].lams)
                losses = [
                    self._held_out_loss(path, rows[test], y[test], np.ones(len(test)))
                    for test, path in zip(held, paths, strict=True)
                ]
                made.append(_tried(choice, mix, full, losses, [float(len(test)) for test in held]))
        return made

    def _apart(
        self, X: Any, y: Any, weights: Vector | None, choices: list[Candidate], mixes: list[float], folds: list[Any]
    ) -> list[Tried]:
        """One fold at a time, under the active joblib backend."""
        rows = X.tocsr() if hasattr(X, "tocsr") else X
        made = []
        for at, choice in enumerate(choices):
            fulls = self._paths(X, y, weights, choice.factors, mixes, [self._grid()] * len(mixes))
            given, lams = at if self._learnt else choice.factors, [full.lams for full in fulls]
            jobs = (
                delayed(_held_out)(self, rows, y, weights, given, mixes, lams, train, test) for train, test in folds
            )
            losses, sizes = zip(*Parallel(n_jobs=self.n_jobs)(jobs), strict=True)
            each = zip(mixes, fulls, zip(*losses, strict=True), strict=True)
            made.append([_tried(choice, mix, full, loss, sizes) for mix, full, loss in each])
        return [tried for of_mix in zip(*made, strict=True) for tried in of_mix]

    def _paths(
        self, X: Any, y: Any, weights: Vector | None, factors: Vector, mixes: Sequence[float],
        grids: Sequence[dict[str, Any]],
    ) -> list[Path]:  # fmt: skip
        """One path a mix; estimators whose mixes share work override this."""
        return [self._path(X, y, weights, factors, mix, **grid) for mix, grid in zip(mixes, grids, strict=True)]

    def _held_out_loss(self, path: Path, X: Any, y: Any, weights: Vector) -> Vector:
        """(L,) weighted mean loss along a path on rows that it has not seen."""
        from fewer.linear.losses import Squared

        loss, eta = self._loss() or Squared(), path.linear(X)
        sums = [loss.value(eta[:, k], y, weights) for k in range(eta.shape[1])]
        return np.asarray(np.array(sums) / weights.sum(), dtype=np.float64)


def _tried(choice: Candidate, mix: float, full: Path, losses: Any, sizes: Any) -> Tried:
    """Mean over folds, weighted by their rows, and its standard error."""
    table, shares = np.asarray(losses), np.asarray(sizes)
    mean = np.average(table, axis=0, weights=shares)
    spread = np.sqrt(np.average((table - mean) ** 2, axis=0, weights=shares) / max(len(shares) - 1, 1))
    return Tried(choice.label, mix, full.lams, mean, spread, full)


def _held_out(
    model: CrossValidated, X: Any, y: Any, weights: Vector | None, factors: Vector | int, mixes: list[float],
    lams: list[Vector], train: Any, test: Any,
) -> tuple[list[Vector], float]:  # fmt: skip
    """Mean losses along the grids on the rows left out, and the weight of those rows; an integer names learnt factors.

    Every mix has a grid of its own.
    """
    inside = None if weights is None else weights[train] * (len(train) / weights[train].sum())
    # Centring is part of the fit: each fold's intercept comes from its own rows.
    part = X[train].tocsc() if hasattr(X, "tocsr") else X[train]
    if isinstance(factors, int):
        factors = model._candidates(part, y[train], inside)[factors].factors
    paths = model._paths(part, y[train], inside, factors, mixes, [{"lams": grid} for grid in lams])
    share = np.ones(len(test)) if weights is None else weights[test]
    return [model._held_out_loss(path, X[test], y[test], share) for path in paths], float(share.sum())
