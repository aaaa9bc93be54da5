"""The price of groups of columns: norms, shrinkage, dual scaling, conjugate, KKT distance.

Columns of a group stand next to each other. At strength lam, group g with coefficients b (p_g, K), one column a linear
predictor, costs  lam (one_g |b|_1 + two_g |b|_2 + ridge_g |b|_2^2 / 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear.arrays import factors_of, labels_of
from fewer.method import FewerError

__all__ = ["Blocks", "blocks", "positions"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Prices per unit of lam, one entry a group; two = inf excludes a group, all zero leaves it free."""

    sizes: Index
    one: Vector
    two: Vector
    ridge: Vector

    @cached_property
    def starts(self) -> Index:
        """(G,) where each group begins."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def owner(self) -> Index:
        """(p,) the group of each column."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def free(self) -> NDArray[np.bool_]:
        """(G,) which groups cost nothing."""
        return np.asarray((self.one == 0) & (self.two == 0) & (self.ridge == 0))

    @property
    def squares(self) -> bool:
        """Whether every group has a squared price alone, and some have."""
        kept = np.isfinite(self.two)
        return bool(self.ridge.any() and not ((self.one > 0) | (self.two > 0))[kept].any())

    def take(self, which: Index) -> Blocks:
        """Some groups."""
        return Blocks(self.sizes[which], self.one[which], self.two[which], self.ridge[which])

    def norms(self, v: Vector) -> Vector:
        """(G,) Euclidean norms of (p, K)."""
        return np.asarray(np.sqrt(np.add.reduceat(np.einsum("jk,jk->j", v, v), self.starts)))

    def soft(self, v: Vector, cut: Vector) -> Vector:
        """Soft threshold, cut (G,)."""
        return np.asarray(np.sign(v) * np.maximum(np.abs(v) - np.repeat(cut, self.sizes)[:, None], 0.0))

    def price(self, b: Vector, lam: float) -> float:
        """Lam times the sum over groups that are not zero."""
        size = self.norms(b)
        on = size > 0
        ones = np.add.reduceat(np.abs(b).sum(axis=1), self.starts)[on]
        cost = self.one[on] * ones + self.two[on] * size[on] + 0.5 * self.ridge[on] * size[on] ** 2
        return float(lam * cost.sum())

    def prox(self, v: Vector, step: Vector, lam: float) -> Vector:
        """argmin_z sum_g |z_g - v_g|^2 / (2 step_g) + price(z), step (G,)."""
        z = self.soft(v, lam * step * self.one) if self.one.any() else v
        size = self.norms(z)
        keep = np.maximum(1.0 - lam * step * self.two / np.where(size > 0, size, 1.0), 0.0)
        return np.asarray(z * np.repeat(keep / (1.0 + lam * step * self.ridge), self.sizes)[:, None])

    def dual_norm(self, g: Vector) -> Vector:
        """(G,) the least t with |soft(g, t one)|_2 <= t two; 0 where nothing is priced, by bisection where both are."""
        size, paid = self.norms(g), self.one + self.two > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            top = np.where(paid & np.isfinite(self.two), size / np.where(self.two > 0, self.two, self.one), 0.0)
        mixed = np.flatnonzero((self.one > 0) & paid & np.isfinite(self.two))
        if len(mixed) == 0:
            return np.asarray(top)
        part = self.take(mixed)
        rows = np.flatnonzero(np.isin(self.owner, mixed))
        low, high = np.zeros(len(mixed)), top[mixed]
        for _ in range(100):
            middle = 0.5 * (low + high)
            inside = part.norms(part.soft(g[rows], middle * part.one)) <= middle * part.two
            low, high = np.where(inside, low, middle), np.where(inside, middle, high)
        top[mixed] = high
        return np.asarray(top)

    def scale(self, g: Vector, lam: float) -> float:
        """Largest a <= 1 such that a g lies in the domain of the conjugate."""
        top = float(self.dual_norm(g)[self.ridge == 0].max(initial=0.0))
        return lam / top if top > lam else 1.0

    def conjugate(self, u: Vector, lam: float) -> float:
        """Sum over groups of sup_b <u, b> - price(b), for u already scaled; free groups count as orthogonal."""
        on = self.ridge > 0
        if not on.any():
            return 0.0
        left = self.norms(self.soft(u, lam * self.one)) - lam * np.where(on, self.two, 0.0)
        return float(np.sum(np.maximum(left[on], 0.0) ** 2 / (2 * lam * self.ridge[on])))

    def distances(self, b: Vector, g: Vector, lam: float) -> Vector:
        """(G,) distance of g = minus the gradient of the loss to the subdifferential at b."""
        size, rows = self.norms(b), self.owner
        with np.errstate(invalid="ignore", divide="ignore"):
            inverse = np.where(size > 0, lam * self.two / np.where(size > 0, size, 1.0), 0.0) + lam * self.ridge
            away = g - inverse[rows][:, None] * b
            away = np.where(b != 0, away - lam * self.one[rows][:, None] * np.sign(b), self.soft(away, lam * self.one))
            idle = np.maximum(self.norms(self.soft(g, lam * self.one)) - lam * self.two, 0.0)
        return np.asarray(np.where(size > 0, self.norms(away), idle))


def positions(groups: Any, columns: int) -> list[list[int]]:
    """Positions of each group's columns, from group numbers (p,); None makes every column a group of its own."""
    labels = np.arange(columns) if groups is None else labels_of(groups, "groups")
    if labels.shape != (columns,):
        raise FewerError(f"groups have shape {labels.shape}; give one group number for each of {columns} columns")
    order = np.argsort(labels, kind="stable")
    breaks = np.flatnonzero(labels[order][1:] != labels[order][:-1]) + 1
    return [part.tolist() for part in np.split(order, breaks)]


def blocks(groups: list[list[int]], factors: Any, mix: float, share: float) -> Blocks:
    """Checked prices of groups: factor (mix ((1 - share) sqrt(p_g) |b| + share |b|_1) + (1 - mix)/2 |b|^2).

    Raises:
        FewerError: a share outside [0, 1], or factors that differ inside a group.
    """
    for name, value in (("mix", mix), ("share", share)):
        if not 0 <= value <= 1:
            raise FewerError(f"{name} is {value}; it must lie in [0, 1]")
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    f = factors_of(factors, int(sizes.sum()))
    first = np.array([f[group[0]] for group in groups])
    for group, value in zip(groups, first, strict=True):
        if len(group) > 1 and np.any(f[group] != value):
            raise FewerError(
                f"penalty factors differ inside a group (column {group[0]} and its fellows); give them one"
            )
    out = np.isinf(first)
    level = np.where(out, 0.0, first)
    two = np.where(out, np.inf, level * mix * (1 - share) * np.sqrt(sizes))
    return Blocks(sizes, level * mix * share, two, level * (1 - mix))
