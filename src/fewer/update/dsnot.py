"""Swap single weights of a given mask so that the mean error of each output cancels (DSnoT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from array_api_compat import array_namespace, device, is_torch_array

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["dsnot"]


@method(
    "update",
    "dsnot",
    papers=[Paper("Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs", 2023, "2310.08915")],
    formula="regrow argmax sign(e) w_j sum x_j / var_j^p, drop the least |w_j| ||x_j|| that lowers |e|; e = lost sum",
    unit="weight",
    note="masks equal the authors' code with compat 'wanda' and `length` set to that of the calibration windows: "
    "their error is a sum over one sequence",
)
def dsnot(
    weight: Array,
    mask: Mask,
    input_norm: Array,
    input_mean: Array,
    input_var_within: Array,
    /,
    *,
    limits: Rule | None = None,
    cycles: int = 50,
    threshold: float = 0.1,
    power: float = 1.0,
    length: float = 2048.0,
    same_sign: str = "groups",
) -> Updated:
    """Exchange kept and dropped weights one pair per row and cycle; no weight changes its value.

    Formula: e = length * sum_{j dropped} w_j mean_j for every row. While |e| > threshold: regrow the dropped weight
    with the largest sign(e) w_j length mean_j / var_j^power; drop the kept weight of least |w_j| norm_j among those
    whose contribution has the sign opposite to e (for N:M: the least of the regrown weight's group).

    Args:
        weight: (out, in).
        mask: (out, in) bool: where to start.
        input_norm: (in,) root mean square of each input.
        input_mean: (in,) mean of each input.
        input_var_within: (in,) variance of each input, within a sequence on average.
        limits: what the mask has to satisfy; only asked whether it is N:M, and whether its `compat` is `wanda`: then
            a row that has run out of candidates walks on through kept ones, as the authors' code does, and may end
            with another count. Otherwise counts per row (or group) never change.
        cycles: most exchanges per row.
        threshold: a row rests when |e| is below it, or below what rounding makes of the lost sum.
        power: of the variance.
        length: tokens of one calibration sequence; the authors sum over a sequence.
        same_sign: `never`, `always`, or `groups` (the authors' default: for N:M alone): a row also rests when an
            exchange would turn the sign of its error.

    Returns:
        Masked weights, the new mask, and in the notes how many exchanges were made.

    Example:
        >>> import numpy as np
        >>> weight, one = np.array([[2.0, -1.0, 1.5]]), np.ones(3)
        >>> dsnot(weight, np.array([[True, True, False]]), one, one, one, length=1, cycles=1).mask
        array([[ True, False,  True]])

    Reference: Zhang et al. 2023, algorithm 1; the authors' code run beside it.
    """
    xp = array_namespace(weight, mask)
    group = _group(limits)
    authors = limits is not None and limits.compat == "wanda"
    value = weight * xp.astype(input_mean * length, weight.dtype)[None, :]
    norm = xp.abs(weight) * xp.astype(input_norm, weight.dtype)[None, :]
    checks_sign = same_sign == "always" or (same_sign == "groups" and group > 0)
    if 0 in weight.shape:
        return Updated(weight, mask, {})
    walk = _Walk(xp, value, norm, mask, xp.astype(input_var_within, weight.dtype), power, group)
    swap = walk.swap_as_authors if authors else walk.swap
    error = xp.sum(xp.where(mask, xp.zeros_like(value), value), axis=1, keepdims=True)
    lost_sizes = xp.sum(xp.where(mask, xp.zeros_like(value), xp.abs(value)), axis=1, keepdims=True)
    # A sum that should be zero is rounding of its terms: nothing is exchanged for that.
    rest = xp.zeros_like(error) if authors else float(xp.finfo(value.dtype).eps) * lost_sizes
    rest = xp.where(rest > threshold, rest, xp.full_like(rest, threshold))
    sign, live = xp.sign(error), xp.ones(error.shape, dtype=xp.bool, device=device(error))
    swaps = 0
    for _ in range(cycles):
        live = live & (xp.abs(error) > rest)
        live = live if authors else live & walk.possible(error)
        grow = walk.grow(error)
        drop = walk.drop(error, grow)
        gained, lost = xp.take_along_axis(value, grow, axis=1), xp.take_along_axis(value, drop, axis=1)
        if checks_sign:
            live = live & (sign == xp.sign(error + lost - gained))
        swap(live, grow, drop)
        if not bool(xp.any(live)):
            break
        swaps += int(xp.sum(xp.astype(live, xp.int64)))
        nothing = xp.zeros_like(lost)
        error = error + xp.where(live, lost, nothing)
        error = error - xp.where(live, gained, nothing)
    return Updated(xp.where(walk.mask, weight, xp.zeros_like(weight)), walk.mask, {"exchanges": float(swaps)})


def _group(limits: Rule | None) -> int:
    """Columns per N:M group, or 0."""
    from fewer.pattern import NM

    return limits.pattern.m if limits is not None and isinstance(limits.pattern, NM) else 0


class _Ends(NamedTuple):
    """Candidates of every row in order, and how many were taken from its two ends."""

    order: Array
    front: Array
    back: Array
    head: Array
    gap: Array

    def pick(self, xp: Any, from_back: Array) -> Array:
        """The next candidate at the end asked for, the gap in the middle (after `head`) jumped over."""
        last = self.order.shape[1] - 1
        tail = last + 1 - self.head - self.gap
        front = self.front + xp.where(self.front >= self.head, self.gap, xp.zeros_like(self.gap))
        back = self.back + xp.where(self.back >= tail, self.gap, xp.zeros_like(self.gap))
        place = xp.where(from_back, last - back, front)
        return xp.take_along_axis(self.order, xp.clip(place, 0, last), axis=1)

    def taken(self, xp: Any, from_back: Array) -> _Ends:
        """One step further at that end."""
        one = xp.astype(from_back, xp.int64)
        return self._replace(front=self.front + 1 - one, back=self.back + one)


class _Walk:
    """The mask under way and the two lists of candidates."""

    def __init__(
        self, xp: Any, value: Array, norm: Array, mask: Mask, variance: Array, power: float, group: int
    ) -> None:
        self.xp, self.mask, self.group = xp, mask, group
        self.columns = xp.arange(mask.shape[1], dtype=xp.int64, device=device(mask))[None, :]
        nothing = xp.zeros_like(value)
        wish = xp.where(mask, nothing, value)
        tiny = float(xp.finfo(variance.dtype).smallest_normal) ** 0.5
        wish = wish / (xp.where(variance > tiny, variance, xp.full_like(variance, tiny)) ** power)[None, :]
        wish = xp.where(mask, nothing, wish)
        start = xp.zeros((mask.shape[0], 1), dtype=xp.int64, device=device(mask))
        self.growing = _Ends(xp.argsort(wish, axis=1, stable=True), start, start, start, start)
        # Cheapest first; those that lower the lost sum stand in front, those that raise it at the back, reversed.
        self.price = xp.where(mask, norm, xp.full_like(norm, float("inf")))
        cheap = xp.argsort(self.price, axis=1, stable=True)
        rank = xp.argsort(cheap, axis=1, stable=True)
        size = mask.shape[1]
        side = xp.where(value < 0, rank, 3 * size - rank)
        side = xp.where(mask & (value != 0), side, xp.full_like(side, size))
        less, more = value < 0, value > 0
        self.left = {
            "grow": (_count(xp, ~mask & less), _count(xp, ~mask & more)),
            "drop": (_count(xp, mask & less), _count(xp, mask & more)),
        }
        few, many = self.left["drop"]
        order = xp.argsort(side, axis=1, stable=True)
        self.dropping = _Ends(order, start, start, few, xp.full_like(few, size) - few - many)

    def possible(self, error: Array) -> Array:
        """Whether a row still has a candidate to grow and, outside groups, one to drop."""
        xp = self.xp
        front, back = self.left["grow"]
        grow = xp.where(error > 0, self.growing.back < back, self.growing.front < front)
        if self.group:
            return grow
        front, back = self.left["drop"]
        return grow & xp.where(error < 0, self.dropping.back < back, self.dropping.front < front)

    def grow(self, error: Array) -> Array:
        """Column of the weight to regrow in every row."""
        found = self.growing.pick(self.xp, error > 0)
        self.growing = self.growing.taken(self.xp, error > 0)
        return found

    def drop(self, error: Array, grow: Array) -> Array:
        """Column of the weight to drop in every row."""
        xp = self.xp
        if not self.group:
            found = self.dropping.pick(xp, error < 0)
            self.dropping = self.dropping.taken(xp, error < 0)
            return found
        first = grow - grow % self.group
        price = xp.take_along_axis(self.price, first + self.columns[:, : self.group], axis=1)
        found = first + _cheapest(xp, price)
        self.price = xp.where(self.columns == found, xp.full_like(self.price, float("inf")), self.price)
        return found

    def swap(self, live: Array, grow: Array, drop: Array) -> None:
        """Exchange the pair in the rows that are live."""
        dropped = self.mask & ~(live & (self.columns == drop))
        self.mask = dropped | (live & (self.columns == grow))

    def swap_as_authors(self, live: Array, grow: Array, drop: Array) -> None:
        """Write both marks in every row, resting ones too: there the candidates return to what they were at first."""
        xp = self.xp
        self.mask = xp.where(self.columns == drop, ~live, self.mask)
        self.mask = xp.where(self.columns == grow, live, self.mask)


def _cheapest(xp: Any, price: Array) -> Array:
    """Place of the lowest price of every row; in torch ties fall as its top-k lets them, on which the authors rely."""
    if is_torch_array(price):
        import torch

        return torch.topk(price, 1, dim=1, largest=False).indices
    return xp.argmin(price, axis=1, keepdims=True)


def _count(xp: Any, which: Mask) -> Array:
    return xp.sum(xp.astype(which, xp.int64), axis=1, keepdims=True)
