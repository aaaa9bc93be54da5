"""A penalty on some of the coefficients."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fewer.penalty import Fused

__all__ = ["Partly", "has_strength", "strengthened"]


def has_strength(penalty: Any) -> bool:
    """Whether the penalty has a strength `lam`; a constraint has none."""
    return any(f.name == "lam" for f in fields(penalty))


def strengthened(penalty: Any, lam: float) -> Any:
    """The penalty at strength lam; a constraint, which has none, as it is."""
    return replace(penalty, lam=lam) if has_strength(penalty) else penalty


@dataclass(frozen=True)
class Partly:
    """A penalty on some coordinates; the others are free.

    It sees zeros in their place, so that its positions stand; neighbours in a chain meet across them.
    """

    penalty: Any
    on: tuple[int, ...]
    lam: float = 1.0

    @property
    def convex(self) -> bool:
        """As the penalty."""
        return bool(self.penalty.convex)

    def _priced(self) -> Any:
        return strengthened(self.penalty, self.lam)

    @property
    def _close(self) -> bool:
        return bool(getattr(self.penalty, "neighbours", isinstance(self.penalty, Fused)))

    def _seen(self, w: Any) -> Any:
        if self._close:
            return w[list(self.on)]
        out = np.zeros_like(w)
        out[list(self.on)] = w[list(self.on)]
        return out

    def value(self, w: Any) -> Any:
        """Price of the coordinates that have one."""
        return self._priced().value(self._seen(w))

    def prox(self, w: Any, step: Any) -> Any:
        """The penalty's prox there, the identity elsewhere."""
        out, on = w.copy(), list(self.on)
        made = self._priced().prox(self._seen(w), step)
        out[on] = made if self._close else made[on]
        return out

    def residual(self, w: Any, grad: Any) -> Any:
        """The penalty's residual there, the gradient elsewhere."""
        mine = self._priced().residual(self._seen(w), self._seen(grad))
        return np.concatenate([np.ravel(mine), np.delete(grad, list(self.on))])

    def lam_max(self, grad0: Any) -> Any:
        """That of the penalty, before the free coordinates are fitted: a place to start a grid. Nan: it has none."""
        priced = strengthened(self.penalty, 1.0)
        return priced.lam_max(self._seen(grad0)) if hasattr(priced, "lam_max") else float("nan")
