"""What a solver gives back: a solution or a path, each with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass(frozen=True, eq=False)
class Path:
    """Solutions for a decreasing run of penalties; always as long as asked for, `converged` says which can be trusted.

    Coefficients are kept for the union of the supports only, so a path over a million columns stays small.

    Attributes:
        lams: (L,) strengths, decreasing.
        columns: (u,) positions that are not zero somewhere on the path.
        values: (u, L) their coefficients.
        intercepts: (L,).
        objectives, gaps, kkts: (L,) as in `Solution`.
        iterations: (L,) rounds.
        converged: (L,) booleans.
        null: objective with every penalised coefficient zero.
        lam_max: the smallest strength with every penalised coefficient zero.
        size: p, the number of columns of X.
        duals: (L, n) dual points; None for Gram problems, and for batches unless asked for.
        engine: the regime that produced it.
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
    duals: Vector | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of penalties."""
        return len(self.lams)

    def __iter__(self) -> Iterator[Solution]:
        """The solutions in order."""
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Solution:
        """The k-th solution."""
        coef = np.zeros(self.size)
        coef[self.columns] = self.values[:, k]
        return Solution(
            coef, float(self.intercepts[k]), float(self.lams[k]), float(self.objectives[k]), float(self.gaps[k]),
            self.null, float(self.kkts[k]), None if self.duals is None else self.duals[k], int(self.iterations[k]),
            bool(self.converged[k]), self.engine,
        )  # fmt: skip

    @property
    def coefs(self) -> Vector:
        """(p, L) all coefficients, dense."""
        full = np.zeros((self.size, len(self.lams)))
        full[self.columns] = self.values
        return full

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(L,) how many coefficients are not zero."""
        return np.asarray(np.count_nonzero(self.values, axis=0))

    def linear(self, X: Any) -> Vector:
        """(n, L) linear predictors of every solution."""
        return np.asarray(X[:, self.columns] @ self.values + self.intercepts, dtype=np.float64)
