"""The fused lasso's two prices at one strength."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewer.penalty import Fused

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain:
    """lam (sum |b_j+1 - b_j| + share sum |b_j|): `Fused` with both prices on one strength."""

    share: float
    lam: float = 1.0
    convex = True
    neighbours = True

    def _fused(self) -> Fused:
        return Fused(self.lam, self.lam * self.share)

    def value(self, w: Any) -> Any:
        """As `Fused`."""
        return self._fused().value(w)

    def prox(self, w: Any, step: Any) -> Any:
        """As `Fused`."""
        return self._fused().prox(w, step)

    def residual(self, w: Any, grad: Any) -> Any:
        """As `Fused`."""
        return self._fused().residual(w, grad)

    def lam_max(self, grad0: Any) -> float:
        """Smallest strength at which zero is stationary, by bisection; for share 0 the largest sum from one end."""
        high = float(np.abs(np.cumsum(grad0)).max(initial=0.0))
        low = 0.0
        for _ in range(60 if self.share > 0 else 0):
            middle = 0.5 * (low + high)
            there = float(replace(self, lam=middle).residual(np.zeros_like(grad0), grad0))
            low, high = (low, middle) if there <= 1e-12 * high else (middle, high)
        return high
