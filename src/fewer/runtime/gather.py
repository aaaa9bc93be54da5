"""Watch what enters linear layers: samples of inputs for the cuts, and whole calls of blocks to compare outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import find_blocks
from fewer.adapt.computing import computing
from fewer.adapt.run import call, forward, mask_of
from fewer.method import FewerError

__all__ = ["BlockCalls", "Sample", "block_calls", "run", "run_watched", "sample_inputs", "swapped"]

#: Observed inputs of one layer, at most.
MOST = 1 << 18


@dataclass(slots=True)
class Sample:
    """Rows of inputs seen by one layer, thinned evenly when they become too many."""

    rows: list[Tensor] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, x: Tensor, real: Tensor | None = None) -> None:
        """Take every n-th row of a call's inputs; `real` (samples, length) is False where a token is padding."""
        if not isinstance(x, Tensor):
            raise FewerError(f"data holds a {type(x).__name__} where a batch must be a tensor or a mapping of tensors")
        flat = x.detach().reshape(-1, x.shape[-1])
        if real is not None and real.numel() == len(flat):
            flat = flat[real.reshape(-1).to(flat.device)]
        start = -self.seen % self.every
        self.seen += flat.shape[0]
        self.rows.append(flat[start :: self.every].to(torch.float32).clone())
        if sum(part.numel() for part in self.rows) > MOST:
            self.rows = [torch.cat(self.rows)[::2]]
            self.every *= 2

    @property
    def tells(self) -> bool:
        """Whether anything but zeros was seen."""
        return any(bool(part.any()) for part in self.rows)

    def values(self, name: str) -> Tensor:
        """(samples, in) inputs.

        Raises:
            FewerError: the layer saw something that is not finite.
        """
        found = torch.cat(self.rows)
        if not bool(torch.isfinite(found).all()):
            raise FewerError(f"inputs of layer '{name}' are not all finite on this data")
        return found


def run(model: nn.Module, batch: Any, dtype: torch.dtype) -> Any:
    """Call a model with one batch: a mapping of named tensors, or a tensor; it computes in `dtype`."""
    with torch.no_grad(), computing(model, dtype, find_blocks(model)):
        return call(model, batch) if isinstance(batch, Mapping) else forward(model, (batch,), {})


def sample_inputs(
    model: nn.Module, data: Iterable[Any], layers: Mapping[str, nn.Module], dtype: torch.dtype
) -> dict[str, Sample]:
    """Run the data through the model and sample what enters each of the layers."""
    found = {name: Sample() for name in layers}
    real: list[Tensor | None] = [None]

    def watch(sample: Sample) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: sample.add(args[0], real[0])

    hooks = [layer.register_forward_pre_hook(watch(found[name])) for name, layer in layers.items()]
    run_watched(model, data, hooks, real, dtype)
    return found


def run_watched(
    model: nn.Module, data: Iterable[Any], handles: Iterable[Any], real: list[Tensor | None], dtype: torch.dtype
) -> None:
    """Run the data through a model with hooks, which are removed; `real[0]` tells them which tokens are no padding."""
    try:
        for batch in data:
            real[0] = mask_of(batch) if isinstance(batch, Mapping) else None
            run(model, batch, dtype)
    finally:
        for handle in handles:
            handle.remove()


@dataclass(slots=True)
class BlockCalls:
    """Calls of one block with the outputs that it gave, and how far other outputs are from them."""

    module: nn.Module
    dtype: torch.dtype
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def error(self) -> float:
        """Norm of the change of the outputs of the last quarter of the tokens, mean over features, as TEAL takes it."""
        total = 0.0
        with torch.no_grad(), computing(self.module, self.dtype):
            for (args, kwargs), wanted in zip(self.calls, self.outputs, strict=True):
                change = (_hidden(self.module(*args, **kwargs)) - wanted).to(torch.float32)
                tokens = change.shape[-2] if change.ndim > 2 else change.shape[0]
                late = change.narrow(-2, tokens - max(tokens // 4, 1), max(tokens // 4, 1))
                total += float(late.norm(dim=-2).mean())
        return total


def block_calls(model: nn.Module, data: Iterable[Any], block: nn.Module, dtype: torch.dtype) -> BlockCalls:
    """Record the calls of a block and their outputs."""
    found = BlockCalls(block, dtype)

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        found.calls.append((args, {k: v for k, v in kwargs.items() if k not in ("past_key_values", "use_cache")}))
        found.outputs.append(_hidden(output).detach().clone())

    handle = block.register_forward_hook(note, with_kwargs=True)
    try:
        for batch in data:
            run(model, batch, dtype)
    finally:
        handle.remove()
    return found


@contextmanager
def swapped(layers: Mapping[str, nn.Module], masks: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """For a while, let each layer see its inputs through a mask."""

    def through(mask: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        return lambda module, args: (torch.where(mask(args[0]), args[0], torch.zeros_like(args[0])), *args[1:])

    handles = [layers[name].register_forward_pre_hook(through(mask)) for name, mask in masks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hidden(output: Any) -> Tensor:
    found = output[0] if isinstance(output, tuple) else output
    if not isinstance(found, Tensor):
        raise FewerError(f"a block returned {type(found).__name__}, not a tensor: greedy budgets need tensors")
    return found
