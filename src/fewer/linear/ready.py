"""A problem on its way to the solver: what was asked (`Job`), and what one pass over the data says of it (`Ready`).

Functions that need products with X' are coroutines: they yield vectors V (n, m) and are sent X'V (p, m), so that
several problems on one matrix can be answered together.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fewer.linear.matrix import Matrix, as_matrix, refuse_sums
from fewer.linear.pool import GramPool, Pool
from fewer.linear.terms import Terms

__all__ = ["Job", "Ready", "prepare", "prepare_gram"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Job:
    """One problem: what to fit, at which prices, how exactly."""

    y: Vector
    weights: Vector  # already divided by n
    intercept: bool
    terms: Terms
    standardize: bool
    lams: Vector | None
    count: int
    ratio: float
    tol: float
    most: int
    keep_duals: bool = True
    regime: str = "auto"


@dataclass(eq=False)
class Ready:
    """A job after its first pass over the data."""

    job: Job
    matrix: Matrix | None
    pool: Pool
    y: Vector
    y_mean: float
    means: Vector
    mass: Vector
    c: Vector
    yy: float
    terms: Terms
    start: Vector  # coefficients of the null model on `free`
    free: Index  # unpenalised, unbounded
    always: Index  # no L1 part: in the working set from the start
    g0: Vector
    null: float
    lam_max: float
    lams: Vector
    pull: Vector = field(default_factory=lambda: np.empty((0, 0)))  # (p, free) X'S X_free
    inverse: Vector = field(default_factory=lambda: np.empty((0, 0)))
    sparse: bool = False

    @property
    def enough(self) -> float:
        """Gap at which a solution counts as converged: the tolerance, or what centring left of the arithmetic."""
        raw = float(self.job.weights @ self.job.y**2) if self.matrix is not None else self.yy
        # Free columns of small spread far from zero take large coefficients, and their centring cancels as y's does.
        raw += float(self.job.weights.sum()) * float(np.abs(self.start) @ np.abs(self.means[self.free])) ** 2
        rounding = 5e-13 if len(self.free) else 2e-14  # what free columns explain wholly leaves no null objective
        return max(self.job.tol * self.null, 4e-15 * self.yy, rounding * math.sqrt(raw * self.yy))

    @cached_property
    def ridge(self) -> bool:
        """Whether no column has an L1 price: zero is then no solution at any strength, and a small gap says little."""
        return self.terms.squares

    @property
    def near(self) -> float:
        """KKT distance at which a ridge solution counts as converged; elsewhere the gap alone decides."""
        return max(self.job.tol, 1e-13) * float(np.abs(self.c).max(initial=0.0)) if self.ridge else math.inf

    @cached_property
    def _one_sided(self) -> tuple[Index, Vector]:
        """Columns without a price that have a bound, and their norms."""
        index = self.always[self.terms.l2[self.always] == 0]
        index = index[~np.isin(index, self.free)]
        if self.matrix is None or not len(index):
            return index, np.sqrt(np.diag(self.pool.gram)[index]) if len(index) else np.empty(0)
        means = self.means[index]
        squares = as_matrix(self.matrix.columns(index)).squares(self.job.weights, means)
        return index, np.sqrt(np.where(squares > 1e-26 * means**2, squares, 0.0))

    def lean(self, g: Vector, rr: float) -> float:
        """What columns without a price may still gain where no bound stops them, in first order."""
        index, norms = self._one_sided
        on = self.terms.take(index).loose(g[index]) & (norms > 0)
        return float(np.sum(np.abs(g[index][on]) / norms[on])) * math.sqrt(rr)


def prepare(matrix: Matrix, job: Job, pools: dict[tuple[int, bool], Pool]) -> Generator[Vector, Vector, Ready]:
    """Centre, price the columns, fit the null model, lay out the grid."""
    s, p = job.weights, matrix.shape[1]
    total = float(s.sum())
    y_mean = float(s @ job.y) / total if job.intercept else 0.0
    y = job.y - y_mean
    if job.intercept:  # once more, as the first mean is rounded in the units of y
        y -= float(s @ y) / total
    moments = yield np.column_stack([s * y, s] if job.intercept or job.standardize else [s * y])
    refuse_sums(moments)
    mass = np.ascontiguousarray(moments[:, 1]) if moments.shape[1] == 2 else np.zeros(p)
    means = mass / total if job.intercept else np.zeros(p)
    c = moments[:, 0] - float(s @ y) * means
    yy = float(s @ (y * y))
    if yy <= 1e-28 * float(s @ (job.y * job.y)):  # a constant target: what centring left is rounding
        y, c, yy = np.zeros_like(y), np.zeros_like(c), 0.0
    terms = job.terms
    if job.standardize:
        spread = matrix.squares(s, means if means.any() else None) / total
        spread = np.sqrt(np.where(spread > 1e-26 * means * means, spread, 0.0))
        with np.errstate(invalid="ignore"):
            l1 = np.where(spread > 0, terms.l1 * spread, np.inf)
        terms = Terms(l1, np.where(spread > 0, terms.l2 * spread**2, 0.0), terms.low, terms.high)
    key = (id(job.weights), job.intercept)
    if key not in pools:
        pools[key] = Pool(matrix, s, means)
    ready = Ready(
        job, matrix, pools[key], y, y_mean, means, mass, c, yy, terms, np.empty(0), np.empty(0, np.int64),
        np.empty(0, np.int64), c, 0.5 * yy, 0.0, np.empty(0),
    )  # fmt: skip
    yield from _null_model(ready)
    _grid(ready)
    return ready


def prepare_gram(gram: Vector, c: Vector, yy: float, job: Job) -> Ready:
    """The same for a precomputed (centred, weighted) Gram matrix."""
    zero = np.zeros(len(c))
    refuse_sums(np.column_stack([gram.sum(axis=0), c]))
    ready = Ready(
        job, None, GramPool(gram), np.empty(0), 0.0, zero, zero, np.ascontiguousarray(c, dtype=np.float64), yy,
        job.terms, np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), c, 0.5 * yy, 0.0, np.empty(0),
    )  # fmt: skip
    for _ in _null_model(ready):
        raise AssertionError  # a full pool never asks for a product
    _grid(ready)
    return ready


def _null_model(ready: Ready) -> Generator[Vector, Vector, None]:
    """Fit the columns that cost nothing, by least squares, and remember how to refit them."""
    terms, pool = ready.terms, ready.pool
    bounded = np.zeros(len(terms.l1), dtype=bool)
    if terms.low is not None and terms.high is not None:
        bounded = np.isfinite(terms.low) | np.isfinite(terms.high)
    ready.always = np.flatnonzero(terms.l1 == 0)
    ready.free = np.flatnonzero((terms.l1 == 0) & (terms.l2 == 0) & ~bounded)
    free = ready.free
    if len(free) == 0:
        return
    pool.require(free)
    place = pool.place[free]
    ready.inverse = np.asarray(np.linalg.pinv(pool.gram[np.ix_(place, place)], rcond=1e-12, hermitian=True), np.float64)
    if pool.full:
        ready.pull = pool.gram[: len(pool.index), place][pool.place]
    else:
        root = pool.root[:, None] if np.ndim(pool.root) else pool.root
        chosen = pool.residuals(np.zeros(len(ready.y)), place, -np.eye(len(free)))
        V = root * chosen
        ready.pull = (yield V) - np.outer(ready.means, V.sum(axis=0))
    ready.start = ready.inverse @ ready.c[free]
    ready.g0 = ready.c - ready.pull @ ready.start
    rr = ready.yy - 2 * ready.c[free] @ ready.start + ready.start @ ready.pull[free] @ ready.start
    ready.null = 0.5 * max(float(rr), 0.0)


def _grid(ready: Ready) -> None:
    """lam_max, exactly, and the penalties to visit."""
    job, terms, g = ready.job, ready.terms, ready.g0
    paid = (terms.l1 > 0) & np.isfinite(terms.l1)
    size = np.abs(g)
    if terms.low is not None and terms.high is not None:
        size = np.where(np.where(g > 0, terms.high > 0, terms.low < 0), size, 0.0)
    # Rounding: what the free columns explain entirely must not raise lam_max above its true value, nor what centring
    # leaves of columns far from zero.
    far = np.abs(ready.means) * math.sqrt(float(job.weights.sum()))
    size = np.where(size > np.maximum(1e-14, 4e-15 * far) * np.sqrt(ready.yy), size, 0.0)
    ready.lam_max = float(np.max(size[paid] / terms.l1[paid], initial=0.0))
    if job.lams is not None:
        ready.lams = job.lams
        return
    top = ready.lam_max
    if not paid.any() and (terms.l2 > 0).any():
        ridge = terms.l2 > 0
        top = float(np.max(size[ridge] / terms.l2[ridge], initial=0.0)) * 1e3
    top = top if top > 0 else 1.0
    ready.lams = np.asarray(top * job.ratio ** (np.arange(job.count) / max(1, job.count - 1)))
    ready.lams[0] = top
