"""Fused lasso and trend filtering on a regression's coefficients, as a weighted lasso of their differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import checked
from fewer.linear.arrays import numbers_of
from fewer.linear.matrix import as_matrix
from fewer.linear.paths import path
from fewer.linear.result import Path
from fewer.method import FewerError

__all__ = ["trend_path"]


@checked
def trend_path(X: Any, y: Any, /, *, order: int = 1, **options: Any) -> Path:
    """Coefficients that are piecewise constant, linear or quadratic along their index, certified.

    minimise 1/(2n) sum_i s_i (y_i - b0 - x_i b)^2 + lam sum_j |(D^(order + 1) b)_j|

    D takes differences of neighbours. b is a combination of polynomials up to `order`, which are free, and of their
    truncated powers, whose weights are the differences: a lasso with penalty factors 0 and 1, solved by the core.

    Args:
        X: (n, p); None is the identity, which makes y itself a signal to be filtered (without an intercept).
        order: 0 constant (the fused lasso), 1 linear, 2 quadratic pieces.
        options: those of `path`, except factors, mix, bounds and standardize.

    Returns:
        A `Path` in terms of b. Gaps, dual points and objectives are those of this problem.

    Raises:
        FewerError: an order below 0, or fewer than order + 2 columns.

    >>> import numpy as np
    >>> found = trend_path(None, np.array([0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]), lams=[1e-6])
    >>> found[0].coef.round(3).tolist()
    [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]

    Reference: Kim, Koh, Boyd and Gorinevsky (2009), "l1 trend filtering"; Tibshirani (2014), "Adaptive piecewise
    polynomial estimation via trend filtering", section 3.3 for the basis.
    """
    fixed = sorted({"factors", "mix", "lower", "upper", "standardize"} & set(options))
    if fixed:
        raise FewerError(f"trend_path has no argument '{fixed[0]}': the differences are priced alike")
    target = numbers_of(y, "y")
    if target.ndim != 1:
        raise FewerError(f"y has shape {target.shape}; give one number a row")
    if X is None:
        options["intercept"] = False
    A = np.eye(len(target)) if X is None else as_matrix(X).columns(np.arange(as_matrix(X).shape[1]))
    p = A.shape[1]
    if not 0 <= order < p - 1:
        raise FewerError(f"trend_path: order is {order}; give 0 <= order <= {p - 2} for {p} columns")
    basis = _basis(p, order)
    factors = np.concatenate([np.zeros(order + 1), np.ones(p - order - 1)])
    found = path(np.asarray(A @ basis), target, factors=factors, **options)
    duals = found.duals
    return replace(
        found, columns=np.arange(p), values=basis[:, found.columns] @ found.values, stored=duals, source=None, size=p,
        engine=f"trend, {found.engine}",
    )  # fmt: skip


def _basis(p: int, order: int) -> NDArray[np.float64]:
    """(p, p) columns: powers 0 .. order of the index in [0, 1], then sums of steps whose differences are one entry."""
    at = np.arange(p) / max(1, p - 1)
    tail = np.tri(p)
    for _ in range(order):
        tail = np.cumsum(tail, axis=0)
    # Column j + order of the summed steps, shifted so that its (order + 1)-th difference is 1 at j alone.
    steps = [np.concatenate([np.zeros(j + order), tail[: p - j - order, 0]]) for j in range(1, p - order)]
    return np.column_stack([*(at**k for k in range(order + 1)), *steps])
