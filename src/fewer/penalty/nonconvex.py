"""Nonconvex penalties on each coordinate alone: L0, L0.5, log-sum, MCP, SCAD.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array, a global minimiser; residual(w, grad) -> array,
zero exactly at a stationary point; lam_max(grad0) -> scalar where zero stays stationary only above some strength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import NotNegative, Positive, check_fields
from fewer.method import FewerError, Paper, method
from fewer.penalty.contract import _distance, _like, _soft
from fewer.types import Array

__all__ = ["L0", "L05", "MCP", "SCAD", "LogSum"]

_HARD = Paper("Ideal Spatial Adaptation by Wavelet Shrinkage", 1994)
_HALF = Paper("L1/2 Regularization: A Thresholding Representation Theory and a Fast Solver", 2012)
_REWEIGHTED = Paper("Enhancing Sparsity by Reweighted l1 Minimization", 2008, "0711.1612")
_MCP = Paper("Nearly unbiased variable selection under minimax concave penalty", 2010, "1002.4734")
_SCAD = Paper("Variable Selection via Nonconcave Penalized Likelihood and its Oracle Properties", 2001)


class _Scalar:
    """A penalty that is a sum over coordinates of one function `each`."""

    convex: ClassVar[bool] = False

    def each(self, w: Array) -> Array:
        """Price of every coordinate."""
        raise AssertionError  # every subclass defines it

    def value(self, w: Array) -> Array:
        """Sum of the prices."""
        return array_namespace(w).sum(self.each(w))

    def _best(self, w: Array, step: Any, candidates: list[Array]) -> Array:
        """The candidate with the least 0.5 (z - w)^2 + step * each(z); the first wins a tie."""
        xp = array_namespace(w)
        best = candidates[0]
        cost = 0.5 * (best - w) ** 2 + step * self.each(best)
        for z in candidates[1:]:
            other = 0.5 * (z - w) ** 2 + step * self.each(z)
            best, cost = xp.where(other < cost, z, best), xp.where(other < cost, other, cost)
        return best


@method("penalty", "l0", papers=[_HARD], formula="lam * #{w != 0}", unit="weight")
@dataclass(frozen=True)
class L0(_Scalar):
    """A fixed price for each coordinate that is not zero, lam * #{j : w_j != 0}.

    Args:
        lam: price of one coordinate.

    >>> import numpy as np
    >>> L0(0.5).prox(np.array([1.1, 0.9]), 1.0)
    array([1.1, 0. ])

    Reference: hard thresholding of Donoho and Johnstone (1994).
    """

    lam: NotNegative = 1.0

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def each(self, w: Array) -> Array:
        """Lam where w != 0."""
        xp = array_namespace(w)
        return xp.where(w != 0, self.lam + xp.zeros_like(w), xp.zeros_like(w))

    def prox(self, w: Array, step: Any) -> Array:
        """Keep w where w^2 > 2 lam step."""
        return self._best(w, step, [array_namespace(w).zeros_like(w), w])

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad| on the support: any subgradient is allowed at 0."""
        xp = array_namespace(w)
        return xp.where(w != 0, xp.abs(grad), xp.zeros_like(w))


@method("penalty", "l05", papers=[_HALF], formula="lam * sum sqrt|w|", unit="weight")
@dataclass(frozen=True)
class L05(_Scalar):
    """Square roots, lam * sum_j |w_j|^(1/2).

    Args:
        lam: strength.

    >>> import numpy as np
    >>> L05(1.0).prox(np.array([1.0, 4.0]), 1.0).round(4)
    array([0.    , 3.7415])

    Reference: Xu, Chang, Xu and Zhang (2012), the half-thresholding formula; checked against a grid.
    """

    lam: NotNegative = 1.0

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def each(self, w: Array) -> Array:
        """Lam sqrt|w|."""
        xp = array_namespace(w)
        return self.lam * xp.sqrt(xp.abs(w))

    def prox(self, w: Array, step: Any) -> Array:
        """The larger root of z - |w| + lam step / (2 sqrt z) = 0, or 0 where that is cheaper."""
        xp = array_namespace(w)
        a = xp.abs(w)
        price = self.lam * step + xp.zeros_like(w)
        safe = xp.where(a > 0, a, xp.ones_like(a))
        cosine = 0.25 * price * (safe / 3) ** -1.5
        # Past the threshold 1.5 price^(2/3) the cosine is below 1/sqrt 2; elsewhere 0 wins and the root is not used.
        angle = xp.acos(xp.where(cosine < 1, cosine, xp.ones_like(cosine)))
        root = (2 / 3) * safe * (1 + xp.cos(2 * (math.pi - angle) / 3))
        return self._best(w, step, [xp.zeros_like(w), xp.where(cosine < 1, xp.sign(w) * root, xp.zeros_like(w))])

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + lam sign(w) / (2 sqrt|w|)| off zero; 0 at zero, where the slope is infinite."""
        xp = array_namespace(w)
        safe = xp.where(w == 0, xp.ones_like(w), xp.abs(w))
        return _distance(w, grad, self.lam * 0.5 * xp.sign(w) / xp.sqrt(safe), float("inf"))


@method("penalty", "log-sum", papers=[_REWEIGHTED], formula="lam * sum log(1 + |w| / eps)", unit="weight")
@dataclass(frozen=True)
class LogSum(_Scalar):
    """Logarithms, lam * sum_j log(1 + |w_j| / eps).

    Args:
        lam: strength.
        eps: scale below which it acts like L1 with slope lam / eps, > 0.

    Raises:
        FewerError: eps is not above 0.

    >>> import numpy as np
    >>> LogSum(1.0, eps=1.0).prox(np.array([0.5, 3.0]), 1.0).round(4)
    array([0.    , 2.7321])

    Reference: Candes, Wakin and Boyd (2008), section 2.2; checked against a grid.
    """

    lam: NotNegative = 1.0
    eps: Positive = 1.0

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def each(self, w: Array) -> Array:
        """Lam log(1 + |w|/eps)."""
        xp = array_namespace(w)
        return self.lam * xp.log1p(xp.abs(w) / self.eps)

    def prox(self, w: Array, step: Any) -> Array:
        """The larger root of (z - |w|)(z + eps) + lam step = 0, or 0 where that is cheaper."""
        xp = array_namespace(w)
        a = xp.abs(w)
        square = (a + self.eps) ** 2 - 4 * self.lam * step
        root = 0.5 * (a - self.eps + xp.sqrt(xp.where(square > 0, square, xp.zeros_like(square))))
        root = xp.where((square > 0) & (root > 0), root, xp.zeros_like(root))
        return self._best(w, step, [xp.zeros_like(w), xp.sign(w) * root])

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + lam sign(w) / (|w| + eps)| off zero, max(|grad| - lam/eps, 0) at zero."""
        xp = array_namespace(w)
        return _distance(w, grad, self.lam * xp.sign(w) / (xp.abs(w) + self.eps), self.lam / self.eps)

    def lam_max(self, grad0: Array) -> Array:
        """Eps max |grad0|."""
        xp = array_namespace(grad0)
        return self.eps * xp.max(xp.abs(grad0))


@method("penalty", "mcp", papers=[_MCP], formula="lam |w| - w^2/(2 gamma), flat past gamma lam", unit="weight")
@dataclass(frozen=True)
class MCP(_Scalar):
    """Minimax concave penalty: lam |w| - w^2 / (2 gamma) up to |w| = gamma lam, constant beyond.

    Args:
        lam: slope at zero.
        gamma: concavity, > 0; infinite gives L1. Where a column's mean square is at most 1 / gamma, its coefficient has
            two minima, and the threshold becomes a hard one.

    Raises:
        FewerError: gamma is not above 0.

    >>> import numpy as np
    >>> MCP(1.0, gamma=3.0).prox(np.array([0.5, 2.0, 5.0]), 1.0)
    array([0. , 1.5, 5. ])

    Reference: Zhang (2010), equation 2.1; checked against a grid at steps below and above gamma.
    """

    lam: NotNegative = 1.0
    gamma: float = 3.0

    def __post_init__(self) -> None:
        """Check the concavity."""
        check_fields(self)
        if not self.gamma > 0:
            raise FewerError(
                f"mcp: gamma is {self.gamma}; it must be above 0, and above 1 for columns of unit variance"
            )

    def each(self, w: Array) -> Array:
        """Price of each coordinate."""
        xp = array_namespace(w)
        a = xp.abs(w)
        flat = 0.5 * self.gamma * self.lam**2 + xp.zeros_like(a)
        return xp.where(a <= self.gamma * self.lam, self.lam * a - a * a / (2 * self.gamma), flat)

    def prox(self, w: Array, step: Any) -> Array:
        """Firm threshold; a hard one once step >= gamma."""
        xp = array_namespace(w)
        slack = 1 - step / self.gamma + xp.zeros_like(w)
        inner = _soft(w, self.lam * step) / xp.where(slack > 0, slack, xp.ones_like(slack))
        edge = self.gamma * self.lam
        inner = xp.sign(w) * xp.where(xp.abs(inner) > edge, edge + xp.zeros_like(w), xp.abs(inner))
        return self._best(w, step, [xp.zeros_like(w), inner, xp.where(xp.abs(w) > edge, w, inner)])

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + slope| off zero, max(|grad| - lam, 0) at zero."""
        xp = array_namespace(w)
        slope = self.lam - xp.abs(w) / self.gamma
        return _distance(w, grad, xp.sign(w) * xp.where(slope > 0, slope, xp.zeros_like(w)), self.lam)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0|."""
        xp = array_namespace(grad0)
        return xp.max(xp.abs(grad0))


@method("penalty", "scad", papers=[_SCAD], formula="lam |w|, bent between lam and gamma lam, then flat", unit="weight")
@dataclass(frozen=True)
class SCAD(_Scalar):
    """Smoothly clipped absolute deviation: L1 up to lam, a quadratic bend up to gamma lam, constant beyond.

    Args:
        lam: slope at zero.
        gamma: where it becomes flat, > 1 and finite; the paper takes 3.7, and more than 2 for columns of unit variance.

    Raises:
        FewerError: gamma is not above 1, or infinite.

    >>> import numpy as np
    >>> SCAD(1.0).prox(np.array([0.5, 1.5, 5.0]), 1.0)
    array([0. , 0.5, 5. ])

    Reference: Fan and Li (2001), equations 2.6 and 2.8; checked against a grid.
    """

    lam: NotNegative = 1.0
    gamma: float = 3.7

    def __post_init__(self) -> None:
        """Check the concavity."""
        check_fields(self)
        if not 1 < self.gamma < math.inf:
            raise FewerError(f"scad: gamma is {self.gamma}; it must be above 1 (above 2 for unit variance), and finite")

    def each(self, w: Array) -> Array:
        """Price of each coordinate."""
        xp = array_namespace(w)
        a, lam, g = xp.abs(w), self.lam, self.gamma
        bend = (2 * g * lam * a - a * a - lam**2) / (2 * (g - 1))
        flat = 0.5 * (g + 1) * lam**2 + xp.zeros_like(a)
        return xp.where(a <= lam, lam * a, xp.where(a <= g * lam, bend, flat))

    def prox(self, w: Array, step: Any) -> Array:
        """The cheapest of 0, the three stationary points of the pieces, and their edges."""
        xp = array_namespace(w)
        lam, g = self.lam, self.gamma
        low = _soft(w, lam * step)
        low = xp.where(xp.abs(low) > lam, xp.sign(w) * lam, low)
        slack = g - 1 - step + xp.zeros_like(w)
        bent = _soft(w, g * lam * step / (g - 1)) * (g - 1) / xp.where(slack > 0, slack, xp.ones_like(slack))
        size = xp.clip(xp.abs(bent), lam, g * lam)
        return self._best(w, step, [low, xp.sign(w) * size, xp.where(xp.abs(w) > g * lam, w, low)])

    def residual(self, w: Array, grad: Array) -> Array:
        """|grad + slope| off zero, max(|grad| - lam, 0) at zero."""
        xp = array_namespace(w)
        bend = (self.gamma * self.lam - xp.abs(w)) / (self.gamma - 1)
        slope = xp.clip(bend, _like(0.0, w), _like(self.lam, w))
        return _distance(w, grad, xp.sign(w) * slope, self.lam)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0|."""
        xp = array_namespace(grad0)
        return xp.max(xp.abs(grad0))
