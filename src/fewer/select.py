"""Selection: scores, a count and a pattern become an exact mask.

Three laws hold for every pattern and scope. The mask has exactly the asked number of units. Ties go to the lowest
index (row by row). The mask of a smaller count lies inside the mask of a larger one.

Wanda, magnitude, N:M and block selection differ in their arguments alone; nothing here knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from array_api_compat import array_namespace, device

from fewer._fast import first_in_rows, in_order, kth_largest, lowest_in_rows
from fewer.arguments import checked
from fewer.method import FewerError, nearest
from fewer.pattern import NM, Pattern, parse
from fewer.types import Array, Mask

__all__ = ["COMPAT", "WITHIN", "Rule", "rule", "select", "spread_over_rows", "top", "top_in_rows"]

#: Who competes with whom.
WITHIN = ("layer", "row", "column", "group")
#: Rounding of published implementations; empty is exact.
COMPAT = ("", "wanda", "sparsegpt")
#: Groups up to this size are decided by comparing every pair in them.
_SMALL_GROUP = 32


@dataclass(frozen=True, slots=True)
class Rule:
    """What a mask of one layer has to satisfy: pattern, scope, and how many units stay.

    Attributes:
        pattern: the legal sets.
        within: who competes with whom.
        count: units that stay in the layer.
        shape: (out, in) of the layer.
        share: the share that was asked for, before rounding.
        compat: whose rounding to reproduce; empty is exact.
    """

    pattern: Pattern
    within: str
    count: int
    shape: tuple[int, int]
    share: float
    compat: str = ""

    def select(self, scores: Array) -> Mask:
        """The mask (out, in) of the units with the largest scores.

        Args:
            scores: (out, in), one for each weight; a unit's score is the sum over its weights.

        Raises:
            FewerError: wrong shape, or a score that is not finite.
        """
        shape = tuple(int(n) for n in scores.shape)
        if shape != self.shape:
            raise FewerError(f"scores have shape {shape}; the rule is for a layer of shape {self.shape}")
        xp = array_namespace(scores)
        # The extremes tell: both libraries let NaN through them, and they cost a tenth of a test of every number.
        if 0 not in shape and not (xp.isfinite(xp.max(scores)) and xp.isfinite(xp.min(scores))):
            raise FewerError("a score is not finite; the weights or the evidence hold NaN or infinity")
        if self.compat:
            return self._compatible(scores)
        if isinstance(self.pattern, NM):
            return _in_groups(scores, self.pattern.n, self.pattern.m)
        return self.pattern.spread(self._units(self.pattern.pool(scores)), shape)

    def _units(self, units: Array) -> Mask:
        xp = array_namespace(units)
        if self.within == "row":
            return spread_over_rows(units, self.count)
        if self.within == "column":
            return in_order(xp.matrix_transpose(spread_over_rows(in_order(xp.matrix_transpose(units)), self.count)))
        return xp.reshape(top(xp.reshape(units, (-1,)), self.count), units.shape)

    def _compatible(self, scores: Array) -> Mask:
        """The authors' rounding: floored rows, or everything above one threshold (ties on it are dropped)."""
        xp = array_namespace(scores)
        drop = round(1.0 - self.share, 12)
        if isinstance(self.pattern, NM):
            groups, gone = xp.reshape(scores, (-1, self.pattern.m)), self.pattern.m - self.pattern.n
            lowest = lowest_in_rows(groups, gone)
            return ~xp.reshape(top_in_rows(-groups, gone) if lowest is None else lowest, scores.shape)
        if self.within == "row":
            return ~top_in_rows(-scores, int(self.shape[1] * drop))
        flat = xp.reshape(scores, (-1,))
        place = int(flat.shape[0] * drop)
        if drop == 0.0 or place >= flat.shape[0]:
            return xp.full(scores.shape, drop == 0.0, dtype=xp.bool, device=device(scores))
        return scores > kth_largest(flat, int(flat.shape[0]) - place)

    def part(self, start: int, stop: int) -> Rule:
        """The same rule for columns start..stop; the counts of consecutive parts add up to the whole.

        >>> whole = rule((2, 10), 0.5)
        >>> [whole.part(0, 4).count, whole.part(4, 10).count]
        [4, 6]

        Raises:
            FewerError: the pattern does not split there.
        """
        rows, columns = self.shape
        if not 0 <= start < stop <= columns:
            raise FewerError(f"columns {start}..{stop} are not a part of {columns} columns")
        shape = (rows, stop - start)
        if self.pattern.unit in ("row", "layer"):
            raise FewerError(f"pattern '{self.pattern}' cannot be chosen one part of the columns at a time")
        self.pattern.check((rows, start), "the columns before the part")
        self.pattern.check(shape, "the part")
        first, last, wide = (self.pattern.grid((rows, n))[1] for n in (start, stop, columns))
        return replace(self, shape=shape, count=self._before(last, wide) - self._before(first, wide))

    def _before(self, column: int, wide: int) -> int:
        """Units that stay in the first `column` columns of the grid."""
        if self.within != "row" or column == 0:
            return (2 * self.count * column + wide) // (2 * wide)
        rows = self.pattern.grid(self.shape)[0]
        each, rest = divmod(self.count, rows)
        return rows * (each * column // wide) + rest


@checked
def rule(
    shape: tuple[int, int],
    keep: float | None = None,
    *,
    count: int | None = None,
    pattern: str | Pattern = "unstructured",
    within: str = "",
    compat: str = "",
    where: str = "",
) -> Rule:
    """A rule for a layer.

    Args:
        shape: (out, in).
        keep: share of units that stay, in (0, 1].
        count: their number, in place of the share.
        pattern: the legal sets, as text or object.
        within: `layer` (default), `row`, `column`; `group` for N:M patterns, which know no other.
        compat: reproduce the rounding of a published implementation (`wanda`, `sparsegpt`).
        where: name of the layer, for messages.

    Raises:
        FewerError: keep or count out of range, none or both of them, pattern and shape that do not fit, scope that
            the pattern does not have.

    >>> rule((4, 4), 0.5).count, rule((4, 4), 1).count, rule((4, 4), count=1).count
    (8, 16, 1)
    """
    pattern = parse(pattern)
    shape = (int(shape[0]), int(shape[1]))
    pattern.check(shape, where)
    rows, columns = pattern.grid(shape)
    total = rows * columns
    scope = within or ("group" if isinstance(pattern, NM) else "layer")
    if scope not in WITHIN:
        wide = "; over all layers of a model it is the budget 'global'" if scope == "model" else ""
        raise FewerError(f"unknown scope '{scope}'{nearest(scope, WITHIN)}; known: {', '.join(WITHIN)}{wide}")
    if (scope == "group") != isinstance(pattern, NM):
        raise FewerError(f"pattern '{pattern}' does not compete within '{scope}'; 'group' and N:M belong together")
    if compat not in COMPAT:
        raise FewerError(f"unknown compat '{compat}'{nearest(compat, COMPAT)}; known: wanda, sparsegpt")
    if compat and (pattern.unit != "weight" or scope == "column"):
        raise FewerError(f"compat '{compat}' is for single weights within rows, groups or the layer")
    count, share = _count(keep, count, total, where)
    if isinstance(pattern, NM):
        fixed = total // pattern.m * pattern.n
        if count != fixed and abs(share - pattern.n / pattern.m) > 1e-9:
            raise FewerError(f"pattern '{pattern}' keeps {pattern.n / pattern.m:g}, not {share:g}")
        count, share = fixed, pattern.n / pattern.m
    return Rule(pattern, scope, count, shape, share, compat)


@checked
def select(
    scores: Array,
    keep: float | None = None,
    *,
    count: int | None = None,
    pattern: str | Pattern = "unstructured",
    within: str = "",
    compat: str = "",
) -> Mask:
    """The mask of the largest scores: `rule(...).select(scores)`, by a share `keep` or a number of units `count`.

    >>> import numpy as np
    >>> select(np.array([[1.0, 3.0], [2.0, 2.0]]), 0.5)
    array([[False,  True],
           [ True, False]])
    """
    shape = (int(scores.shape[0]), int(scores.shape[1]))
    return rule(shape, keep, count=count, pattern=pattern, within=within, compat=compat).select(scores)


@checked
def top(scores: Array, count: int) -> Mask:
    """The `count` largest of a vector, ties to the lowest index.

    >>> import numpy as np
    >>> top(np.array([1.0, 2.0, 2.0, 2.0]), 2)
    array([False,  True,  True, False])
    """
    xp = array_namespace(scores)
    size = int(scores.shape[0])
    if not 0 <= count <= size:
        raise FewerError(f"{count} of {size} units cannot be kept")
    if count in (0, size):
        return xp.full((size,), count > 0, dtype=xp.bool, device=device(scores))
    return _reaching(scores, kth_largest(scores, count), count)


@checked
def spread_over_rows(scores: Array, count: int) -> Mask:
    """The largest in every row, `count` in all: rows differ by at most one, the lowest rows get one more.

    >>> import numpy as np
    >>> spread_over_rows(np.array([[1.0, 2.0], [4.0, 3.0]]), 3)
    array([[ True,  True],
           [ True, False]])
    """
    if scores.ndim != 2:
        raise FewerError(f"scores have shape {tuple(scores.shape)}; they must have rows and columns")
    rows, columns = (int(n) for n in scores.shape)
    each, rest = divmod(count, rows) if rows else (0, count)
    if count < 0 or each + bool(rest) > columns:
        raise FewerError(f"{count} units cannot be kept in {rows} rows of {columns}")
    if not rest:
        return top_in_rows(scores, each)
    parts = [top_in_rows(scores[:rest, :], each + 1), top_in_rows(scores[rest:, :], each)]
    return array_namespace(scores).concat(parts, axis=0)


@checked
def top_in_rows(scores: Array, each: int) -> Mask:
    """The `each` largest of every row, ties to the lowest index.

    >>> import numpy as np
    >>> top_in_rows(np.array([[1.0, 2.0], [4.0, 3.0]]), 1)
    array([[False,  True],
           [ True, False]])
    """
    xp = array_namespace(scores)
    width = int(scores.shape[-1])
    if scores.ndim != 2 or not 0 <= each <= width:
        raise FewerError(f"{each} of {width} cannot be kept in every row of scores of shape {tuple(scores.shape)}")
    if each in (0, width):
        return xp.full(tuple(scores.shape), each > 0, dtype=xp.bool, device=device(scores))
    return _reaching(scores, kth_largest(scores, each)[:, None], each)


def _in_groups(scores: Array, keep: int, size: int) -> Mask:
    """The `keep` largest of every `size` consecutive columns: a weight stays if fewer than `keep` beat it."""
    xp = array_namespace(scores)
    if size > _SMALL_GROUP or not scores.shape[0] * scores.shape[1]:
        return xp.reshape(top_in_rows(xp.reshape(scores, (-1, size)), keep), scores.shape)
    groups = xp.asarray(xp.matrix_transpose(xp.reshape(scores, (-1, size))), copy=True)
    places = [groups[i, :] for i in range(size)]
    kept = []
    for i, own in enumerate(places):
        beaten = [other >= own for other in places[:i]] + [other > own for other in places[i + 1 :]]
        rank = xp.zeros(own.shape, dtype=xp.uint8, device=device(own))
        for better in beaten:
            rank = rank + xp.astype(better, xp.uint8)
        kept.append(rank < keep)
    return xp.reshape(xp.stack(kept, axis=1), scores.shape)


def _reaching(scores: Array, edge: Array, count: int) -> Mask:
    """What lies above the edge, and of what lies on it the first in each row, so that `count` of a row stay."""
    xp = array_namespace(scores)
    reached = scores >= edge
    # No row reaches fewer than `count`, so the total tells whether any row has a tie to settle.
    if int(xp.count_nonzero(reached)) == count * (scores.shape[0] if scores.ndim == 2 else 1):
        return reached
    above = scores > edge
    missing = count - xp.count_nonzero(above, axis=-1, keepdims=True)
    rows = (-1, int(scores.shape[-1]))
    tied = first_in_rows(xp.reshape(reached & ~above, rows), xp.reshape(missing, (-1, 1)))
    return above | xp.reshape(tied, scores.shape)


def _count(keep: float | None, count: int | None, total: int, where: str) -> tuple[int, float]:
    """Number and share of the units that stay, from either."""
    place = f" for {where}" if where else ""
    if (keep is None) == (count is None):
        raise FewerError(f"give keep, a share in (0, 1], or count, a number of units{place}: one of them")
    if count is not None:
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= total:
            raise FewerError(f"count is {count!r}{place}; there are {total} units")
        return count, count / total if total else 1.0
    assert keep is not None
    if not 0.0 < keep <= 1.0:
        hint = f"; a number of units is count={keep}" if isinstance(keep, int) and keep > 1 else ""
        raise FewerError(f"keep is {keep:g}{place}; the share that stays must be in (0, 1]{hint}")
    return round(keep * total), float(keep)
