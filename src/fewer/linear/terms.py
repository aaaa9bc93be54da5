"""The price of every coefficient, and what it says about optimality: conjugate, dual scaling, gap, KKT distance.

For coefficient j at strength lam:  h_j(b) = lam l1_j |b| + lam l2_j b^2 / 2  on [low_j, high_j], infinite elsewhere.
The certificate needs only g = X'S(y - Xb)/n and two inner products; it is the sum of Fenchel-Young gaps at a multiple
of the residual that is feasible for the dual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Certificate", "Terms"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """Objective, gap, KKT distance, and the multiple of the residual that is the dual point.

    That residual belongs to the solution itself, or to an earlier one (`witness`: columns and coefficients) at the
    same strength, whose dual point proved more.
    """

    objective: float
    gap: float
    kkt: float
    scale: float
    witness: tuple[NDArray[np.int64], Vector] | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """Prices per unit of lam; l1 = inf excludes a column, l1 = l2 = 0 leaves it free."""

    l1: Vector
    l2: Vector
    low: Vector | None = None
    high: Vector | None = None

    @property
    def plain(self) -> bool:
        """Only L1: no ridge part and no bounds."""
        return self.low is None and not self.l2.any()

    @property
    def squares(self) -> bool:
        """Whether every priced column has a squared price alone, and some have."""
        return bool(self.l2.any() and not (self.l1[np.isfinite(self.l1)] > 0).any())

    def loose(self, g: Vector) -> NDArray[np.bool_]:
        """Like g, (p,) or (p, K): free columns without a bound where g pulls, which no dual point can answer for."""
        free = ((self.l1 == 0) & (self.l2 == 0)).reshape(-1, *([1] * (g.ndim - 1)))
        if self.low is None or self.high is None:
            return np.broadcast_to(free, g.shape)
        low, high = (bound.reshape(free.shape) for bound in (self.low, self.high))
        return np.asarray(free & ~np.isfinite(np.where(g > 0, high, low)))

    def take(self, index: NDArray[np.int64]) -> Terms:
        """The same terms for some columns."""
        bound = (None, None) if self.low is None or self.high is None else (self.low[index], self.high[index])
        return Terms(self.l1[index], self.l2[index], *bound)

    def price(self, b: Vector, lam: float) -> float:
        """Sum of h_j(b_j) over columns that are not excluded."""
        on = b != 0
        b = b[on]
        return float(lam * (self.l1[on] @ np.abs(b) + 0.5 * self.l2[on] @ (b * b)))

    def scale(self, g: Vector, lam: float) -> float:
        """Largest a <= 1 such that a g lies in the domain of the conjugate."""
        size = np.abs(g)
        hard = (self.l2 == 0) & (self.l1 > 0) & np.isfinite(self.l1)
        if self.low is not None and self.high is not None:
            hard &= ~np.isfinite(np.where(g > 0, self.high, self.low))
        with np.errstate(divide="ignore"):
            ratio = np.where(hard, size / np.where(hard, lam * self.l1, 1.0), 0.0)
        top = float(ratio.max(initial=0.0))
        return 1.0 if top <= 1 else (1.0 / top if np.isfinite(top) else 0.0)

    def conjugate(self, u: Vector, lam: float) -> float:
        """Sum over columns of sup_b u b - h(b), for u already scaled; free columns are taken as exactly orthogonal."""
        l1, l2 = lam * self.l1, lam * self.l2
        excess = np.abs(u) - l1
        on = (excess > 0) & (l1 + l2 > 0 if self.low is None else np.isfinite(l1))
        if not on.any():
            return 0.0
        excess, l1, l2, u = excess[on], l1[on], l2[on], u[on]
        with np.errstate(divide="ignore"):
            z = np.sign(u) * np.where(l2 > 0, excess / np.where(l2 > 0, l2, 1.0), np.inf)
        if self.low is not None and self.high is not None:
            z = np.clip(z, self.low[on], self.high[on])
        z = np.where(np.isfinite(z), z, 0.0)  # feasible by the scaling up to rounding
        return float(np.sum(u * z - l1 * np.abs(z) - 0.5 * l2 * z * z))

    def kkt(self, b: Vector, g: Vector, lam: float) -> float:
        """Largest distance of g to the subdifferential of h at b."""
        l1, ridge = lam * self.l1, lam * self.l2 * b
        off = np.where(b != 0, np.abs(g - np.where(b != 0, np.sign(b) * np.where(b != 0, l1, 0.0), 0.0) - ridge), 0.0)
        out = np.where(b != 0, off, np.maximum(np.abs(g) - l1, 0.0))
        if self.low is not None and self.high is not None:
            up = g - ridge - np.where(b < 0, -l1, l1)  # pull upwards that is left at b, and downwards
            down = -(g - ridge) - np.where(b > 0, -l1, l1)
            out = np.where(b >= self.high, np.maximum(down, 0.0), out)
            out = np.where(b <= self.low, np.maximum(up, 0.0), out)
            out = np.where((b >= self.high) & (b <= self.low), 0.0, out)
        return float(out.max(initial=0.0))

    def certify(self, b: Vector, g: Vector, lam: float, rr: float, ry: float) -> Certificate:
        """Objective and gap from g, |r|^2 and <r, y> (weighted).

        Free columns must have been fitted: what is left of g there counts into the gap as if b could not grow tenfold.
        """
        price = self.price(b, lam)
        objective = 0.5 * rr + price
        scale = self.scale(g, lam)
        gap = objective - scale * ry + 0.5 * scale * scale * rr + self.conjugate(scale * g, lam)
        gap += float(np.sum(np.where(self.loose(g), np.abs(g * b), 0.0)))
        return Certificate(objective, max(gap, 0.0), self.kkt(b, g, lam), scale)
