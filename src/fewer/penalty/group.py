"""Penalties on groups of coordinates: group lasso, sparse-group lasso.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array; residual(w, grad) -> array with one distance per
group, then one per coordinate outside every group; zero exactly at a stationary point; lam_max(grad0) -> scalar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import NotNegative, Share, check_fields
from fewer.method import FewerError, Paper, method
from fewer.penalty.contract import _indices, _like, _soft
from fewer.types import Array

__all__ = ["Group", "SparseGroup"]

_GROUP = Paper("Model selection and estimation in regression with grouped variables", 2006)
_SPARSE = Paper("A Sparse-Group Lasso", 2013)


@method("penalty", "sparse-group", papers=[_SPARSE], formula="lam * (mix |w|_1 + (1 - mix) sum_g a_g |w_g|_2)")
@dataclass(frozen=True)
class SparseGroup:
    """Whole groups and single coordinates at once, lam * (mix ||w||_1 + (1 - mix) sum_g a_g ||w_g||_2).

    Args:
        groups: for each group the positions of its coordinates in the flattened w; no position twice. A position
            in no group is free.
        lam: strength.
        mix: share of L1, in [0, 1].
        weights: one a_g >= 0 per group; None takes the square root of the group's size.

    Raises:
        FewerError: an empty group, a position named twice, or a wrong number of weights.

    >>> import numpy as np
    >>> SparseGroup(((0, 1), (2,)), mix=0.5, weights=(1, 1)).prox(np.array([3.5, 0.2, 0.7]), 1.0)
    array([2.5, 0. , 0. ])

    Reference: Simon, Friedman, Hastie and Tibshirani (2013), equation 3 and section 3.
    """

    groups: Sequence[Sequence[int]]
    lam: NotNegative = 1.0
    mix: Share = 0.5
    weights: Sequence[float] | None = None
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that the groups are disjoint and not empty."""
        check_fields(self)
        named = [int(j) for group in self.groups for j in group]
        if len(set(named)) != len(named) or any(len(group) == 0 for group in self.groups):
            raise FewerError("groups must not be empty or overlap: name each position once")
        if self.weights is not None and len(self.weights) != len(self.groups):
            raise FewerError(f"{len(self.weights)} weights for {len(self.groups)} groups; give one per group")

    def _layout(self, w: Array) -> tuple[Array, Array, Array]:
        """Padded positions (G, size), group of each coordinate (G where none), and weights (G + 1, last 0)."""
        d = int(w.size) if not callable(w.size) else int(w.numel())
        width = max((len(group) for group in self.groups), default=1)
        table = [list(group) + [d] * (width - len(group)) for group in self.groups]
        owner = [len(table)] * d
        for g, group in enumerate(self.groups):
            for j in group:
                owner[j] = g
        weights = self.weights if self.weights is not None else [len(group) ** 0.5 for group in self.groups]
        xp = array_namespace(w)
        positions = xp.reshape(_indices(table, w), (len(table), width))
        return positions, _indices(owner, w), _like([*weights, 0.0], w)

    def _norms(self, w: Array, positions: Array) -> Array:
        """Euclidean norm of every group, and a final 0 for what is in none."""
        xp = array_namespace(w)
        padded = xp.concat([xp.reshape(w, (-1,)), xp.zeros_like(xp.reshape(w, (-1,))[:1])])
        members = xp.take(padded, xp.reshape(positions, (-1,)), axis=0)
        sums = xp.sum(xp.reshape(members * members, positions.shape), axis=1)
        return xp.sqrt(xp.concat([sums, xp.zeros_like(padded[:1])]))

    def _share(self, owner: Array, w: Array) -> Array:
        """Strength of L1 on each coordinate: 0 outside every group."""
        xp = array_namespace(w)
        return _like(self.lam * self.mix, w) * xp.astype(owner < len(self.groups), w.dtype)

    def value(self, w: Array) -> Array:
        """Lam * (mix |w|_1 + (1 - mix) sum a |w_g|)."""
        xp = array_namespace(w)
        positions, owner, weights = self._layout(w)
        ones = xp.sum(self._share(owner, w) * xp.abs(xp.reshape(w, (-1,))))
        return ones + self.lam * (1 - self.mix) * xp.sum(weights * self._norms(w, positions))

    def prox(self, w: Array, step: Any) -> Array:
        """Soft threshold each coordinate, then shrink each group's norm."""
        xp = array_namespace(w)
        positions, owner, weights = self._layout(w)
        z = _soft(xp.reshape(w, (-1,)), step * self._share(owner, w))
        norms = self._norms(z, positions)
        cut = step * self.lam * (1 - self.mix) * weights
        scale = xp.where(norms > cut, 1 - cut / xp.where(norms > 0, norms, xp.ones_like(norms)), 0 * norms)
        scale = xp.where(cut == 0, xp.ones_like(scale), scale)
        return xp.reshape(z * xp.take(scale, owner, axis=0), w.shape)

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance per group, then |grad| of the coordinates in none."""
        xp = array_namespace(w, grad)
        positions, owner, weights = self._layout(w)
        flat, pull = xp.reshape(w, (-1,)), -xp.reshape(grad, (-1,))
        ones, twos = self._share(owner, w), self.lam * (1 - self.mix) * weights
        norms = self._norms(w, positions)
        inverse = xp.take(xp.where(norms > 0, twos / xp.where(norms > 0, norms, norms + 1), 0 * norms), owner, axis=0)
        at_zero = _soft(pull, ones)
        gap = xp.where(flat != 0, pull - ones * xp.sign(flat) - inverse * flat, at_zero)
        alive = self._norms(gap, positions)
        dead = self._norms(at_zero, positions) - twos
        distance = xp.where(norms > 0, alive, xp.where(dead > 0, dead, xp.zeros_like(dead)))[:-1]
        return xp.concat([distance, xp.abs(pull[owner == len(self.groups)])])

    def lam_max(self, grad0: Array) -> Array:
        """Largest over groups of the strength that just empties it, by bisection to rounding."""
        xp = array_namespace(grad0)
        positions, owner, weights = self._layout(grad0)
        flat = xp.reshape(grad0, (-1,))
        tied = xp.astype(owner < len(self.groups), flat.dtype)
        scale = self.mix + (1 - self.mix) * weights[:-1]
        low = xp.zeros_like(weights[:-1])
        high = self._norms(flat, positions)[:-1] / xp.where(scale > 0, scale, scale * 0 + 1e-300)
        high = high / min(1.0, max(self.mix, 1e-9)) if self.mix > 0 else high
        for _ in range(100):
            middle = 0.5 * (low + high)
            spread = xp.take(xp.concat([middle, 0 * middle[:1]]), owner, axis=0)
            left = self._norms(_soft(flat, self.mix * spread) * tied, positions)[:-1]
            empty = left <= middle * (1 - self.mix) * weights[:-1]
            low, high = xp.where(empty, low, middle), xp.where(empty, middle, high)
        return xp.max(high)


@method("penalty", "group", papers=[_GROUP], formula="lam * sum_g a_g |w_g|_2", unit="group")
@dataclass(frozen=True)
class Group:
    """The group lasso, lam * sum_g a_g ||w_g||_2: a group enters or stays out as a whole.

    Args:
        groups: for each group the positions of its coordinates; a position in no group is free.
        lam: strength.
        weights: one per group; None takes the square root of the group's size.

    >>> import numpy as np
    >>> Group(((0, 1), (2,)), weights=(1, 1)).prox(np.array([3.0, 4.0, 0.5]), 1.0)
    array([2.4, 3.2, 0. ])

    Reference: Yuan and Lin (2006), equation 2.1.
    """

    groups: Sequence[Sequence[int]]
    lam: NotNegative = 1.0
    weights: Sequence[float] | None = None
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the groups."""
        check_fields(self)
        self._plain()

    def _plain(self) -> SparseGroup:
        return SparseGroup(self.groups, lam=self.lam, mix=0.0, weights=self.weights)

    def value(self, w: Array) -> Array:
        """Lam * sum a |w_g|."""
        return self._plain().value(w)

    def prox(self, w: Array, step: Any) -> Array:
        """Shrink each group's norm by lam a step."""
        return self._plain().prox(w, step)

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance per group, then |grad| of the coordinates in none."""
        return self._plain().residual(w, grad)

    def lam_max(self, grad0: Array) -> Array:
        """Max |grad0_g| / a_g."""
        plain = replace(self._plain(), lam=1.0)
        xp = array_namespace(grad0)
        positions, _, weights = plain._layout(grad0)
        norms = plain._norms(grad0, positions)[:-1]
        paid = weights[:-1] > 0
        return xp.max(xp.where(paid, norms / xp.where(paid, weights[:-1], norms + 1), 0 * norms))
