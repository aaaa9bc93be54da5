"""Accumulators: what is measured, as sums that can be updated, merged and finalised.

Each is a small dataclass with the same five operations: `part` turns the rows of one batch into a contribution (so
that layers with the same input share it), `add` takes it in, `update` is both, `merge` joins two accumulators of
disjoint data, `finalise` gives the evidence. None needs a second pass; merging any split equals one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from fewer.method import Paper, method
from fewer.update._gram import square

__all__ = [
    "KINDS", "Accumulator", "BlockSimilarity", "Grad", "GradAbs", "GradSq", "HessianGrad", "InputGram", "InputMean",
    "InputNorm", "InputVar", "OutputGradNorm", "ReferenceGrad", "ReferenceGradSq", "SynflowGrad",
]  # fmt: skip

A = TypeVar("A", bound="Accumulator")
_SHORTGPT = Paper("ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2024, "2403.03853")
_GRASP = Paper("Picking Winning Tickets Before Training by Preserving Gradient Flow", 2020, "2002.07376")
_SYNFLOW = Paper("Pruning neural networks without any data by iteratively conserving synaptic flow", 2020, "2006.05467")
_WELFORD = Paper("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979)


@dataclass
class Accumulator:
    """A running sum and how many rows (tokens, samples) are in it."""

    total: Tensor
    count: int = 0

    #: What feeds it: rows of inputs, rows of output gradients, a weight gradient, or a pair (before, after a block).
    source: ClassVar[str] = "input"
    #: Whether the sums of two data sets, each measured alone, add up to those of both.
    adds_up: ClassVar[bool] = True
    #: Whether it is what it is without any data: a drawn factor, a factor that starts at zero.
    given: ClassVar[bool] = False

    @classmethod
    def zeros(cls: type[A], shape: tuple[int, int], dtype: torch.dtype) -> A:
        """An empty one for a weight (out, in); `dtype` is used where a float64 sum would be too large."""
        return cls(torch.zeros(cls.size(shape), dtype=cls.precision(dtype)))

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the sum."""
        return (shape[1],)

    @staticmethod
    def precision(dtype: torch.dtype) -> torch.dtype:
        """Type of the sum: float64 for vectors."""
        return torch.float64

    def part(self, rows: Tensor) -> Tensor:
        """The contribution of one batch of rows: summed in float32 (pairwise) if narrow, kept in float64."""
        wide = rows if rows.dtype == torch.float64 else rows.float()
        return wide.sum(0).double()

    def part_of(self, rows: Tensor, lengths: Sequence[int]) -> Tensor:
        """`part` of rows that are the tokens of sequences of these lengths, one after the other."""
        return self.part(rows)

    def add(self, part: Tensor, count: int) -> None:
        """Take in a contribution of `count` rows."""
        self.total += part.to(device=self.total.device, dtype=self.total.dtype)
        self.count += count

    def update(self, rows: Tensor) -> None:
        """Take in rows."""
        self.add(self.part(rows), rows.shape[0])

    def merge(self: A, other: A) -> A:
        """Both together, as if one had seen all the data."""
        return type(self)(self.total + other.total, self.count + other.count)

    def finalise(self) -> Tensor:
        """The evidence: the mean, zero where nothing was seen."""
        return (self.total / max(self.count, 1)).float()


@method("evidence", "input-norm", formula="sqrt(mean_t x_tj^2)", unit="input")
@dataclass
class InputNorm(Accumulator):
    """Root mean square of every input over the calibration tokens.

    Formula: n_j = sqrt(1/T sum_t x_tj^2). Wanda's norm is this times sqrt(T), the same ranking.

    >>> seen = InputNorm.zeros((1, 2), torch.float32)
    >>> seen.update(torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
    >>> seen.finalise().square()
    tensor([12.5000,  0.5000])
    """

    def part(self, rows: Tensor) -> Tensor:
        """Sums of squares; narrow types are squared and summed (pairwise) in float32, kept in float64."""
        wide = rows if rows.dtype == torch.float64 else rows.float()
        return wide.square().sum(0).double()

    def finalise(self) -> Tensor:
        """The norm of every input."""
        return (self.total / max(self.count, 1)).sqrt().float()


@method("evidence", "input-gram", formula="mean_t x_t x_t^T", unit="input")
@dataclass
class InputGram(Accumulator):
    """Second moment of the inputs.

    Formula: G = 1/T sum_t x_t x_t^T. SparseGPT's H is 2 G, the same inverse up to a factor.

    >>> seen = InputGram.zeros((1, 2), torch.float64)
    >>> seen.update(torch.tensor([[1.0, 2.0]]))
    >>> seen.finalise()
    tensor([[1., 2.],
            [2., 4.]], dtype=torch.float64)
    """

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(in, in)."""
        return (shape[1], shape[1])

    @staticmethod
    def precision(dtype: torch.dtype) -> torch.dtype:
        """As asked for: this is the large one."""
        return dtype

    def part(self, rows: Tensor) -> Tensor:
        """X^T X in the type of the sum."""
        found: Tensor = square(rows.to(self.total.dtype).T)
        return found

    def finalise(self) -> Tensor:
        """The mean, in the type of the sum."""
        return self.total / max(self.count, 1)


@method("evidence", "input-mean", formula="mean_t x_tj", unit="input")
@dataclass
class InputMean(Accumulator):
    """Mean of every input: m_j = 1/T sum_t x_tj.

    >>> seen = InputMean.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[1.0], [2.0]]))
    >>> seen.finalise()
    tensor([1.5000])
    """


@method("evidence", "input-var", papers=[_WELFORD], formula="mean_t (x_tj - m_j)^2", unit="input")
@dataclass
class InputVar(Accumulator):
    """Variance of every input over the tokens (divided by T, not T - 1).

    Formula: v_j = 1/T sum_t (x_tj - m_j)^2. `total` holds the mean and the sum of squared deviations; parts are
    joined by the pairwise formula of Chan, Golub and LeVeque, which does not cancel.

    >>> seen = InputVar.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[1.0], [2.0]])), seen.update(torch.tensor([[6.0]]))
    (None, None)
    >>> seen.finalise()
    tensor([4.6667])
    """

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(2, in): means, sums of squared deviations."""
        return (2, shape[1])

    def part(self, rows: Tensor) -> Tensor:
        """Mean and squared deviations of these rows."""
        wide = rows.double()
        mean = wide.mean(0) if len(wide) else wide.new_zeros(wide.shape[1])
        return torch.stack([mean, (wide - mean).square().sum(0)])

    def add(self, part: Tensor, count: int) -> None:
        """Join by the pairwise formula."""
        both = self.count + count
        if count:
            part = part.to(self.total.device)
            delta = part[0] - self.total[0]
            self.total[1] += part[1] + delta.square() * (self.count * count / both)
            self.total[0] += delta * (count / both)
        self.count = both

    def merge(self, other: InputVar) -> InputVar:
        """Both together."""
        joined = InputVar(self.total.clone(), self.count)
        joined.add(other.total, other.count)
        return joined

    def finalise(self) -> Tensor:
        """The variance."""
        return (self.total[1] / max(self.count, 1)).float()


@dataclass
class _OfWeight(Accumulator):
    """Moments of the weight's gradient; one row is one sample's gradient (out, in)."""

    source: ClassVar[str] = "weight-gradient"

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(out, in)."""
        return shape

    @staticmethod
    def precision(dtype: torch.dtype) -> torch.dtype:
        """As asked for: as large as the weight."""
        return dtype

    def moment(self, gradient: Tensor) -> Tensor:
        """What is averaged."""
        return gradient

    def part(self, rows: Tensor) -> Tensor:
        """Sum of the moment over samples (samples, out, in)."""
        return self.moment(rows.to(self.total.dtype)).sum(0)

    def finalise(self) -> Tensor:
        """The mean over samples, in the type of the sum."""
        return self.total / max(self.count, 1)


@method("evidence", "grad", formula="mean_s dL_s/dw", unit="weight")
@dataclass
class Grad(_OfWeight):
    """Mean gradient of the loss, signed: g = 1/S sum_s dL_s/dW, L_s the mean loss of sample s.

    >>> seen = Grad.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[-0.5000]])
    """


@method("evidence", "grad-abs", formula="mean_s |dL_s/dw|", unit="weight")
@dataclass
class GradAbs(_OfWeight):
    """Mean absolute gradient over samples: 1/S sum_s |dL_s/dW|.

    >>> seen = GradAbs.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[1.5000]])
    """

    def moment(self, gradient: Tensor) -> Tensor:
        """|g|."""
        return gradient.abs()


@method("evidence", "grad-sq", formula="mean_s (dL_s/dw)^2", unit="weight")
@dataclass
class GradSq(_OfWeight):
    """Mean squared gradient over samples, the empirical Fisher diagonal: 1/S sum_s (dL_s/dW)^2.

    >>> seen = GradSq.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[2.5000]])
    """

    def moment(self, gradient: Tensor) -> Tensor:
        """The square."""
        return gradient.square()


@method("evidence", "reference-grad", formula="mean_s dL_s/dw, s of the reference data", unit="weight")
@dataclass
class ReferenceGrad(Grad):
    """Mean gradient of the loss on a second data set: as `Grad`, s runs over the reference samples.

    >>> seen = ReferenceGrad.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[-0.5000]])
    """

    source: ClassVar[str] = "reference-gradient"


@method("evidence", "reference-grad-sq", formula="mean_s (dL_s/dw)^2, s of the reference data", unit="weight")
@dataclass
class ReferenceGradSq(GradSq):
    """Mean squared gradient on a second data set: as `GradSq`, s runs over the reference samples.

    >>> seen = ReferenceGradSq.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[2.5000]])
    """

    source: ClassVar[str] = "reference-gradient"


@method("evidence", "hessian-grad", papers=[_GRASP], formula="mean_s d2L_s/dw2 . mean_s dL_s/dw", unit="weight")
@dataclass
class HessianGrad(_OfWeight):
    """Hessian of the loss times its own gradient: H g = d(g.g / 2)/dW, over all chosen layers together.

    One row is H_s g of one sample, g the mean gradient over all samples: a first pass measures g. Stores of two data
    sets cannot be merged, since each has another g.

    >>> seen = HessianGrad.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[[1.0]], [[-2.0]]]))
    >>> seen.finalise()
    tensor([[-0.5000]])
    """

    source: ClassVar[str] = "hessian"
    adds_up: ClassVar[bool] = False


@method("evidence", "synflow-grad", papers=[_SYNFLOW], formula="d sum(f(1; |w|))/d|w|", unit="weight")
@dataclass
class SynflowGrad(_OfWeight):
    """Gradient of the summed outputs of the network of absolute parameters on an input of ones.

    Of the data only the shape of the first sample is used. A product of two signals does not conserve the flow: a
    softmax over positions that are all alike has no gradient, so queries and keys of attention score zero.

    >>> from fewer.evidence import collect
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    >>> store = collect(net, torch.rand(1, 2), ["synflow_grad"])
    >>> bool((store["0"]["synflow_grad"][:, 0] == net[1].weight.detach().abs()[0]).all())
    True
    """

    source: ClassVar[str] = "positive-flow"


@method("evidence", "output-grad-norm", formula="sqrt(mean_t (dL/dy_ti)^2)", unit="row")
@dataclass
class OutputGradNorm(Accumulator):
    """Root mean square over tokens of the gradient at every output, the loss taken per sample.

    Formula: o_i = sqrt(1/T sum_t (dL_s(t)/dy_ti)^2).

    >>> seen = OutputGradNorm.zeros((1, 5), torch.float32)
    >>> seen.update(torch.tensor([[3.0], [4.0]]))
    >>> seen.finalise().square()
    tensor([12.5000])
    """

    source: ClassVar[str] = "output-gradient"

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """(out,)."""
        return (shape[0],)

    part = InputNorm.part
    finalise = InputNorm.finalise


@method("evidence", "block-similarity", papers=[_SHORTGPT], formula="mean_t cos(h_t, block(h)_t)", unit="block")
@dataclass
class BlockSimilarity(Accumulator):
    """Mean cosine similarity between what enters and what leaves the layer's block.

    Formula: s = 1/T sum_t <h_t, h'_t> / (||h_t|| ||h'_t||). ShortGPT's block influence is 1 - s. A row is h_t and
    h'_t one after the other; where either is zero the similarity counts as zero.

    >>> seen = BlockSimilarity.zeros((1, 1), torch.float32)
    >>> seen.update(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    >>> round(float(seen.finalise()), 4)
    0.7071
    """

    source: ClassVar[str] = "block"

    @staticmethod
    def size(shape: tuple[int, int]) -> tuple[int, ...]:
        """A scalar."""
        return ()

    def part(self, rows: Tensor) -> Tensor:
        """Sum of cosines."""
        before, after = rows.double().chunk(2, dim=1)
        norms = before.norm(dim=1) * after.norm(dim=1)
        return ((before * after).sum(1) / torch.where(norms == 0, 1.0, norms)).sum()


#: The accumulator of every kind of evidence, by the name that scores ask for.
KINDS: dict[str, type[Accumulator]] = {
    "input_norm": InputNorm, "input_gram": InputGram, "input_mean": InputMean,
    "input_var": InputVar, "grad": Grad, "grad_abs": GradAbs,
    "grad_sq": GradSq, "output_grad_norm": OutputGradNorm, "block_similarity": BlockSimilarity,
    "hessian_grad": HessianGrad, "synflow_grad": SynflowGrad, "reference_grad": ReferenceGrad,
    "reference_grad_sq": ReferenceGradSq,
}  # fmt: skip
