"""Following a path of penalties on a working Gram matrix, as a coroutine: it yields V (n, m) and is sent X'V (p, m).

Penalties are solved several at a time on a working set of columns, guessed by carrying the gradient on in a straight
line; one pass over X then certifies them all, and the first that fails is taken up again with the columns that were
missing. Once the working set is most of the matrix, the whole Gram matrix is formed and X is not read again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import kernels, tiers
from fewer.linear.kernels import Factor, Warm
from fewer.linear.matrix import Dense, Sparse
from fewer.linear.progress import Log, State, centred, certificates, choose, lay_out, stops, working
from fewer.linear.ready import Ready
from fewer.linear.result import Path
from fewer.linear.terms import Certificate, Terms

__all__ = ["Steps", "follow"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
Steps = Generator[Vector, Vector, Path]
#: Sparse data of so many columns are solved like dense ones.
_FEW = 32


def follow(ready: Ready) -> Steps:
    """The path, by whichever regime suits the data."""
    if ready.job.regime != "gram" and tiers.native() is not None and len(ready.free) == 0 and _by_residual(ready):
        from fewer.linear.residual import follow_residual

        found = yield from follow_residual(ready)
        if found is not None:
            return found
    return (yield from _follow_gram(ready))


def _by_residual(ready: Ready) -> bool:
    """Whether descent on residuals pays: sparse columns, or a few dense solves that a Gram matrix would not pay for."""
    matrix, job = ready.matrix, ready.job
    if isinstance(matrix, Sparse):  # few columns: their Gram matrix costs nothing, and its solutions are exact
        return job.regime == "residual" or matrix.shape[1] > _FEW
    if not isinstance(matrix, Dense):
        return False
    n, p = matrix.shape
    if ready.ridge and p <= 5000:
        return False
    reads = matrix.X.dtype == np.float64 and matrix.X.flags.f_contiguous
    reads = reads and bool(np.all(job.weights == job.weights[0]))
    return reads and (job.regime == "residual" or (len(ready.lams) <= 3 and n * p > 1_000_000))


def _wants_full(ready: Ready) -> bool:
    """Whether the whole Gram matrix pays from the start: few columns, or a tall problem that will need most of them."""
    if ready.matrix is None or ready.pool.full or len(ready.always) == len(ready.c):
        return True
    n, p = ready.matrix.shape
    if p > 5000 or len(ready.lams) == 0:
        return False
    if n * p * p <= 50_000_000:  # cheaper than finding out which columns matter
        return True
    depth = float(ready.lams[-1]) / ready.lam_max if ready.lam_max > 0 else 1.0
    return p <= min(2 * len(ready.lams), n) or p <= 64 or (n >= 4 * p and depth < 0.1 and len(ready.lams) >= 20)


@dataclass
class _Local:
    """The working columns of one run of penalties: positions, Gram block, prices."""

    work: Index
    places: Index
    gram: Vector
    c: Vector
    terms: Terms


def _local(ready: Ready, work: Index, old: _Local | None) -> _Local:
    if old is not None and len(old.work) == len(work) and np.array_equal(old.work, work):
        return old
    pool = ready.pool
    if not pool.full and len(pool.index) + np.count_nonzero(pool.place[work] < 0) > 0.8 * len(ready.c):
        pool.require(np.arange(len(ready.c)))
    pool.require(work)
    places = pool.place[work]
    whole = len(work) == len(pool.gram) and bool(np.all(places == np.arange(len(work))))
    gram = pool.gram if whole else kernels.gram_block(pool.gram, places)
    return _Local(work, places, gram, np.ascontiguousarray(ready.c[work]), lay_out(ready.terms.take(work)))


def _follow_gram(ready: Ready) -> Steps:
    """Working-set Gram regime."""
    job, pool, terms, p = ready.job, ready.pool, ready.terms, len(ready.c)
    if _wants_full(ready) and not pool.full:
        pool.fill()
    lams, stones = stops(ready, 0.3 if pool.full and p <= 400 else 0.5)
    log = Log(ready, "gram" if pool.full else "working gram")
    top = max(ready.lam_max, float(lams[0]) if len(lams) else 1.0)
    state = State(np.zeros(p), np.zeros(p), np.inf, np.inf, [(top, ready.g0)])
    state.b[ready.free] = ready.start
    state.before[ready.free] = ready.start
    paid = np.isfinite(terms.l1) & (terms.l1 > 0)
    whole = np.flatnonzero(np.isfinite(terms.l1)) if pool.full and p <= 2000 else None
    # With every column in hand there is nothing to guess: long runs from the start.
    block, i, inner, missing = 4 if whole is None else 16, 0, 0.3, np.empty(0, np.int64)
    local: _Local | None = None
    factor = Factor()
    while i < len(lams):
        stop = min(len(lams), i + block) if i >= stones else (stones if whole is not None else min(stones, i + 2))
        if lams[i] == 0:
            _unpenalised(ready, log)
            i += 1
            continue
        run = lams[i : stop - 1] if lams[stop - 1] == 0 else lams[i:stop]
        work = whole if whole is not None else working(ready, state, float(run[-1]), missing, paid)
        local = _local(ready, work, local)
        goal = ready.enough if i >= stones else max(ready.enough, 1e-2 * ready.null)
        warm = state.warm(work)
        if ready.ridge and local.terms.low is None:
            B, Gs, stats = _ridge(local, run)
        else:
            B, Gs, stats = kernels.gram_path(
                local.gram, ready.yy, local.c, local.terms, warm, run, inner * goal, job.most, factor, work
            )
        found, pulls = yield from _certify(ready, work, local.places, B, Gs, run)
        found = log.best(run, work, B, found)
        good = 0
        while good < len(run) and (_done(ready, found[good], goal) or stats[good, 1] >= job.most):
            good += 1
        if good < len(run):
            late = np.abs(pulls[:, good:]).max(axis=1) if good + 3 < len(run) else np.abs(pulls[:, good])
            late[work] = 0.0
            with np.errstate(divide="ignore", invalid="ignore"):
                short = np.where(paid, late / (run[good] * terms.l1), 0.0)
            lost = choose(short, 1.0, max(64, int(np.count_nonzero(B[good]))))
            missing = np.union1d(missing[missing < p], lost)
            if len(lost) == 0:
                inner *= 0.1
                if inner < 1e-8:
                    good, inner = good + 1, 0.3  # as good as arithmetic allows: kept, and flagged by its gap
            else:
                block = max(2, block // 2) if good * 2 < len(run) else block
        else:
            missing, inner, block = np.empty(0, np.int64), max(inner, 0.1), min(16, 2 * block)
        for t in range(good):
            if i + t >= stones:
                log.accept(work, B[t], found[t], stats[t, 1])
            state.seen.append((float(run[t]), pulls[:, t]))
        del state.seen[:-2]
        state.stand(work, B, run, min(good, len(run) - 1))
        i += good
    return log.path()


def _done(ready: Ready, found: Certificate, goal: float) -> bool:
    return found.gap <= goal and found.kkt <= ready.near


def _ridge(local: _Local, run: Vector) -> tuple[Vector, Vector, Vector]:
    """Without L1 prices and bounds: one linear system a strength, in the shape of `kernels.gram_path`."""
    k = len(local.c)
    B, stats, G = np.empty((len(run), k)), np.ones((len(run), 4)), local.gram[:k, :k]
    for t, lam in enumerate(run):
        H = G + np.diag(lam * local.terms.l2)
        # Free columns may depend on each other.
        alone = bool((local.terms.l2 > 0).all())
        B[t] = np.linalg.solve(H, local.c) if alone else np.linalg.lstsq(H, local.c, rcond=1e-14)[0]
    return B, local.c - B @ G, stats


def _certify(
    ready: Ready, work: Index, places: Index, B: Vector, Gs: Vector, run: Vector
) -> Generator[Vector, Vector, tuple[list[Certificate], Vector]]:
    """Gradients of all columns at every solution of a run, and certificates; refits free columns."""
    pool, p = ready.pool, len(ready.c)
    residuals: Any = None
    if pool.full:
        pulls = np.empty((p, len(run)))
        pulls[work] = Gs.T
        idle = np.ones(p, dtype=bool)
        idle[work] = False
        others = np.flatnonzero(idle)
        if len(others):
            alive = np.flatnonzero(np.any(B != 0, axis=0))
            rows = pool.gram[pool.place[others][:, None], places[alive]]
            pulls[others] = ready.c[others, None] - rows @ B[:, alive].T
    else:
        residuals = pool.residuals(ready.y, places, np.ascontiguousarray(B.T))
        V = residuals * (pool.root[:, None] if np.ndim(pool.root) else pool.root)
        pulls = centred((yield V), ready, V)
    if len(ready.free):
        where = np.searchsorted(work, ready.free)
        moves = ready.inverse @ pulls[ready.free]
        pulls = pulls - ready.pull @ moves
        B[:, where] += moves.T
        if residuals is not None:
            residuals = residuals - (pool.residuals(np.zeros(len(ready.y)), pool.place[ready.free], -moves))
    if residuals is not None:
        rr = np.einsum("im,im->m", residuals, residuals)
        ry = np.asarray(pool.root * ready.y) @ residuals
    else:
        fitted = B @ ready.c[work]
        rr = np.maximum(ready.yy - fitted - np.einsum("mk,km->m", B, pulls[work]), 0.0)
        ry = ready.yy - fitted
    return certificates(ready, work, B, pulls, run, rr, ry), pulls


def _unpenalised(ready: Ready, log: Log) -> None:
    """Lam = 0: least squares of smallest norm over every column that is not excluded."""
    terms, pool = ready.terms, ready.pool
    index = np.flatnonzero(np.isfinite(terms.l1))
    pool.require(index)
    places = pool.place[index]
    c = ready.c[index]
    gram = pool.gram[np.ix_(places, places)]
    if terms.low is not None:
        box = Terms(np.zeros(len(index)), np.zeros(len(index)), terms.low[index], terms.take(index).high)
        warm = Warm(np.zeros(len(index)), np.zeros(len(index)))
        B, _, stats = kernels.gram_path(
            np.ascontiguousarray(gram),
            ready.yy,
            c,
            lay_out(box),
            warm,
            np.zeros(1),
            0.3 * ready.enough,
            ready.job.most,
        )
        b, rounds = B[0], stats[0, 1]
    elif ready.matrix is not None:
        columns = -pool.residuals(np.zeros(len(ready.y)), places, np.eye(len(index)))
        b, rounds = np.linalg.lstsq(columns, pool.root * ready.y, rcond=None)[0], 1
    else:
        b, rounds = np.linalg.lstsq(gram, c, rcond=1e-13)[0], 1
    g = np.zeros(len(ready.c))
    g[index] = c - gram @ b
    if ready.matrix is not None:
        r = pool.residuals(ready.y, places, b[:, None])[:, 0]
        g[index] = pool.residuals(np.zeros(len(ready.y)), places, -np.eye(len(index))).T @ r
        rr = float(r @ r)
    else:
        rr = max(float(ready.yy - b @ (c + g[index])), 0.0)
    free = terms.low is None
    slack = float(np.abs(g[index]) @ np.abs(b)) if free else float(stats[0, 0])
    kkt = (
        float(np.abs(g[index]).max(initial=0.0))
        if free
        else Terms(np.zeros(len(index)), np.zeros(len(index)), terms.take(index).low, terms.take(index).high).kkt(
            b, g[index], 0.0
        )
    )
    log.accept(index, b, Certificate(0.5 * rr, slack, kkt, 1.0), rounds)
