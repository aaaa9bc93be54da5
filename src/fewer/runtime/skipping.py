"""Linear layers that leave out small inputs, dense or packed, and the gate that makes inputs small (CATS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.arguments import check_fields, checked
from fewer.method import FewerError
from fewer.runtime import dispatch
from fewer.runtime.choose import Rule
from fewer.runtime.format import Packed, check, pack_weight, unpack_weight
from fewer.runtime.kernels import Product, columns_product, cut_inputs, packed_columns_product
from fewer.runtime.linear import NativeLinear, shape_of

__all__ = ["ActivationSparseLinear", "Cut", "GatedCut", "PackedSkippingLinear", "SkippingLinear", "largest"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Which inputs of a layer stay: those above a threshold, or the `count` largest of every `group` neighbours.

    `group` 0 stands for all inputs of the token, `count` 0 for the threshold.
    """

    threshold: float = 0.0
    count: int = 0
    group: int = 0

    def __post_init__(self) -> None:
        """Refuse other types."""
        check_fields(self)

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


class SkippingLinear(NativeLinear):
    """What both kinds of layers share: the cut, and how inputs look after it."""

    norms: Tensor | None
    threshold: Tensor

    def __init__(
        self, shape: tuple[int, int], cut: float | Cut, norms: Tensor | None, bias: Tensor | None, dtype: torch.dtype
    ) -> None:
        super().__init__(*shape, bias, dtype)
        cut = cut if isinstance(cut, Cut) else Cut(float(cut))
        cut.check(shape[1])
        if norms is not None and norms.shape != shape[1:]:
            raise FewerError(f"norms have shape {tuple(norms.shape)}, expected ({shape[1]},)")
        self.register_buffer("norms", None if norms is None else norms.detach().to(torch.float32))
        self.register_buffer("threshold", torch.tensor(cut.threshold, dtype=torch.float32))
        self.count, self.group = cut.count, cut.group
        #: Share of inputs that stayed on the calibration data, where it is known.
        self.observed: float | None = None

    @property
    def cut(self) -> Cut:
        """Which inputs stay."""
        return Cut(float(self.threshold), self.count, self.group)

    def active(self, x: Tensor) -> Tensor:
        """Bool of the shape of x: the inputs that stay."""
        worth = x.to(torch.float32).abs()
        worth = worth if self.norms is None else worth * self.norms
        return largest(worth, self.count, self.group) if self.count else ~(worth <= self.threshold)

    def dense(self) -> Tensor:
        """The dense weight (out, in)."""
        raise TypeError(f"{type(self).__name__} has no weight")

    def extra_repr(self) -> str:
        """Shape and cut."""
        rule = f"{self.count} of {self.group or self.in_features}" if self.count else f"{float(self.threshold):.4g}"
        return f"{super().extra_repr()}, cut={rule}, norms={self.norms is not None}"

    def _columns(self, threshold: float, norms: Tensor | None, dtype: torch.dtype) -> Product:
        raise TypeError(f"{type(self).__name__} has no products")

    def _product(self, form: str, dtype: torch.dtype) -> Product:
        if not self.count:
            return self._columns(float(self.threshold), self.norms, dtype)
        return partial(self._counted, self._columns(0.0, None, dtype))

    def _counted(self, call: Product, x: Tensor, y: Tensor, batch: int) -> object:
        """The largest inputs by torch, then the kernel, which skips the zeros that are left."""
        return call(self._left(x), y, batch)

    def _left(self, x: Tensor) -> Tensor:
        if self.count:
            return torch.where(self.active(x), x, torch.zeros_like(x))
        return cut_inputs(x, self.threshold, self.norms)


class ActivationSparseLinear(SkippingLinear):
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

    @checked
    def __init__(
        self, weight: Tensor, cut: float | Cut, *, norms: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        super().__init__(shape_of(weight), cut, norms, bias, weight.dtype)
        self.register_buffer("weight_t", weight.detach().T.contiguous())

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), a view."""
        return self.weight_t.T

    def dense(self) -> Tensor:
        """The dense weight (out, in), a view."""
        return self.weight_t.T

    def _rule(self, tier: str) -> Rule:
        return () if tier in ("dense", "extension-portable") else ((1, "columns"),)

    def _columns(self, threshold: float, norms: Tensor | None, dtype: torch.dtype) -> Product:
        return columns_product(self.weight_t, threshold, norms, self.bias, tier=dispatch.tier(), x_dtype=dtype)

    def _by_torch(self, x: Tensor) -> Tensor:
        return functional.linear(self._left(x), self.weight_t.T, self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NativeLinear:
        super()._apply(fn)
        self.weight_t = self.weight_t.to(self.dtype)
        return self


class PackedSkippingLinear(SkippingLinear):
    """A layer whose weight is packed and whose small inputs are left out: both savings at one token.

    The weight is packed transposed, a row for each input, so that a token reads the kept values of the inputs that
    stay and nothing else. More tokens are masked and multiplied by a dense weight, kept from the first such call on.

    Args:
        packed_t: the weight transposed (in, out), packed one by one in float32 or bfloat16.
        cut: as in `ActivationSparseLinear`.
        norms: (in,) factors, or None.
        bias: (out,) or None.

    Raises:
        FewerError: arrays that do not fit each other, or what `ActivationSparseLinear` refuses.

    >>> from fewer.runtime.format import pack_weight
    >>> layer = PackedSkippingLinear(pack_weight(torch.tensor([[1.0, 0.0], [1.0, 3.0]])), 0.5)
    >>> layer(torch.tensor([0.4, 2.0])).tolist()
    [2.0, 6.0]
    """

    mask: Tensor
    values: Tensor
    offsets: Tensor

    @checked
    def __init__(
        self, packed_t: Packed, cut: float | Cut, *, norms: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        check(packed_t, "packed weight")
        if packed_t.height != 1 or packed_t.dtype == torch.int8:
            raise FewerError("packed weight: column skipping takes float32 or bfloat16 packed one by one")
        super().__init__((packed_t.cols, packed_t.rows), cut, norms, bias, packed_t.dtype)
        for name in ("mask", "values", "offsets"):
            self.register_buffer(name, getattr(packed_t, name))
        self._dense: Tensor | None = None

    @classmethod
    def of(cls, layer: ActivationSparseLinear) -> PackedSkippingLinear:
        """The same layer with its weight packed."""
        made = cls(pack_weight(layer.weight_t), layer.cut, norms=layer.norms, bias=layer.bias)
        made.observed = layer.observed
        return made

    @property
    def packed_t(self) -> Packed:
        """The packed weight, transposed (in, out)."""
        return Packed(self.in_features, self.out_features, 1, self.mask, self.values, self.offsets)

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), a view of the transposed one, which is kept from now on."""
        if self._dense is None or self._dense.dtype != self.dtype:
            self._dense = unpack_weight(self.packed_t, dtype=self.dtype)
        return self._dense.T

    def dense(self) -> Tensor:
        """The dense weight (out, in)."""
        return self.weight

    def _rule(self, tier: str) -> Rule:
        return ((1, "columns"),) if tier in ("extension-avx512", "extension-avx2") else ()

    def _columns(self, threshold: float, norms: Tensor | None, dtype: torch.dtype) -> Product:
        return packed_columns_product(self.packed_t, threshold, norms, self.bias, tier=dispatch.tier(), x_dtype=dtype)

    def _by_torch(self, x: Tensor) -> Tensor:
        return functional.linear(self._left(x), self.weight, self.bias)

    def _forget(self) -> None:
        super()._forget()
        self._dense = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_dense": None}


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
