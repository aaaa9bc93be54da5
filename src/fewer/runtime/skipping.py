"""Linear layers that leave out small inputs, and the gate that makes inputs small (CATS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.method import FewerError
from fewer.runtime import dispatch
from fewer.runtime.choose import Rule
from fewer.runtime.kernels import Product, columns_product, cut_inputs
from fewer.runtime.linear import NativeLinear

__all__ = ["ActivationSparseLinear", "Cut", "GatedCut", "largest"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Which inputs of a layer stay: those above a threshold, or the `count` largest of every `group` neighbours.

    `group` 0 stands for all inputs of the token, `count` 0 for the threshold.
    """

    threshold: float = 0.0
    count: int = 0
    group: int = 0

    def check(self, inputs: int) -> None:
        """Refuse a cut that a layer with so many inputs cannot have.

        Raises:
            FewerError: a threshold that is negative or not finite, or a count that is not in the group.
        """
        if not 0 <= self.threshold < float("inf"):
            raise FewerError(f"threshold must be a finite number of at least 0, not {self.threshold}")
        group = self.group or inputs
        if not 0 <= self.count <= group or self.group < 0 or (self.group and inputs % self.group):
            raise FewerError(f"cannot keep {self.count} of every {group} of {inputs} inputs")


def largest(worth: Tensor, count: int, group: int = 0) -> Tensor:
    """Bool mask of the `count` largest of every `group` neighbours of the last axis; ties go to the lowest index.

    The same mask as `score.inputs.top_inputs`, by selection instead of two sorts; what is not a number stays.

    >>> largest(torch.tensor([1.0, 3.0, 3.0, 0.0]), 1, 2).tolist()
    [False, True, True, False]
    """
    if count == 0 or not worth.numel():
        return worth.isnan()
    rows = worth.nan_to_num(nan=torch.inf).reshape(*worth.shape[:-1], -1, group or worth.shape[-1])
    limit = rows.topk(count, dim=-1, sorted=True).values[..., -1:]
    above, ties = rows > limit, rows == limit
    left = count - above.sum(dim=-1, keepdim=True)
    mask: Tensor = above | (ties & (ties.cumsum(dim=-1) <= left))
    return mask.reshape(worth.shape)


class ActivationSparseLinear(NativeLinear):
    """A linear layer that leaves out inputs with |x_j| * norm_j <= threshold, at every token alike.

    One token goes to the column-skipping kernel, which reads only the columns of W that are needed; more tokens are
    masked and multiplied densely. The weight is stored transposed, once. With a `cut` that counts, the largest
    inputs of each token stay instead of those above a threshold.

    Args:
        weight: (out, in) float32 or bfloat16.
        cut: a threshold that an input must exceed (0 leaves out exact zeros only), or a `Cut`.
        norms: (in,) factors (WINA: column norms), or None.
        bias: (out,) or None.

    Raises:
        FewerError: a negative or non-finite threshold, or norms of another shape.

    >>> layer = ActivationSparseLinear(torch.tensor([[1.0, 1.0]]), 0.5)
    >>> layer(torch.tensor([0.4, 2.0])).tolist()
    [2.0]
    """

    weight_t: Tensor
    norms: Tensor | None
    threshold: Tensor

    def __init__(
        self, weight: Tensor, cut: float | Cut, *, norms: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        super().__init__(weight.shape[0], weight.shape[1], bias, weight.dtype)
        cut = cut if isinstance(cut, Cut) else Cut(float(cut))
        cut.check(weight.shape[1])
        if norms is not None and norms.shape != (weight.shape[1],):
            raise FewerError(f"norms have shape {tuple(norms.shape)}, expected ({weight.shape[1]},)")
        self.register_buffer("weight_t", weight.detach().T.contiguous())
        self.register_buffer("norms", None if norms is None else norms.detach().to(torch.float32))
        self.register_buffer("threshold", torch.tensor(cut.threshold, dtype=torch.float32))
        self.count, self.group = cut.count, cut.group
        #: Share of inputs that stayed on the calibration data, where it is known.
        self.observed: float | None = None

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), a view."""
        return self.weight_t.T

    @property
    def cut(self) -> Cut:
        """Which inputs stay."""
        return Cut(float(self.threshold), self.count, self.group)

    def active(self, x: Tensor) -> Tensor:
        """Bool of the shape of x: the inputs that stay."""
        worth = x.to(torch.float32).abs()
        worth = worth if self.norms is None else worth * self.norms
        return largest(worth, self.count, self.group) if self.count else ~(worth <= self.threshold)

    def extra_repr(self) -> str:
        """Shape and cut."""
        rule = f"{self.count} of {self.group or self.in_features}" if self.count else f"{float(self.threshold):.4g}"
        return f"{super().extra_repr()}, cut={rule}, norms={self.norms is not None}"

    def _rule(self, tier: str) -> Rule:
        return () if tier in ("dense", "extension-portable") else ((1, "columns"),)

    def _product(self, form: str, dtype: torch.dtype) -> Product:
        tier = dispatch.tier()
        if not self.count:
            return columns_product(
                self.weight_t, float(self.threshold), self.norms, self.bias, tier=tier, x_dtype=dtype
            )
        return partial(self._counted, columns_product(self.weight_t, 0.0, None, self.bias, tier=tier, x_dtype=dtype))

    def _counted(self, call: Product, x: Tensor, y: Tensor, batch: int) -> object:
        """The largest inputs by torch, then the kernel, which skips the zeros that are left."""
        return call(self._left(x), y, batch)

    def _left(self, x: Tensor) -> Tensor:
        if self.count:
            return torch.where(self.active(x), x, torch.zeros_like(x))
        return cut_inputs(x, self.threshold, self.norms)

    def _by_torch(self, x: Tensor) -> Tensor:
        return functional.linear(self._left(x), self.weight_t.T, self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NativeLinear:
        super()._apply(fn)
        self.weight_t = self.weight_t.to(self.dtype)
        return self


class GatedCut(nn.Module):
    """The activation of a gate, with what is smaller than a threshold set to zero (CATS).

    Formula: CATS(x) = a(x) where |a(x)| >= t, else 0.

    Args:
        activation: the gate's own.
        threshold: t, at least 0.

    >>> GatedCut(nn.Identity(), 1.0)(torch.tensor([0.5, -2.0])).tolist()
    [0.0, -2.0]
    """

    threshold: Tensor

    def __init__(self, activation: nn.Module, threshold: float) -> None:
        super().__init__()
        Cut(float(threshold)).check(0)
        self.activation = activation
        self.register_buffer("threshold", torch.tensor(float(threshold), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Cut the activated gate."""
        y: Any = self.activation(x)
        return torch.where(y.abs() < self.threshold.to(y.dtype), torch.zeros_like(y), y)
