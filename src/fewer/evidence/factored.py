"""Gradients of small factors beside the weight: what the scores of LoRAPrune and PST read.

Both methods train factors of low rank while the model is tuned. Here they stand at their authors' starting point (one
factor drawn, the other zero), where the model is still itself, and their gradients are measured. There the gradient
of every factor is a linear image of the weight's own, so that it is taken from that, sample by sample: the model is
not touched, parts of the data add up, and what is stored is of low rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fewer.evidence.accumulate import KINDS, Accumulator
from fewer.method import Paper, method

__all__ = ["RANK", "LoraA", "LoraAGrad", "LoraB", "LoraBGrad", "PstA", "PstB", "PstColumns", "PstRows"]

_LORAPRUNE = Paper("LoRAPrune: Pruning Meets Low-Rank Parameter-Efficient Fine-Tuning", 2023, "2305.18403")
_PST = Paper("Parameter-Efficient Sparsity for Large Language Models Fine-Tuning", 2022, "2205.11005")
#: Rank of the factors, as both papers' code has it.
RANK = 8


@dataclass
class _Factor(Accumulator):
    """A mean over samples of something of low rank; it has zeros where nothing moves the factor."""

    source: ClassVar[str] = "weight-gradient"

    def part(self, rows: Tensor) -> Tensor:
        """The contribution of samples (samples, out, in): a factor that stands still gets none."""
        return torch.zeros_like(self.total, device=rows.device)


@dataclass
class _Down(_Factor):
    """A factor (rank, in)."""

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(rank, in)."""
        return (RANK, shape[1])


@dataclass
class _Up(_Factor):
    """A factor (out, rank)."""

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(out, rank)."""
        return (shape[0], RANK)


@method("evidence", "lora-a", papers=[_LORAPRUNE], formula="A ~ Uniform(-1, 1) / sqrt(in)", unit="rank")
@dataclass
class LoraA(_Down):
    """Down factor of an adapter as LoRA starts it: uniform in (-1, 1) / sqrt(in), from a fixed seed.

    >>> seen = LoraA.zeros((3, 4), torch.float32)
    >>> tuple(seen.finalise().shape), bool(seen.finalise().abs().max() < 0.5)
    ((8, 4), True)
    """

    given: ClassVar[bool] = True

    def finalise(self) -> Tensor:
        """The factor: the same for every layer of this width."""
        return _lora_a(self.total.shape[1], self.total.device)


@method("evidence", "lora-b", papers=[_LORAPRUNE], formula="B = 0", unit="rank")
@dataclass
class LoraB(_Up):
    """Up factor of an adapter as LoRA starts it: zero, so that the model is itself.

    >>> LoraB.zeros((3, 4), torch.float32).finalise().count_nonzero()
    tensor(0)
    """

    given: ClassVar[bool] = True


@method("evidence", "lora-a-grad", papers=[_LORAPRUNE], formula="mean_s B' dL_s/dW = 0", unit="rank")
@dataclass
class LoraAGrad(_Down):
    """Mean gradient of the down factor: gA = B'G, which is zero where B is.

    >>> LoraAGrad.zeros((3, 4), torch.float32).finalise().count_nonzero()
    tensor(0)
    """

    given: ClassVar[bool] = True


@method("evidence", "lora-b-grad", papers=[_LORAPRUNE], formula="mean_s dL_s/dW A'", unit="rank")
@dataclass
class LoraBGrad(_Up):
    """Mean gradient of the up factor of an adapter W + B A: gB = G A', G the gradient of the merged weight.

    >>> seen = LoraBGrad.zeros((1, 4), torch.float32)
    >>> seen.update(torch.ones(2, 1, 4))
    >>> a = LoraA.zeros((1, 4), torch.float32).finalise()
    >>> bool(torch.allclose(seen.finalise()[0], a.sum(1)))
    True
    """

    def part(self, rows: Tensor) -> Tensor:
        """Sum over samples of G A'."""
        wide = rows.double().sum(0)
        return wide @ _lora_a(wide.shape[1], wide.device).to(wide.dtype).T


@method("evidence", "pst-a", papers=[_PST], formula="A ~ Normal(0, 1)", unit="rank")
@dataclass
class PstA(_Up):
    """Left factor of the importance of PST as it starts: normal, from a fixed seed.

    >>> tuple(PstA.zeros((3, 4), torch.float32).finalise().shape)
    (3, 8)
    """

    given: ClassVar[bool] = True

    def finalise(self) -> Tensor:
        """The factor: the same for every layer of this height."""
        return _pst_a(self.total.shape[0], self.total.device)


@dataclass
class _Moved(Accumulator):
    """A factor after one step of gradient descent from zero, of size one, on the mean loss.

    The mask lets gradients through to its scores, dL/dS = dL/dW * W: a row is that of one sample.
    """

    source: ClassVar[str] = "movement"

    def finalise(self) -> Tensor:
        """Minus the mean gradient."""
        return -super().finalise()


@method("evidence", "pst-b", papers=[_PST], formula="-mean_s A' (dL_s/dW * W)", unit="rank")
@dataclass
class PstB(_Moved):
    """Right factor of the importance of PST after one step from zero: -A'(G * W).

    >>> seen = PstB.zeros((3, 4), torch.float32)
    >>> seen.update(torch.ones(1, 3, 4))
    >>> bool(torch.allclose(seen.finalise()[:, 0], -PstA.zeros((3, 4), torch.float32).finalise().sum(0)))
    True
    """

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(rank, in)."""
        return (RANK, shape[1])

    def part(self, rows: Tensor) -> Tensor:
        """Sum over samples of A'(G * W)."""
        wide = rows.double().sum(0)
        return _pst_a(wide.shape[0], wide.device).to(wide.dtype).T @ wide


@method("evidence", "pst-rows", papers=[_PST], formula="-mean_s sum_j dL_s/dw_ij w_ij", unit="row")
@dataclass
class PstRows(_Moved):
    """Importance of rows of PST after one step from zero: r_i = -sum_j G_ij W_ij.

    >>> seen = PstRows.zeros((1, 2), torch.float32)
    >>> seen.update(torch.tensor([[[1.0, 2.0]]]))
    >>> seen.finalise()
    tensor([-3.])
    """

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(out,)."""
        return (shape[0],)

    def part(self, rows: Tensor) -> Tensor:
        """Sums over the inputs."""
        return rows.double().sum((0, 2))


@method("evidence", "pst-columns", papers=[_PST], formula="-mean_s sum_i dL_s/dw_ij w_ij", unit="input")
@dataclass
class PstColumns(_Moved):
    """Importance of columns of PST after one step from zero: c_j = -sum_i G_ij W_ij.

    >>> seen = PstColumns.zeros((1, 2), torch.float32)
    >>> seen.update(torch.tensor([[[1.0, 2.0]]]))
    >>> seen.finalise()
    tensor([-1., -2.])
    """

    def part(self, rows: Tensor) -> Tensor:
        """Sums over the outputs."""
        return rows.double().sum((0, 1))


def _lora_a(columns: int, device: torch.device) -> Tensor:
    drawn = torch.rand(RANK, columns, generator=torch.Generator().manual_seed(0))
    scaled: Tensor = (2.0 * drawn - 1.0) / columns**0.5
    return scaled.to(device)


def _pst_a(rows: int, device: torch.device) -> Tensor:
    return torch.randn(rows, RANK, generator=torch.Generator().manual_seed(0)).to(device)


KINDS |= {
    "lora_a": LoraA, "lora_b": LoraB, "lora_a_grad": LoraAGrad, "lora_b_grad": LoraBGrad,
    "pst_a": PstA, "pst_b": PstB, "pst_rows": PstRows, "pst_columns": PstColumns,
}  # fmt: skip
