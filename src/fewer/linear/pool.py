"""The working Gram matrix: columns that matter so far, with their inner products, grown as they are asked for.

Columns enter centred and scaled by the root of the row weights, so everything downstream is unweighted. Members of a
batch that share row weights share one pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.matrix import Matrix

__all__ = ["GramPool", "Pool"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


class Pool:
    """Gram matrix of the columns seen so far.

    Attributes:
        index: global positions of the pooled columns, in order of entry.
        place: (p,) position in the pool, -1 where absent.
        gram: (capacity, capacity) with the first len(index) rows and columns filled.
    """

    def __init__(self, matrix: Matrix, weights: Vector, means: Vector) -> None:
        n, p = matrix.shape
        self.matrix, self.means = matrix, means
        self._left = means  # of compressed columns: what is still to be subtracted
        first = weights[0] if len(weights) else 1.0
        self.root: Any = float(first**0.5) if np.all(weights == first) else np.sqrt(weights)
        self.weights = weights
        self.index: Index = np.empty(0, dtype=np.int64)
        self.place = np.full(p, -1, dtype=np.int64)
        self.gram = np.empty((0, 0))
        self._store: Any = np.empty((n, 0))
        self._sparse = not hasattr(matrix, "X") or hasattr(matrix.X, "tocsc")

    @property
    def full(self) -> bool:
        """Whether every column is in."""
        return len(self.index) == self.matrix.shape[1]

    def fill(self) -> None:
        """Bring in every column at once, without copying a dense matrix that needs no weights."""
        p = self.matrix.shape[1]
        if self._sparse or len(self.index) or not np.isscalar(self.root):
            self.require(np.arange(p))
            return
        X = self.matrix.X  # type: ignore[attr-defined]
        self.gram = np.asarray(X.T @ X, dtype=np.float64)
        self.gram *= self.weights[0]
        if self.means.any():
            centre = self.means**2 * self.weights.sum()
            if np.any(np.diag(self.gram) <= (1 + 1e-6) * centre):  # a difference of large numbers: centre first instead
                self.gram = np.empty((0, 0))
                self.require(np.arange(p))
                return
            self.gram -= np.outer(self.means, self.means) * self.weights.sum()
        self._store = None
        self.index = np.arange(p)
        self.place = np.arange(p)

    def require(self, wanted: Index) -> None:
        """Bring in the columns that are not there yet."""
        new = wanted[self.place[wanted] < 0]
        if len(new) == 0:
            return
        old, total = len(self.index), len(self.index) + len(new)
        self._grow(total)
        if self._sparse:
            columns = self._sparse_columns(new).multiply(_column(self.root)).tocsc()
            self._store = columns if old == 0 else _hstack(self._store, columns)
            block = (self._store.T @ columns).toarray()
            centre = self._left[np.concatenate([self.index, new])]
            mass = np.asarray(_column(self.root).T @ columns).ravel() if np.ndim(self.root) else None
            sums = self.root * np.asarray(columns.sum(axis=0)).ravel() if mass is None else mass
            # sum s (x_i - m_i)(x_j - m_j) with sum s x_j = mass_j: subtract m_i mass_j when m is the weighted mean.
            block -= np.outer(centre, sums)
        else:
            fresh = self._store[:, old:total]
            fresh[...] = self.matrix.columns(new)
            if self.means.any():
                fresh -= self.means[new]
            fresh *= _column(self.root) if np.ndim(self.root) else self.root
            block = np.empty((total, len(new)))
            block[old:] = fresh.T @ fresh
            if old:
                block[:old] = self._store[:, :old].T @ fresh
        self.gram[:total, old:total] = block
        self.gram[old:total, :old] = block[:old].T
        self.gram[old:total, old:total] = 0.5 * (block[old:] + block[old:].T)
        self._flatten(old, total, new)
        self.index = np.concatenate([self.index, new])
        self.place[new] = np.arange(old, total)

    def _sparse_columns(self, new: Index) -> Any:
        """Compressed columns; full ones centred, as they alone can lie far from zero in units of their spread."""
        columns = self.matrix.columns(new).tocsc(copy=True)
        full = np.where(np.diff(columns.indptr) == columns.shape[0], self.means[new], 0.0)
        if full.any():
            columns.data = columns.data - np.repeat(full, np.diff(columns.indptr))
            self._left = self._left.copy()
            self._left[new[full != 0]] = 0.0
        return columns

    def _flatten(self, old: int, total: int, new: Index) -> None:
        """Columns whose centred norm is rounding are constant: give them zero rows."""
        diagonal = np.einsum("ii->i", self.gram)[old:total]
        level = np.where(self._left[new] != 0, 1e-13, 1e-26) if self._sparse else 1e-26
        flat = old + np.flatnonzero(diagonal <= level * self.means[new] ** 2 * self.weights.sum())
        self.gram[flat, :total] = 0.0
        self.gram[:total, flat] = 0.0

    def _grow(self, total: int) -> None:
        n, p = self.matrix.shape
        room = len(self.gram)
        if total <= room:
            return
        room = min(p, max(total, 2 * room, 2048))  # memory that is never touched costs nothing
        old = len(self.index)
        gram = np.empty((room, room))
        gram[:old, :old] = self.gram[:old, :old]
        self.gram = gram
        if not self._sparse:
            order = "F" if self.matrix.X.flags.f_contiguous else "C"  # type: ignore[attr-defined]
            store = np.empty((n, room), order=order)  # type: ignore[call-overload]
            store[:, :old] = self._store[:, :old]
            self._store = store

    def residuals(self, target: Vector, places: Index, values: Vector) -> Vector:
        """(n, m) root-weighted residuals of the centred target for coefficients (k, m) on pooled columns."""
        alive = np.flatnonzero(np.any(values != 0, axis=1))
        places, values = places[alive], values[alive]
        if self._store is None:
            columns = self.index[places]
            fitted = self.matrix.dot(columns, values) - self.means[columns] @ values
            return np.asarray(_column(self.root) * (target[:, None] - fitted))
        start = np.asarray(_column(self.root) * target[:, None])
        if self._sparse:
            root = _column(self.root)
            return np.asarray(
                start - (self._store[:, places] @ values - root * (self._left[self.index[places]] @ values))
            )
        count = len(self.index)
        if len(places) == 0:
            return np.repeat(start, values.shape[1], axis=1)
        if 3 * len(places) > count:
            padded = np.zeros((count, values.shape[1]))
            padded[places] = values
            return np.asarray(start - self._store[:, :count] @ padded)
        return np.asarray(start - self._store[:, places] @ values)


class GramPool(Pool):
    """A pool that is full from the start: a precomputed Gram matrix, centred and weighted already."""

    def __init__(self, gram: Vector) -> None:
        p = len(gram)
        self.gram = np.ascontiguousarray(gram, dtype=np.float64)
        self.index = np.arange(p)
        self.place = np.arange(p)
        self.means = np.zeros(p)

    @property
    def full(self) -> bool:
        """Always."""
        return True


def _column(root: Any) -> Any:
    return root[:, None] if np.ndim(root) else np.array([[root]])


def _hstack(left: Any, right: Any) -> Any:
    from scipy import sparse

    return sparse.hstack([left, right], format="csc")
