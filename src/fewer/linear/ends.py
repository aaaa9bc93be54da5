"""Where an iterative solver stops: by the duality gap, or by the KKT distance where no column has an L1 price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["End", "end_of", "unit_of"]

Vector = NDArray[np.float64]
#: KKT distance, relative to the gradient at zero, that double precision reaches with every loss.
_FLOOR = 3e-8


@dataclass(frozen=True)
class End:
    """The gap at which to stop, and the KKT distance below which a solution counts as converged."""

    goal: float
    near: float

    def met(self, gaps: Vector, kkts: Vector) -> NDArray[np.bool_]:
        """Whether solutions converged."""
        return np.asarray(kkts <= self.near if np.isfinite(self.near) else gaps <= self.goal)


def unit_of(null: float, loss: Any, y: Vector, s: Vector) -> float:
    """What gaps are relative to: the null objective, or all that it can fall by where that is more.

    Zero is no landmark of the Poisson and the gamma loss: their null objective may be nothing by chance.

    >>> from fewer.linear import Poisson
    >>> y, s = np.array([1.0, 4.0]), np.full(2, 0.5)
    >>> round(unit_of(0.0, Poisson(), y, s), 4)
    0.2726
    """
    bound = loss.conjugate(np.zeros(len(s)), y, s) if loss.width == 1 else None
    return max(abs(null), 0.0 if bound is None else null + float(bound))


def end_of(tol: float, null: float, pull: float, ridge: bool) -> End:
    """The end of a path of a strictly convex price (`ridge`), or of one with L1 prices.

    A gap is the square of a distance: with L1 prices it says when a support is right, but a ridge solution at a gap
    of 1e-6 is wrong by 1e-3. There the gap is driven to a hundredth of the square of the tolerance.

    Args:
        tol: tolerance, relative.
        null: what gaps are relative to, see `unit_of`.
        pull: largest gradient there, in whose units KKT distances are.
        ridge: whether every priced column has a squared price alone.

    >>> end_of(1e-6, 1.0, 2.0, False).goal, end_of(1e-6, 1.0, 2.0, True).near
    (1e-06, 2e-06)
    """
    size = max(abs(null), 1e-300)
    if not ridge:
        return End(tol * size, np.inf)
    return End(min(tol, max(1e-2 * tol * tol, 1e-18)) * size, max(tol, _FLOOR) * max(pull, 1e-300))
