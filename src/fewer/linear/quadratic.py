"""Quadratic problems with a price on groups, and the curvature of several predictors that leads to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewer.linear.blocks import Blocks
from fewer.linear.coupled import Multinomial
from fewer.linear.losses import Loss

__all__ = ["between", "coupling", "joint", "quadratic", "times"]

Vector = NDArray[np.float64]


def quadratic(H: Vector, c: Vector, b: Vector, shape: Blocks, lam: float, near: float) -> Vector:
    """argmin_z z' H z / 2 - <c, z> + price(z): accelerated, restarted, one step length a group."""
    diagonal = np.diag(H).reshape(b.shape[1], -1).max(axis=0)
    level = np.maximum.reduceat(diagonal, shape.starts)
    level = np.maximum(level, 1e-12 * max(float(level.max(initial=0.0)), 1e-300))
    wide = np.repeat(level, shape.sizes)[:, None]
    stretch = _stretch(H, wide, b.shape)
    z, hz, t, first = b, times(H, b), 1.0, 0.0
    point, hp = z, hz
    for _ in range(5000):
        new = shape.prox(point - (hp - c) / (stretch * wide), 1.0 / (stretch * level), lam)
        hn, step = times(H, new), new - point
        size = float(np.sum(wide * step * step))
        if float(np.sum(step * (hn - hp))) > stretch * size * (1 + 1e-9) + 1e-300:
            stretch *= 1.5
            continue
        if float(np.sum(wide * step * (new - z))) < 0:
            t, point, hp = 1.0, new, hn
        else:
            later = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
            ahead = (t - 1) / later
            t, point, hp = later, new + ahead * (new - z), hn + ahead * (hn - hz)
        z, hz = new, hn
        first = max(first, size)
        if size <= near * first:
            break
    return z


def times(H: Vector, v: Vector) -> Vector:
    """H v for v (k, K) laid out predictor by predictor."""
    return np.asarray((H @ v.T.ravel()).reshape(v.shape[1], -1).T)


def coupling(loss: Loss, eta: Vector, y: Vector, s: Vector, K: int) -> Vector:
    """(n, K, K) second derivatives of a row's loss in its predictors, or something above them."""
    each = np.zeros((len(s), K, K))
    index = np.arange(K)
    if isinstance(loss, Multinomial):
        p = loss.mean(eta)
        each[:, index, index] = p
        return np.asarray(s[:, None, None] * (each - p[:, :, None] * p[:, None, :]))
    each[:, index, index] = K * loss.bend(eta, y, s)  # K times its diagonal lies above any such matrix
    return each


def joint(X: Vector, each: Vector, moving: bool) -> tuple[Vector, Vector, Vector]:
    """`_Grouped.curvature` for several predictors: every column in every one of them."""
    return between(X, each, [np.arange(X.shape[1])] * each.shape[1], moving)


def between(X: Vector, each: Vector, picks: Sequence[NDArray[np.int64]], moving: bool) -> tuple[Vector, Vector, Vector]:
    """Curvature among some columns of each predictor, `picks`, with the constants left out, and what moves those.

    Returns:
        H (m, m) for the m picked coefficients, predictor by predictor; pull (K, m) and back (K, K), by which constants
        follow: minus pull times the change, minus back times the sum of slopes.
    """
    K, parts = len(picks), [X[:, pick] for pick in picks]
    ends = np.cumsum([0, *(len(pick) for pick in picks)])
    H, cross = np.empty((ends[-1], ends[-1])), np.zeros((K, ends[-1]))
    for k in range(K):
        for m in range(k + 1):
            rows, columns = slice(ends[k], ends[k + 1]), slice(ends[m], ends[m + 1])
            weighted = parts[m] * each[:, k, m][:, None]
            H[rows, columns] = parts[k].T @ weighted
            H[columns, rows] = H[rows, columns].T
            cross[k, columns] = weighted.sum(axis=0)
            cross[m, rows] = each[:, k, m] @ parts[k]
    if not moving:
        return H, np.zeros_like(cross), np.zeros((K, K))
    back = np.linalg.pinv(each.sum(axis=0), rcond=1e-12, hermitian=True)
    pull = back @ cross
    return H - cross.T @ pull, pull, back


def _stretch(H: Vector, wide: Vector, shape: tuple[int, int]) -> float:
    """The largest eigenvalue of the curvature relative to the step lengths, nearly."""
    v, root, top = np.random.default_rng(0).normal(size=shape), np.sqrt(wide), 1.0
    for _ in range(15):
        v = times(H, v / max(float(np.linalg.norm(v)), 1e-300) / root) / root
        top = float(np.linalg.norm(v))
    return max(1.05 * top, 1e-12)
