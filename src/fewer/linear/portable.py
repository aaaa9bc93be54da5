"""The Gram kernel in numpy: same problem, stop and outputs as the compiled one, used where that is missing.

Rounds of coordinate descent over the columns that can move, then an exact solve on the active set that is cut at the
first sign change; the duality gap of the subproblem decides when to stop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewer.linear.terms import Terms

__all__ = ["extremes", "gram_path"]

Vector = NDArray[np.float64]


class _Task:
    def __init__(self, G: Vector, yy: float, c: Vector, terms: Terms, b: Vector, g: Vector) -> None:
        self.G, self.yy, self.c, self.terms, self.b, self.g = G, yy, c, terms, b, g
        p = len(c)
        self.low = terms.low if terms.low is not None else np.full(p, -np.inf)
        self.high = terms.high if terms.high is not None else np.full(p, np.inf)

    def state(self, lam: float) -> tuple[float, float]:
        """Gap and objective of the subproblem."""
        rr = max(self.yy - float(self.b @ (self.c + self.g)), 0.0)
        found = self.terms.certify(self.b, self.g, lam, rr, self.yy - float(self.b @ self.c))
        loose = self.terms.loose(self.g)
        pull, diagonal = np.abs(self.g[loose]), np.einsum("ii->i", self.G)[loose]
        much = pull if self.terms.low is None else np.sqrt(rr * diagonal)
        return found.gap + float(pull @ (much / np.where(diagonal > 0, diagonal, np.inf))), found.objective

    def sweep(self, lam: float) -> None:
        l1, l2 = lam * self.terms.l1, lam * self.terms.l2
        diagonal = np.einsum("ii->i", self.G)
        for j in np.flatnonzero(((self.b != 0) | (np.abs(self.g) > l1)) & (diagonal > 0)):
            u = self.g[j] + diagonal[j] * self.b[j]
            z = np.sign(u) * max(abs(u) - l1[j], 0.0) / (diagonal[j] + l2[j])
            z = min(max(z, self.low[j]), self.high[j])
            delta = z - self.b[j]
            if delta != 0:
                self.b[j] = z
                self.g -= delta * self.G[j]

    def active_solve(self, lam: float) -> None:
        """Exact solve on the signs as they stand, a cut at each sign change."""
        l1, l2 = lam * self.terms.l1, lam * self.terms.l2
        A = np.flatnonzero((self.b != 0) & (self.b > self.low) & (self.b < self.high))
        while len(A):
            H = self.G[np.ix_(A, A)] + np.diag(l2[A])
            pull = self.g[A] - l1[A] * np.sign(self.b[A]) - l2[A] * self.b[A]
            try:
                step = np.linalg.solve(H, pull)
            except np.linalg.LinAlgError:
                step = np.linalg.lstsq(H, pull, rcond=None)[0]
            if not np.all(np.isfinite(step)) or np.linalg.norm(H @ step - pull) > 1e-6 * np.linalg.norm(pull):
                step = np.linalg.lstsq(H, pull, rcond=1e-11)[0]
            left = pull - H @ step
            # What a singular H leaves has no curvature: the objective falls that way until something meets a bound.
            endless = bool(np.linalg.norm(left) > 1e-6 * np.linalg.norm(pull))
            step = left if endless else step
            b = self.b[A]
            with np.errstate(divide="ignore", invalid="ignore"):
                zero = np.where((l1[A] > 0) & (step * b < 0), -b / step, np.inf)
                wall = np.where(step < 0, (self.low[A] - b) / step, np.inf)
                wall = np.where(step > 0, (self.high[A] - b) / step, wall)
            cuts = np.minimum(zero, wall)
            at = int(np.argmin(cuts))
            cut = float(cuts[at])
            if endless and not np.isfinite(cut):
                break
            whole = not endless and cut >= 1.0
            self.b[A] = b + (1.0 if whole else cut) * step
            if not whole:
                j = A[at]
                if zero[at] <= wall[at]:
                    self.b[j] = 0.0
                else:
                    self.b[j] = self.low[j] if step[at] < 0 else self.high[j]
            self.g[:] = self.c - self.G[:, self.b != 0] @ self.b[self.b != 0]
            if whole:
                break
            A = np.delete(A, at)


def gram_path(
    G: Vector, yy: float, c: Vector, terms: Terms, b: Vector, g: Vector, lams: Vector, tol: float, most: int
) -> tuple[Vector, Vector, Vector]:
    """Solutions (m, k), gradients (m, k) and stats (m, 4) for a run of penalties; b and g are moved along."""
    task = _Task(G, yy, c, terms, b, g)
    B, Gs, stats = np.empty((len(lams), len(c))), np.empty((len(lams), len(c))), np.empty((len(lams), 4))
    for i, lam in enumerate(lams):
        gap, objective = task.state(lam)
        rounds, best, stuck = 0, gap, 0
        while gap > tol and rounds < most and stuck < 60:
            task.sweep(lam)
            task.active_solve(lam)
            gap, objective = task.state(lam)
            rounds += 1
            stuck = 0 if gap < 0.5 * best else stuck + 1
            best = min(best, gap)
        B[i], Gs[i], stats[i] = task.b, task.g, (gap, rounds, rounds, objective)
    return B, Gs, stats


def extremes(pulls: Vector, l1: Vector, lams: Vector) -> tuple[Vector, Vector]:
    """The largest |g| / l1 over priced columns, and the largest |g| - lam l1 over all, for each column of pulls."""
    size = np.abs(pulls)
    paid = (l1 > 0) & np.isfinite(l1)
    with np.errstate(invalid="ignore"):
        over = np.max(size - l1[:, None] * lams, axis=0, initial=0.0)
    return np.max(size[paid] / l1[paid, None], axis=0, initial=0.0), over
