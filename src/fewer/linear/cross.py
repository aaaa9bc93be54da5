"""Paths on the complements of folds, for one or many penalty-factor vectors: the inner loop of cross-validation.

Tall dense data: one Gram matrix of all rows, downdated for every fold, shared by all factor vectors. Wide or sparse
data: held-out rows get weight zero, and one product with X serves the gradients of every fold and factor
vector at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, Share, checked
from fewer.linear.arrays import Grid, Ratio, numbers_of, plain
from fewer.linear.losses import Loss, Squared
from fewer.linear.matrix import Dense, Matrix, as_matrix
from fewer.linear.paths import _answer, _grid_given, _run, _target, _weights, path, prices
from fewer.linear.ready import Job, prepare_gram
from fewer.linear.result import Path
from fewer.linear.terms import Terms
from fewer.linear.trace import follow
from fewer.method import FewerError

__all__ = ["cross_paths"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@checked
def cross_paths(
    X: Any,
    y: Any,
    folds: Iterable[Any],
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
    loss: Loss | None = None,
) -> tuple[tuple[Path, ...], ...]:
    """Paths fitted without each fold, for every penalty-factor vector.

    Args:
        folds: for every fold the rows held out, as indices.
        factors: None, (p,), or (p, m) for m vectors.
        lams: strengths; None takes for every factor vector the grid of the full data.
        loss: None is the squared loss; any other loss is fitted fold by fold.

    The other arguments are those of `path`; the loss of a fold is divided by its number of training rows.

    Returns:
        Indexed [factor vector][fold], every path on the same penalties as its neighbours.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0); X = rng.normal(size=(30, 4)); y = X[:, 0] + rng.normal(size=30)
    >>> found = cross_paths(X, y, [np.arange(10), np.arange(10, 30)], count=5)
    >>> len(found), len(found[0]), len(found[0][0])
    (1, 2, 5)
    """
    matrix = as_matrix(X)
    n, p = matrix.shape
    held = [_fold(rows, n) for rows in folds]
    if not held:
        raise FewerError("folds is empty; give the rows held out of each")
    columns = [None] if factors is None else list(np.atleast_2d(numbers_of(factors, "factors").T))
    if not columns:
        raise FewerError("factors have no column; give (p,) or (p, m)")
    ratio = (1e-3 if n > p else 1e-2) if ratio is None else ratio
    options: dict[str, Any] = {
        "mix": mix, "weights": weights, "intercept": intercept, "standardize": standardize, "lower": lower,
        "upper": upper, "tol": tol,
    }  # fmt: skip
    if loss is not None and not isinstance(loss, Squared):
        return _by_loss(matrix, y, loss, held, columns, lams, count, ratio, {**options, "max_iter": max_iter})
    grids = [
        _grid_given(lams) if lams is not None else _full_grid(matrix, y, f, count, ratio, options) for f in columns
    ]
    target, s = _target(y, n), _weights(weights, n)
    terms = [prices(p, mix, f, lower, upper) for f in columns]
    tall = isinstance(matrix, Dense) and (p <= 256 or (p <= 4000 and n >= 2 * p))
    make = _downdated if tall else _weighted
    return make(matrix, target, s * n, held, terms, grids, intercept, standardize, tol, max_iter)


def _fold(rows: Any, n: int) -> Index:
    out = plain(rows, "folds")
    if out.ndim != 1 or (out.dtype == bool and len(out) != n) or np.any(out != np.floor(out)):
        raise FewerError(
            f"folds hold an entry of shape {out.shape} and type {out.dtype}; give positions of rows, or a mask"
        )
    out = np.flatnonzero(out) if out.dtype == bool else out.astype(np.int64)
    if not len(out) or len(np.unique(out)) >= n or (len(out) and (out.min() < 0 or out.max() >= n)):
        raise FewerError(f"a fold must hold out some, not all, of the rows 0 .. {n - 1}")
    return out


def _full_grid(matrix: Matrix, y: Any, f: Any, count: int, ratio: float, options: dict[str, Any]) -> Vector:
    top = path(matrix, y, factors=f, count=1, **options).lams[0]
    grid = top * ratio ** (np.arange(count) / max(1, count - 1))
    grid[0] = top
    return np.asarray(grid)


def _downdated(
    matrix: Any, y: Vector, s: Vector, held: list[Index], terms: list[Terms], grids: list[Any], intercept: bool,
    standardize: bool, tol: float, most: int,
) -> tuple[tuple[Path, ...], ...]:  # fmt: skip
    """Second moments of all rows, minus those of each fold."""
    X = matrix.X
    whole = _moments(X, y, s)
    out: list[list[Path]] = [[] for _ in terms]
    for rows in held:
        part = _moments(X[rows], y[rows], s[rows])
        G, sums, cross, total, yy, ys = (a - b for a, b in zip(whole, part, strict=True))
        rest = len(y) - len(rows)
        if not total > 0:
            raise FewerError("a fold holds out every row with a positive weight")
        means = sums / total if intercept else np.zeros(len(sums))
        middle = ys / total if intercept else 0.0
        level = np.einsum("ii->i", G).copy()
        G -= np.outer(means, sums) if intercept else 0.0
        diagonal = np.einsum("ii->i", G)
        flat = np.flatnonzero(diagonal <= 1e-12 * level)
        G[flat], G[:, flat] = 0.0, 0.0
        G /= rest
        c = (cross - middle * sums) / rest
        c[flat] = 0.0
        square = max(float(yy - middle * ys), 0.0) / rest
        spread = np.sqrt(diagonal * rest / total) if standardize else np.ones(len(means))
        for k, shape in enumerate(terms):
            with np.errstate(invalid="ignore"):
                l1 = np.where(spread > 0, shape.l1 * spread, np.inf)
            priced = Terms(l1, np.where(spread > 0, shape.l2 * spread**2, 0.0), shape.low, shape.high)
            job = Job(y, s, False, priced, False, grids[k], 0, 1.0, tol, most)
            found = _answer(follow(prepare_gram(G, c, square, job)), None)
            shift = middle - means[found.columns] @ found.values
            out[k].append(replace(found, intercepts=shift, engine="downdated gram"))
    return tuple(tuple(paths) for paths in out)


def _moments(X: Any, y: Vector, s: Vector) -> tuple[Any, ...]:
    """Raw weighted second moments: X'SX, X's, X'Sy, sum s, y'Sy, s'y."""
    same = len(s) > 0 and bool(np.all(s == s[0]))
    if same and X.dtype == np.float64:
        G = X.T @ X
        G *= s[0]
    else:
        Z = X * np.sqrt(s)[:, None]
        G = np.asarray(Z.T @ Z, dtype=np.float64)
    both = np.asarray(X.T @ np.column_stack([s, s * y]).astype(X.dtype, copy=False), dtype=np.float64)
    return G, both[:, 0], both[:, 1], float(s.sum()), float(s @ (y * y)), float(s @ y)


def _weighted(
    matrix: Any, y: Vector, s: Vector, held: list[Index], terms: list[Terms], grids: list[Any], intercept: bool,
    standardize: bool, tol: float, most: int,
) -> tuple[tuple[Path, ...], ...]:  # fmt: skip
    """Weight zero on held-out rows; all members answered by one product."""
    jobs = []
    for rows in held:
        w = s.copy()
        w[rows] = 0.0
        w /= len(y) - len(rows)
        for k, shape in enumerate(terms):
            jobs.append(Job(y, w, intercept, shape, standardize, grids[k], 0, 1.0, tol, most, False, "auto"))
    found = _run(matrix, jobs)
    m = len(terms)
    return tuple(tuple(found[f * m + k] for f in range(len(held))) for k in range(m))


def _by_loss(
    matrix: Matrix, y: Any, loss: Loss, held: list[Index], columns: list[Any], lams: Any, count: int, ratio: float,
    options: dict[str, Any],
) -> tuple[tuple[Path, ...], ...]:  # fmt: skip
    from fewer.linear.glm import glm_path

    target = loss.check(y)
    X = matrix.X  # type: ignore[attr-defined]
    X = X.tocsr() if hasattr(X, "tocsr") else X
    weights = options.pop("weights")
    w = None if weights is None else numbers_of(weights, "weights", (len(target),))
    out = []
    for f in columns:
        grid = lams
        if grid is None:
            top = glm_path(matrix, target, loss, count=1, factors=f, weights=w, duals=False, **options).lams[0]
            grid = top * ratio ** (np.arange(count) / max(1, count - 1))
        paths = []
        for rows in held:
            keep = np.delete(np.arange(len(target)), rows)
            kept = None if w is None else w[keep]
            paths.append(
                glm_path(X[keep], target[keep], loss, lams=grid, factors=f, weights=kept, duals=False, **options)
            )
        out.append(tuple(paths))
    return tuple(out)
