"""The data matrix as the solvers see it: a few products, dense or compressed sparse columns, never copied whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewer.linear import tiers
from fewer.linear.arrays import plain
from fewer.method import FewerError

__all__ = [
    "LARGE", "Dense", "Matrix", "Sparse", "as_matrix", "compact", "constant_columns", "refuse_extremes", "refuse_sums",
]  # fmt: skip

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
#: Squares of squares of larger numbers overflow once they are added up; those of the inverse vanish.
LARGE = 1e70
#: So many numbers, zeros counted, are quicker dense.
_SMALL = 1 << 18


class Matrix(Protocol):
    """Products with the transpose, some columns, and squared norms."""

    shape: tuple[int, int]

    def tdot(self, V: Vector) -> Vector:
        """X' V, (p, m), from V (n, m)."""

    def columns(self, index: Index) -> Any:
        """Some columns, (n, k); dense or sparse."""

    def squares(self, weights: Vector, means: Vector | None = None) -> Vector:
        """(p,) sum_i weights_i (x_ij - means_j)^2; means of a sum of squares taken afterwards would lose digits."""

    def dot(self, index: Index, values: Vector) -> Vector:
        """X[:, index] @ values."""


class Dense:
    """A numpy matrix in C or Fortran order, float32 or float64; large single-precision ones are used as they are."""

    def __init__(self, X: NDArray[Any]) -> None:
        self.X = X
        self.shape: tuple[int, int] = (X.shape[0], X.shape[1])

    def tdot(self, V: Vector) -> Vector:
        """X' V."""
        if self.X.dtype == np.float64:
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is found in the sums, and named
                return np.asarray((V.T @ self.X).T)  # this way round the library is quicker on thin V
        # Single precision: short sums, added up in double, keep the error near that of one rounding.
        V, total = V.astype(np.float32), np.zeros((self.shape[1], V.shape[1]))
        for i in range(0, self.shape[0], 512):
            total += self.X[i : i + 512].T @ V[i : i + 512]
        return total

    def columns(self, index: Index) -> NDArray[Any]:
        """Some columns, in the order of X so that copying runs along its lines."""
        if self.X.flags.c_contiguous:
            return np.take(self.X, index, axis=1)
        return self.X.T[index].T

    def squares(self, weights: Vector, means: Vector | None = None) -> Vector:
        """Weighted squared norms, a slab of rows at a time."""
        total = np.zeros(self.shape[1])
        step = max(1, 2_000_000 // max(1, self.shape[1]))
        for i in range(0, self.shape[0], step):
            slab = self.X[i : i + step] if means is None else self.X[i : i + step] - means
            total += weights[i : i + step] @ np.square(slab, dtype=np.float64)
        return total

    def dot(self, index: Index, values: Vector) -> Vector:
        """X[:, index] @ values."""
        return np.asarray(self.columns(index) @ values, dtype=np.float64)


class Sparse:
    """A scipy matrix or array, held as CSC with float64 values."""

    def __init__(self, X: Any) -> None:
        X = X.tocsc()
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        self.X = X.astype(np.float64, copy=False)
        self.shape: tuple[int, int] = (X.shape[0], X.shape[1])
        self.data = np.ascontiguousarray(self.X.data)
        self.rows = np.ascontiguousarray(self.X.indices, dtype=np.int32)
        self.starts = np.ascontiguousarray(self.X.indptr, dtype=np.int64)

    def tdot(self, V: Vector) -> Vector:
        """X' V."""
        native = tiers.native()
        if native is None:
            return np.asarray(self.X.T @ V, dtype=np.float64)
        V = np.ascontiguousarray(V)
        out = np.empty((self.shape[1], V.shape[1]))
        native.csc_tdot(
            self.data.ctypes.data, self.rows.ctypes.data, self.starts.ctypes.data, self.shape[1],
            V.ctypes.data, V.shape[1], out.ctypes.data,
        )  # fmt: skip
        return out

    def columns(self, index: Index) -> Any:
        """Some columns, still sparse."""
        return self.X[:, index]

    def squares(self, weights: Vector, means: Vector | None = None) -> Vector:
        """Weighted squared norms; entries that are not stored are zeros, off by the mean."""
        if means is not None:
            counts = np.diff(self.starts)
            moved = self.X.copy()
            moved.data = self.data - np.repeat(means, counts)
            here = np.bincount(np.repeat(np.arange(len(counts)), counts), weights[self.rows], minlength=len(counts))
            missing = np.where(counts < self.shape[0], np.maximum(weights.sum() - here, 0.0), 0.0)
            return Sparse(moved).squares(weights) + means * means * missing
        terms = self.data * self.data * weights[self.rows]
        sums = np.concatenate([[0.0], np.cumsum(terms)]) if terms.size < 64 else None
        if sums is not None:
            return np.asarray(sums[self.starts[1:]] - sums[self.starts[:-1]])
        owner = np.repeat(np.arange(self.shape[1]), np.diff(self.starts))
        return np.bincount(owner, weights=terms, minlength=self.shape[1]).astype(np.float64, copy=False)

    def dot(self, index: Index, values: Vector) -> Vector:
        """X[:, index] @ values."""
        return np.asarray(self.X[:, index] @ values, dtype=np.float64)


def as_matrix(X: Any) -> Matrix:
    """`X` as a `Matrix`: numpy (anything `np.asarray` takes) or scipy sparse.

    Raises:
        FewerError: not two-dimensional, no rows or no columns, or not numeric.
    """
    if isinstance(X, Dense | Sparse):
        return X
    if hasattr(X, "tocsc"):
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise FewerError(f"X is sparse of shape {X.shape} and type {X.dtype}; give a matrix of real numbers")
        matrix: Matrix = Sparse(X)
    else:
        dense = plain(X, "X")
        if dense.dtype != np.float64 and not (dense.dtype == np.float32 and dense.size > 1 << 24):
            dense = dense.astype(np.float64)
        if dense.ndim != 2:
            raise FewerError(f"X has {dense.ndim} dimensions; give a matrix (rows, columns)")
        if not (dense.flags.c_contiguous or dense.flags.f_contiguous):
            dense = np.ascontiguousarray(dense)
        matrix = Dense(dense)
    if matrix.shape[0] == 0:
        raise FewerError("X has no rows")
    if matrix.shape[1] == 0:
        raise FewerError("X has no columns")
    return matrix


def compact(X: Any) -> Matrix:
    """As `as_matrix`, but a small sparse matrix becomes dense: the compiled solvers of many losses need that.

    >>> from scipy.sparse import eye_array
    >>> type(compact(eye_array(3))).__name__, type(compact(eye_array(3000))).__name__
    ('Dense', 'Sparse')
    """
    matrix = as_matrix(X)
    if isinstance(matrix, Sparse) and matrix.shape[0] * matrix.shape[1] <= _SMALL:
        return as_matrix(matrix.X.toarray())
    return matrix


def refuse_extremes(X: Any, name: Callable[[int], str]) -> None:
    """Refuse columns whose squares of squares leave the range of numbers: a certificate of theirs would say nothing.

    Args:
        X: (n, p) numpy or scipy sparse, finite.
        name: what the j-th column is called.

    Raises:
        FewerError: a column whose largest number is above 1e70, or below 1e-70 and not 0.

    >>> refuse_extremes(np.array([[1.0, 2e-9], [3.0, 0.0]]), str)
    """
    if hasattr(X, "tocsc"):
        top = np.asarray(abs(X).max(axis=0).todense(), dtype=np.float64).ravel()
    else:
        top = np.maximum(X.max(axis=0), -X.min(axis=0)).astype(np.float64)  # float32 has no 1e70
    bad = np.flatnonzero((top > LARGE) | ((top < 1 / LARGE) & (top > 0)))
    if len(bad) and top[bad[0]] > LARGE:
        values = X.tocsc()[:, [bad[0]]].toarray().ravel() if hasattr(X, "tocsc") else X[:, bad[0]]
        row = int(np.argmax(np.abs(values)))
        raise FewerError(f"{name(int(bad[0]))} holds {values[row]:g} in row {row + 1}; rescale it")
    if len(bad):
        raise FewerError(f"{name(int(bad[0]))} holds nothing larger than {top[bad[0]]:g}; rescale it")


def refuse_sums(sums: Vector) -> None:
    """Refuse columns by sums over their rows, which carry any nan, infinity or enormous number and cost nothing.

    Args:
        sums: (p, m) sums of each column, in m weightings.

    Raises:
        FewerError: a sum that is not finite, or above 1e70.
    """
    wrong = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(wrong):
        raise FewerError(f"column {wrong[0]} of X holds nan or infinity (or overflows); give finite numbers")
    wrong = np.flatnonzero((np.abs(sums) > LARGE).any(axis=1))
    if len(wrong):
        raise FewerError(f"column {wrong[0]} of X adds up to {np.abs(sums[wrong[0]]).max():.0e}; rescale it")


def constant_columns(matrix: Matrix) -> NDArray[np.bool_]:
    """(p,) whether all rows of a column hold one number: beside an intercept it explains nothing, and a gradient that
    is nothing but rounding would have a strength, and a path, of its own.

    >>> constant_columns(as_matrix([[1.0, 0.1], [2.0, 0.1]]))
    array([False,  True])
    """
    X: Any = matrix.X  # type: ignore[attr-defined]
    if not isinstance(matrix, Sparse):
        return np.asarray(X.max(axis=0) == X.min(axis=0))
    top, low = (np.asarray(end(axis=0).todense()).ravel() for end in (X.max, X.min))
    return np.asarray(top == low)
