"""Small dense problems, compiled: Newton on all parameters at once, for losses of several predictors and for groups.

The whole curvature is formed, of every predictor, constant and cut point; beyond `_LARGEST` coefficients that costs
more than it gains, and the general solvers take over with the same answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import tiers
from fewer.linear.blocks import Blocks
from fewer.linear.coupled import Cox, Multinomial, Ordinal
from fewer.linear.ends import end_of, unit_of
from fewer.linear.kernels import _at
from fewer.linear.losses import Loss
from fewer.linear.matrix import Dense, Matrix
from fewer.linear.result import Path

__all__ = ["Task", "can_join", "code_of", "joint_path"]

Vector = NDArray[np.float64]
#: Most coefficients, over all predictors.
_LARGEST = 300
_CODES: dict[type, int] = {Multinomial: 6, Ordinal: 7, Cox: 8}


def can_join(matrix: Matrix, loss: Loss) -> bool:
    """Whether a problem is small and dense, its loss compiled, and the extension there."""
    known = type(loss) in _CODES or hasattr(loss, "code")
    small = 0 < matrix.shape[1] * loss.width <= _LARGEST
    return known and small and isinstance(matrix, Dense) and tiers.native() is not None


def code_of(loss: Any) -> int:
    """The number of a loss in the kernels."""
    return int(_CODES.get(type(loss), getattr(loss, "code", 0)))


class Task:
    """What the kernel is given besides penalties: data in its order, and where the parameters stand."""

    def __init__(self, matrix: Any, y: Vector, loss: Any, s: Vector, intercept: bool) -> None:
        self.loss, self.K = loss, loss.width
        self.order = np.argsort(-y[:, 0], kind="stable") if isinstance(loss, Cox) else None
        X = np.asarray(matrix.X, dtype=np.float64)
        cuts = loss.classes - 1 if isinstance(loss, Ordinal) else 0
        self.q = cuts or (self.K if intercept and loss.intercept else 0)
        # A constant, cut points and relative risks take up any shift of a column.
        self.means = (s @ X) / s.sum() if self.q or isinstance(loss, Cox) else np.zeros(X.shape[1])
        X = X - self.means
        X[:, (s @ X**2) <= 1e-26 * self.means**2 * s.sum()] = 0.0  # a constant: what centring left is rounding
        self.X = np.asfortranarray(X if self.order is None else X[self.order])
        self.y = np.ascontiguousarray(y if self.order is None else y[self.order, 1])
        self.s = np.ascontiguousarray(s if self.order is None else s[self.order])
        floor = float(loss.floor(y, s)) if hasattr(loss, "floor") else 0.0
        self.shape = np.array([*(loss.shape if hasattr(loss, "code") else (0.0, 0.0)), floor])
        self.risk: NDArray[np.int64] | None = None
        self._held: tuple[Any, ...] = ()
        if self.order is not None:
            self.risk, self._held = _risk(loss, y[self.order], self.s)
        n, p = X.shape
        self.b, self.c, self.eta = np.zeros((p, self.K)), np.zeros(self.q), np.zeros((self.K, n))
        if isinstance(loss, Ordinal):
            self.c = np.array(loss.refit(np.zeros(n), y, s).cuts)

    def run(
        self, shape: Blocks, lams: Vector, goal: float, most: int, near: float = np.inf, ordered: Vector | None = None
    ) -> tuple[Vector, Vector, Vector, Vector]:
        """Solutions (L, p, K), constants (L, q), stats (L, 5) and slopes (L, n, K).

        Args:
            near: KKT distance to be reached beside the gap `goal`.
            ordered: prices in place of those of `shape`, see `known.Known`.
        """
        (n, p), L = self.X.shape, len(lams)
        first = np.concatenate([[0], np.cumsum(shape.sizes)]).astype(np.int64)
        single = shape.sizes * self.K == 1  # a norm of one number is its size
        one = np.where(single & np.isfinite(shape.two), shape.one + shape.two, shape.one)
        two = np.where(single & np.isfinite(shape.two), 0.0, shape.two)
        ridge = np.ascontiguousarray(shape.ridge, dtype=np.float64)
        B, C = np.empty((L, p, self.K)), np.empty((L, self.q))
        stats, slopes = np.empty((L, 5)), np.empty((L, self.K, n))
        lams = np.ascontiguousarray(lams, dtype=np.float64)
        native: Any = tiers.native()
        native.joint_newton(
            n, p, self.K, self.q, code_of(self.loss), _at(self.shape), _at(self.X), _at(self.y), _at(self.s),
            _at(self.risk), len(single), _at(first), _at(one), _at(two), _at(ridge), L, _at(lams), float(goal),
            int(most), _at(self.b), _at(self.c), _at(self.eta), _at(B), _at(C), _at(stats), _at(slopes), float(near),
            _at(ordered),
        )  # fmt: skip
        if isinstance(self.loss, Multinomial):
            # What all classes have in common changes nothing where it costs nothing: such columns sum to zero.
            loose = np.repeat(shape.free, shape.sizes)[None, :] | (lams == 0)[:, None]
            B -= np.where(loose[:, :, None], B.mean(axis=2, keepdims=True), 0.0)
        slopes = np.moveaxis(slopes, 1, 2)
        if self.order is not None:
            back = np.empty_like(slopes)
            back[:, self.order] = slopes
            slopes = back
        return B, C, stats, slopes

    def constants(self, B: Vector, C: Vector) -> Vector:
        """(L, K) constants, or (L, q) cut points, of the columns as they were given."""
        shift = np.einsum("j,ljk->lk", self.means, B)
        if isinstance(self.loss, Ordinal):
            return np.asarray(C + shift)
        return np.asarray(C - shift if self.q else np.zeros_like(shift))


def _risk(loss: Cox, y: Vector, s: Vector) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """Addresses of what risk sets are made of, and the arrays that lie there."""
    parts = loss._risk(np.zeros(len(y)), y, s)
    whole = [np.ascontiguousarray(parts[k], dtype=np.int64) for k in ("group", "tails", "owner")]
    real = [np.ascontiguousarray(parts[k], dtype=np.float64) for k in ("event", "share", "each")]
    return np.array([parts["size"], len(parts["owner"]), *map(_at, whole), *map(_at, real)]), (*whole, *real)


def joint_path(
    matrix: Matrix, y: Vector, loss: Loss, s: Vector, shape: Blocks, intercept: bool, lams: Vector | None,
    count: int, ratio: float, tol: float, most: int, duals: bool,
) -> Path:  # fmt: skip
    """The path of `glm.glm_path` or `grouped.group_path`; columns stand group by group."""
    task = Task(matrix, y, loss, s, intercept)
    free = shape.free
    shut = Blocks(shape.sizes, 0 * shape.one, np.where(free, 0.0, np.inf), 0 * shape.ridge)
    start = abs(float(loss.value(np.zeros(len(s)), y, s))) if task.K == 1 and not task.q else 1.0
    _, _, stats, slopes = task.run(shut, np.ones(1), 1e-13 * start, 200)
    null = float(stats[0, 3])
    ordered = slopes[0] if task.order is None else slopes[0][task.order]
    g0 = -(task.X.T @ ordered)
    norms = shape.dual_norm(g0)
    top = float(np.where(free, 0.0, norms).max(initial=0.0))
    top *= 1 + 1e-7 * free.any()  # the null model has coefficients of its own, found to rounding
    if lams is None:
        first = top if top > 0 else 1.0
        lams = first * ratio ** (np.arange(count) / max(1, count - 1))
        lams[0] = first
    end = end_of(tol, unit_of(null, loss, y, s), float(np.abs(g0).max(initial=0.0)), shape.squares)
    B, C, stats, slopes = task.run(shape, lams, end.goal, most)
    columns = np.flatnonzero(B.any(axis=(0, 2)))
    values, b0 = np.ascontiguousarray(np.moveaxis(B[:, columns], 0, 1)), task.constants(B, C)
    rows = -slopes * stats[:, 4, None, None] if duals else None
    one = task.K == 1
    return Path(
        lams, columns, values[:, :, 0] if one else values, b0[:, 0] if one and not isinstance(loss, Ordinal) else b0,
        stats[:, 3].copy(), stats[:, 0].copy(), stats[:, 1].copy(), stats[:, 2].astype(np.int64),
        end.met(stats[:, 0], stats[:, 1]), null, top, matrix.shape[1], "joint newton",
        rows if rows is None or not one else rows[:, :, 0],
    )  # fmt: skip
