"""Schedules: how the kept share moves from start to end.

Signature of every schedule: `progress` in [0, 1] comes first; knobs `start`, `end`, `begin` (progress at which the
share starts to move) and `finish` (where it stops).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import cos, pi
from typing import Any

from fewer.method import FewerError, Paper, find, method

__all__ = ["constant", "cosine", "cubic", "linear", "rounds"]


def rounds(schedule: str, steps: int, end: float, options: Mapping[str, Any]) -> tuple[float, ...]:
    """The kept share of each of some rounds, which only thin: what a round has dropped is gone.

    Args:
        schedule: its name.
        steps: number of rounds.
        end: the share after the last one.
        options: knobs of the schedule.

    Raises:
        FewerError: the share would grow from one round to the next, or is not in (0, 1].

    >>> rounds("linear", 2, 0.5, {})
    (0.75, 0.5)
    """
    rule = find("schedule", schedule)
    given = {**options, **({"end": end} if "end" in rule.knobs else {})}
    shares = tuple(float(rule.target(step / steps, **given)) for step in range(1, steps + 1))
    for step, (before, after) in enumerate(pairwise(shares), 1):
        if after > before + 1e-12:
            said = f"from {before:g} in round {step} to {after:g} in round {step + 1}"
            raise FewerError(f"schedule '{schedule}' would grow {said}; rounds only thin: start above {after:g}")
    for step, share in enumerate(shares, 1):
        if not 0.0 < share <= 1.0:
            said = f"a share of {share:g} in round {step}"
            raise FewerError(f"schedule '{schedule}' asks for {said}; it must be in (0, 1]")
    return shares


@method("schedule", "constant", formula="end", unit="share", status="ours")
def constant(progress: float, /, *, start: float = 1.0, end: float = 0.5) -> float:
    """The final share from the beginning.

    >>> constant(0.0, end=0.3)
    0.3
    """
    return end


@method("schedule", "linear", formula="start + (end - start) t", unit="share", status="ours")
def linear(
    progress: float, /, *, start: float = 1.0, end: float = 0.5, begin: float = 0.0, finish: float = 1.0
) -> float:
    """A straight line.

    >>> linear(0.5, end=0.5)
    0.75
    """
    return start + (end - start) * _time(progress, begin, finish)


@method("schedule", "cosine", formula="end + (start - end) (1 + cos(pi t)) / 2", unit="share", status="ours")
def cosine(
    progress: float, /, *, start: float = 1.0, end: float = 0.5, begin: float = 0.0, finish: float = 1.0
) -> float:
    """Half a cosine: slow at both ends.

    >>> cosine(0.5, end=0.5)
    0.75
    """
    return end + (start - end) * (1.0 + cos(pi * _time(progress, begin, finish))) / 2.0


@method(
    "schedule",
    "cubic",
    papers=[
        Paper("To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017, "1710.01878")
    ],
    formula="end + (start - end) (1 - t)^3",
    unit="share",
)
def cubic(
    progress: float, /, *, start: float = 1.0, end: float = 0.5, begin: float = 0.0, finish: float = 1.0
) -> float:
    """Most of the removal early, while much is redundant, and slowly at the end.

    >>> cubic(0.5, end=0.5)
    0.5625

    Reference: Zhu and Gupta 2017, equation 1, written for the kept share.
    """
    return end + (start - end) * (1.0 - _time(progress, begin, finish)) ** 3


def _time(progress: float, begin: float, finish: float) -> float:
    """Progress between begin and finish, from 0 to 1."""
    if not 0.0 <= begin < finish <= 1.0:
        raise FewerError(f"a schedule runs from begin={begin:g} to finish={finish:g}; need 0 <= begin < finish <= 1")
    return min(max((progress - begin) / (finish - begin), 0.0), 1.0)
