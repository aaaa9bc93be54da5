"""Where a path stands: accepted solutions, the last two gradients, the columns likely to matter next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fewer.linear.kernels import Warm, extremes
from fewer.linear.ready import Ready
from fewer.linear.result import Path, Residuals
from fewer.linear.terms import Certificate, Terms

__all__ = ["Log", "State", "centred", "certificates", "choose", "guess", "lay_out", "stops", "working"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass
class Log:
    """Accepted solutions so far."""

    ready: Ready
    engine: str
    columns: list[Index] = field(default_factory=list)
    values: list[Vector] = field(default_factory=list)
    found: list[Certificate] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    bounds: dict[float, Certificate] = field(default_factory=dict)  # of strengths not accepted yet, with witnesses

    def best(self, run: Vector, work: Index, B: Vector, found: list[Certificate]) -> list[Certificate]:
        """Certificates of a run, each with the best dual point that any solution at its strength has given so far."""
        self.bounds = {lam: known for lam, known in self.bounds.items() if lam <= run[0]}
        return [self._best(float(lam), work, B[t], found[t]) for t, lam in enumerate(run)]

    def _best(self, lam: float, work: Index, b: Vector, found: Certificate) -> Certificate:
        known = self.bounds.get(lam)
        if known is not None and known.objective - known.gap > found.objective - found.gap:
            gap = max(found.objective - (known.objective - known.gap), 0.0)
            return replace(found, gap=gap, scale=known.scale, witness=known.witness)
        on = np.flatnonzero(b)
        self.bounds[lam] = replace(found, witness=(work[on], b[on]))
        return found

    def accept(self, index: Index, b: Vector, found: Certificate, rounds: float) -> None:
        """Write one solution down."""
        on = np.flatnonzero(b)
        self.columns.append(index[on])
        self.values.append(b[on])
        self.found.append(found)
        self.rounds.append(int(rounds))

    def _source(self) -> Residuals | None:
        job = self.ready.job
        if not job.keep_duals or self.ready.matrix is None:
            return None
        ready, scales = self.ready, np.array([f.scale for f in self.found])
        witnesses = {k: f.witness for k, f in enumerate(self.found) if f.witness is not None}
        others = {k: (j, b, ready.y_mean - float(ready.means[j] @ b)) for k, (j, b) in witnesses.items()}
        return Residuals(ready.matrix, job.y, job.weights, scales, others)

    def path(self) -> Path:
        """Everything accepted, as a record."""
        ready, L = self.ready, len(self.found)
        p = len(ready.c)
        union = np.unique(np.concatenate(self.columns)) if L else np.empty(0, np.int64)
        values = np.zeros((len(union), L))
        for k in range(L):
            values[np.searchsorted(union, self.columns[k]), k] = self.values[k]
        gaps, kkts = (np.array([getattr(f, name) for f in self.found]) for name in ("gap", "kkt"))
        return Path(
            ready.lams, union, values, ready.y_mean - ready.means[union] @ values,
            np.array([f.objective for f in self.found]), gaps, kkts,
            np.array(self.rounds), (gaps <= ready.enough) & (kkts <= ready.near), ready.null, ready.lam_max, p,
            self.engine, source=self._source(),
        )  # fmt: skip


@dataclass
class State:
    """Where the path stands: the last two solutions, the last two gradients."""

    b: Vector
    before: Vector
    lam_at: float
    lam_before: float
    seen: list[tuple[float, Vector]]

    def warm(self, work: Index) -> Warm:
        """The state on the working columns, for the kernel."""
        return Warm(self.b[work], self.before[work], self.lam_at, self.lam_before)

    def stand(self, work: Index, B: Vector, run: Vector, at: int) -> None:
        """Move to row `at` of the run just solved."""
        if at > 0:
            self.before[:] = 0.0
            self.before[work] = B[at - 1]
            self.lam_before = float(run[at - 1])
        elif run[0] < self.lam_at:
            self.before, self.lam_before = self.b.copy(), self.lam_at
        self.b[:] = 0.0
        self.b[work] = B[at]
        self.lam_at = float(run[at])


def guess(ready: Ready, seen: list[tuple[float, Vector]], lam: float) -> Vector:
    """(p,) likely size of the gradient at lam relative to its threshold, from the last two gradients."""
    now, g = seen[-1]
    if len(seen) > 1 and seen[-2][0] > now:
        then, old = seen[-2]
        # Two gradients suggest a line, and a gradient rarely moves faster than its own threshold does.
        limit = (now - lam) * np.where(np.isfinite(ready.terms.l1), ready.terms.l1, 0.0)
        size = np.abs(g + np.clip((g - old) * ((now - lam) / (then - now)), -limit, limit))
    else:
        size = np.abs(g) + (now - lam) * 0.5 * np.where(np.isfinite(ready.terms.l1), ready.terms.l1, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(size / (lam * ready.terms.l1), nan=0.0, posinf=0.0)


def choose(ratio: Vector, level: float, most: int) -> Index:
    """Columns whose ratio reaches level, the largest first, at most so many."""
    out = np.flatnonzero(ratio >= level)
    if len(out) > most:
        out = out[np.argpartition(-ratio[out], most - 1)[:most]]
    return out


def stops(ready: Ready, step: float = 0.5) -> tuple[Vector, int]:
    """The penalties to visit, preceded by stepping stones where the first is far below lam_max; and their number."""
    first, top = float(ready.lams[0]) if len(ready.lams) else 0.0, ready.lam_max
    if not 0 < first < 0.35 * top:
        return ready.lams, 0
    steps = int(np.ceil(np.log(first / top) / np.log(step)))
    stones = top * (first / top) ** (np.arange(1, steps) / steps)
    return np.concatenate([stones, ready.lams]), len(stones)


def working(ready: Ready, state: State, lam: float, missing: Index, paid: NDArray[np.bool_]) -> Index:
    """The columns to solve on: those in use, those always free, those found missing, those likely to come."""
    use = state.b != 0
    ratio = guess(ready, state.seen, lam)
    likely = choose(np.where(paid & ~use, ratio, 0.0), 0.95, max(32, int(np.count_nonzero(use))))
    use[likely] = True
    use[ready.always] = True
    use[missing] = True
    return np.flatnonzero(use)


def certificates(
    ready: Ready, work: Index, B: Vector, pulls: Vector, run: Vector, rr: Vector, ry: Vector
) -> list[Certificate]:
    """Terms.certify for a run of solutions B (m, k) on the working columns with gradients pulls (p, m)."""
    terms = ready.terms
    if not terms.plain:
        full = np.zeros((len(run), len(pulls)))
        full[:, work] = B
        found = [
            terms.certify(full[t], pulls[:, t], float(lam), float(rr[t]), float(ry[t])) for t, lam in enumerate(run)
        ]
        return [replace(f, gap=f.gap + ready.lean(pulls[:, t], float(rr[t]))) for t, f in enumerate(found)]
    l1 = terms.l1
    price = run * (np.abs(B) @ l1[work])
    ratio, over = extremes(pulls, l1, run)
    scale = 1.0 / np.maximum(ratio / run, 1.0)
    free = l1[work] == 0
    slack = np.sum(np.abs(B[:, free] * pulls[work[free]].T), axis=1)
    with np.errstate(invalid="ignore"):
        pull = np.abs(pulls[work].T - (run[:, None] * l1[work]) * np.sign(B))
    kkt = np.maximum(over, np.max(np.where(B != 0, pull, 0.0), axis=1, initial=0.0))
    objective = 0.5 * rr + price
    gap = np.maximum(objective - scale * ry + 0.5 * scale * scale * rr + slack, 0.0)
    made = np.column_stack([objective, gap, kkt, scale]).tolist()
    return [Certificate(*row) for row in made]


def centred(pulls: Vector, ready: Ready, V: Vector) -> Vector:
    """X'V with the means taken out of the columns of X."""
    return pulls - np.outer(ready.means, V.sum(axis=0)) if ready.means.any() else pulls


def lay_out(terms: Terms) -> Terms:
    """The same terms in contiguous memory."""
    bounds = (
        (None, None)
        if terms.low is None or terms.high is None
        else tuple(map(np.ascontiguousarray, (terms.low, terms.high)))
    )
    return Terms(np.ascontiguousarray(terms.l1), np.ascontiguousarray(terms.l2), *bounds)
