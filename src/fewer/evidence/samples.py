"""Evidence that keeps more than sums over tokens: some of the inputs themselves, and what varies within a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fewer.evidence.accumulate import KINDS, Accumulator
from fewer.method import Paper, method

__all__ = ["InputSample", "InputVarWithin"]

_DSNOT = Paper("Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs", 2023, "2310.08915")
#: Tokens that are kept.
_KEPT = 512
#: Keys are multiples of 2^-24, exact in float32.
_KEYS = 1 << 24


@method("evidence", "input-sample", formula="x_t for the 512 tokens of lowest hash(x_t)", unit="token")
@dataclass
class InputSample(Accumulator):
    """Some of the inputs themselves, at most 512, chosen by a hash of their bits.

    Formula: the tokens of lowest hash(x_t) stay, in the order of their hashes: a choice that does not depend on how
    the data is cut into batches and parts, nor on their order.

    >>> seen = InputSample.zeros((1, 2), torch.float32)
    >>> seen.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> seen.finalise()
    tensor([[3., 4.],
            [1., 2.]])
    """

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(512, in + 1): a row is an input and its key; key 0 marks an empty row."""
        return (_KEPT, shape[1] + 1)

    @staticmethod
    def precision(dtype: torch.dtype) -> torch.dtype:
        """Type of the inputs kept."""
        return dtype

    def part(self, rows: Tensor) -> Tensor:
        """The rows as they are."""
        return rows

    def add(self, part: Tensor, count: int) -> None:
        """Keep the rows of lowest key."""
        keys = _hash(part)
        chosen = torch.argsort(keys, stable=True)[:_KEPT]
        fresh = torch.cat([part[chosen].to(self.total.dtype), keys[chosen, None].to(self.total.dtype)], dim=1)
        self._keep(torch.cat([self._held(), fresh.to(self.total.device)]))
        self.count += count

    def merge(self, other: InputSample) -> InputSample:
        """The lowest keys of both."""
        joined = InputSample(self.total.clone(), self.count + other.count)
        joined._keep(torch.cat([self._held(), other._held()]))
        return joined

    def finalise(self) -> Tensor:
        """The inputs kept."""
        return self._held()[:, :-1].float()

    def _held(self) -> Tensor:
        return self.total[self.total[:, -1] > 0]

    def _keep(self, rows: Tensor) -> None:
        lowest = torch.argsort(rows[:, -1], stable=True)[:_KEPT]
        self.total = torch.zeros_like(self.total)
        self.total[: len(lowest)] = rows[lowest]


def _hash(rows: Tensor) -> Tensor:
    """A number in (0, 1] from the bits of every row, exact and so the same wherever the row stands."""
    bits = (rows.float() + 0.0).contiguous().view(torch.int32).long()
    place = torch.arange(1, bits.shape[1] + 1, device=bits.device)
    mixed = (bits ^ (bits >> 15)) * (2 * place * 0x9E3779B1 + 1)
    mixed = (mixed ^ (mixed >> 29)).sum(1) * 0x85EBCA77
    return (((mixed >> 20) & (_KEYS - 1)) + 1).float() / _KEYS


@method(
    "evidence",
    "input-var-within",
    papers=[_DSNOT],
    formula="sum_s n_s var_s(x_j) / sum_s n_s over sequences s",
    unit="input",
)
@dataclass
class InputVarWithin(Accumulator):
    """Mean over sequences of the variance of every input within a sequence; the authors of DSnoT measure this one.

    Formula: v_j = sum_s n_s var_s(x_j) / sum_s n_s, with var_s about the sequence's own mean, divided by n_s.

    >>> seen = InputVarWithin.zeros((1, 1), torch.float32)
    >>> seen.add(seen.part_of(torch.tensor([[1.0], [3.0], [10.0], [10.0]]), [2, 2]), 4)
    >>> seen.finalise()
    tensor([0.5000])
    """

    def part_of(self, rows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Squared deviations from each sequence's own mean."""
        pieces = [self.part(piece) for piece in torch.split(rows, list(lengths))]
        return torch.stack(pieces).sum(0) if pieces else self.part(rows)

    def part(self, rows: Tensor) -> Tensor:
        """The same for rows of one sequence."""
        wide = rows.double()
        return (wide - wide.mean(0)).square().sum(0) if len(wide) else wide.new_zeros(wide.shape[1])


KINDS |= {"input_sample": InputSample, "input_var_within": InputVarWithin}
