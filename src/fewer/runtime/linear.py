"""Drop-in linear layers on the kernels: packed, and dense with the own kernel.

A layer makes its products when it is first called and keeps them; moving it, loading into it or copying it makes them
anew. Under autograd, in torch.compile, on another device or in another number type the layer is an ordinary product
with the dense weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.arguments import checked
from fewer.method import FewerError
from fewer.runtime import dispatch
from fewer.runtime.choose import Rule, dense_rule, rule
from fewer.runtime.format import Packed, check, unpack_weight
from fewer.runtime.kernels import Product, dense_product, product, unpack_rows

__all__ = ["GemvLinear", "NativeLinear", "PackedLinear", "Prefill", "shape_of"]

#: What a packed layer does where no sparse kernel pays: keep a dense weight, or rebuild it a piece at a time.
Prefill = Literal["keep", "rebuild"]
_PIECE = 4 << 20


class _Ready(NamedTuple):
    dtype: torch.dtype
    by_batch: tuple[Product | None, ...]


def shape_of(weight: Tensor) -> tuple[int, int]:
    """The shape (out, in) of a weight.

    Raises:
        FewerError: it is no matrix.
    """
    if weight.ndim != 2:
        raise FewerError(f"a weight is a matrix (out, in), not of shape {tuple(weight.shape)}")
    return weight.shape[0], weight.shape[1]


class NativeLinear(nn.Module):
    """A linear layer whose small batches go to kernels and all else to torch."""

    bias: Tensor | None

    def __init__(self, rows: int, cols: int, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features = cols
        self.out_features = rows
        self.dtype = dtype
        self._ready: _Ready | None = None
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x W^T + b, as nn.Linear."""
        ready = self._ready
        if ready is None or x.dtype is not ready.dtype:
            if torch.compiler.is_compiling():
                return self._by_torch(x)
            ready = self._prepare(x)
        batch = x.numel() // (self.in_features or 1)
        if (
            batch >= len(ready.by_batch)
            or (call := ready.by_batch[batch]) is None
            or type(x) is not Tensor
            or (x.requires_grad and torch.is_grad_enabled())
            or x.shape[-1] != self.in_features
            or not x.is_cpu
            or torch.compiler.is_compiling()
        ):
            return self._by_torch(x)
        y = x.new_empty((*x.shape[:-1], self.out_features))
        call(x if x.is_contiguous() else x.contiguous(), y, batch)
        return y

    def by_kernel(self, batch: int) -> bool:
        """Whether inputs of the layer's own number type go to a kernel at this batch, on the tier in force."""
        found = next((form for most, form in self._rule(dispatch.tier()) if batch <= most), "torch")
        return found != "torch" and self.dtype in (torch.float32, torch.bfloat16)

    def extra_repr(self) -> str:
        """Shape, as nn.Linear prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _prepare(self, x: Tensor) -> _Ready:
        by_batch: list[Product | None] = [None]
        if x.dtype in (torch.float32, torch.bfloat16) and self._device().type == "cpu":
            made: dict[str, Product] = {}
            for most, form in self._rule(dispatch.tier()):
                if form not in made and form != "torch":
                    made[form] = self._product(form, x.dtype)
                by_batch += [made.get(form)] * (most + 1 - len(by_batch))
        self._ready = _Ready(x.dtype, tuple(by_batch))
        return self._ready

    def _forget(self) -> None:
        self._ready = None

    def _rule(self, tier: str) -> Rule:
        raise TypeError(f"{type(self).__name__} has no rule")

    def _product(self, form: str, dtype: torch.dtype) -> Product:
        raise TypeError(f"{type(self).__name__} has no products")

    def _by_torch(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} has no dense form")

    def _device(self) -> torch.device:
        return next(self.buffers()).device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NativeLinear:
        """Move with the model; a change of number type reaches inputs and bias, never the stored weight."""
        probe = fn(torch.empty(0, dtype=self.dtype, device=self._device()))
        self.dtype = probe.dtype
        for name, array in self.named_buffers(recurse=False):
            setattr(self, name, array.to(probe.device))
        if self.bias is not None:
            self.bias = nn.Parameter(fn(self.bias.data), requires_grad=False)
        self._forget()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None}


class PackedLinear(NativeLinear):
    """A linear layer with a packed weight.

    Memory: the packed weight, and with `prefill="keep"` also a dense one from the first call that needs it (a batch
    above the rule's, such as a prompt). `"rebuild"` unpacks pieces of 4 MB at every such call instead. The tier
    `dense` always keeps the dense weight.

    Args:
        packed: the weight.
        bias: (out,) or None.
        prefill: `keep` or `rebuild`.
        dtype: number type of inputs and of `weight`; None takes the stored one (float32 for int8).

    Raises:
        FewerError: arrays that do not fit each other, or an unknown `prefill`.

    >>> from fewer.runtime.format import pack_weight
    >>> layer = PackedLinear(pack_weight(torch.tensor([[0.0, 2.0], [3.0, 0.0]])))
    >>> layer(torch.tensor([1.0, 10.0])).tolist()
    [20.0, 3.0]
    """

    mask: Tensor
    values: Tensor
    offsets: Tensor
    scale: Tensor | None

    @checked
    def __init__(
        self,
        packed: Packed,
        bias: Tensor | None = None,
        *,
        prefill: Prefill = "keep",
        dtype: torch.dtype | None = None,
    ) -> None:
        stored = torch.float32 if packed.dtype == torch.int8 else packed.dtype
        super().__init__(packed.rows, packed.cols, bias, dtype or stored)
        if prefill not in ("keep", "rebuild"):
            raise FewerError(f"prefill is 'keep' or 'rebuild', not '{prefill}'")
        check(packed, "packed weight")
        self.prefill = prefill
        self.height = packed.height
        for name in ("mask", "values", "offsets", "scale"):
            self.register_buffer(name, getattr(packed, name))
        self._dense: Tensor | None = None

    @property
    def packed(self) -> Packed:
        """The packed weight."""
        arrays = (self.mask, self.values, self.offsets, self.scale)
        return Packed(self.out_features, self.in_features, self.height, *arrays)

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), unpacked anew unless it is kept."""
        if self._dense is not None and self._dense.dtype == self.dtype:
            return self._dense
        device = self.mask.device
        if device.type == "meta":
            return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device=device)
        return self._on_cpu().to(device) if device.type != "cpu" else unpack_weight(self.packed, dtype=self.dtype)

    def keep_dense(self) -> PackedLinear:
        """Unpack and keep the dense weight now: needed before torch.compile or torch.export, which use that."""
        self._keep()
        return self

    def extra_repr(self) -> str:
        """Shape, stored type and sparsity."""
        return f"{super().extra_repr()}, {self.values.dtype}, sparsity={self.packed.sparsity:.3f}"

    def _on_cpu(self) -> Tensor:
        arrays = [None if a is None else a.cpu() for a in (self.mask, self.values, self.offsets, self.scale)]
        return unpack_weight(Packed(self.out_features, self.in_features, self.height, *arrays), dtype=self.dtype)  # type: ignore[arg-type]

    def _rule(self, tier: str) -> Rule:
        return rule(self.packed, tier)

    def _product(self, form: str, dtype: torch.dtype) -> Product:
        if form == "dense" and dtype == self.values.dtype == self.dtype:
            return dense_product(self._keep(), self.bias, tier=dispatch.tier(), x_dtype=dtype)
        return product(self.packed, self.bias, form=form, tier=dispatch.tier(), x_dtype=dtype)

    def _keep(self) -> Tensor:
        if self._dense is None:
            self._dense = self.weight
        return self._dense

    def _by_torch(self, x: Tensor) -> Tensor:
        if self.prefill == "keep" or self._device().type != "cpu" or dispatch.tier() == "dense":
            return functional.linear(x, self._keep(), self.bias)
        packed, height = self.packed, self.height
        row = packed.cols * self.values.element_size() or 1
        step = max(_PIECE // row // height, 1) * height
        pieces = []
        for first in range(0, packed.rows, step):
            last = min(first + step, packed.rows)
            dense = torch.empty(last - first, packed.cols, dtype=packed.dtype)
            unpack_rows(packed, first, last, dense)
            part = dense.to(self.dtype)
            if packed.scale is not None:
                part = part * packed.scale[first:last, None].to(self.dtype)
            pieces.append(functional.linear(x, part))
        y = torch.cat(pieces, dim=-1) if pieces else x.new_empty((*x.shape[:-1], 0))
        return y if self.bias is None else y + self.bias

    def _forget(self) -> None:
        super()._forget()
        self._dense = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_dense": None}


class GemvLinear(NativeLinear):
    """A dense linear layer whose single inputs go to the own kernel: the control, and a gain where nothing is pruned.

    Args:
        weight: (out, in) float32 or bfloat16; not copied.
        bias: (out,) or None.
    """

    weight: Tensor

    @checked
    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(*shape_of(weight), bias, weight.dtype)
        self.register_buffer("weight", weight.detach().contiguous())

    def _rule(self, tier: str) -> Rule:
        return dense_rule(self.weight.dtype, tier)

    def _product(self, form: str, dtype: torch.dtype) -> Product:
        return dense_product(self.weight, self.bias, tier=dispatch.tier(), x_dtype=dtype)

    def _by_torch(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NativeLinear:
        super()._apply(fn)
        self.weight = self.weight.to(self.dtype)
        return self
