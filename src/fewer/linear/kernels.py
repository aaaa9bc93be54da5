"""The two inner solvers, called through addresses when the extension is there and through numpy when it is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import portable, tiers
from fewer.linear.terms import Terms

__all__ = ["Columns", "Data", "Factor", "Warm", "extremes", "gram_block", "gram_path", "residual_path"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass
class Warm:
    """Where a path stands on its working columns: the last solution and the one before it."""

    b: Vector = field(default_factory=lambda: np.empty(0))
    before: Vector = field(default_factory=lambda: np.empty(0))
    lam_at: float = np.inf
    lam_before: float = np.inf

    def grow(self, k: int) -> None:
        """Append zeros for new columns."""
        more = np.zeros(k - len(self.b))
        self.b, self.before = np.concatenate([self.b, more]), np.concatenate([self.before, more])

    def restart(self, b: Vector, before: Vector, lam_at: float, lam_before: float) -> None:
        """Stand at a known solution."""
        self.b, self.before, self.lam_at, self.lam_before = b.copy(), before.copy(), lam_at, lam_before


class Factor:
    """The Cholesky factor of the active columns, carried from one run of penalties to the next."""

    def __init__(self) -> None:
        self.U, self.items, self.sizes = np.empty((0, 0)), np.empty(0, np.int64), np.zeros(2, np.int64)
        self.columns = np.empty(0, np.int64)

    def enter(self, work: Index, active: int) -> None:
        """Rename what is held for a new set of working columns, keep the leading part still there, make room."""
        size, k = int(self.sizes[0]), len(work)
        place = np.minimum(np.searchsorted(work, self.columns[:size]), max(0, k - 1))
        there = work[place] == self.columns[:size] if k else np.zeros(size, dtype=bool)
        size = size if there.all() else int(np.argmin(there))
        room = min(k, 2 * active + 64)
        if room > len(self.U):
            U, items = np.empty((room, room)), np.empty(room, np.int64)
            U[:size, :size] = self.U[:size, :size]
            self.U, self.items = U, items
        self.items[:size] = place[:size]
        self.sizes[:] = size, len(self.U)

    def leave(self, work: Index) -> None:
        """Remember the columns by their global positions."""
        self.columns = work[self.items[: self.sizes[0]]]


def _at(array: NDArray[Any] | None) -> int:
    return 0 if array is None else int(array.ctypes.data)


def gram_path(
    G: Vector, yy: float, c: Vector, terms: Terms, warm: Warm, lams: Vector, tol: float, most: int,
    factor: Factor | None = None, work: Index | None = None,
) -> tuple[Vector, Vector, Vector]:  # fmt: skip
    """Solve a run of penalties on the leading k x k block of G, k = len(c).

    Returns:
        Solutions (m, k), gradients (m, k), and stats (m, 4): gap on these columns, rounds, exact solves, objective.
    """
    k, m = len(c), len(lams)
    b = np.ascontiguousarray(warm.b)
    g = c - G[:k, :k] @ b if b.any() else c.copy()
    native = tiers.native()
    if native is None:
        return portable.gram_path(G[:k, :k], yy, c, terms, b, g, lams, tol, most)
    B, Gs, stats, before = np.empty((m, k)), np.empty((m, k)), np.empty((m, 4)), warm.before.copy()
    c, lams = np.ascontiguousarray(c), np.ascontiguousarray(lams, dtype=np.float64)
    factor, work = factor or Factor(), np.arange(k) if work is None else work
    factor.enter(work, int(np.count_nonzero(b)))
    native.gram_path(
        k, G.strides[0] // 8, G.ctypes.data, float(yy), _at(c), _at(b), _at(g), _at(terms.l1), _at(terms.l2),
        _at(terms.low), _at(terms.high), m, _at(lams), _at(before), float(warm.lam_before), float(warm.lam_at),
        float(tol), int(most), _at(B), _at(Gs), _at(stats),
        _at(factor.U), _at(factor.items), _at(factor.sizes),
    )  # fmt: skip
    factor.leave(work)
    late = np.flatnonzero(stats[:, 1] >= most)
    if len(late) and most >= 1000:
        _rescue(G[:k, :k], yy, c, terms, lams, tol, int(late[0]), (B, Gs, stats))
    return B, Gs, stats


def _rescue(
    G: Vector, yy: float, c: Vector, terms: Terms, lams: Vector, tol: float, first: int,
    made: tuple[Vector, Vector, Vector],
) -> None:  # fmt: skip
    """Solutions that descent gave up on, from `first` on, tried again by way of the flat directions of G.

    Where a priced column repeats a free one of large norm, a round of descent moves it by next to nothing; the numpy
    solver follows the direction in which the fit stays as it is.
    """
    B, Gs, stats = made
    b, g, more = B[first].copy(), Gs[first].copy(), 200
    found = portable.gram_path(G, yy, c, terms, b, g, lams[first:], tol, more)
    better = found[2][:, 3] < stats[first:, 3]
    found[2][:, 1] += np.where(found[2][:, 0] > tol, stats[first:, 1], 0.0)  # given up on still, and said so
    for old, new in zip(made, found, strict=True):
        old[first:][better] = new[better]


def gram_block(G: Vector, places: Index) -> Vector:
    """G[places][:, places]."""
    native = tiers.native()
    if native is None:
        return np.asarray(G[places[:, None], places])
    out = np.empty((len(places), len(places)))
    places = np.ascontiguousarray(places)
    native.gram_block(G.ctypes.data, G.strides[0] // 8, places.ctypes.data, len(places), out.ctypes.data)
    return out


def extremes(pulls: Vector, l1: Vector, lams: Vector) -> tuple[Vector, Vector]:
    """Of gradients pulls (p, m): the largest |g| / l1 over priced columns, the largest |g| - lam l1 over all, (m,)."""
    native = tiers.native()
    if native is None:
        return portable.extremes(pulls, l1, lams)
    p, m = pulls.shape
    ratio, over, lams = np.empty(m), np.empty(m), np.ascontiguousarray(lams)
    down, across = (step // 8 for step in pulls.strides)
    native.extremes(_at(pulls), p, m, down, across, _at(l1), _at(lams), _at(ratio), _at(over))
    return ratio, over


@dataclass
class Data:
    """The columns as the residual kernel reads them: dense in Fortran order, or compressed; and their row weights."""

    dense: NDArray[Any] | None
    data: NDArray[Any] | None
    weighted: NDArray[Any] | None
    rows: NDArray[Any] | None
    starts: NDArray[Any] | None
    uniform: bool


@dataclass
class Columns:
    """What the residual kernel needs to know about its working columns."""

    index: Index
    mean: Vector
    mass: Vector
    norm: Vector


def residual_path(
    held: Data, weights: Vector, y: Vector, columns: Columns, terms: Terms, warm: Warm,
    residual: Vector, shift: float, lams: Vector, tol: float, most: int,
) -> tuple[Vector, Vector, Vector, Vector]:  # fmt: skip
    """Solve a run of penalties by residual coordinate descent; `residual` + shift is the true one, and is moved along.

    Returns:
        Solutions (m, k), residuals (m, n), shifts (m,), stats (m, 4).
    """
    native: Any = tiers.native()
    n, m, k = len(y), len(lams), len(columns.index)
    B, R, shifts, stats = np.empty((m, k)), np.empty((m, n)), np.empty(m), np.empty((m, 4))
    b, before = np.ascontiguousarray(warm.b).copy(), warm.before.copy()
    lams = np.ascontiguousarray(lams, dtype=np.float64)
    native.residual_path(
        _at(held.dense), n, _at(held.data), _at(held.weighted), _at(held.rows), _at(held.starts),
        float(weights[0]) if held.uniform else 1.0, 0 if held.uniform else _at(weights), k, columns.index.ctypes.data,
        _at(columns.mean), _at(columns.mass), _at(columns.norm), _at(y), _at(b), _at(residual), float(shift),
        _at(terms.l1), _at(terms.l2), _at(terms.low), _at(terms.high), m, _at(lams), _at(before),
        float(warm.lam_before), float(warm.lam_at), float(tol), int(most), _at(B), _at(R), _at(shifts), _at(stats),
    )  # fmt: skip
    return B, R, shifts, stats
