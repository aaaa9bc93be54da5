"""Taps: what enters a layer's weight, as rows of tokens, and the gradient at what leaves it.

Modules are watched through hooks. Fused experts multiply slices of one parameter inside a larger forward, where no
hook reaches; a torch function mode recognises those slices by their place in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fewer.adapt.layers import Layer
from fewer.method import FewerError

__all__ = ["Rows", "Tap"]


class Rows:
    """The inputs of one layer in one batch as (tokens, in), padding left out.

    Layers that read the same tensor (query, key and value projections) get the same object, so that `cache` lets a
    statistic be computed once for all of them.
    """

    __slots__ = ("cache", "source", "values", "version")

    def __init__(self, values: Tensor, source: Tensor) -> None:
        self.values = values
        self.source = source
        self.version = _version(source)
        self.cache: dict[object, Tensor] = {}


InputSeen = Callable[[Layer, Rows], None]
GradientSeen = Callable[[Layer, Tensor], None]


class _Here(threading.local):
    """What is held of the batch that a thread runs."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.last: dict[tuple[str, int], Rows] = {}
        self.gathered: tuple[Tensor, Tensor] | None = None


class Tap(AbstractContextManager["Tap"]):
    """While it is entered, reports the input rows (and output gradients) of some layers.

    Set `mask` before each forward pass: (samples, length), True where a token is real, or None.
    """

    def __init__(
        self, layers: Iterable[Layer], on_input: InputSeen | None = None, on_gradient: GradientSeen | None = None
    ) -> None:
        self.layers = tuple(layers)
        self._on_input = on_input
        self._on_gradient = on_gradient
        self._stack = ExitStack()
        self._here = _Here()

    @property
    def mask(self) -> Tensor | None:
        """Which tokens of the batch that this thread runs are real."""
        return self._here.mask

    @mask.setter
    def mask(self, mask: Tensor | None) -> None:
        self._here.mask = mask

    @property
    def routed(self) -> bool:
        """Whether inputs of experts are followed, which is done on one thread alone."""
        return any(layer.routed for layer in self.layers)

    def __enter__(self) -> Tap:
        homes: dict[int, tuple[nn.Module, list[Layer]]] = {}
        for layer in self.layers:
            if layer.kind == "embedding":
                raise FewerError(f"layer '{layer.name}' is an embedding: it has no inputs to measure, only its weight")
            for module in layer.uses:
                homes.setdefault(id(module), (module, []))[1].append(layer)
        experts = [layer for layer in self.layers if layer.kind == "expert"]
        for module, found in homes.values():
            if found[0].kind != "expert":
                self._watch(module, found)
            else:
                self._stack.callback(_force_eager(module))
        if self.routed:
            self._stack.enter_context(_Slices(self, experts))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()
        self._stack.close()

    def forget(self) -> None:
        """Drop what is held of the batch that has just passed on this thread."""
        self._here.last.clear()
        self._here.gathered = None

    def _watch(self, module: nn.Module, layers: list[Layer]) -> None:
        if self._on_input is not None:
            handle = module.register_forward_pre_hook(partial(self._before, layers), with_kwargs=True)
            self._stack.callback(handle.remove)
        if self._on_gradient is not None:
            handle = module.register_forward_hook(partial(self._after, layers), with_kwargs=True)
            self._stack.callback(handle.remove)

    def _before(self, layers: list[Layer], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = args[0] if args else next(iter(kwargs.values()))
        for layer in layers:
            self.see(layer, value, module)

    def _after(
        self, layers: list[Layer], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> None:
        source = args[0] if args else next(iter(kwargs.values()))
        for layer in layers:
            self.follow(layer, source, output)

    def see(self, layer: Layer, value: Tensor, module: nn.Module | None = None) -> None:
        """Report one layer's input, in the module that multiplies it."""
        if self._on_input is None:
            return
        key = ("conv", id(module) * 4096 + (layer.index or 0)) if layer.kind == "conv2d" else ("rows", 0)
        rows = self._here.last.get(key)
        if rows is None or rows.source is not value or rows.version is None or rows.version != _version(value):
            rows = Rows(self._rows(layer, value, module), value)
            self._here.last[key] = rows
        self._on_input(layer, rows)

    def follow(self, layer: Layer, source: Tensor, output: Tensor) -> None:
        """Report the gradient at one layer's output, once the loss is differentiated."""
        if self._on_gradient is None or not output.requires_grad:
            return
        report = self._on_gradient
        keep = None if layer.kind == "conv2d" else self._keep(layer, source)

        def arrived(gradient: Tensor) -> None:
            if layer.kind == "conv2d":
                part = gradient.narrow(1, (layer.index or 0) * layer.shape[0], layer.shape[0])
                flat = part.movedim(1, -1).reshape(-1, layer.shape[0])
            else:
                flat = gradient.reshape(-1, layer.shape[0])
            report(layer, flat if keep is None else flat[keep])

        output.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _rows(self, layer: Layer, value: Tensor, module: nn.Module | None) -> Tensor:
        value = value.detach()
        if layer.kind == "conv2d":
            return _unfold(layer, value, module)
        keep = self._keep(layer, value)
        flat = value.reshape(-1, value.shape[-1])
        return flat if keep is None else flat[keep]

    def gathered(self, result: Tensor, index: Tensor) -> None:
        """Note that rows of the flat hidden states were picked out for an expert."""
        self._here.gathered = (result, index)

    def _keep(self, layer: Layer, value: Tensor) -> Tensor | None:
        """Which rows of the flattened input are real tokens; None for all."""
        mask = self.mask
        if mask is None:
            return None
        lead = value.shape[:-1]
        if lead == mask.shape:
            return mask.reshape(-1)
        rows = lead.numel()
        picked = self._here.gathered
        if picked is not None and len(picked[1]) == rows and (layer.routed or picked[0] is value):
            return mask.reshape(-1)[picked[1]]
        if rows == mask.numel():
            return mask.reshape(-1)
        if len(lead) == 1 and rows == mask.shape[0]:
            return None
        raise FewerError(
            f"layer '{layer.name}': its input of shape {tuple(value.shape)} cannot be matched with the padding of a "
            f"batch of shape {tuple(mask.shape)}; give batches without padding"
        )


def _version(value: Tensor) -> int | None:
    """How often a tensor was written to; None where it does not say (it was made in inference mode)."""
    return None if value.is_inference() else int(value._version)


def _unfold(layer: Layer, value: Tensor, conv: nn.Module | None) -> Tensor:
    """The patches that a convolution multiplies, one a row, in the order of its flattened kernel."""
    assert isinstance(conv, nn.Conv2d)
    if value.ndim == 3:
        value = value[None]
    pads = conv._reversed_padding_repeated_twice
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    kernel, dilation, stride = (tuple(int(n) for n in size) for size in (conv.kernel_size, conv.dilation, conv.stride))
    channels = conv.in_channels // conv.groups
    part = functional.pad(value, pads, mode).narrow(1, (layer.index or 0) * channels, channels)
    patches = functional.unfold(part, kernel, dilation=dilation, stride=stride)
    return patches.movedim(1, -1).reshape(-1, layer.shape[1])


def _force_eager(module: nn.Module) -> Callable[[], None]:
    """Make fused experts run one expert at a time; returns what restores the former choice."""
    config = getattr(module, "config", None)
    before = getattr(config, "_experts_implementation", None)
    if config is None or before in (None, "eager"):
        return lambda: None
    config._experts_implementation = "eager"
    return lambda: setattr(config, "_experts_implementation", before)


class _Slices(TorchFunctionMode):
    """Sees multiplications by slices of expert parameters, and which tokens were picked for them."""

    def __init__(self, tap: Tap, experts: list[Layer]) -> None:
        super().__init__()
        self._tap = tap
        self._homes: dict[int, tuple[Tensor, dict[int, Layer]]] = {}
        for layer in experts:
            stored = layer.tensor()
            place = int(stored.storage_offset()) + (layer.index or 0) * int(stored.stride(0))
            self._homes.setdefault(id(stored), (stored, {}))[1][place] = layer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        layer = self._expert(func, args)
        if layer is not None:
            self._tap.see(layer, args[0])
        output = func(*args, **kwargs)
        if layer is not None:
            self._tap.follow(layer, args[0], output)
        elif func is Tensor.__getitem__ and _is_gather(args):
            self._tap.gathered(output, args[1])
        return output

    def _expert(self, func: Any, args: tuple[Any, ...]) -> Layer | None:
        if func not in _PRODUCTS or len(args) < 2 or not isinstance(args[1], Tensor):
            return None
        # Where a parameter lies is asked anew: it is moved while its block computes in a wider type.
        lies = args[1].untyped_storage().data_ptr()
        home = next((h for stored, h in self._homes.values() if stored.untyped_storage().data_ptr() == lies), None)
        return None if home is None else home.get(int(args[1].storage_offset()))


_PRODUCTS = frozenset({functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm})


def _is_gather(args: tuple[Any, ...]) -> bool:
    index = args[1]
    return args[0].ndim == 2 and isinstance(index, Tensor) and index.ndim == 1 and index.dtype == torch.long
