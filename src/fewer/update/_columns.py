"""The column sweep one column at a time, in the order in which the paper's algorithm is usually run.

Equal to `sweep` but for rounding, and an order of magnitude slower. Where a mask turns on the last bit (N:M above all,
as one choice moves all later ones), only the same order of operations gives the same masks as such code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from fewer.types import Array, Mask

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["by_columns"]


def by_columns(weight: Array, upper: Array, alive: Mask, rule: Rule, block: int) -> tuple[Array, Mask]:
    """Weights and mask (out, in) after the sweep.

    Args:
        weight: (out, in), in the precision of the arithmetic.
        upper: (in, in) upper triangular, upper^T upper the inverse of the damped Gram matrix.
        alive: (in,) which inputs ever fire; weights on the others are dropped before.
        rule: chooses the mask, at the head of every block or N:M group.
        block: columns that are brought up to date together.
    """
    from fewer.pattern import NM

    xp = array_namespace(weight, upper)
    weight = xp.where(alive[None, :], weight, xp.zeros_like(weight))
    group = rule.pattern.m if isinstance(rule.pattern, NM) else 0
    masks = []
    for first in range(0, weight.shape[1], block):
        last = min(first + block, weight.shape[1])
        part = xp.asarray(weight[:, first:last], copy=True)
        triangle, lost, done = upper[first:last, first:last], xp.zeros_like(part), xp.zeros_like(part)
        pivot = xp.linalg.diagonal(triangle)
        width = group or last - first
        for j in range(last - first):
            if j % width == 0:
                worth = part[:, j : j + width] ** 2 / pivot[None, j : j + width] ** 2
                chosen = rule.part(first + j, first + j + width).select(worth)
                masks.append(chosen)
            now = part[:, j]
            done[:, j] = xp.where(chosen[:, j % width], now, xp.zeros_like(now))
            lost[:, j] = (now - done[:, j]) / pivot[j]
            part[:, j:] -= lost[:, j, None] @ triangle[None, j, j:]
        weight[:, first:last] = done
        weight[:, last:] -= lost @ upper[first:last, last:]
    return weight, xp.concat(masks, axis=1)
