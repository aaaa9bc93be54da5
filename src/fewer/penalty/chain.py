"""Penalties on neighbours in a chain: one-dimensional total variation and the fused lasso.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array; residual(w, grad) -> scalar, the exact
distance of -grad to the subdifferential, zero exactly at a stationary point; lam_max(grad0) -> scalar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import NotNegative, check_fields
from fewer.method import Paper, method
from fewer.penalty.contract import _like, _soft
from fewer.types import Array

__all__ = ["Fused"]

_FUSED = Paper("Sparsity and Smoothness via the Fused Lasso", 2005)
_DYNAMIC = Paper("A Dynamic Programming Algorithm for the Fused Lasso and L0-Segmentation", 2013)


def _denoise(y: list[float], lam: float) -> list[float]:
    """The minimiser of 0.5 ||z - y||^2 + lam sum |z_{i+1} - z_i|, exactly, in amortised linear time.

    Dynamic programming over the chain: the derivative of the best cost-to-come is piecewise linear and increasing;
    each step clips it to [-lam, lam] from both ends and remembers where, and the way back clips to those places.
    """
    n = len(y)
    if n < 2 or lam <= 0:
        return list(y)
    low, high = [0.0] * (n - 1), [0.0] * (n - 1)
    # Knots of the derivative, kept in the middle of two arrays: position, change of slope, change of offset.
    x, a, b = [0.0] * (2 * n), [0.0] * (2 * n), [0.0] * (2 * n)
    left, right = n - 1, n
    low[0], high[0] = y[0] - lam, y[0] + lam
    x[left], a[left], b[left] = low[0], 1.0, lam - y[0]
    x[right], a[right], b[right] = high[0], -1.0, lam + y[0]
    first, first_b, last, last_b = 1.0, -lam - y[1], -1.0, -lam + y[1]
    for k in range(1, n - 1):
        slope, offset, i = first, first_b, left
        while i <= right and slope * x[i] + offset <= -lam:
            slope, offset, i = slope + a[i], offset + b[i], i + 1
        down, down_b, j = last, last_b, right
        while j >= i and -down * x[j] - down_b >= lam:
            down, down_b, j = down + a[j], down_b + b[j], j - 1
        low[k], left = (-lam - offset) / slope, i - 1
        high[k], right = (lam + down_b) / -down, j + 1
        x[left], a[left], b[left] = low[k], slope, offset + lam
        x[right], a[right], b[right] = high[k], down, down_b + lam
        first, first_b, last, last_b = 1.0, -lam - y[k + 1], -1.0, -lam + y[k + 1]
    slope, offset, i = first, first_b, left
    while i <= right and slope * x[i] + offset <= 0:
        slope, offset, i = slope + a[i], offset + b[i], i + 1
    z = [0.0] * n
    z[-1] = -offset / slope
    for k in range(n - 2, -1, -1):
        z[k] = min(max(z[k + 1], low[k]), high[k])
    return z


@method(
    "penalty",
    "fused",
    papers=[_FUSED, _DYNAMIC],
    formula="lam * sum |w_{i+1} - w_i| + sparse * sum |w|",
    unit="weight",
)
@dataclass(frozen=True)
class Fused:
    """Total variation along a chain plus L1, lam * sum |w_{i+1} - w_i| + sparse * sum |w_i|.

    Args:
        lam: price of a jump.
        sparse: price of magnitude; 0 is plain total variation.

    >>> import numpy as np
    >>> Fused(1.0).prox(np.array([0.0, 0.0, 6.0, 6.0]), 1.0)
    array([0.5, 0.5, 5.5, 5.5])

    Reference: Tibshirani et al. (2005); prox by the dynamic programme of Johnson (2013), then a soft threshold;
    checked against brute-force quadratic programmes. The recursion is sequential: it runs on Python floats.
    """

    lam: NotNegative = 1.0
    sparse: NotNegative = 0.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def value(self, w: Array) -> Array:
        """Lam * TV(w) + sparse * |w|_1."""
        xp = array_namespace(w)
        return self.lam * xp.sum(xp.abs(w[1:] - w[:-1])) + self.sparse * xp.sum(xp.abs(w))

    def prox(self, w: Array, step: Any) -> Array:
        """Exact total-variation denoising, then a soft threshold."""
        z = _denoise([float(v) for v in w], self.lam * float(step))
        return _soft(_like(z, w) if z else w, self.sparse * step)

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance to the subdifferential: on each flat stretch, what denoising leaves of the pull."""
        xp = array_namespace(w, grad)
        d = w.shape[0]
        steps = [0.0, *(float(s) for s in xp.sign(w[1:] - w[:-1])), 0.0] if d else [0.0]
        jumps = [self.lam * step for step in steps]
        cuts = [0, *(i for i in range(1, d) if steps[i] != 0.0), d]
        pull = [-float(g) for g in grad]
        total = 0.0
        for start, stop in pairwise(cuts):
            part = pull[start:stop]
            if not part:
                continue
            part[0] -= jumps[start]
            part[-1] += jumps[stop]
            sign = float(xp.sign(w[start]))
            left = _denoise([v - self.sparse * sign for v in part], self.lam)
            if sign == 0.0:
                left = [max(abs(v) - self.sparse, 0.0) for v in left]
            total += sum(v * v for v in left)
        return _like(total**0.5, w)

    def lam_max(self, grad0: Array) -> Array:
        """Smallest lam, at this `sparse`, with 0 stationary; inf when no lam suffices (found by bisection)."""
        xp = array_namespace(grad0)
        zero = xp.zeros_like(grad0)
        high = float(xp.max(xp.abs(xp.cumulative_sum(grad0)))) * (1 + 1e-12)
        if not self._holds(zero, grad0, high):
            return _like(float("inf"), grad0)
        low = 0.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._holds(zero, grad0, middle) else (middle, high)
        return _like(high, grad0)

    def _holds(self, zero: Array, grad0: Array, lam: float) -> bool:
        scale = float(array_namespace(grad0).max(array_namespace(grad0).abs(grad0)))
        return float(replace(self, lam=lam).residual(zero, grad0)) <= 1e-12 * scale
