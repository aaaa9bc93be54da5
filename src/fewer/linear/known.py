"""Penalties of the catalogue that the compiled solver knows: prices on groups, or by the order of the coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.blocks import Blocks
from fewer.linear.chain import Chain
from fewer.linear.joint import Task, can_join
from fewer.linear.losses import Loss
from fewer.linear.matrix import Matrix, as_matrix
from fewer.linear.partly import Partly
from fewer.linear.result import Path
from fewer.penalty import L1, ElasticNet, Fused, Group, KSupport, Slope, SparseGroup, WeightedL1

__all__ = ["Known", "known", "known_path"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Known:
    """A penalty as the kernel reads it.

    Attributes:
        order: (p,) positions of the columns as the kernel is given them, group by group; those without a price last.
        shape: their prices, where these are sums over groups.
        ordered: otherwise code, number of priced columns, k, fixed and relative price of magnitudes, prices of ranks.
    """

    order: Index
    shape: Blocks
    ordered: Vector | None = None


def _groups(members: Sequence[Sequence[int]], one: Any, two: Any, ridge: Any, p: int) -> Known:
    """Groups by their positions, and every other column free."""
    inside = [int(j) for group in members for j in group]
    off = np.setdiff1d(np.arange(p), inside)
    sizes = np.array([len(group) for group in members] + [1] * len(off), dtype=np.int64)
    prices = [
        np.concatenate([np.broadcast_to(np.asarray(v, dtype=np.float64), len(members)), np.zeros(len(off))])
        for v in (one, two, ridge)
    ]
    return Known(np.concatenate([np.array(inside, dtype=np.int64), off]), Blocks(sizes, *prices))


def _columns(one: Any, ridge: Any, on: Index, p: int) -> Known:
    out = np.isinf(one)
    return _groups(on[:, None].tolist(), np.where(out, 0.0, one), np.where(out, np.inf, 0.0), ridge, p)


def _by_groups(penalty: Any, mix: float, on: Index, p: int) -> Known:
    weights = penalty.weights if penalty.weights is not None else [len(group) ** 0.5 for group in penalty.groups]
    kept = [([j for j in group if j in on], weight) for group, weight in zip(penalty.groups, weights, strict=True)]
    kept = [(group, weight) for group, weight in kept if group]
    return _groups([group for group, _ in kept], mix, np.array([(1 - mix) * float(w) for _, w in kept]), 0.0, p)


def _by_order(code: int, k: int, fixed: float, share: float, scales: Any, on: Index, p: int) -> Known:
    head = [code, len(on), k, fixed, share]
    ranks = np.asarray(scales, dtype=np.float64)[: len(on)]
    free = _groups([[int(j)] for j in on], 0.0, 0.0, 0.0, p)
    return replace(free, ordered=np.concatenate([head, ranks]))


_READ: dict[type, Callable[[Any, Index, int], Known]] = {
    L1: lambda penalty, on, p: _columns(1.0, 0.0, on, p),
    WeightedL1: lambda penalty, on, p: _columns(
        np.broadcast_to(np.asarray(penalty.factors, dtype=np.float64), p)[on], 0.0, on, p
    ),
    ElasticNet: lambda penalty, on, p: _columns(penalty.mix, 1 - penalty.mix, on, p),
    Group: lambda penalty, on, p: _by_groups(penalty, 0.0, on, p),
    SparseGroup: lambda penalty, on, p: _by_groups(penalty, penalty.mix, on, p),
    Slope: lambda penalty, on, p: _by_order(1, 0, 0.0, 0.0, penalty.scales, on, p),
    KSupport: lambda penalty, on, p: _by_order(2, penalty.k, 0.0, 0.0, (), on, p),
    Fused: lambda penalty, on, p: _by_order(3, 0, penalty.sparse, 0.0, (), on, p),
    Chain: lambda penalty, on, p: _by_order(3, 0, 0.0, penalty.share, (), on, p),
}


def known(penalty: Any, p: int) -> Known | None:
    """What the kernel reads of a penalty on p coefficients; None for one that it does not know."""
    inner, on = penalty, np.arange(p)
    if type(penalty) is Partly:
        inner, on = penalty.penalty, np.array(penalty.on, dtype=np.int64)
    read = _READ.get(type(inner))
    return None if read is None else read(inner, on, p)


def known_path(
    matrix: Matrix, y: Vector, loss: Loss, s: Vector, penalty: Any, intercept: bool, lams: Vector, null: float,
    top: float, scale: float, tol: float, most: int,
) -> Path | None:  # fmt: skip
    """The path of `general.general_path`, compiled; None where problem or penalty have no such road.

    Args:
        null: objective at zero coefficients.
        top: the smallest strength at which zero is stationary.
        scale: residual at zero coefficients.
    """
    p = matrix.shape[1]
    read = known(penalty, p) if can_join(matrix, loss) else None
    if read is None:
        return None
    task = Task(as_matrix(matrix.columns(read.order)), y, loss, s, intercept)
    B, C, stats, _ = task.run(read.shape, lams, tol * max(abs(null), 1e-300), most, tol * scale, read.ordered)
    coefs = np.empty((p, len(lams)))
    coefs[read.order] = B[:, :, 0].T
    columns = np.flatnonzero(coefs.any(axis=1))
    return Path(
        lams, columns, coefs[columns], task.constants(B, C)[:, 0], stats[:, 3].copy(), stats[:, 0].copy(),
        stats[:, 1].copy(), stats[:, 2].astype(np.int64), stats[:, 1] <= tol * scale, null, top, p, "joint newton",
    )  # fmt: skip
