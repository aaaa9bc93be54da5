"""Layers: every weight that multiplies an input, seen as a matrix (out, in).

This is the only place that knows how a framework stores such a weight: `nn.Linear` as (out, in), GPT-2's `Conv1D`
transposed, `nn.Conv2d` as (out, in/groups, height, width), fused experts as one three-dimensional parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar

from fewer.arguments import checked
from fewer.method import FewerError, matches, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Layer", "is_a", "is_linear", "layers_of", "select_layers"]

#: Where the frameworks define the classes that are told apart here. They are told by name, so that looking at a model
#: imports nothing, and so that a plan can look at an outline of its classes instead.
_HOMES = {
    "Embedding": "torch.nn.modules.sparse",
    "Linear": "torch.nn.modules.linear",
    "Conv2d": "torch.nn.modules.conv",
    "MultiheadAttention": "torch.nn.modules.activation",
    "ModuleList": "torch.nn.modules.container",
    "Sequential": "torch.nn.modules.container",
    "Conv1D": "transformers.pytorch_utils",
    "PreTrainedModel": "transformers.modeling_utils",
}


class Layer:
    """One weight matrix (out, in) of a model, however the framework stores it.

    `name` is the dotted module path; a slice of a fused expert parameter is `path.to.param[3]`, a group of a grouped
    convolution `path.to.conv[1]`. `kind` is linear, conv1d, conv2d, expert or embedding. `block` is the index of the
    block that holds it, or None. `default` tells whether it is pruned when nobody names it. `dtype` is the type that
    the weight is stored in; `origin` has the stored values, where the model itself may hold others (see `bind`).

    A parameter that several modules multiply with is one layer, named after the first: `uses` are all of them,
    `blocks` the blocks that they lie in. `tied` names an earlier layer that holds the same numbers in another form (an
    embedding, a transposed matrix), or is empty.
    """

    __slots__ = (
        "block", "blocks", "default", "dtype", "index", "kind", "module", "name", "origin", "parameter", "shape",
        "tied", "uses",
    )  # fmt: skip

    def __init__(
        self, name: str, kind: str, module: nn.Module, parameter: str, shape: tuple[int, int], index: int | None
    ) -> None:
        self.name = name
        self.kind = kind
        self.module = module
        self.parameter = parameter
        self.shape = shape
        self.index = index
        self.block: int | None = None
        self.blocks: tuple[int, ...] = ()
        self.uses: tuple[nn.Module, ...] = (module,)
        self.tied = ""
        self.default = True
        self.dtype: torch.dtype = self.tensor().dtype
        self.origin: Stored | None = None

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {self.kind}, shape={self.shape}, block={self.block})"

    @property
    def type(self) -> str:
        """Torch's name of the stored type."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The shape (out, in), for a convolution with its kernel: (out, in, height, width)."""
        if self.kind != "conv2d":
            return self.shape
        kernel = tuple(int(n) for n in self.tensor().shape[2:])
        return (self.shape[0], self.shape[1] // (kernel[0] * kernel[1]), *kernel)

    @property
    def bytes(self) -> int:
        """Bytes that the dense weight takes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def has_bias(self) -> bool:
        """Whether every module that uses it adds a bias to its output."""
        return all(module._parameters.get("bias") is not None for module in self.uses)

    def tensor(self) -> Tensor:
        """The stored parameter, all slices of it, in the framework's own shape."""
        value: Tensor | None = getattr(self.module, self.parameter)
        if value is None:
            raise FewerError(f"layer '{self.name}': its {self.parameter} is not a tensor")
        return value

    def bind(self, origin: Stored) -> None:
        """Let it be read from, and written to, the stored values of its parameter."""
        self.origin, self.dtype = origin, origin.dtype

    def matrix(self, stored: Tensor) -> Tensor:
        """The (out, in) part of this layer in a tensor stored like its parameter (the weight, or its gradient)."""
        if self.kind == "conv1d":
            return stored.T
        if self.kind == "conv2d":
            rows = self.shape[0]
            first = (self.index or 0) * rows
            return stored[first : first + rows].reshape(self.shape)
        if self.kind == "expert":
            part = stored[self.index]
            return part.T if self.transposed else part
        return stored

    @property
    def transposed(self) -> bool:
        """Whether the framework stores (in, out)."""
        return self.kind == "conv1d" or (self.kind == "expert" and bool(getattr(self.module, "is_transposed", False)))

    @property
    def routed(self) -> bool:
        """Whether it is one of several experts behind a router: it may get some of the tokens, or none."""
        return self.kind == "expert" or re.search(r"(^|\.)experts\.\d+(\.|$)", self.name) is not None

    def read(self) -> Tensor:
        """A copy of the weight as a contiguous matrix (out, in), in the stored dtype."""
        import torch

        stored = self.tensor().detach()
        if self.origin is not None:
            stored = self.origin.exact(stored)
        elif stored.device.type == "meta":
            raise FewerError(f"layer '{self.name}' holds no weight (it is on the meta device)")
        return self.matrix(stored).clone(memory_format=torch.contiguous_format)

    def write(self, value: Tensor) -> None:
        """Put a matrix (out, in) back in place, converted to the stored dtype.

        Raises:
            FewerError: wrong shape, or NaN or infinity in it; nothing is written then.
        """
        if tuple(value.shape) != self.shape:
            raise FewerError(f"layer '{self.name}' has shape {self.shape}; got a weight of shape {tuple(value.shape)}")
        stored = self.tensor()
        if stored.device.type == "meta":
            raise FewerError(f"layer '{self.name}' cannot be written: its block is not loaded")
        import torch

        from fewer.adapt.shards import all_finite

        value = value.to(device=stored.device, dtype=stored.dtype if self.origin is None else self.dtype)
        fitted = value.to(stored.dtype)
        if not all_finite(fitted):
            raise FewerError(f"layer '{self.name}': refusing to write NaN or infinity into its weight")
        with torch.no_grad():
            if self.origin is not None and not self.origin.holds(stored.dtype):
                if self.origin.written is None:
                    self.origin.written = self.origin.exact(stored.detach()).clone()
                self._place(self.origin.written, value)
            self._place(stored, fitted)

    def _place(self, stored: Tensor, value: Tensor) -> None:
        if self.kind == "conv2d":
            rows = self.shape[0]
            first = (self.index or 0) * rows
            stored[first : first + rows].copy_(value.reshape(rows, *stored.shape[1:]))
        else:
            self.matrix(stored).copy_(value)


class Stored(Protocol):
    """The values of a parameter as a checkpoint stores them."""

    dtype: torch.dtype
    written: Tensor | None

    def exact(self, value: Tensor) -> Tensor:
        """The parameter in its stored type, from what the model holds of it."""

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether nothing is lost in another type."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def default(self) -> bool: ...


N = TypeVar("N", bound=_Named)


@checked
def select_layers(layers: Iterable[N], only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[N, ...]:
    """The layers whose names match a glob of `only` (all default ones when it is empty) and none of `skip`.

    A layer that is left alone by default (output head, router, anything outside the blocks) is taken only when a
    pattern names it: one whose last dotted part matches the layer's own last part and is more than a bare `*`, such
    as `lm_*` or `*.mlp.gate`. `*`, `model*` and `model.layers.0.*` never reach it. An embedding is taken by its exact
    name alone.

    Args:
        layers: what to choose from, `Opened.candidates` or `Outline.candidates`.
        only: globs over layer names; `*` crosses dots.
        skip: globs of layers to leave out.

    Raises:
        FewerError: a pattern that matches no layer, or none that it may take.
    """
    pool = tuple(layers)
    strange = next((layer for layer in pool if not hasattr(layer, "default")), None)
    if strange is not None:
        raise FewerError(f"layers holds a {type(strange).__name__}; they are those of Opened.candidates or an outline")
    for pattern in (*only, *skip):
        if not any(matches(layer.name, pattern) for layer in pool):
            hint = nearest(pattern, [layer.name for layer in pool])
            raise FewerError(f"no layer matches '{pattern}'{hint}; `fewer plan` lists the names")
    for pattern in only:
        if not any(_names(layer, pattern) for layer in pool):
            first = next(layer.name for layer in pool if matches(layer.name, pattern))
            raise FewerError(f"'{pattern}' matches only what is left alone unless it is named: write '{first}'")
    return tuple(
        layer
        for layer in pool
        if (any(_names(layer, p) for p in only) if only else layer.default)
        and not any(matches(layer.name, p) for p in skip)
    )


def _names(layer: _Named, pattern: str) -> bool:
    """Whether a pattern of `only` takes a layer: one left alone by default has to be called by its name."""
    if layer.default or layer.name == pattern:
        return matches(layer.name, pattern)
    last, own = pattern.rsplit(".", 1)[-1], layer.name.rsplit(".", 1)[-1]
    named = last.strip("*") != "" and matches(own, last)
    return named and layer.kind != "embedding" and matches(layer.name, pattern)


def is_a(module: nn.Module, name: str) -> TypeGuard[Any]:
    """Whether a module is of that class of the framework, or of one derived from it."""
    return any(base.__name__ == name and base.__module__ == _HOMES[name] for base in type(module).__mro__)


def is_linear(module: nn.Module) -> bool:
    """Whether the module itself holds a weight matrix that `layers_of` would list (embeddings aside)."""
    return any(layer.kind != "embedding" for layer in _own_layers("", module))


def layers_of(root: nn.Module) -> Iterator[Layer]:
    """Every weight matrix under `root`, in registration order; a module or parameter reached twice is listed once."""
    fused = [module for module in root.modules() if is_a(module, "MultiheadAttention")]
    inside_attention = {id(child) for module in fused for child in module.modules()}
    found: dict[tuple[Any, ...], Layer] = {}
    places: dict[tuple[Any, ...], Layer] = {}
    for name, module in root.named_modules():
        # torch's fused attention reads these weights without calling the module: no input could be observed.
        for layer in () if id(module) in inside_attention else _own_layers(name, module):
            key = (id(layer.tensor()), layer.kind == "embedding", layer.index, layer.shape, layer.transposed)
            first = found.setdefault(key, layer)
            if first is not layer:
                first.uses += (module,)
                continue
            owner = places.setdefault((*_place(layer.tensor()), layer.index), layer)
            layer.tied = "" if owner is layer else owner.name
    yield from found.values()


def _place(value: Tensor) -> tuple[Any, ...]:
    """Where numbers lie in memory, however they are seen; the object itself where they lie nowhere."""
    if not hasattr(value, "untyped_storage") or value.device.type == "meta" or not value.numel():
        return (id(value),)
    return (value.untyped_storage().data_ptr(), value.storage_offset(), value.numel())


def _own_layers(name: str, module: nn.Module) -> Iterator[Layer]:
    weight = module._parameters.get("weight")
    if is_a(module, "Embedding") and weight is not None:
        yield Layer(name or "weight", "embedding", module, "weight", _pair(weight), None)
    elif is_a(module, "Linear") and weight is not None and weight.ndim == 2:
        yield Layer(name or "weight", "linear", module, "weight", _pair(weight), None)
    elif is_a(module, "Conv1D") and weight is not None:
        yield Layer(name or "weight", "conv1d", module, "weight", _pair(weight)[::-1], None)
    elif is_a(module, "Conv2d") and weight is not None:
        yield from _convolutions(name or "weight", module, weight)
    else:
        yield from _experts(name, module)


def _convolutions(name: str, module: nn.Conv2d, weight: Tensor) -> Iterator[Layer]:
    shape = (weight.shape[0] // module.groups, math.prod(weight.shape[1:]))
    for group in range(module.groups):
        label = name if module.groups == 1 else f"{name}[{group}]"
        yield Layer(label, "conv2d", module, "weight", shape, group)


def _experts(name: str, module: nn.Module) -> Iterator[Layer]:
    if not hasattr(module, "is_transposed"):
        return  # Fused weights that do not say how they are laid out cannot be taken apart safely.
    count = getattr(module, "num_experts", None)
    for key, value in module._parameters.items():
        if value is None or value.ndim != 3 or count != value.shape[0]:
            continue
        swap = bool(getattr(module, "is_transposed", False))
        shape = (value.shape[2], value.shape[1]) if swap else (value.shape[1], value.shape[2])
        for index in range(value.shape[0]):
            yield Layer(f"{name}.{key}[{index}]" if name else f"{key}[{index}]", "expert", module, key, shape, index)


def _pair(weight: Tensor) -> tuple[int, int]:
    return (int(weight.shape[0]), int(weight.shape[1]))
