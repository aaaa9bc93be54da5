"""Choosing the penalty by cross-validation: jointly over strength, mix and penalty factors.

One warm path is fitted on all rows; its strengths are the grid. Every fold follows the same grid. For squared error
all folds and all vectors of penalty factors are solved together, from one downdated Gram matrix or one product for all
gradients. With `n_jobs`, row weights or another loss, folds run under whatever joblib backend is active
(`joblib.parallel_config`), so a cluster that registers one serves here too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fewer.linear import Path
from fewer.linear.estimators.arguments import check_arguments, penalties
from fewer.linear.estimators.base import Estimator
from fewer.linear.estimators.held_out import Fold, Tried, losses_along, tried, usable
from fewer.linear.estimators.splits import router, splits
from fewer.linear.factors import Candidate
from fewer.method import FewerError

__all__ = ["CrossValidated", "Tried"]

Vector = NDArray[np.float64]


class CrossValidated(Estimator):
    """Base of the estimators whose name ends in CV; see their classes.

    Fitted attributes beside those of `Estimator`: `alphas_`, `cv_mean_`, `cv_error_` (mean held-out loss and its
    standard error along the grid of the chosen combination), `tried_` (every combination), `l1_ratio_`, `path_`.
    A mean that is not finite is nan, and never chosen.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> CrossValidated:
        """Cross-validate, choose, and keep the solution on all rows.

        Args:
            X: (n, p) numpy, data frame or scipy sparse.
            y: (n,) target.
            sample_weight: (n,) not negative; used in fitting and in scoring.
            params: `groups`, (n,) labels of rows that stay in one fold: for splitters that need them, and for a
                number of folds. With scikit-learn's metadata routing enabled, whatever the splitter asks for.
        """
        name = type(self).__name__
        check_arguments(self)
        X, y, weights = self._check(X, y, sample_weight)
        pairs = splits(self, X, self._split_target(y), sample_weight, params)
        folds = usable(name, pairs, weights, len(y))
        if self.rule == "1se" and len(folds) < 2:
            raise FewerError(f"{name}: rule '1se' needs a standard error, so two folds; use rule 'min', or more folds")
        for fold in folds:
            self._check_fold(y, weights, fold)
        mixes = [float(mix) for mix in np.atleast_1d(np.asarray(self._mixes(), dtype=np.float64))]
        choices = self._candidates(X, y, weights)
        alone = self._separate or self._learnt or any(fold.repeats for fold in folds)
        batched = not alone and self._loss() is None and weights is None and self.n_jobs is None
        explore = self._together if batched else self._apart
        self.tried_, missed = explore(X, y, weights, choices, mixes, folds)
        best = min(self.tried_, key=lambda one: one.least)
        if not np.isfinite(best.least):
            raise FewerError(f"{name}: no penalty has a finite held-out loss in every fold; there is nothing to rank")
        at = best.pick(self.rule)
        self.alphas_, self.cv_mean_, self.cv_error_ = best.alphas, best.mean, best.error
        self.l1_ratio_, self.path_ = best.l1_ratio, best.path
        self._keep(best.path[at], best.label)
        varies = np.ptp(y if weights is None else y[weights > 0], axis=0).any()  # nothing explains a constant
        self._doubts(best, bool(varies), missed, (len(folds) + 1) * sum(len(one.alphas) for one in self.tried_))
        return self

    def get_metadata_routing(self) -> Any:
        """Metadata of `fit` as scikit-learn routes it."""
        return router(self)

    #: Whether the penalty is more than a price for each column, so that folds share nothing.
    _separate = False

    def _doubts(self, best: Tried, varies: bool, missed: int, fits: int) -> None:
        """Warn, once each, of fits that did not converge and of a curve that says nothing."""
        if best.flat and varies:
            warnings.warn(
                f"{type(self).__name__}: the held-out loss is the same at every penalty, so cross-validation cannot "
                f"choose; alpha_ is the strongest",
                UserWarning,
                stacklevel=3,
            )
        if missed:
            chosen = "" if self.solution_.converged else ", the chosen one among them"
            warnings.warn(
                f"{type(self).__name__}: {missed} of {fits} fits of the paths (all rows, and every fold) did not reach "
                f"tol={self.tol:g} in {self.max_iter} rounds{chosen}; raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _check_fold(self, y: Any, weights: Vector | None, fold: Fold) -> None:
        """Refuse a fold whose training rows cannot stand for the held-out ones."""

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
        given = penalties(self.alphas)
        if given is None or isinstance(given, int):
            return {"count": self.n_alphas if given is None else given, "ratio": self.eps}
        return {"lams": given}

    def _together(
        self, X: Any, y: Any, weights: Vector | None, choices: list[Candidate], mixes: list[float], folds: list[Fold]
    ) -> tuple[list[Tried], int]:
        """All folds and all vectors of factors in one call, which shares what they share (squared error only)."""
        from fewer.linear import cross_paths

        options = dict(
            intercept=self.fit_intercept, standardize=self.standardize, tol=self.tol,
            max_iter=self.max_iter, **self._bounds(X.shape[1]), **self._grid(),
        )  # fmt: skip
        factors = np.stack([choice.factors for choice in choices], axis=1)
        held = [np.setdiff1d(np.arange(len(y)), fold.train) for fold in folds]
        rows = X.tocsr() if hasattr(X, "tocsr") else X
        made, missed, ones = [], 0, np.ones(len(y))
        for mix in mixes:
            found = cross_paths(X, y, held, factors=factors, mix=mix, **options)
            for choice, paths in zip(choices, found, strict=True):
                full = self._path(X, y, None, choice.factors, mix, lams=paths[0].lams)
                losses = [self._held_out_loss(path, rows, y, ones, f) for f, path in zip(folds, paths, strict=True)]
                missed += _missed([full, *paths])
                made.append(tried(type(self).__name__, choice.label, mix, full, losses, folds, None))
        return made, missed

    def _apart(
        self, X: Any, y: Any, weights: Vector | None, choices: list[Candidate], mixes: list[float], folds: list[Fold]
    ) -> tuple[list[Tried], int]:
        """One fold at a time, under the active joblib backend."""
        rows = X.tocsr() if hasattr(X, "tocsr") else X
        made, missed = [], 0
        for at, choice in enumerate(choices):
            fulls = self._paths(X, y, weights, choice.factors, mixes, [self._grid()] * len(mixes))
            given, lams = at if self._learnt else choice.factors, [full.lams for full in fulls]
            jobs = (delayed(_held_out)(self, rows, y, weights, given, mixes, lams, fold) for fold in folds)
            losses, counts = zip(*Parallel(n_jobs=self.n_jobs)(jobs), strict=True)
            missed += _missed(fulls) + sum(counts)
            each = zip(mixes, fulls, zip(*losses, strict=True), strict=True)
            name = type(self).__name__
            made.append([tried(name, choice.label, mix, full, loss, folds, weights) for mix, full, loss in each])
        return [one for of_mix in zip(*made, strict=True) for one in of_mix], missed

    def _paths(
        self, X: Any, y: Any, weights: Vector | None, factors: Vector, mixes: Sequence[float],
        grids: Sequence[dict[str, Any]],
    ) -> list[Path]:  # fmt: skip
        """One path a mix; estimators whose mixes share work override this."""
        return [self._path(X, y, weights, factors, mix, **grid) for mix, grid in zip(mixes, grids, strict=True)]

    def _held_out_loss(self, path: Path, X: Any, y: Any, weights: Vector, fold: Fold) -> Vector:
        """(L,) weighted mean loss along a path on the held-out rows of a fold."""
        return losses_along(self._loss(), path, X, y, weights, fold)


def _missed(paths: Sequence[Path]) -> int:
    """How many solutions did not converge."""
    return sum(int(np.count_nonzero(~path.converged)) for path in paths)


def _held_out(
    model: CrossValidated, X: Any, y: Any, weights: Vector | None, factors: Vector | int, mixes: list[float],
    lams: list[Vector], fold: Fold,
) -> tuple[list[Vector], int]:  # fmt: skip
    """Mean losses along the grids on the rows left out, and how many fits did not converge.

    Every mix has a grid of its own; an integer in the place of factors names learnt ones.
    """
    train = fold.train
    inside = None if weights is None else weights[train] * (len(train) / weights[train].sum())
    # Centring is part of the fit: each fold's intercept comes from its own rows.
    part = X[train].tocsc() if hasattr(X, "tocsr") else X[train]
    try:
        if isinstance(factors, int):
            factors = model._candidates(part, y[train], inside)[factors].factors
        paths = model._paths(part, y[train], inside, factors, mixes, [{"lams": grid} for grid in lams])
    except FewerError as error:
        raise FewerError(f"training rows of {fold}: {error}") from None
    every = np.ones(len(y)) if weights is None else weights
    return [model._held_out_loss(path, X, y, every, fold) for path in paths], _missed(paths)
