"""Convex penalties that act on each coordinate alone: L1, weighted L1, elastic net, box.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array; residual(w, grad) -> array, zero exactly at a
stationary point; lam_max(grad0) -> scalar, the smallest strength that makes zero stationary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import NotNegative, Share, check_fields
from fewer.method import FewerError, Paper, method
from fewer.penalty.contract import _distance, _like, _soft
from fewer.types import Array

__all__ = ["L1", "Box", "ElasticNet", "WeightedL1"]

_LASSO = Paper("Regression Shrinkage and Selection via the Lasso", 1996)
_ADAPTIVE = Paper("The Adaptive Lasso and Its Oracle Properties", 2006)
_NET = Paper("Regularization and Variable Selection via the Elastic Net", 2005)


@method("penalty", "l1", papers=[_LASSO], formula="lam * sum |w|", unit="weight")
@dataclass(frozen=True)
class L1:
    """The lasso penalty, lam * sum_j |w_j|.

    Args:
        lam: strength, >= 0.

    >>> import numpy as np
    >>> L1(1.0).prox(np.array([3.0, -0.5]), 1.0)
    array([2., 0.])

    Reference: Tibshirani (1996); prox checked against a grid of candidates.
    """

    lam: NotNegative = 1.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def value(self, w: Array) -> Array:
        """Lam * sum |w|."""
        xp = array_namespace(w)
        return self.lam * xp.sum(xp.abs(w))

    def prox(self, w: Array, step: Any) -> Array:
        """Soft threshold at lam * step."""
        return _soft(w, self.lam * step)

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + lam sign w| off zero, max(|grad| - lam, 0) at zero."""
        return _distance(w, grad, self.lam * array_namespace(w).sign(w), self.lam)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0|."""
        xp = array_namespace(grad0)
        return xp.max(xp.abs(grad0))


@method("penalty", "weighted-l1", papers=[_ADAPTIVE], formula="lam * sum f |w|", unit="weight")
@dataclass(frozen=True, eq=False)
class WeightedL1:
    """L1 with a factor for each coordinate, lam * sum_j f_j |w_j|; 0 leaves it free, inf excludes it.

    Args:
        factors: (d,) or the shape of w, each in [0, inf]. Not rescaled.
        lam: strength, > 0.

    Raises:
        FewerError: on use, for a factor that is negative or not a number.

    >>> import numpy as np
    >>> WeightedL1([0.0, 1.0, np.inf]).prox(np.array([3.0, 3.0, 3.0]), 1.0)
    array([3., 2., 0.])

    Reference: Zou (2006), equation 4.
    """

    factors: Any
    lam: NotNegative = 1.0
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def _f(self, w: Array) -> Array:
        f = _like(self.factors, w)
        if not bool(array_namespace(w).all(f >= 0)):
            raise FewerError("weighted-l1: a factor is negative or not a number; factors lie in [0, inf]")
        return f

    def value(self, w: Array) -> Array:
        """Lam * sum f |w|, with inf * 0 = 0."""
        xp = array_namespace(w)
        f = self._f(w)
        paid = xp.where(xp.isfinite(f), f, xp.zeros_like(f))
        broken = xp.any(xp.isinf(f) & (w != 0))
        return xp.where(broken, _like(float("inf"), w), self.lam * xp.sum(xp.abs(w) * paid))

    def prox(self, w: Array, step: Any) -> Array:
        """Soft threshold at lam * f * step; an excluded coordinate is 0 at any step."""
        xp = array_namespace(w)
        f = self._f(w)
        finite = xp.isfinite(f)
        return xp.where(finite, _soft(w, self.lam * step * xp.where(finite, f, xp.zeros_like(f))), xp.zeros_like(w))

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + lam f sign w| off zero, max(|grad| - lam f, 0) at zero."""
        xp = array_namespace(w)
        price = self.lam * self._f(w)
        slope = xp.where(w == 0, xp.zeros_like(w), price) * xp.where(w < 0, -xp.ones_like(w), xp.ones_like(w))
        return _distance(w, grad, slope, price)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0| / f over the penalised; grad0 is taken where the free coordinates are already fitted."""
        xp = array_namespace(grad0)
        f = self._f(grad0)
        paid = f > 0
        return xp.max(xp.where(paid, xp.abs(grad0) / xp.where(paid, f, xp.ones_like(f)), xp.zeros_like(f)))


@method("penalty", "elastic-net", papers=[_NET], formula="lam * (mix |w| + (1 - mix)/2 w^2)", unit="weight")
@dataclass(frozen=True)
class ElasticNet:
    """L1 and squared L2 together, lam * sum_j (mix |w_j| + (1 - mix)/2 w_j^2).

    Args:
        lam: strength, >= 0.
        mix: share of L1, in [0, 1].

    >>> import numpy as np
    >>> ElasticNet(1.0, mix=0.5).prox(np.array([3.5, -0.2]), 1.0)
    array([2., 0.])

    Reference: Zou and Hastie (2005), in the naive form.
    """

    lam: NotNegative = 1.0
    mix: Share = 0.5
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def value(self, w: Array) -> Array:
        """Lam * sum (mix |w| + (1 - mix)/2 w^2)."""
        xp = array_namespace(w)
        return self.lam * xp.sum(self.mix * xp.abs(w) + 0.5 * (1 - self.mix) * w * w)

    def prox(self, w: Array, step: Any) -> Array:
        """Soft threshold, then shrink."""
        return _soft(w, self.lam * self.mix * step) / (1 + self.lam * (1 - self.mix) * step)

    def residual(self, w: Array, grad: Array) -> Array:
        """As for L1, with the ridge slope added."""
        slope = self.lam * (self.mix * array_namespace(w).sign(w) + (1 - self.mix) * w)
        return _distance(w, grad, slope, self.lam * self.mix)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0| / mix; infinite for pure ridge."""
        xp = array_namespace(grad0)
        top = xp.max(xp.abs(grad0))
        return top / self.mix if self.mix > 0 else top * float("inf")


@method("penalty", "box", formula="0 if lower <= w <= upper else inf", unit="weight")
@dataclass(frozen=True, eq=False)
class Box:
    """Bounds on each coordinate: free inside, forbidden outside; the prox is a clip.

    Args:
        lower: number or array, may be -inf.
        upper: number or array, may be inf.

    >>> import numpy as np
    >>> Box(0.0, 1.0).prox(np.array([-2.0, 0.5, 7.0]), 1.0)
    array([0. , 0.5, 1. ])
    """

    lower: Any = 0.0
    upper: Any = float("inf")
    convex: ClassVar[bool] = True

    def _bounds(self, w: Array) -> tuple[Array, Array]:
        return _like(self.lower, w), _like(self.upper, w)

    def value(self, w: Array) -> Array:
        """0 inside, inf outside."""
        low, high = self._bounds(w)
        xp = array_namespace(w)
        inside = xp.all((w >= low) & (w <= high))
        return xp.where(inside, _like(0.0, w), _like(float("inf"), w))

    def prox(self, w: Array, step: Any) -> Array:
        """The projection: clip to the bounds, whatever the step."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        return xp.where(w < low, low, xp.where(w > high, high, w))

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance of -grad to the normal cone: what of the gradient still points into the box."""
        xp = array_namespace(w)
        low, high = self._bounds(w)
        zero = xp.zeros_like(w)
        push = xp.where((w <= low) & (grad > 0), zero, grad)
        push = xp.where((w >= high) & (push < 0), zero, push)
        return xp.where((w < low) | (w > high), zero + float("inf"), xp.abs(push))
