"""The part of an ADMM step that is not a product: what is kept, the dual of the rest, and what to multiply next.

Either in array operations, or compiled in one pass over the layer, with the same numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from array_api_compat import array_namespace

from fewer.types import Array
from fewer.update._compiled import address, can_run, in_memory, run, spread
from fewer.update._keep import kept as chosen
from fewer.update._scaled import Scaled

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["State", "projection"]

#: Share by which the edge between kept and dropped scores may move in a step and still be found among few.
_NEAR = 1.3


class State(NamedTuple):
    """Where ADMM stands: `kept` is one or zero, and the dual is `factor` times what of `moved` is not kept."""

    moved: Array
    kept: Array
    factor: float

    @classmethod
    def start(cls, problem: Scaled, rule: Rule) -> State:
        """The largest scaled weights are kept, the dual is zero."""
        mask = rule.select(problem.dense * problem.dense)
        return cls(problem.dense, array_namespace(mask).astype(mask, problem.dense.dtype), 0.0)

    def pull(self, problem: Scaled, rho: float) -> Array:
        """What the next product is taken of."""
        return problem.target + rho * (self.moved * self.kept - self.dual)

    @property
    def dual(self) -> Array:
        """The scaled dual."""
        return self.factor * (1.0 - self.kept) * self.moved


def projection(problem: Scaled, rule: Rule, rho: float, state: State | None = None) -> _Portable | _Groups | _Threshold:
    """ADMM from a state on, else from its start; `pull` waits for the first product."""
    from fewer.pattern import NM, Unstructured

    dense, pattern = problem.dense, rule.pattern
    xp = array_namespace(dense)
    if can_run(dense) and dense.dtype == xp.float32:
        size = dense.shape[0] * dense.shape[1]
        if isinstance(pattern, NM) and not rule.compat and pattern.m <= 16:
            return _Groups(problem, rule, rho, state)
        if isinstance(pattern, Unstructured) and rule.within == "layer" and 0 < rule.count < size:
            return _Threshold(problem, rule, rho, state)
    return _Portable(problem, rule, rho, state)


class _Portable:
    """In array operations, for every pattern and library."""

    def __init__(self, problem: Scaled, rule: Rule, rho: float, state: State | None = None) -> None:
        state = state or State.start(problem, rule)
        self._rule, self._target, self.moved, self._dual = rule, problem.target, state.moved, state.dual
        self.kept = self._former = state.kept
        self.pull = state.pull(problem, rho)

    def step(self, free: Array, rho: float, shrink: float) -> None:
        """Take in a product; the next pull is for penalty `rho`, with the dual times `shrink`."""
        self.moved = free + self._dual
        self.kept = chosen(self._rule, self.moved * self.moved)
        sparse = self.moved * self.kept
        self._dual = (self.moved - sparse) * shrink
        self.pull = self._target + rho * (sparse - self._dual)

    def changed(self) -> float:
        """How many entries are kept that were not, or the other way round, since this was last asked."""
        xp = array_namespace(self.moved)
        found = float(xp.sum(xp.abs(self.kept - self._former)))
        self._former = self.kept
        return found


class _Compiled:
    """In one pass; the memory of a step is that of the one before."""

    def __init__(self, problem: Scaled, rule: Rule, rho: float, state: State | None = None) -> None:
        state = state or State.start(problem, rule)
        xp: Any = array_namespace(problem.dense)
        self._rule, self._before, self._target = rule, state.factor, in_memory(problem.target)
        self.moved, self.kept = (in_memory(xp.asarray(x, copy=True)) for x in (state.moved, state.kept))
        self._former = state.kept
        self.pull = in_memory(state.pull(problem, rho))

    def step(self, free: Array, rho: float, shrink: float) -> None:
        """As `_Portable.step`."""
        free = in_memory(free)
        starts = [address(x) for x in (free, self._target, self.moved, self.pull, self.kept)]
        self._project(starts, (self._before, rho, shrink))
        self._before = shrink

    def _project(self, starts: list[int], factors: tuple[float, float, float]) -> None:
        raise NotImplementedError

    def _run(self, name: str, starts: list[int], factors: tuple[float, float, float], rest: Any, step: int = 1) -> Any:
        """A compiled function over ranges of the layer; `rest` are its own arguments for the range from `first` on."""
        size = int(self.moved.shape[0] * self.moved.shape[1])

        def part(first: int, last: int) -> Any:
            places = (*(start + 4 * first for start in starts), last - first)
            return first, run(name, places, factors, rest(first))

        return spread(part, size, 8.0 * size, step)

    def changed(self) -> float:
        """As `_Portable.changed`."""
        xp: Any = array_namespace(self.kept)
        found = float(xp.sum(xp.abs(self.kept - self._former)))
        self._former = xp.asarray(self.kept, copy=True)
        return found


class _Groups(_Compiled):
    """N of every M."""

    def _project(self, starts: list[int], factors: tuple[float, float, float]) -> None:
        pattern: Any = self._rule.pattern
        self._run("admm_groups", starts, factors, lambda _: (pattern.n, pattern.m), pattern.m)


class _Threshold(_Compiled):
    """The largest of the layer: from a score on, which moves little from step to step and is looked for near by."""

    def __init__(self, problem: Scaled, rule: Rule, rho: float, state: State | None = None) -> None:
        import numpy as np

        super().__init__(problem, rule, rho, state)
        self._edge = 0.0
        self._scores = np.empty(self.moved.shape[0] * self.moved.shape[1], dtype=np.float32)

    def _project(self, starts: list[int], factors: tuple[float, float, float]) -> None:
        import numpy as np

        low, high = (self._edge / _NEAR, self._edge * _NEAR) if self._edge > 0 else (-1.0, math.inf)
        place = self._scores.ctypes.data
        found = self._run("admm_middle", starts, factors, lambda first: (low, high, place + 4 * first))
        near = np.concatenate([self._scores[first : first + listed] for first, (listed, _) in found])
        index = near.size - self._rule.count + sum(above for _, (_, above) in found)
        if not 0 <= index < near.size:
            near = np.square(np.asarray(self.moved)).reshape(-1)
            index = near.size - self._rule.count
        self._edge = float(np.partition(near, index)[index])
        self._run("admm_threshold", starts, factors, lambda _: (self._edge,))
