"""Penalties that look at the order of magnitudes: SLOPE (sorted L1), k-support norm, N of M.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array; residual(w, grad) -> array or scalar, zero
exactly at a stationary point; lam_max(grad0) -> scalar where zero stays stationary only above some strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import Count, NotNegative, check_fields
from fewer.method import FewerError, Paper, method
from fewer.penalty.contract import _indices, _like
from fewer.types import Array

__all__ = ["KSupport", "NMProjection", "Slope"]

_SLOPE = Paper("SLOPE - Adaptive Variable Selection via Convex Optimization", 2015, "1407.3824")
_KSUP = Paper("Sparse Prediction with the k-Support Norm", 2012, "1204.5043")
_BOXNORM = Paper("New Perspectives on k-Support and Cluster Norms", 2016, "1512.08204")
_NM = Paper("Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", 2021, "2102.04010")


def _decreasing(v: Array) -> Array:
    """Least-squares fit of a non-increasing sequence to v: pool adjacent violators, all runs of a round at once."""
    xp = array_namespace(v)
    sizes = xp.ones_like(v)
    means, counts = v, sizes
    while means.shape[0] > 1:
        keep = means[1:] <= means[:-1]
        if bool(xp.all(keep)):
            break
        label = xp.concat([_indices([0], v), xp.cumulative_sum(xp.astype(keep, xp.int64))])
        last = xp.concat([label[1:] != label[:-1], label[:1] == 0])
        ends = xp.nonzero(last)[0]
        total = xp.take(xp.cumulative_sum(counts), ends, axis=0)
        mass = xp.take(xp.cumulative_sum(means * counts), ends, axis=0)
        counts = total - xp.concat([0 * total[:1], total[:-1]])
        means = (mass - xp.concat([0 * mass[:1], mass[:-1]])) / counts
    return xp.repeat(means, xp.astype(xp.round(counts), xp.int64)) if means.shape != v.shape else means


@method("penalty", "slope", papers=[_SLOPE], formula="lam * sum_i s_i |w|_(i)", unit="weight")
@dataclass(frozen=True)
class Slope:
    """Sorted L1, lam * sum_i s_i |w|_(i): the i-th largest magnitude pays the i-th largest price.

    Args:
        scales: (d,) prices, non-increasing, >= 0.
        lam: strength.

    Raises:
        FewerError: prices that increase or are negative, or as many as w has coordinates are not given.

    >>> import numpy as np
    >>> Slope((2.0, 1.0)).prox(np.array([3.0, -2.9]), 1.0)
    array([ 1.45, -1.45])

    Reference: Bogdan et al. (2015), algorithm 3.
    """

    scales: Sequence[float]
    lam: NotNegative = 1.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def _prices(self, w: Array) -> Array:
        xp = array_namespace(w)
        s = _like(self.scales, w)
        if s.shape != w.shape:
            raise FewerError(f"slope: {s.shape[0]} prices for w of shape {tuple(w.shape)}; give one per coordinate")
        if not bool(xp.all(s >= 0) & xp.all(s[1:] <= s[:-1])):
            raise FewerError("slope: prices must be >= 0 and non-increasing")
        return self.lam * s

    def value(self, w: Array) -> Array:
        """Lam * sum s_i |w|_(i)."""
        xp = array_namespace(w)
        return xp.sum(self._prices(w) * xp.sort(xp.abs(w), descending=True))

    def prox(self, w: Array, step: Any) -> Array:
        """Sort, subtract the prices, fit a non-increasing sequence, clip at 0, undo the sort."""
        xp = array_namespace(w)
        order = xp.argsort(xp.abs(w), descending=True, stable=True)
        fit = _decreasing(xp.take(xp.abs(w), order, axis=0) - step * self._prices(w))
        fit = xp.where(fit > 0, fit, xp.zeros_like(fit))
        return xp.sign(w) * xp.take(fit, xp.argsort(order, stable=True), axis=0)

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance of -grad to the product, over clusters of equal |w|, of the faces of the sorted-L1 ball."""
        xp = array_namespace(w, grad)
        if not bool(xp.all(w == w)):  # nan equals nothing, not even itself: clusters would never end
            return _like(float("nan"), w)
        prices = self._prices(w)
        size = xp.sort(xp.abs(w), descending=True)
        total, start, d = _like(0.0, w), 0, w.shape[0]
        while start < d:
            level = size[start]
            inside = xp.abs(w) == level
            stop = start + int(xp.sum(xp.astype(inside, xp.int64)))
            pull = (-grad * xp.where(w == 0, xp.sign(-grad), xp.sign(w)))[inside]
            left = _decreasing(xp.sort(pull, descending=True) - prices[start:stop])
            left = xp.where(left > 0, left, xp.zeros_like(left)) if bool(level == 0) else left
            total, start = total + xp.sum(left * left), stop
        return xp.sqrt(total)

    def lam_max(self, grad0: Array) -> Array:
        """max_k (sum of k largest |grad0|) / (sum of k largest prices)."""
        xp = array_namespace(grad0)
        g = xp.cumulative_sum(xp.sort(xp.abs(grad0), descending=True))
        return xp.max(g / xp.cumulative_sum(self._prices(grad0) / self.lam))


@method(
    "penalty",
    "k-support",
    papers=[_KSUP, _BOXNORM],
    formula="lam/2 * (k-support norm of w)^2 = lam/2 min_theta sum w^2/theta, 0 < theta <= 1, sum theta <= k",
    unit="weight",
)
@dataclass(frozen=True)
class KSupport:
    """Half the squared k-support norm: the tightest convex hull of "at most k, and of bounded length".

    lam/2 * min over theta in (0, 1]^d with sum theta <= k of sum_j w_j^2 / theta_j.

    Args:
        k: how many coordinates go without extra shrinkage, >= 1.
        lam: strength.

    >>> import numpy as np
    >>> KSupport(1).prox(np.array([3.0, 1.0]), 1.0).round(6)
    array([1.5, 0. ])

    Reference: Argyriou, Foygel and Srebro (2012); the exact search over 2d breakpoints of McDonald, Pontil and Stamos
    (2016). With k = 1 it is half the squared L1 norm, with k = d half the squared L2 norm; both limits are tested.
    """

    k: Count = 1
    lam: NotNegative = 1.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def _level(self, w: Array, shift: Any) -> Array:
        """Smallest t with sum_j clip(|w_j| t - shift, 0, 1) >= k; inf when fewer than k coordinates are not zero."""
        xp = array_namespace(w)
        a = xp.reshape(xp.abs(w), (-1,))
        a = a[a > 0]
        if a.shape[0] < self.k:
            return _like(float("inf"), w)
        knots = xp.concat([shift / a, (1 + shift) / a])
        order = xp.argsort(knots, stable=True)
        t = xp.take(knots, order, axis=0)
        slope = xp.cumulative_sum(xp.take(xp.concat([a, -a]), order, axis=0))
        height = xp.cumulative_sum(xp.concat([0 * t[:1], slope[:-1] * (t[1:] - t[:-1])]))
        at = int(xp.argmax(xp.astype(height >= self.k * (1 - 1e-12), xp.int8)))
        if at == 0:
            return t[-1] if not bool(height[0] >= self.k) else t[0]
        return t[at - 1] + (self.k - height[at - 1]) / slope[at - 1]

    def _theta(self, w: Array, shift: Any) -> Array:
        xp = array_namespace(w)
        a, t = xp.abs(w), self._level(w, shift)
        if not bool(xp.isfinite(t)):
            return xp.ones_like(w)
        return xp.clip(a * t - shift, _like(0.0, w), _like(1.0, w))

    def value(self, w: Array) -> Array:
        """lam/2 sum w^2 / theta."""
        xp = array_namespace(w)
        theta = self._theta(w, 0.0)
        ratio = w * w / xp.where(theta > 0, theta, xp.ones_like(theta))
        return 0.5 * self.lam * xp.sum(xp.where(w == 0, xp.zeros_like(w), ratio))

    def prox(self, w: Array, step: Any) -> Array:
        """W theta / (theta + lam step), theta found exactly."""
        shift = self.lam * step
        if not float(shift) > 0:
            return w + 0
        theta = self._theta(w, shift)
        return w * theta / (theta + shift)

    def residual(self, w: Array, grad: Array) -> Array:
        """Off zero |grad + lam max(|w|, mu) sign w|, at zero max(|grad| - lam mu, 0); mu is the shared level."""
        xp = array_namespace(w, grad)
        a, mu = xp.abs(w), 1 / self._level(w, 0.0)
        pull = xp.abs(grad) - self.lam * mu
        off = xp.abs(grad + self.lam * xp.sign(w) * xp.where(a > mu, a, mu))
        return xp.where(w != 0, off, xp.where(pull > 0, pull, xp.zeros_like(w)))


@method("penalty", "n-m", papers=[_NM], formula="0 if each group of m has at most n nonzeros else inf", unit="weight")
@dataclass(frozen=True)
class NMProjection:
    """At most n of every m consecutive entries along the last axis; the prox keeps the n largest of each group.

    Args:
        n: how many may stay.
        m: group length; must divide the last axis.

    Raises:
        FewerError: on use, when m does not divide the last axis.

    >>> import numpy as np
    >>> NMProjection(1, 2).prox(np.array([3.0, -4.0, 1.0, 1.0]), 1.0)
    array([ 0., -4.,  1.,  0.])

    Reference: Zhou et al. (2021), the projection; ties go to the lower index.
    """

    n: Count = 2
    m: Count = 4
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def _groups(self, w: Array) -> Array:
        if w.shape[-1] % self.m:
            raise FewerError(f"n-m: groups of {self.m} do not divide the last axis of shape {tuple(w.shape)}")
        return array_namespace(w).reshape(w, (-1, self.m))

    def value(self, w: Array) -> Array:
        """0 where the pattern holds, inf elsewhere."""
        xp = array_namespace(w)
        count = xp.sum(xp.astype(self._groups(w) != 0, xp.int64), axis=1)
        return xp.where(xp.all(count <= self.n), _like(0.0, w), _like(float("inf"), w))

    def prox(self, w: Array, step: Any) -> Array:
        """The projection, whatever the step."""
        xp = array_namespace(w)
        groups = self._groups(w)
        rank = xp.argsort(xp.argsort(xp.abs(groups), axis=1, descending=True, stable=True), axis=1, stable=True)
        return xp.reshape(xp.where(rank < self.n, groups, xp.zeros_like(groups)), w.shape)

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad| where a coordinate may still move: on the support, and anywhere in a group that is not full."""
        xp = array_namespace(w, grad)
        groups = self._groups(w)
        count = xp.sum(xp.astype(groups != 0, xp.int64), axis=1, keepdims=True)
        size = xp.abs(self._groups(grad))
        moved = xp.where((groups != 0) | (count < self.n), size, xp.zeros_like(groups))
        return xp.reshape(xp.where(count > self.n, moved + float("inf"), moved), w.shape)
