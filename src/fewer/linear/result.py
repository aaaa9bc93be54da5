"""What a solver gives back: a solution or a path, each with its certificate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Path", "Solution"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solution:
    """A minimiser with its certificate.

    The dual point proves the gap: with theta = `dual`, no coefficients whatever can have an objective below
    `objective - gap`. Gap and tolerance are measured against `null`, the objective with every penalised coefficient 0.

    Attributes:
        coef: (p,) coefficients in the units of X; (p, classes) for a multinomial loss.
        intercept: number, or (classes,), or the cut points of an ordinal loss.
        lam: strength of the penalty.
        objective: value of the whole objective at `coef`.
        gap: objective minus the value of the dual at `dual`; nan where the problem is not convex.
        null: objective with every penalised coefficient zero.
        kkt: largest distance of minus the gradient to the subdifferential, in units of the gradient.
        dual: (n,) dual point: minus the derivative of the loss term at a nearby point, scaled to be feasible; None when
            the data were given as a Gram matrix.
        iterations: rounds of the inner solver.
        converged: gap <= tol * null (for a nonconvex penalty: kkt below tolerance).
        engine: the regime that produced it.
    """

    coef: Vector
    intercept: Any
    lam: float
    objective: float
    gap: float
    null: float
    kkt: float
    dual: Vector | None
    iterations: int
    converged: bool
    engine: str

    @property
    def support(self) -> NDArray[np.int64]:
        """Positions of the coefficients that are not zero."""
        return np.flatnonzero(self.coef if self.coef.ndim == 1 else np.any(self.coef != 0, axis=1))

    def linear(self, X: Any) -> Vector:
        """X @ coef + intercept."""
        return np.asarray(X @ self.coef + self.intercept, dtype=np.float64)


#: Fields of a path with one entry a penalty.
_ALONG = ("lams", "intercepts", "objectives", "gaps", "kkts", "iterations", "converged")


@dataclass(frozen=True, eq=False)
class Residuals:
    """What dual points of the squared loss are made of: theta = scale * weights * (y - X b - b0).

    b is the solution, or that of `witnesses` (columns, coefficients, intercept) where an earlier one proved more.
    """

    matrix: Any
    y: Vector
    weights: Vector
    scales: Vector
    witnesses: dict[int, tuple[NDArray[np.int64], Vector, float]] = field(default_factory=dict)

    def one(self, k: int, columns: NDArray[np.int64], values: Vector, intercept: float) -> Vector:
        """(n,) the dual point that belongs to the k-th solution."""
        columns, values, intercept = self.witnesses.get(k, (columns, values, intercept))
        eta = self.matrix.dot(columns, values[:, None])[:, 0] + intercept
        return np.asarray((self.y - eta) * self.weights * self.scales[k])

    def every(self, columns: NDArray[np.int64], values: Vector, intercepts: Vector) -> Vector:
        """(L, n) dual points of all solutions."""
        eta = self.matrix.dot(columns, values) + intercepts
        out = np.asarray(((self.y[:, None] - eta) * self.weights[:, None] * self.scales).T)
        for k, witness in self.witnesses.items():
            out[k] = self.one(k, *witness)
        return out


@dataclass(frozen=True, eq=False)
class Path:
    """Solutions for a decreasing run of penalties; always as long as asked for, `converged` says which can be trusted.

    Coefficients are kept for the union of the supports only, so a path over a million columns stays small.

    Attributes:
        lams: (L,) strengths, decreasing.
        columns: (u,) positions that are not zero somewhere on the path.
        values: (u, L) their coefficients; (u, L, K) for a loss with K predictors.
        intercepts: (L,), or (L, K); for an ordinal loss the cut points.
        objectives, gaps, kkts: (L,) as in `Solution`.
        iterations: (L,) rounds.
        converged: (L,) booleans.
        null: objective with every penalised coefficient zero.
        lam_max: the smallest strength with every penalised coefficient zero.
        size: p, the number of columns of X.
        engine: the regime that produced it.
        duals: (L, n) dual points, computed when first asked for (the path then still refers to X); None for Gram
            problems, and for batches unless asked for.
    """

    lams: Vector
    columns: NDArray[np.int64]
    values: Vector
    intercepts: Vector
    objectives: Vector
    gaps: Vector
    kkts: Vector
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]
    null: float
    lam_max: float
    size: int
    engine: str
    stored: Vector | None = field(default=None, repr=False)
    source: Residuals | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of penalties."""
        return len(self.lams)

    def __iter__(self) -> Iterator[Solution]:
        """The solutions in order."""
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Solution:
        """The k-th solution."""
        coef = np.zeros((self.size, *self.values.shape[2:]))
        coef[self.columns] = self.values[:, k]
        constant = self.intercepts[k]
        return Solution(
            coef, float(constant) if np.ndim(constant) == 0 else constant, float(self.lams[k]),
            float(self.objectives[k]), float(self.gaps[k]),
            self.null, float(self.kkts[k]), self._dual(k), int(self.iterations[k]),
            bool(self.converged[k]), self.engine,
        )  # fmt: skip

    def reversed(self) -> Path:
        """The same solutions in increasing order of `lams`; only for paths without dual points (best subsets)."""
        flipped = {name: getattr(self, name)[::-1] for name in _ALONG}
        return replace(self, values=self.values[:, ::-1], **flipped)

    @cached_property
    def duals(self) -> Vector | None:
        """(L, n) dual points."""
        if self.source is None:
            return self.stored
        return self.source.every(self.columns, self.values, self.intercepts)

    def _dual(self, k: int) -> Vector | None:
        if self.source is None or "duals" in self.__dict__:
            every: Vector | None = self.duals
            return None if every is None else np.asarray(every[k])
        on = np.flatnonzero(self.values[:, k])
        return self.source.one(k, self.columns[on], self.values[on, k], float(self.intercepts[k]))

    def __getstate__(self) -> dict[str, Any]:
        """Without X: dual points are computed before the path travels."""
        return {**self.__dict__, "stored": self.duals, "source": None}

    @property
    def coefs(self) -> Vector:
        """(p, L) all coefficients, dense; (p, L, K) for K predictors."""
        full = np.zeros((self.size, *self.values.shape[1:]))
        full[self.columns] = self.values
        return full

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(L,) how many columns have a coefficient that is not zero."""
        used = self.values != 0
        return np.asarray(np.count_nonzero(used if used.ndim == 2 else used.any(axis=2), axis=0))

    def linear(self, X: Any) -> Vector:
        """(n, L) linear predictors of every solution; (n, L, K) for K predictors."""
        u, *rest = self.values.shape
        flat = np.asarray(X[:, self.columns] @ self.values.reshape(u, math.prod(rest)), dtype=np.float64)
        return flat.reshape(len(flat), *rest) + self.intercepts
