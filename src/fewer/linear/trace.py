"""Following a path of penalties, as a coroutine: it yields vectors V (n, m) and is sent X'V (p, m).

Whoever runs several problems on one matrix can gather what they yield and answer with one product; whoever runs one
answers at once. Penalties are solved several at a time on a working set of columns, guessed by carrying the gradient on
in a straight line; one pass over X then certifies them all, and the first that fails is taken up again with the
columns that were missing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import kernels
from fewer.linear.kernels import Factor, Warm
from fewer.linear.matrix import Matrix, Sparse
from fewer.linear.pool import GramPool, Pool
from fewer.linear.result import Path
from fewer.linear.terms import Certificate, Terms

__all__ = ["Job", "Ready", "Steps", "follow", "prepare"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
Steps = Generator[Vector, Vector, Path]


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
        """Gap at which a solution counts as converged."""
        return max(self.job.tol * self.null, 4e-15 * self.yy)


def prepare(matrix: Matrix, job: Job, pools: dict[tuple[int, bool], Pool]) -> Generator[Vector, Vector, Ready]:
    """Centre, price the columns, fit the null model, lay out the grid."""
    s, p = job.weights, matrix.shape[1]
    total = float(s.sum())
    moments = yield np.column_stack([s, s * job.y])
    mass = np.ascontiguousarray(moments[:, 0])
    means = mass / total if job.intercept else np.zeros(p)
    y_mean = float(s @ job.y) / total if job.intercept else 0.0
    y = job.y - y_mean
    c = moments[:, 1] - y_mean * mass
    yy = float(s @ (y * y))
    terms = job.terms
    if job.standardize:
        spread = matrix.squares(s) / total - means * means
        spread = np.where(spread > 1e-13 * means * means, spread, 0.0)
        spread = np.sqrt(np.maximum(spread, 0.0))
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
    ready.inverse = np.linalg.pinv(pool.gram[np.ix_(place, place)], rcond=1e-12, hermitian=True)
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
    if not np.all(np.isfinite(ready.c)) or not np.isfinite(ready.yy):
        from fewer.method import FewerError

        where = np.flatnonzero(~np.isfinite(ready.c))
        name = f"column {where[0]} of X" if len(where) else "the target"
        raise FewerError(f"{name} holds nan or infinity (or overflows); give finite numbers")
    paid = (terms.l1 > 0) & np.isfinite(terms.l1)
    size = np.abs(g)
    if terms.low is not None and terms.high is not None:
        size = np.where(np.where(g > 0, terms.high > 0, terms.low < 0), size, 0.0)
    # Rounding: what the free columns explain entirely must not raise lam_max above its true value.
    size = np.where(size > 1e-14 * np.sqrt(ready.yy), size, 0.0)
    ready.lam_max = float(np.max(size[paid] / terms.l1[paid], initial=0.0))
    if job.lams is not None:
        ready.lams = job.lams
        return
    top = ready.lam_max
    if not paid.any() and (terms.l2 > 0).any():
        ridge = terms.l2 > 0
        top = float(np.max(size[ridge] / terms.l2[ridge], initial=0.0)) * 1e3
    top = top if top > 0 else 1.0
    ready.lams = top * job.ratio ** (np.arange(job.count) / max(1, job.count - 1))
    ready.lams[0] = top


@dataclass
class _Log:
    """Accepted solutions so far."""

    ready: Ready
    engine: str
    columns: list[Index] = field(default_factory=list)
    values: list[Vector] = field(default_factory=list)
    found: list[Certificate] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    duals: list[Vector] = field(default_factory=list)

    def accept(self, index: Index, b: Vector, found: Certificate, rounds: float, dual: Vector | None) -> None:
        on = np.flatnonzero(b)
        self.columns.append(index[on])
        self.values.append(b[on])
        self.found.append(found)
        self.rounds.append(int(rounds))
        if dual is not None:
            self.duals.append(dual)

    def path(self) -> Path:
        ready, L = self.ready, len(self.found)
        p = len(ready.c)
        union = np.unique(np.concatenate(self.columns)) if L else np.empty(0, np.int64)
        values = np.zeros((len(union), L))
        for k in range(L):
            values[np.searchsorted(union, self.columns[k]), k] = self.values[k]
        gaps = np.array([f.gap for f in self.found])
        return Path(
            ready.lams, union, values, ready.y_mean - ready.means[union] @ values,
            np.array([f.objective for f in self.found]), gaps, np.array([f.kkt for f in self.found]),
            np.array(self.rounds), gaps <= ready.enough, ready.null, ready.lam_max, p, self.engine,
            np.array(self.duals) if len(self.duals) == L and L else None,
        )  # fmt: skip


def _guess(ready: Ready, seen: list[tuple[float, Vector]], lam: float) -> Vector:
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


def _choose(ratio: Vector, level: float, most: int) -> Index:
    """Columns whose ratio reaches level, the largest first, at most so many."""
    out = np.flatnonzero(ratio >= level)
    if len(out) > most:
        out = out[np.argpartition(-ratio[out], most - 1)[:most]]
    return out


def _stops(ready: Ready) -> tuple[Vector, int]:
    """The penalties to visit, preceded by stepping stones where the first is far below lam_max; and their number."""
    first, top = float(ready.lams[0]) if len(ready.lams) else 0.0, ready.lam_max
    if not 0 < first < 0.35 * top:
        return ready.lams, 0
    steps = int(np.ceil(np.log(first / top) / np.log(0.5)))
    stones = top * (first / top) ** (np.arange(1, steps) / steps)
    return np.concatenate([stones, ready.lams]), len(stones)


def follow(ready: Ready) -> Steps:
    """The path, by whichever regime suits the data."""
    native_sparse = isinstance(ready.matrix, Sparse) and ready.job.regime != "gram"
    if native_sparse and kernels.tiers.native() is not None and len(ready.free) == 0:
        from fewer.linear.residual import follow_sparse

        return follow_sparse(ready)
    return _follow_gram(ready)


def _wants_full(ready: Ready) -> bool:
    """Whether the whole Gram matrix pays from the start: few columns, or a tall problem that will need most of them."""
    if ready.matrix is None or ready.pool.full or len(ready.always) == len(ready.c):
        return True
    n, p = ready.matrix.shape
    if p > 5000 or len(ready.lams) == 0:
        return False
    depth = float(ready.lams[-1]) / ready.lam_max if ready.lam_max > 0 else 1.0
    return p <= min(2 * len(ready.lams), n) or p <= 64 or (n >= 4 * p and depth < 3e-3)


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
    gram = pool.gram if whole else pool.gram[places[:, None], places]
    return _Local(work, places, gram, np.ascontiguousarray(ready.c[work]), _contiguous(ready.terms.take(work)))


@dataclass
class _State:
    """Where the path stands: the last two solutions, the last two gradients."""

    b: Vector
    before: Vector
    lam_at: float
    lam_before: float
    seen: list[tuple[float, Vector]]

    def warm(self, work: Index) -> Warm:
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


def _working(ready: Ready, state: _State, lam: float, missing: Index, paid: NDArray[np.bool_]) -> Index:
    """The columns to solve on: those in use, those always free, those found missing, those likely to come."""
    use = state.b != 0
    ratio = _guess(ready, state.seen, lam)
    likely = _choose(np.where(paid & ~use, ratio, 0.0), 0.97, max(32, int(np.count_nonzero(use))))
    use[likely] = True
    use[ready.always] = True
    use[missing] = True
    return np.flatnonzero(use)


def _follow_gram(ready: Ready) -> Steps:
    """Working-set Gram regime."""
    job, pool, terms, p = ready.job, ready.pool, ready.terms, len(ready.c)
    if _wants_full(ready) and not pool.full:
        pool.fill()
    lams, stones = _stops(ready)
    log = _Log(ready, "gram" if pool.full else "working gram")
    top = max(ready.lam_max, float(lams[0]) if len(lams) else 1.0)
    state = _State(np.zeros(p), np.zeros(p), np.inf, np.inf, [(top, ready.g0)])
    state.b[ready.free] = ready.start
    state.before[ready.free] = ready.start
    paid = np.isfinite(terms.l1) & (terms.l1 > 0)
    whole = np.flatnonzero(np.isfinite(terms.l1)) if pool.full and p <= 400 else None
    block, i, inner, missing = 4, 0, 0.3, np.empty(0, np.int64)
    local: _Local | None = None
    factor = Factor()
    while i < len(lams):
        stop = min(len(lams), i + block) if i >= stones else min(stones, i + 2)
        if lams[i] == 0:
            _unpenalised(ready, log)
            i += 1
            continue
        run = lams[i : stop - 1] if lams[stop - 1] == 0 else lams[i:stop]
        work = whole if whole is not None else _working(ready, state, float(run[-1]), missing, paid)
        local = _local(ready, work, local)
        goal = ready.enough if i >= stones else max(ready.enough, 1e-2 * ready.null)
        warm = state.warm(work)
        B, Gs, stats = kernels.gram_path(
            local.gram, ready.yy, local.c, local.terms, warm, run, inner * goal, job.most, factor, work
        )
        found, pulls, duals = yield from _certify(ready, work, local.places, B, Gs, run)
        good = 0
        while good < len(run) and (found[good].gap <= goal or stats[good, 1] >= job.most):
            good += 1
        if good < len(run):
            late = np.abs(pulls[:, good:]).max(axis=1) if good + 3 < len(run) else np.abs(pulls[:, good])
            late[work] = 0.0
            with np.errstate(divide="ignore", invalid="ignore"):
                short = np.where(paid, late / (run[good] * terms.l1), 0.0)
            lost = _choose(short, 1.0, max(64, int(np.count_nonzero(B[good]))))
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
                log.accept(work, B[t], found[t], stats[t, 1], None if duals is None else duals[t])
            state.seen.append((float(run[t]), pulls[:, t]))
        del state.seen[:-2]
        state.stand(work, B, run, min(good, len(run) - 1))
        i += good
    return log.path()


def _contiguous(terms: Terms) -> Terms:
    bounds = (
        (None, None)
        if terms.low is None or terms.high is None
        else tuple(map(np.ascontiguousarray, (terms.low, terms.high)))
    )
    return Terms(np.ascontiguousarray(terms.l1), np.ascontiguousarray(terms.l2), *bounds)


def _certify(
    ready: Ready, work: Index, places: Index, B: Vector, Gs: Vector, run: Vector
) -> Generator[Vector, Vector, tuple[list[Certificate], Vector, Vector | None]]:
    """Gradients of all columns at every solution of a run, its certificates, and the dual points; refits free columns."""
    pool, job, p = ready.pool, ready.job, len(ready.c)
    residuals: Any = None
    duals = None
    if len(work) == p and pool.full:
        pulls = np.empty((p, len(run)))
        pulls[work] = Gs.T
    elif pool.full:
        alive = np.flatnonzero(np.any(B != 0, axis=0))
        pulls = ready.c[:, None] - (B[:, alive] @ pool.gram[places[alive]][:, pool.place]).T
    else:
        residuals = pool.residuals(ready.y, places, np.ascontiguousarray(B.T))
        V = residuals * (pool.root[:, None] if np.ndim(pool.root) else pool.root)
        pulls = (yield V) - np.outer(ready.means, V.sum(axis=0))
    if len(ready.free):
        where = np.searchsorted(work, ready.free)
        moves = ready.inverse @ pulls[ready.free]
        pulls = pulls - ready.pull @ moves
        B[:, where] += moves.T
        if residuals is not None:
            residuals = residuals - (pool.residuals(np.zeros(len(ready.y)), pool.place[ready.free], -moves))
    target = pool.root * ready.y if ready.matrix is not None else None
    found = []
    for t, lam in enumerate(run):
        b = B[t]
        if residuals is not None:
            rr, ry = float(residuals[:, t] @ residuals[:, t]), float(residuals[:, t] @ target)
        else:
            on = np.flatnonzero(b)
            fitted = float(b[on] @ ready.c[work[on]])
            rr, ry = max(ready.yy - fitted - float(b[on] @ pulls[work[on], t]), 0.0), ready.yy - fitted
        found.append(_certificate(ready, work, b, pulls[:, t], float(lam), rr, ry))
    if job.keep_duals and ready.matrix is not None:
        if residuals is None:
            residuals = pool.residuals(ready.y, places, np.ascontiguousarray(B.T))
        scales = np.array([f.scale for f in found])
        duals = ((pool.root[:, None] if np.ndim(pool.root) else pool.root) * residuals * scales).T
    return found, pulls, duals


def _certificate(ready: Ready, work: Index, b: Vector, g: Vector, lam: float, rr: float, ry: float) -> Certificate:
    """Terms.certify, with the columns that are zero handled in bulk."""
    terms = ready.terms
    on = work[b != 0]
    if not terms.plain:
        full = np.zeros(len(g))
        full[work] = b
        return terms.certify(full, g, lam, rr, ry)
    b = b[b != 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.abs(g) - lam * terms.l1
    free = terms.l1[on] == 0
    ratio = 0.0
    over = np.flatnonzero((excess > 0) & (terms.l1 > 0))
    if len(over):
        ratio = float(np.max(np.abs(g[over]) / (lam * terms.l1[over])))
    scale = 1.0 / ratio if ratio > 1 else 1.0
    price = lam * float(terms.l1[on] @ np.abs(b))
    objective = 0.5 * rr + price
    gap = objective - scale * ry + 0.5 * scale * scale * rr + float(np.abs(g[on][free]) @ np.abs(b[free]))
    kkt = max(float(excess.max(initial=0.0)), float(np.abs(g[on] - lam * terms.l1[on] * np.sign(b)).max(initial=0.0)))
    return Certificate(objective, max(gap, 0.0), kkt, scale)


def _unpenalised(ready: Ready, log: _Log) -> None:
    """lam = 0: least squares of smallest norm over every column that is not excluded."""
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
            _contiguous(box),
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
        rr, dual = float(r @ r), pool.root * r if ready.job.keep_duals else None
    else:
        rr, dual = max(float(ready.yy - b @ (c + g[index])), 0.0), None
    free = terms.low is None
    slack = float(np.abs(g[index]) @ np.abs(b)) if free else float(stats[0, 0])
    kkt = (
        float(np.abs(g[index]).max(initial=0.0))
        if free
        else Terms(np.zeros(len(index)), np.zeros(len(index)), terms.take(index).low, terms.take(index).high).kkt(
            b, g[index], 0.0
        )
    )
    log.accept(index, b, Certificate(0.5 * rr, slack, kkt, 1.0), rounds, dual)
