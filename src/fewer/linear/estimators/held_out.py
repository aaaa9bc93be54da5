"""Held-out losses: folds that can be judged, the curve over their penalties, and what it lets one choose."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.arrays import plain
from fewer.linear.losses import Squared
from fewer.linear.result import Path
from fewer.method import FewerError

__all__ = ["Fold", "Tried", "losses_along", "tried", "usable"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to fit on and rows held out, with the fold's place among all of them (from 1)."""

    number: int
    of: int
    train: Index
    test: Index

    @property
    def repeats(self) -> bool:
        """Whether a training row is drawn more than once."""
        return len(np.unique(self.train)) < len(self.train)

    def __str__(self) -> str:
        """As messages call it."""
        return f"fold {self.number} of {self.of}"


@dataclass(frozen=True, eq=False)
class Tried:
    """One combination of mix and factors over the grid: mean loss on held-out rows and its standard error.

    A mean that is not finite is never chosen.
    """

    label: str
    l1_ratio: float
    alphas: Vector
    mean: Vector
    error: Vector
    path: Path

    @property
    def least(self) -> float:
        """The smallest mean that is finite; infinity where none is."""
        return float(np.min(self.mean[np.isfinite(self.mean)], initial=np.inf))

    @property
    def flat(self) -> bool:
        """Whether the curve says the same of every penalty although coefficients differ along the path."""
        on = np.isfinite(self.mean)
        good, values = self.mean[on], self.path.values[:, on]
        if len(good) < 2 or not np.any(values != values[:, :1]):
            return False
        return bool(np.ptp(good) <= 1e-13 * np.abs(good).max())

    def pick(self, rule: str) -> int:
        """Position of the smallest mean, or of the strongest penalty within one standard error of it."""
        best = int(np.flatnonzero(self.mean == self.least)[0])
        if rule == "min":
            return best
        return int(np.flatnonzero(self.mean <= self.mean[best] + self.error[best])[0])


def usable(name: str, splits: Iterable[Any], weights: Vector | None, rows: int) -> list[Fold]:
    """The folds that can be judged; one without weight on either side is left out, with a warning that names it.

    Raises:
        FewerError: no fold is left.
    """
    pairs = [(_rows(train, rows), _rows(test, rows)) for train, test in splits]
    s = np.ones(rows) if weights is None else weights
    kept = []
    for number, (train, test) in enumerate(pairs, 1):
        fold = Fold(number, len(pairs), train, test)
        side = "held-out" if not s[test].sum() > 0 else "training" if not s[train].sum() > 0 else ""
        if not side:
            kept.append(fold)
            continue
        what = "have weight 0" if len(test if side == "held-out" else train) else "are none"
        warnings.warn(f"{name}: the {side} rows of {fold} {what}; the fold is left out", UserWarning, stacklevel=4)
    if not kept:
        raise FewerError(
            f"{name}: no fold has both training and held-out rows with a positive weight; cv gives {len(pairs)}"
        )
    return kept


def _rows(given: Any, rows: int) -> Index:
    """Positions of rows, from positions or a mask."""
    out = plain(given, "cv")
    if out.dtype == bool and out.shape == (rows,):
        return np.flatnonzero(out)
    if out.ndim != 1 or out.dtype == bool or np.any((out != np.floor(out)) | (out < -rows) | (out >= rows)):
        raise FewerError(f"cv splits into rows that there are not; there are 0 .. {rows - 1}, or a mask of {rows}")
    return out.astype(np.int64) % rows


def losses_along(loss: Any, path: Path, X: Any, y: Any, weights: Vector, fold: Fold) -> Vector:
    """(L,) weighted mean loss of the held-out rows of a fold along a path that has not seen them.

    A loss that ties rows together says itself what the held-out rows add (`held_out`, see `Cox`).
    """
    loss = loss or Squared()
    joint = getattr(loss, "held_out", None)
    part = fold.test if joint is None else np.concatenate([fold.train, fold.test])
    with np.errstate(all="ignore"):  # an overflow is a loss that is not finite, which is reported
        eta = path.linear(X[part])
        if joint is None:
            sums = [loss.value(eta[:, k], y[part], weights[part]) for k in range(eta.shape[1])]
        else:
            seen = np.arange(len(part)) < len(fold.train)
            sums = [joint(eta[:, k], y[part], weights[part], seen) for k in range(eta.shape[1])]
    return np.asarray(np.array(sums) / weights[fold.test].sum(), dtype=np.float64)


def tried(
    name: str, label: str, mix: float, full: Path, losses: Sequence[Vector], folds: Sequence[Fold], weights: Any
) -> Tried:
    """Mean over folds, weighted by their rows, and its standard error; a warning names what is not finite."""
    table = np.asarray(losses)
    shares = np.array([len(fold.test) if weights is None else weights[fold.test].sum() for fold in folds], dtype=float)
    wrong = ~np.isfinite(table)
    with np.errstate(invalid="ignore"):
        mean = np.average(table, axis=0, weights=shares)
        spread = np.sqrt(np.average((table - mean) ** 2, axis=0, weights=shares) / max(len(shares) - 1, 1))
    mean, spread = (np.where(wrong.any(axis=0), np.nan, v) for v in (mean, spread))
    if wrong.any():
        named = ", ".join(str(fold) for fold, row in zip(folds, wrong, strict=True) if row.any())
        warnings.warn(
            f"{name}: the held-out loss is not finite in {named} for {int(wrong.any(axis=0).sum())} of {len(mean)} "
            "penalties; these are not ranked",
            UserWarning,
            stacklevel=4,
        )
    return Tried(label, mix, full.lams, mean, spread, full)
