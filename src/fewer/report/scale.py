"""Scales: from a value to a place on the paper, and the round numbers worth a line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Linear", "Log", "Scale", "linear", "log"]


#: Mantissas of the lines of a logarithmic axis, from few to many.
_LEADS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 3, 4, 5, 6, 7, 8, 9),
)


class Scale(Protocol):
    """What a chart asks of an axis."""

    def __call__(self, value: float) -> float:
        """The place of a value, clamped to the paper."""

    def holds(self, value: float) -> bool:
        """Whether the value is on the paper."""

    def ticks(self) -> list[float]:
        """Round values inside the axis."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`low` stands at `start`, `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float
    count: int = 5

    def __call__(self, value: float) -> float:
        """Place of `value`; outside the axis, the nearer end."""
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, part)) * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        """Whether the value is on the paper."""
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """About `count` multiples of 1, 2 or 5 times a power of ten.

        >>> Linear(0, 1, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        rough = (self.high - self.low) / self.count
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.75)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Log:
    """As `Linear`, but equal steps are equal ratios."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Place of `value`; zero and below stand at the low end."""
        if value <= 0:
            return self.start
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + min(1.0, max(0.0, part)) * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        """Whether the value is on the paper."""
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Powers of ten, with 2 and 5 between them where few powers fit.

        >>> Log(0.005, 2, 0, 100).ticks()
        [0.01, 0.1, 1.0]
        >>> Log(5, 60, 0, 100).ticks()
        [5.0, 10.0, 20.0, 50.0]
        """
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))

        def inside(leads: tuple[float, ...], step: int = 1) -> list[float]:
            values = [float(f"{m}e{p}") for p in range(first, last + 1, step) for m in leads]
            return [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]

        for leads in _LEADS:
            if len(inside(leads)) >= 3:
                return inside(leads, 1 + (last - first) // 8)
        return Linear(self.low, self.high, self.start, self.stop, 3).ticks()


def linear(values: Iterable[float], start: float, stop: float) -> Linear:
    """A scale that holds all finite values with a little air.

    >>> linear([2.0, 4.0], 0, 10).low < 2.0
    True
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 0.05 * max(abs(high), 1.0)
    return Linear(low - air, high + air, start, stop)


def log(values: Iterable[float], start: float, stop: float) -> Log:
    """A logarithmic scale that holds all positive finite values with a little air; at least a factor of two wide.

    >>> scale = log([0.01, 1.0, 0.0, float("inf")], 0, 10)
    >>> scale.low < 0.01, 1.0 < scale.high < 2
    (True, True)
    """
    finite = [v for v in values if 0 < v < math.inf] or [0.1, 1.0]
    low, high = min(finite), max(finite)
    air = max((high / low) ** 0.06, 1.02, (2.0 * low / high) ** 0.5)
    return Log(low / air, high * air, start, stop)
