"""Penalties that are concave in the size of each coefficient, compiled: coordinate descent from several starts.

Every coordinate goes to its own global minimum, which has a closed form (Breheny and Huang 2011 for MCP and SCAD, also
where the column's curvature does not outweigh the concavity). The squared loss runs on a Gram matrix, other losses by
Newton steps. Beyond `WHOLE` columns only those are used that a start or a gradient names; a check of all gradients
lets in what was missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import tiers
from fewer.linear.coupled import Cox
from fewer.linear.joint import Task, code_of
from fewer.linear.kernels import _at
from fewer.linear.losses import Squared
from fewer.linear.matrix import Dense
from fewer.linear.partly import Partly
from fewer.linear.pool import Pool
from fewer.linear.result import Path
from fewer.linear.smooth import Problem
from fewer.penalty import L0, L05, MCP, SCAD, LogSum

__all__ = ["WHOLE", "Concave", "concave", "concave_path"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
#: So many columns are all used from the start.
WHOLE = 300
#: Penalties at one solution of the working set.
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class Concave:
    """A price of |b_j| as the kernel knows it: kind, its parameter, and (p,) strengths per unit of lam, 0 for free."""

    kind: int
    gamma: float
    factors: Vector


def concave(penalty: Any, problem: Problem) -> Concave | None:
    """The penalty for the kernel; None where penalty, loss or size ask for the general solver."""
    p = problem.matrix.shape[1]
    factors = np.ones(p)
    if isinstance(penalty, Partly):
        factors[np.delete(np.arange(p), list(penalty.on))] = 0.0
        penalty = penalty.penalty
    known: dict[type, tuple[int, float, float]] = {  # kind, parameter, what it must exceed
        MCP: (1, getattr(penalty, "gamma", 0.0), 0.0),
        SCAD: (2, getattr(penalty, "gamma", 0.0), 1.0),
        LogSum: (3, getattr(penalty, "eps", 0.0), 0.0),
        L05: (4, 1.0, 0.0),
        L0: (5, 1.0, 0.0),
    }
    kind, gamma, least = known.get(type(penalty), (0, 0.0, 0.0))
    loss = problem.loss
    compiled = tiers.native() is not None and (hasattr(loss, "code") or isinstance(loss, Cox))
    if not compiled or not gamma > least or p == 0 or (kind > 3 and p > WHOLE):
        return None
    return Concave(kind if np.isfinite(gamma) else 0, float(gamma), factors)


class _Squares:
    """Squared error on the columns in use, as second moments."""

    def __init__(self, problem: Problem) -> None:
        s, y, self.problem = problem.s, problem.y, problem
        self.constant = float(s @ y / s.sum()) if problem.constant else 0.0
        self.target = y - self.constant
        self.pool = Pool(problem.matrix, s, problem.means)
        self.square = float(s @ self.target**2)
        self.moment = -problem.pull(-s * self.target)[:-1]

    def use(self, columns: Index) -> None:
        self.pool.require(columns)

    @property
    def columns(self) -> Index:
        return self.pool.index

    def arguments(self) -> tuple[Any, ...]:
        G, self.held = self.pool.gram, np.ascontiguousarray(self.moment[self.columns])
        return _at(G), G.strides[0] // 8, _at(self.held), self.square, 0, 0, 0, 0, 0, 0, 0, 0

    def constants(self, found: Vector) -> Vector:
        return np.full(len(found), self.constant)

    def objectives(self, B: Vector, stats: Vector) -> Vector:
        """From residuals, as differences of second moments lose digits."""
        at, on = self.problem, np.flatnonzero(np.any(B != 0, axis=0))
        fit = at.matrix.dot(on, B[:, on].T) - at.means @ B.T
        return np.asarray(0.5 * at.s @ (self.target[:, None] - fit) ** 2 + stats[:, 3])


class _Rows:
    """Another loss on the columns in use, dense and centred."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.columns = problem, np.empty(0, np.int64)

    def use(self, columns: Index) -> None:
        new = np.union1d(self.columns, columns)
        if len(new) == len(self.columns):
            return
        self.columns, at = new, self.problem
        X = at.matrix.columns(new)
        X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
        self.task = Task(Dense(X), at.y, at.loss, at.s, at.constant)

    def arguments(self) -> tuple[Any, ...]:
        task = self.task
        return (
            0, 0, 0, 0.0, len(task.s), int(task.q), code_of(task.loss), _at(task.shape), _at(task.X), _at(task.y),
            _at(task.s), _at(task.risk),
        )  # fmt: skip

    def constants(self, found: Vector) -> Vector:
        return found

    def objectives(self, B: Vector, stats: Vector) -> Vector:
        return stats[:, 2].copy()


def concave_path(
    problem: Problem, shape: Concave, lams: Vector, starts: Sequence[Vector], goal: float, most: int,
    null: float, top: float,
) -> Path:  # fmt: skip
    """The path of `general.general_path`: at every penalty the lowest end of descents from all starts.

    Args:
        lams: decreasing.
        starts: (p + 1,) each, coefficients of centred columns and the constant; the path begins at the first.
        goal: largest distance of the gradient to the slopes of the penalty.
        most: rounds, or Newton steps, of one descent.
    """
    p = problem.matrix.shape[1]
    used = _Squares(problem) if isinstance(problem.loss, Squared) else _Rows(problem)
    every = np.arange(p)
    used.use(every if p <= WHOLE else _named(starts, shape))
    B, C, stats = np.zeros((len(lams), p)), np.zeros(len(lams)), np.empty((len(lams), 4))
    at, begin = 0, starts[0]
    while at < len(lams):
        block = slice(at, len(lams) if p <= WHOLE else at + _BLOCK)
        found = _run(used, shape, lams[block], [begin, *starts[1:]], goal, most, 1e-14 * abs(null))
        held = slice(block.start, block.start + len(found[0]))
        B[held][:, used.columns], C[held], stats[held] = found
        good = len(found[0])
        if len(used.columns) < p:
            good, missed = _checked(problem, shape, used.columns, lams[held], B[held], C[held], goal)
            used.use(missed)
        at += good
        begin = np.append(B[at - 1], C[at - 1]) if at else starts[0]
    C = used.constants(C)
    columns = np.flatnonzero(np.any(B != 0, axis=0))
    distances, rounds = stats[:, 0].copy(), stats[:, 1].astype(np.int64)
    return Path(
        lams, columns, np.ascontiguousarray(B[:, columns].T), C - B @ problem.means, used.objectives(B, stats),
        np.full(len(lams), np.nan), distances, rounds, distances <= max(goal, 1e-306), null, top, p,
        "coordinate descent",
    )  # fmt: skip


def _run(
    used: Any, shape: Concave, lams: Vector, starts: Sequence[Vector], goal: float, most: int, rounding: float
) -> tuple[Vector, Vector, Vector]:
    """Solutions (m, k) on the columns in use, constants (m,), and stats (m, 4): distance, rounds, objective, price."""
    columns, L = used.columns, len(lams)
    k = len(columns)
    given = np.ascontiguousarray([np.append(start[columns], start[-1]) for start in starts])
    factors, lams = np.ascontiguousarray(shape.factors[columns]), np.ascontiguousarray(lams)
    B, C, stats = np.empty((L, k)), np.empty(L), np.empty((L, 4))
    native: Any = tiers.native()
    native.concave_path(
        k, shape.kind, shape.gamma, _at(factors), L, _at(lams), _at(given), len(given), float(goal), float(rounding),
        int(most), _at(B), _at(C), _at(stats), *used.arguments(),
    )  # fmt: skip
    return B, C, stats


def _named(starts: Sequence[Vector], shape: Concave) -> Index:
    """Columns that a start uses, and free ones."""
    on = (np.array(starts)[:, :-1] != 0).any(axis=0) | (shape.factors == 0)
    return np.flatnonzero(on) if on.any() else np.zeros(1, np.int64)


def _checked(
    problem: Problem, shape: Concave, used: Index, lams: Vector, B: Vector, C: Vector, goal: float
) -> tuple[int, Index]:
    """How many solutions leave no other column out of place, and the columns that are, the worst first to come."""
    slopes = np.empty((len(problem.s), len(lams)))
    for k, b in enumerate(B):
        slopes[:, k] = problem.loss.slope(problem.eta(np.append(b, C[k])), problem.y, problem.s)
    pulls = np.abs(problem.matrix.tdot(slopes) - np.outer(problem.means, slopes.sum(axis=0)))
    corner = 1.0 / shape.gamma if shape.kind == 3 else 1.0
    over = pulls - corner * np.outer(shape.factors, lams)
    over[used] = 0.0
    bad = np.flatnonzero(over.max(axis=0) > goal)
    if len(bad) == 0:
        return len(lams), np.empty(0, np.int64)
    worst = over[:, bad[0]]
    out = np.flatnonzero(worst > goal)
    return int(bad[0]), out[np.argsort(-worst[out])[: max(64, len(used))]]
