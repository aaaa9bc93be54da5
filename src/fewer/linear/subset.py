"""Best subsets: least squares on at most k columns, by local swaps on the Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.matrix import as_matrix
from fewer.linear.paths import _target, _weights, prices
from fewer.linear.pool import Pool
from fewer.linear.result import Path
from fewer.method import FewerError

__all__ = ["best_subset"]

Vector = NDArray[np.float64]


def best_subset(
    X: Any, y: Any, sizes: Sequence[int], /, *, factors: Any = None, weights: Any = None, intercept: bool = True,
    ridge: float = 0.0, max_iter: int = 1000,
) -> Path:  # fmt: skip
    """Least squares with at most k columns, for every k of `sizes`: forward steps, then swaps while they help.

    minimise 1/(2n) sum_i s_i (y_i - b0 - x_i b)^2 + ridge/2 sum_j f_j b_j^2   subject to   sum_j f_j [b_j != 0] <= k

    Args:
        sizes: the k to visit; done in increasing order, each from the one before.
        factors: (p,) f: 1, 0 for a column that stays and is not counted, or inf for one that is left out.
        ridge: squared-L2 strength, helps at low signal.
        max_iter: swaps for one k.

    Returns:
        A `Path` whose `lams` are the sizes, in decreasing order like every path. Gaps are nan: the result is a support
        that no exchange of one column improves (`converged`), which need not be the global best.

    >>> import numpy as np
    >>> X = np.eye(4); y = np.array([1.0, -4.0, 2.0, 0.0])
    >>> best_subset(X, y, [1, 2], intercept=False)[1].coef
    array([ 0., -4.,  0.,  0.])

    Reference: Hazimeh and Mazumder (2020), "Fast Best Subset Selection", swaps of size one; checked against the
    enumeration of all supports on small problems.
    """
    matrix = as_matrix(X)
    n, p = matrix.shape
    target, s = _target(y, n), _weights(weights, n)
    wanted = sorted({int(k) for k in sizes})
    f = prices(p, 1.0, factors, None, None).l1
    if not np.all((f == 0) | (f == 1) | np.isinf(f)):
        raise FewerError("a count knows no prices between: penalty factors of best subsets are 0, 1 or inf")
    most = min(int(np.count_nonzero(f == 1)), n)
    if not wanted or wanted[0] < 0 or wanted[-1] > most:
        raise FewerError(f"sizes must lie between 0 and {most}")
    total = float(s.sum())
    means = matrix.tdot(s[:, None])[:, 0] / total if intercept else np.zeros(p)
    middle = float(s @ target) / total if intercept else 0.0
    centred = target - middle
    pool = Pool(matrix, s, means)
    pool.fill()
    order = np.argsort(pool.index)
    whole = pool.gram[: len(order), : len(order)][np.ix_(order, order)]
    full = matrix.tdot((s * centred)[:, None])[:, 0]
    # Columns that stay are projected out of the others, and get their coefficients back at the end.
    paid, stay = np.flatnonzero(f == 1), np.flatnonzero(f == 0)
    inverse = np.linalg.pinv(whole[np.ix_(stay, stay)], rcond=1e-12, hermitian=True)
    pull = whole[np.ix_(paid, stay)] @ inverse
    G = whole[np.ix_(paid, paid)] - pull @ whole[np.ix_(stay, paid)] + ridge * np.eye(len(paid))
    c = full[paid] - pull @ full[stay]
    yy = float(s @ centred**2) - float(full[stay] @ inverse @ full[stay])
    level = np.diag(whole)[paid]  # what projection leaves of a column that the others explain is rounding
    c[np.diag(G) - ridge <= 1e-11 * level] = 0.0
    support: list[int] = []
    rows: list[tuple[list[int], Vector, float, int, bool]] = []
    for k in wanted:
        while len(support) < k:
            gain = _gains(G, c, support)
            best = int(np.argmax(gain))
            if not gain[best] > 1e-14 * yy:
                break
            support = sorted([*support, best])
        support, swaps, settled = _swap(G, c, support, yy, max_iter)
        b = np.asarray(np.linalg.solve(G[np.ix_(support, support)], c[support]), dtype=np.float64)
        rows.append((support, b, 0.5 * (yy - float(c[support] @ b)), swaps, settled))
    rows.reverse()
    chosen = sorted({j for row in rows for j in row[0]})
    columns = np.union1d(paid[chosen], stay)
    values = np.zeros((len(columns), len(rows)))
    for t, row in enumerate(rows):
        on = paid[row[0]]
        values[np.searchsorted(columns, on), t] = row[1]
        values[np.searchsorted(columns, stay), t] = inverse @ (full[stay] - whole[np.ix_(stay, on)] @ row[1])
    nothing = np.full(len(rows), np.nan)
    return Path(
        np.array(wanted[::-1], dtype=np.float64), columns, values, middle - means[columns] @ values,
        np.array([row[2] for row in rows]), nothing, nothing, np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows]), 0.5 * yy, float("nan"), p, "local swaps",
    )  # fmt: skip


def _gains(G: Vector, c: Vector, support: list[int]) -> Vector:
    """(p,) twice the drop of the loss when a column joins the support, refitted; 0 for those in it."""
    diagonal = np.einsum("ii->i", G)
    if support:
        solved = np.linalg.solve(G[np.ix_(support, support)], np.column_stack([c[support], G[support]]))
        pull = c - G[:, support] @ solved[:, 0]
        room = diagonal - np.einsum("ij,ij->j", G[support], solved[:, 1:])
    else:
        pull, room = c, diagonal
    gain = np.where(room > 1e-11 * diagonal, pull**2 / np.where(room > 0, room, 1.0), 0.0)
    gain[support] = 0.0
    return np.asarray(gain)


def _swap(G: Vector, c: Vector, support: list[int], yy: float, most: int) -> tuple[list[int], int, bool]:
    """Exchange one column for another while that lowers the loss; the cheapest to lose is tried first."""
    for swaps in range(most):
        if not support:
            return support, swaps, True
        inverse = np.linalg.inv(G[np.ix_(support, support)])
        b = inverse @ c[support]
        losses = b**2 / np.diag(inverse)
        for i in np.argsort(losses):
            rest = support[:i] + support[i + 1 :]
            gain = _gains(G, c, rest)
            gain[support[i]] = 0.0
            j = int(np.argmax(gain))
            if gain[j] > losses[i] + 1e-12 * yy:
                support = sorted([*rest, j])
                break
        else:
            return support, swaps, True
    return support, most, False
