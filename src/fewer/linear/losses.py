"""Losses: what a row pays for its linear predictor. A new loss is one small class of this shape.

    value(eta, y, s)      -> number     sum_i s_i loss(y_i, eta_i)
    slope(eta, y, s)      -> like eta   its derivative in eta
    bend(eta, y, s)       -> like eta   the second derivative, or that of a quadratic that lies above
    conjugate(v, y, s)    -> number     sum_i s_i loss*(v_i / s_i), the dual; None where no short form exists
    floor(y, s)           -> number     a lower bound of value
    mean(eta)             -> array      the prediction on the scale of the target
    check(y)              -> array      the target as numbers, or FewerError
    width                 -> int        how many linear predictors a row has

and, where rows are tied together, so that rows alone lose what ties them (Cox's risk sets):

    held_out(eta, y, s, seen) -> number what the rows not seen in fitting add to the value of all rows

eta is (n,) for width 1 and (n, width) otherwise. Where `conjugate` is None, a valid dual bound follows from convexity
and the floor of the loss: F*(a v) <= a F*(v) + (1 - a) F*(0), where F*(0) <= -floor and
F*(slope) = <slope, eta> - F(eta).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Positive, Range, check_fields
from fewer.linear.arrays import numbers_of
from fewer.method import FewerError

__all__ = ["Gamma", "Huber", "Logistic", "Loss", "Poisson", "Quantile", "Squared"]

Vector = NDArray[np.float64]


@runtime_checkable
class Loss(Protocol):
    """What the solvers ask of a loss."""

    @property
    def width(self) -> int:
        """How many linear predictors a row has."""

    @property
    def intercept(self) -> bool:
        """Whether a constant belongs to the model."""

    def check(self, y: Any) -> Vector:
        """Checked target."""

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum of losses."""

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Derivative in eta."""

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Curvature in eta."""

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """Sum of s loss*(v / s)."""

    def mean(self, eta: Vector) -> Vector:
        """Prediction."""


def _numbers(y: Any, what: str, good: Any) -> Vector:
    out = numbers_of(y, f"{what}: y")
    if out.ndim != 1:
        raise FewerError(f"{what}: y has shape {out.shape}; give one number per row")
    bad = np.flatnonzero(~(np.isfinite(out) & good(out)))
    if len(bad):
        raise FewerError(f"{what}: target {out[bad[0]]} in row {bad[0]} is not possible")
    return out


def _ratio(v: Vector, s: Vector) -> tuple[Vector, Vector]:
    on = s > 0
    return v[on] / s[on], s[on]


def _xlogx(u: Vector) -> Vector:
    return np.asarray(u * np.log(np.where(u > 0, u, 1.0)))


@dataclass(frozen=True)
class Squared:
    """(y - eta)^2 / 2."""

    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 0
    shape: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def check(self, y: Any) -> Vector:
        """Finite numbers."""
        return _numbers(y, "squared loss", lambda v: v == v)

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Half the weighted squares."""
        return float(0.5 * s @ (y - eta) ** 2)

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Minus the residual."""
        return s * (eta - y)

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """One."""
        return s * np.ones_like(eta)

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """v^2/2 + v y."""
        u, w = _ratio(v, s)
        return float(w @ (0.5 * u * u + u * y[s > 0]))

    def mean(self, eta: Vector) -> Vector:
        """Eta itself."""
        return eta


@dataclass(frozen=True)
class Logistic:
    """log(1 + e^eta) - y eta, y in [0, 1]."""

    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 1
    shape: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def check(self, y: Any) -> Vector:
        """Numbers in [0, 1], not all at one end."""
        out = _numbers(y, "logistic loss", lambda v: (v >= 0) & (v <= 1))
        if len(out) and (np.all(out == 0) or np.all(out == 1)):
            raise FewerError(f"logistic loss: every target is {out[0]:g}; two classes are needed")
        return out

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Deviance over two."""
        return float(s @ (np.logaddexp(0, eta) - y * eta))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Probability minus y."""
        return s * (self.mean(eta) - y)

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """P (1 - p)."""
        q = np.exp(-np.abs(eta))
        return np.asarray(s * np.maximum(q / (1 + q) ** 2, 1e-9))

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """Entropy at v + y."""
        u, w = _ratio(v, s)
        u = np.clip(u + y[s > 0], 0.0, 1.0)
        return float(w @ (_xlogx(u) + _xlogx(1 - u)))

    def mean(self, eta: Vector) -> Vector:
        """1 / (1 + e^-eta)."""
        q = np.exp(-np.abs(eta))
        return np.asarray(np.where(eta >= 0, 1.0, q) / (1 + q))


@dataclass(frozen=True)
class Poisson:
    """e^eta - y eta, y >= 0: counts with a logarithmic link."""

    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 2
    shape: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def check(self, y: Any) -> Vector:
        """Numbers >= 0, not all 0."""
        out = _numbers(y, "poisson loss", lambda v: v >= 0)
        if len(out) and not out.any():
            raise FewerError("poisson loss: every target is 0; the best constant is minus infinity")
        return out

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum."""
        return float(s @ (self.mean(eta) - y * eta))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Mean minus y."""
        return s * (self.mean(eta) - y)

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """The mean."""
        return s * np.maximum(self.mean(eta), 1e-12)

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """U log u - u at u = v + y."""
        u, w = _ratio(v, s)
        u = np.maximum(u + y[s > 0], 0.0)
        return float(w @ (_xlogx(u) - u))

    def mean(self, eta: Vector) -> Vector:
        """e^eta."""
        return np.asarray(np.exp(np.minimum(eta, 500.0)))


@dataclass(frozen=True)
class Gamma:
    """Eta + y e^-eta, y > 0: positive amounts with a logarithmic link."""

    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 3
    shape: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def check(self, y: Any) -> Vector:
        """Numbers > 0."""
        return _numbers(y, "gamma loss", lambda v: v > 0)

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum."""
        return float(s @ (eta + y * np.exp(np.minimum(-eta, 500.0))))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """1 - y / mean."""
        return np.asarray(s * (1 - y * np.exp(np.minimum(-eta, 500.0))))

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Y / mean."""
        return s * np.maximum(y * np.exp(np.minimum(-eta, 500.0)), 1e-12)

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """U log(u / y) - u at u = 1 - v."""
        u, w = _ratio(v, s)
        u = np.maximum(1 - u, 0.0)
        return float(w @ (_xlogx(u) - u * np.log(y[s > 0]) - u))

    def mean(self, eta: Vector) -> Vector:
        """e^eta."""
        return np.asarray(np.exp(np.minimum(eta, 500.0)))


@dataclass(frozen=True)
class Huber:
    """Quadratic up to delta, linear beyond: robust regression.

    Args:
        delta: where it becomes linear, in units of the target.
    """

    delta: Positive = 1.35
    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Check the range."""
        check_fields(self)

    @property
    def shape(self) -> tuple[float, float]:
        """Parameters for the compiled kernel."""
        return (float(self.delta), 0.0)

    def check(self, y: Any) -> Vector:
        """Finite numbers."""
        return _numbers(y, "huber loss", lambda v: v == v)

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum."""
        a = np.abs(eta - y)
        return float(s @ np.where(a <= self.delta, 0.5 * a * a, self.delta * (a - 0.5 * self.delta)))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Clipped residual."""
        return s * np.clip(eta - y, -self.delta, self.delta)

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """min(1, delta / |r|): the quadratic that touches at r and lies above."""
        return s * np.minimum(1.0, self.delta / np.maximum(np.abs(eta - y), 1e-300))

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """v^2/2 + v y."""
        u, w = _ratio(v, s)
        return float(w @ (0.5 * u * u + u * y[s > 0]))

    def mean(self, eta: Vector) -> Vector:
        """Eta itself."""
        return eta


@dataclass(frozen=True)
class Quantile:
    """The check function of quantile q, rounded off over a width: max over u in [q - 1, q] of u (y - eta) - h u^2 / 2.

    Args:
        q: quantile in (0, 1).
        smooth: h, the width of rounding in units of the target; the objective is within h/8 of the exact one.
    """

    q: Annotated[float, Range(0, 1)] = 0.5
    smooth: Positive = 0.1
    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    code: ClassVar[int] = 5

    def __post_init__(self) -> None:
        """Check the range."""
        check_fields(self)
        if not 0 < self.q < 1:
            raise FewerError(f"quantile loss: q is {self.q}; it must lie between 0 and 1")

    @property
    def shape(self) -> tuple[float, float]:
        """Parameters for the compiled kernel."""
        return (float(self.q), float(self.smooth))

    def check(self, y: Any) -> Vector:
        """Finite numbers."""
        return _numbers(y, "quantile loss", lambda v: v == v)

    def _u(self, r: Vector) -> Vector:
        return np.clip(r / self.smooth, self.q - 1, self.q)

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum."""
        u = self._u(y - eta)
        return float(s @ (u * (y - eta) - 0.5 * self.smooth * u * u))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Minus u."""
        return -s * self._u(y - eta)

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """U / r: the quadratic that touches at r and lies above."""
        r = y - eta
        near = np.abs(r) < 1e-300
        return s * np.where(near, 1 / self.smooth, self._u(r) / np.where(near, 1.0, r))

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """V y + h v^2 / 2."""
        u, w = _ratio(v, s)
        return float(w @ (0.5 * self.smooth * u * u + u * y[s > 0]))

    def mean(self, eta: Vector) -> Vector:
        """Eta itself."""
        return eta


def _sigmoid(x: Vector) -> Vector:
    q = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, q) / (1 + q))
