"""Sums over windows as the scripts of Wanda, SparseGPT and DSnoT form them, rounding included.

Those scripts see one window at a time and keep running means over windows in float32. A mask that turns on the last
bit of a sum agrees with theirs only if the sums are formed in the same order. What comes out is per window, not per
token: norms are sqrt(length) and means are length times those of `accumulate`, Gram matrices 2 * length times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fewer.evidence.accumulate import Accumulator
from fewer.method import FewerError

__all__ = ["WINDOWED"]


@dataclass
class _Windowed(Accumulator):
    """A running mean over windows."""

    windows: int = 0

    @staticmethod
    def precision(dtype: torch.dtype) -> torch.dtype:
        """Float32, as in the scripts."""
        return torch.float32

    def part_of(self, rows: Tensor, lengths: Sequence[int]) -> Any:
        """The windows themselves: what each adds depends on how many came before."""
        return torch.split(rows.float(), list(lengths))

    def add(self, part: Any, count: int) -> None:
        """Take in windows, one after the other, each (in, tokens)."""
        for rows in part:
            if not len(rows):
                continue  # All of it is padding.
            self.windows += 1
            self._take(rows.t(), (self.windows - 1) / self.windows)
        self.count += count

    def _take(self, inputs: Tensor, before: float) -> None:
        raise NotImplementedError

    def merge(self, other: Accumulator) -> Any:
        """Not defined: the result depends on the order of the windows."""
        raise FewerError("evidence summed window by window as published scripts do cannot be merged")

    def finalise(self) -> Tensor:
        """The running mean."""
        return self.total.clone()


class _Norm(_Windowed):
    """Root of the mean squared norm of an input over a window."""

    def _take(self, inputs: Tensor, before: float) -> None:
        self.total *= before
        self.total += torch.norm(inputs, p=2, dim=1) ** 2 / self.windows

    def finalise(self) -> Tensor:
        """The norm of every input."""
        return self.total.sqrt()


class _Mean(_Windowed):
    """Mean over windows of an input's sum over the window."""

    def _take(self, inputs: Tensor, before: float) -> None:
        self.total *= before
        self.total += torch.sum(inputs, dim=1) / self.windows


class _Gram(_Windowed):
    """Twice the mean over windows of X X^T."""

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(in, in)."""
        return (shape[1], shape[1])

    def _take(self, inputs: Tensor, before: float) -> None:
        self.total *= before
        scaled = math.sqrt(2 / self.windows) * inputs
        self.total += scaled.matmul(scaled.t())


@dataclass
class _VarWithin(_Windowed):
    """Variance within a window, averaged over tokens."""

    tokens: int = 0

    def _take(self, inputs: Tensor, before: float) -> None:
        found, new = torch.var(inputs, dim=1, unbiased=False, keepdim=True)[:, 0], inputs.shape[1]
        mixed = (self.total * self.tokens + found * new) / (self.tokens + new)
        self.total = found if self.tokens == 0 else mixed
        self.tokens += new


#: The accumulators that stand in for those of `accumulate`.
WINDOWED: dict[str, type[Accumulator]] = {
    "input_norm": _Norm, "input_mean": _Mean, "input_gram": _Gram, "input_var_within": _VarWithin,
}  # fmt: skip
