"""The front of the solver: one problem, one path, or many paths on one matrix.

minimise over (b0, b)   1/(2n) sum_i s_i (y_i - b0 - x_i b)^2 + lam sum_j f_j (mix |b_j| + (1 - mix)/2 b_j^2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, Share, checked
from fewer.linear.arrays import Grid, Ratio, factors_of, numbers_of, plain
from fewer.linear.matrix import LARGE, Matrix, as_matrix
from fewer.linear.pool import Pool
from fewer.linear.ready import Job, Ready, prepare, prepare_gram
from fewer.linear.result import Path, Solution
from fewer.linear.terms import Terms
from fewer.linear.trace import Steps, follow
from fewer.method import FewerError

__all__ = ["batch", "gram_path", "lambda_max", "path", "prices", "solve"]

Vector = NDArray[np.float64]
Regime = Literal["auto", "gram", "residual"]


@checked
def solve(
    X: Any,
    y: Any,
    lam: NotNegative,
    /,
    *,
    mix: Share = 1.0,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    lower: Any = None,
    upper: Any = None,
    tol: NotNegative = 1e-6,
    max_iter: Count = 100_000,
    regime: Regime = "auto",
) -> Solution:
    """One solution of the weighted elastic net, with its certificate.

    Args:
        X: (n, p) numpy (C or Fortran, float32 or float64) or scipy sparse.
        y: (n,) target.
        lam: strength, >= 0; 0 is least squares.
        mix: share of L1, in [0, 1].
        factors: (p,) penalty factors in [0, inf]; 0 leaves a column free, inf excludes it. Never rescaled.
        weights: (n,) row weights >= 0, used as they are (the loss is divided by n, not by their sum).
        intercept: fit an unpenalised constant; centring is implicit, sparse data stay sparse.
        standardize: penalise as if columns had unit (weighted) standard deviation; coefficients come back in the units
            of X, bounds are meant in the units of X.
        lower, upper: bounds, numbers or (p,), with lower <= 0 <= upper.
        tol: duality gap at which to stop, relative to the null objective.
        max_iter: rounds of the inner solver for one penalty.
        regime: "auto"; "gram" forces the working-Gram regime on sparse data, "residual" descent on residuals on dense
            data (Fortran order, float64, equal weights; elsewhere it changes nothing).

    Returns:
        A `Solution`. If the tolerance was not reached, `converged` is False and `gap` says what was.

    Raises:
        FewerError: shapes that do not match, values that are not finite, a factor or weight below zero.

    >>> import numpy as np
    >>> X = np.eye(4); y = np.array([4.0, 2.0, 0.0, 0.0])
    >>> solve(X, y, 0.25, intercept=False).coef
    array([3., 1., 0., 0.])
    """
    return path(
        X, y, lams=[lam], mix=mix, factors=factors, weights=weights, intercept=intercept, standardize=standardize,
        lower=lower, upper=upper, tol=tol, max_iter=max_iter, regime=regime,
    )[0]  # fmt: skip


@checked
def path(
    X: Any,
    y: Any,
    /,
    *,
    lams: Any = None,
    count: Grid = 100,
    ratio: Ratio | None = None,
    mix: Share = 1.0,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    lower: Any = None,
    upper: Any = None,
    tol: NotNegative = 1e-6,
    max_iter: Count = 100_000,
    duals: bool = True,
    regime: Regime = "auto",
) -> Path:
    """Solutions along decreasing penalties, every one certified.

    Args:
        lams: strengths to visit, in any order (the result is in decreasing order); None lays a geometric grid
            of `count` from lam_max down to `ratio * lam_max`.
        count: number of penalties on the grid.
        ratio: smallest penalty relative to lam_max; None takes 1e-3 when n > p and 1e-2 otherwise.
        duals: keep the dual points (L, n).

    The other arguments are those of `solve`.

    >>> import numpy as np
    >>> X = np.eye(4); y = np.array([4.0, 2.0, 0.0, 0.0])
    >>> found = path(X, y, lams=[1.0, 0.5, 0.25], intercept=False)
    >>> found.sizes.tolist(), bool(found.converged.all())
    ([0, 1, 2], True)
    """
    matrix = as_matrix(X)
    n, p = matrix.shape
    terms = prices(p, mix, factors, lower, upper)
    s = _weights(weights, n)
    ratio = (1e-3 if n > p else 1e-2) if ratio is None else ratio
    job = Job(
        _target(y, n), s, intercept, terms, standardize, _grid_given(lams), count, ratio, tol, max_iter, duals, regime
    )
    return _run(matrix, [job])[0]


@checked
def batch(
    X: Any,
    Y: Any,
    /,
    *,
    lams: Any = None,
    count: Grid = 100,
    ratio: Ratio | None = None,
    mix: Share = 1.0,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    lower: Any = None,
    upper: Any = None,
    tol: NotNegative = 1e-6,
    max_iter: Count = 100_000,
    duals: bool = False,
) -> tuple[Path, ...]:
    """Many paths on one matrix: columns of targets, row weights or penalty factors, one product for all gradients.

    Args:
        Y: (n,) or (n, m) targets.
        factors: (p,) or (p, m).
        weights: (n,) or (n, m).
        lams: as for `path`, shared by all; None gives each its own grid.

    Every one of Y, factors, weights that has a second axis has the same length m there; the others are shared.
    The remaining arguments are those of `path`. Problems with the same row weights share one working Gram matrix.

    Returns:
        m paths, each equal to what `path` gives for its columns.

    >>> import numpy as np
    >>> X = np.eye(4); Y = np.array([[4.0, 0.0], [2.0, 2.0], [0.0, 4.0], [0.0, 0.0]])
    >>> [found[0].coef.tolist() for found in batch(X, Y, lams=[0.25], intercept=False)]
    [[3.0, 1.0, 0.0, 0.0], [0.0, 1.0, 3.0, 0.0]]
    """
    matrix = as_matrix(X)
    n, p = matrix.shape
    Y = plain(Y, "Y")
    factors, weights = (None if a is None else plain(a, k) for a, k in ((factors, "factors"), (weights, "weights")))
    sizes = {a.shape[1] for a in (Y, factors, weights) if a is not None and a.ndim == 2}
    if len(sizes) > 1:
        raise FewerError(f"batch: columns of Y, factors and weights differ in number ({sorted(sizes)})")
    m = sizes.pop() if sizes else 1
    if not m:
        raise FewerError("batch: no column in Y, factors or weights; there is nothing to solve")
    ratio = (1e-3 if n > p else 1e-2) if ratio is None else ratio
    shared_weights = _weights(weights, n) if weights is None or weights.ndim == 1 else None
    shared_target = _target(Y, n, "Y") if Y.ndim == 1 else None
    jobs = []
    for k in range(m):
        s = shared_weights if shared_weights is not None else _weights(_pick(weights, k), n)
        y = shared_target if shared_target is not None else _target(_pick(Y, k), n, "Y")
        terms = prices(p, mix, _pick(factors, k), lower, upper)
        jobs.append(
            Job(y, s, intercept, terms, standardize, _grid_given(lams), count, ratio, tol, max_iter, duals, "gram")
        )
    return tuple(_run(matrix, jobs))


@checked
def gram_path(
    gram: Any,
    moment: Any,
    square: NotNegative,
    /,
    *,
    lams: Any = None,
    count: Grid = 100,
    ratio: Ratio = 1e-3,
    mix: Share = 1.0,
    factors: Any = None,
    lower: Any = None,
    upper: Any = None,
    tol: NotNegative = 1e-6,
    max_iter: Count = 100_000,
) -> Path:
    """A path from second moments alone: minimise b'Gb/2 - c'b + square/2 + penalty.

    Args:
        gram: (p, p) X'SX/n, centred if an intercept is wanted.
        moment: (p,) X'Sy/n, of the same centring.
        square: y'Sy/n.

    Returns:
        A `Path` with intercept 0 and no dual points; gaps are exact given the moments.

    >>> import numpy as np
    >>> gram_path(np.eye(2), np.array([1.0, 0.2]), 2.0, lams=[0.5])[0].coef
    array([0.5, 0. ])
    """
    G, c = numbers_of(gram, "gram"), numbers_of(moment, "moment")
    if G.ndim != 2 or G.shape[0] != G.shape[1] or c.shape != (len(G),):
        raise FewerError(f"gram {G.shape} and moment {c.shape} do not match; give (p, p) and (p,)")
    if not np.all(np.isfinite(c)):
        raise FewerError("moment holds nan or infinity; give finite numbers")
    terms = prices(len(c), mix, factors, lower, upper)
    job = Job(np.empty(0), np.empty(0), False, terms, False, _grid_given(lams), count, ratio, tol, max_iter)
    return _answer(follow(prepare_gram(G, c, float(square), job)), None)


@checked
def lambda_max(X: Any, y: Any, /, **options: Any) -> float:
    """The smallest strength at which every penalised coefficient is zero; options as for `path`.

    >>> import numpy as np
    >>> lambda_max(np.eye(4), np.array([4.0, 2.0, 0.0, 0.0]), intercept=False)
    1.0
    """
    return path(X, y, count=1, **options).lam_max


def prices(p: int, mix: float, factors: Any, lower: Any, upper: Any) -> Terms:
    """Checked prices of the p columns per unit of lam."""
    if not 0 <= mix <= 1:
        raise FewerError(f"mix is {mix}; it is the share of L1, in [0, 1]")
    f = factors_of(factors, p)
    out = np.isinf(f)
    l1 = np.where(out, np.inf, mix * np.where(out, 0.0, f))
    l2 = np.where(out, 0.0, (1 - mix) * np.where(out, 0.0, f))
    if lower is None and upper is None:
        return Terms(l1, l2)
    low, high = _bound(lower, "lower", -np.inf, p), _bound(upper, "upper", np.inf, p)
    if not (np.all(low <= 0) and np.all(high >= 0)):
        raise FewerError("bounds must enclose zero: lower <= 0 <= upper for every column")
    return Terms(l1, l2, low, high)


def _bound(value: Any, name: str, default: float, p: int) -> Vector:
    """(p,) bounds, from a number or one a column."""
    given = numbers_of(default if value is None else value, name)
    if given.shape not in ((), (p,)):
        raise FewerError(f"{name} has shape {given.shape}; give a number, or one for each of {p} columns")
    return np.ascontiguousarray(np.broadcast_to(given, p))


def _pick(array: Any, k: int) -> Any:
    return array[:, k] if array is not None and array.ndim == 2 else array


def _weights(weights: Any, n: int) -> Vector:
    if weights is None:
        return np.full(n, 1.0 / n)
    s = numbers_of(weights, "weights", (n,))
    if not np.all(s >= 0) or not np.all(np.isfinite(s)) or not s.any():
        raise FewerError(f"weights must be {n} finite numbers >= 0, not all zero")
    if not np.isfinite(s.sum()):
        raise FewerError("weights add up to infinity; divide them by their largest")
    return s / n


def _target(y: Any, n: int, name: str = "y") -> Vector:
    target = numbers_of(y, name)
    if target.shape != (n,):
        raise FewerError(f"{name} has shape {target.shape}; X has {n} rows")
    if not np.all(np.isfinite(target)):
        raise FewerError(f"{name} is not finite in row {int(np.flatnonzero(~np.isfinite(target))[0])}")
    if np.abs(target).max(initial=0.0) > LARGE:
        raise FewerError(f"{name} holds {target[np.argmax(np.abs(target))]:g}; rescale it")
    return target


def _grid_given(lams: Any, name: str = "lams") -> Vector | None:
    if lams is None:
        return None
    grid = numbers_of(lams, name)
    if grid.ndim > 1:
        raise FewerError(f"{name} has shape {grid.shape}; give one number, or a list of them")
    grid = np.sort(grid.ravel())[::-1].copy()
    if len(grid) == 0 or not np.all(np.isfinite(grid)) or grid[-1] < 0:
        raise FewerError(f"{name} must be at least one finite number >= 0")
    return grid


def _member(matrix: Matrix, job: Job, pools: dict[tuple[int, bool], Pool]) -> Steps:
    ready: Ready = yield from prepare(matrix, job, pools)
    return (yield from follow(ready))


def _answer(steps: Steps, matrix: Matrix | None) -> Path:
    """Run one coroutine, answering each request at once."""
    try:
        wanted = next(steps)
        while True:
            assert matrix is not None  # a Gram problem asks for nothing
            wanted = steps.send(matrix.tdot(wanted))
    except StopIteration as stop:
        result: Path = stop.value
        return result


def _run(matrix: Matrix, jobs: Sequence[Job]) -> list[Path]:
    """Run coroutines in step: gather what they ask for, answer with one product."""
    pools: dict[tuple[int, bool], Pool] = {}
    members = [_member(matrix, job, pools) for job in jobs]
    if len(members) == 1:
        return [_answer(members[0], matrix)]
    done: list[Path | None] = [None] * len(members)
    asked: dict[int, Vector] = {}

    def step(k: int, sent: Vector | None) -> None:
        try:
            asked[k] = members[k].send(sent)  # type: ignore[arg-type]
        except StopIteration as stop:
            done[k] = stop.value
            asked.pop(k, None)

    for k in range(len(members)):
        step(k, None)
    while asked:
        order = list(asked)
        product = matrix.tdot(np.hstack([asked[k] for k in order]))
        cuts = np.cumsum([asked[k].shape[1] for k in order])[:-1]
        for k, part in zip(order, np.split(product, cuts, axis=1), strict=True):
            step(k, np.ascontiguousarray(part))
    return [found for found in done if found is not None]
