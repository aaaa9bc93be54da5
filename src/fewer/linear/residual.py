"""The path by coordinate descent on residuals over prioritised working sets: sparse columns, or a few dense solves.

Same coroutine protocol, guesses, runs and certificates as the Gram regime; the inner solver touches stored entries
only, and needs no inner products of columns.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from fewer.linear import kernels, progress
from fewer.linear.matrix import Dense, Sparse, as_matrix
from fewer.linear.ready import Ready
from fewer.linear.result import Path
from fewer.linear.terms import Certificate

__all__ = ["follow_residual"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


class _Residual:
    """The residual that goes with the state's coefficients, and what the kernel needs of the matrix."""

    def __init__(self, ready: Ready) -> None:
        matrix, s = ready.matrix, ready.job.weights
        uniform = bool(np.all(s == s[0]))
        self.norms = np.full(len(ready.c), np.nan)
        if isinstance(matrix, Sparse):
            weighted = matrix.data if uniform else matrix.data * s[matrix.rows]
            self.data = kernels.Data(None, matrix.data, weighted, matrix.rows, matrix.starts, uniform)
        else:
            assert isinstance(matrix, Dense) and uniform
            self.data = kernels.Data(matrix.X, None, None, None, None, uniform)
        self.r, self.shift = ready.y.copy(), 0.0

    def _norms(self, ready: Ready, index: Index) -> None:
        """Centred squared norms; where centring leaves nothing but rounding the column is constant."""
        s, means = ready.job.weights, ready.means[index]
        columns = as_matrix(ready.matrix.columns(index))  # type: ignore[union-attr]
        norms = columns.squares(s, means if means.any() else None)
        self.norms[index] = np.where(norms > 1e-26 * means**2 * s.sum(), norms, 0.0)

    def of(self, ready: Ready, work: Index, b: Vector) -> tuple[Vector, float]:
        """The residual of coefficients on the working columns, computed at once, and its shift."""
        on = np.flatnonzero(b)
        r = ready.y - ready.matrix.dot(work[on], b[on])  # type: ignore[union-attr]
        return r, float(ready.means[work[on]] @ b[on])

    def columns(self, ready: Ready, work: Index) -> kernels.Columns:
        new = work[np.isnan(self.norms[work])]
        if len(new):
            self._norms(ready, new)
        means, mass, norms = (np.ascontiguousarray(a[work]) for a in (ready.means, ready.mass, self.norms))
        return kernels.Columns(work, means, mass, norms)


def follow_residual(ready: Ready) -> Generator[Vector, Vector, Path | None]:
    """The path in the residual regime; None where columns turn out so alike that a Gram matrix is the way."""
    job, terms, p = ready.job, ready.terms, len(ready.c)
    lams, stones = progress.stops(ready, 0.25 if isinstance(ready.matrix, Sparse) else 0.5)
    log = progress.Log(ready, "sparse residual" if isinstance(ready.matrix, Sparse) else "dense residual")
    held = _Residual(ready)
    s = job.weights
    patience = 400 if isinstance(ready.matrix, Dense) else 3000
    most = min(job.most, patience) if job.regime == "auto" else job.most
    top = max(ready.lam_max, float(lams[0]) if len(lams) else 1.0)
    state = progress.State(np.zeros(p), np.zeros(p), np.inf, np.inf, [(top, ready.g0)])
    paid = np.isfinite(terms.l1) & (terms.l1 > 0)
    block, i, inner, missing = 4, 0, 0.3, np.empty(0, np.int64)
    while i < len(lams):
        stop = min(len(lams), i + block) if i >= stones else min(stones, i + 2)
        run = lams[i : stop - 1] if stop - i > 1 and lams[stop - 1] == 0 else lams[i:stop]
        work = progress.working(ready, state, float(max(run[-1], 1e-300)), missing, paid)
        goal = ready.enough if i >= stones else max(ready.enough, 1e-2 * ready.null)
        local = progress.lay_out(terms.take(work))
        start, start_shift = held.r.copy(), held.shift
        B, R, shifts, stats = kernels.residual_path(
            held.data, s, ready.y, held.columns(ready, work), local, state.warm(work),
            start, start_shift, run, inner * goal, most,
        )  # fmt: skip
        if most < job.most and stats[:, 1].max() >= most:
            return None
        pulls, rr, ry = yield from _measure(ready, R + shifts[:, None])
        fitted = B @ ready.c[work]
        # Residuals moved along must still be those of the coefficients: <y, y - Xb> and <r, y - Xb> say so at no cost.
        drift = np.maximum(np.abs(ry + fitted - ready.yy), np.abs(rr + np.einsum("mk,km->m", B, pulls[work]) - ry))
        if not np.all(drift <= 1e-10 * ready.yy):
            for t in range(len(run)):
                R[t], shifts[t] = held.of(ready, work, B[t])
            pulls, rr, ry = yield from _measure(ready, R + shifts[:, None])
        found = log.best(run, work, B, progress.certificates(ready, work, B, pulls, run, rr, ry))
        good = 0
        while good < len(run) and (
            (found[good].gap <= goal and found[good].kkt <= ready.near) or stats[good, 1] >= job.most
        ):
            good += 1
        if good < len(run):
            missing, found_any = _lost(ready, run, pulls, B, work, missing, good, paid)
            if not found_any:
                inner *= 0.1
                if inner < 1e-8:
                    good, inner = good + 1, 0.3  # as good as arithmetic allows: kept, and flagged by its gap
            else:
                block = max(2, block // 2) if good * 2 < len(run) else block
        else:
            missing, inner, block = np.empty(0, np.int64), max(inner, 0.1), min(8, 2 * block)
        _keep(log, work, B, found, stats, run, pulls, state, good, max(0, stones - i))
        at = min(good, len(run) - 1)
        state.stand(work, B, run, at)
        held.r, held.shift = R[at], float(shifts[at])
        if inner < 0.1:  # close to what arithmetic allows: without the rounding of all those steps
            held.r, held.shift = held.of(ready, work, B[at])
        i += good
    return log.path()


def _measure(ready: Ready, true: Vector) -> Generator[Vector, Vector, tuple[Vector, Vector, Vector]]:
    """Of residuals (m, n): the gradients (p, m), <r, r> and <r, y>."""
    V = np.ascontiguousarray((true * ready.job.weights).T)
    pulls = progress.centred((yield V), ready, V)
    return pulls, np.einsum("im,mi->m", V, true), ready.y @ V


def _lost(
    ready: Ready, run: Vector, pulls: Vector, B: Vector, work: Index, missing: Index, good: int,
    paid: NDArray[np.bool_],
) -> tuple[Index, bool]:  # fmt: skip
    """Columns that broke their threshold at the first solution that failed or after it."""
    late = np.abs(pulls[:, good:]).max(axis=1) if good + 3 < len(run) else np.abs(pulls[:, good])
    late[work] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        short = np.where(
            paid, late / (run[good] * ready.terms.l1), np.where(late > 0, np.inf, 0.0) * (ready.terms.l1 == 0)
        )
    lost = progress.choose(short, 1.0, max(64, int(np.count_nonzero(B[good]))))
    return np.union1d(missing, lost).astype(np.int64), len(lost) > 0


def _keep(
    log: progress.Log, work: Index, B: Vector, found: list[Certificate], stats: Vector, run: Vector,
    pulls: Vector, state: progress.State, good: int, stones: int,
) -> None:  # fmt: skip
    """Write down what was accepted."""
    for t in range(good):
        if t >= stones:
            log.accept(work, B[t], found[t], stats[t, 1])
        state.seen.append((float(run[t]), pulls[:, t]))
    del state.seen[:-2]
