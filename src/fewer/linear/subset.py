"""Best subsets: least squares on at most k columns, by local swaps on the Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, checked
from fewer.linear.matrix import as_matrix, refuse_sums
from fewer.linear.paths import _target, _weights, prices
from fewer.linear.pool import Pool
from fewer.linear.result import Path
from fewer.method import FewerError

__all__ = ["best_subset"]

Vector = NDArray[np.float64]


@checked
def best_subset(
    X: Any, y: Any, sizes: Sequence[int], /, *, factors: Any = None, weights: Any = None, intercept: bool = True,
    ridge: NotNegative = 0.0, max_iter: Count = 1000,
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
        raise FewerError(f"sizes must lie between 0 and {most}, the columns that factors let count (and the rows)")
    total = float(s.sum())
    sums = matrix.tdot(s[:, None])
    refuse_sums(sums)
    means = sums[:, 0] / total if intercept else np.zeros(p)
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
    problem = _Moments(G, c, max(yy, 0.0), np.sqrt(level + ridge), np.finfo(np.float64).eps * (16 + n**0.5))
    fit = problem.fit([])
    rows: list[tuple[list[int], Vector, float, int, bool]] = []
    for k in wanted:
        while len(fit.support) < k:
            gain = problem.gains(fit.support)
            if not gain.any():
                break
            fit = problem.fit([*fit.support, int(np.argmax(gain))])
        fit, swaps, settled = _swap(problem, fit, max_iter)
        rows.append((fit.support, fit.b, 0.5 * fit.loss, swaps, settled))
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


@dataclass(frozen=True)
class _Fit:
    """Least squares on a support, twice its loss, and by how much rounding may have put that wrong."""

    support: list[int]
    b: Vector
    loss: float
    doubt: float


@dataclass(frozen=True)
class _Moments:
    """Second moments of the columns to count, their sizes before projection, and the rounding of a sum over rows."""

    G: Vector
    c: Vector
    yy: float
    size: Vector
    rounding: float

    def fit(self, support: list[int]) -> _Fit:
        """Refit: a function of the support alone, in whatever order it was found."""
        support = sorted(support)
        b = np.asarray(np.linalg.solve(self.G[np.ix_(support, support)], self.c[support]), dtype=np.float64)
        level = self.yy + float(np.abs(b) @ self.size[support]) ** 2
        return _Fit(support, b, self.yy - float(self.c[support] @ b), self.rounding * level)

    def gains(self, support: list[int]) -> Vector:
        """(p,) twice the drop of the loss when a column joins the support, refitted; 0 for those in it."""
        G, c = self.G, self.c
        solved = np.linalg.solve(G[np.ix_(support, support)], np.column_stack([c[support], G[support]]))
        pull = c - G[:, support] @ solved[:, 0]
        room = np.diag(G) - np.einsum("ij,ij->j", G[support], solved[:, 1:])
        # The residual of an exact fit is rounding, and so is its correlation with any column.
        level = self.yy + float(np.abs(solved[:, 0]) @ self.size[support]) ** 2
        real = (np.abs(pull) > self.rounding * level**0.5 * self.size) & (room > 1e-11 * self.size**2)
        gain = np.where(real, pull**2 / np.where(real, room, 1.0), 0.0)
        gain[support] = 0.0
        return np.asarray(gain)


def _swap(problem: _Moments, fit: _Fit, most: int) -> tuple[_Fit, int, bool]:
    """Exchange one column for another while that lowers the loss; the cheapest to lose is tried first.

    Every exchange lowers the refitted loss by more than rounding can feign, so no support comes twice.
    """
    for swaps in range(most):
        if fit.loss <= fit.doubt:
            return fit, swaps, True
        support = fit.support
        inverse = np.linalg.inv(problem.G[np.ix_(support, support)])
        losses = fit.b**2 / np.diag(inverse)
        for i in np.argsort(losses, kind="stable"):
            rest = support[:i] + support[i + 1 :]
            gain = problem.gains(rest)
            gain[support[i]] = 0.0
            j = int(np.argmax(gain))
            if gain[j] > losses[i]:
                trial = problem.fit([*rest, j])
                if trial.loss < fit.loss - fit.doubt - trial.doubt:
                    fit = trial
                    break
        else:
            return fit, swaps, True
    return fit, most, False
