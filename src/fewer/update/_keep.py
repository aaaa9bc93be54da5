"""Which entries stay, inside a solver's loop: as `Rule.select`, but a tie may keep a few more and nothing is checked.

A loop selects a hundred times; its last selection goes through the rule itself, so that counts are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from fewer.types import Array

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["kept"]


def kept(rule: Rule, scores: Array) -> Array:
    """1.0 where the rule keeps, 0.0 elsewhere, in the dtype of the scores."""
    from fewer._fast import kth_largest
    from fewer.pattern import NM, Unstructured

    xp = array_namespace(scores)
    size = scores.shape[0] * scores.shape[1]
    pattern = rule.pattern
    if isinstance(pattern, NM) and not rule.compat and pattern.m <= 16 and size:
        groups = xp.reshape(scores, (-1, pattern.m))
        return xp.reshape(xp.astype(groups >= _edge(groups, pattern.n)[:, None], scores.dtype), scores.shape)
    if isinstance(pattern, Unstructured) and rule.within == "layer" and 0 < rule.count < size:
        edge = kth_largest(xp.reshape(scores, (1, -1)), rule.count)
        return xp.astype(scores >= edge, scores.dtype)
    return xp.astype(rule.select(scores), scores.dtype)


def _edge(groups: Array, keep: int) -> Array:
    """The `keep`-th largest of every row of a narrow matrix, by as many passes of a bubble sort on whole columns."""
    xp = array_namespace(groups)
    columns = [groups[:, i] for i in range(groups.shape[1])]
    for _ in range(keep):
        largest, rest = columns[0], []
        for column in columns[1:]:
            rest.append(xp.minimum(largest, column))
            largest = xp.maximum(largest, column)
        columns = rest
    return largest
