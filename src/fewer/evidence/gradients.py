"""Evidence that needs a backward pass: gradients of the loss, Hessian products, the flow of ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fewer.adapt.capture import Tap
from fewer.adapt.data import Batches
from fewer.adapt.layers import Layer
from fewer.adapt.opened import Opened
from fewer.adapt.run import loss, mask_of
from fewer.adapt.shards import all_finite
from fewer.evidence.backward import hessian_products, positive_flow, samples_of, watched
from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.evidence.gather import _Sums as Sums

__all__ = ["OF_LOSS", "Progress", "gradients", "tell"]

#: Called as `progress(done, total, what)` after each batch or block.
Progress = Callable[[int, int, str], None]
OF_LOSS = ("weight-gradient", "movement", "output-gradient", "reference-gradient", "hessian", "positive-flow")


def gradients(
    source: Opened,
    data: Batches,
    reference: Batches | None,
    sums: Sums,
    layers: Sequence[Layer],
    told: Progress | None,
) -> None:
    """All that needs a backward pass; only the watched weights require a gradient meanwhile."""
    if not sums.of(*OF_LOSS):
        return
    lost = sums.of("reference-gradient")
    if lost and reference is None:
        raise FewerError(f"{', '.join(lost)} are measured on a second data set: give it as reference")
    with watched(source.module, layers), torch.enable_grad():
        if sums.of("weight-gradient", "movement", "output-gradient"):
            _losses(source, data, sums, layers, "weight-gradient", told)
        if lost and reference is not None:
            _losses(source, reference, sums, layers, "reference-gradient", told)
        if sums.of("hessian"):
            for index, sample in enumerate(hessian_products(source.module, data, layers)):
                _take(sums, layers, "hessian", index, sample)
                tell(told, index + 1, data.samples, "samples")
        if sums.of("positive-flow"):
            _take(sums, layers, "positive-flow", 0, positive_flow(source.module, data, layers))


def _losses(
    source: Opened, data: Batches, sums: Sums, layers: Sequence[Layer], kind: str, told: Progress | None
) -> None:
    """Backward from the loss, once per sample."""
    place = [0]

    def gradient(layer: Layer, rows: Tensor) -> None:
        _check(rows, layer, place[0])
        sums.add(layer, rows, "output-gradient")

    with ExitStack() as stack:
        taps = kind == "weight-gradient" and sums.of("output-gradient")
        tap = stack.enter_context(Tap(layers, on_gradient=gradient)) if taps else None
        for index, sample in enumerate(samples_of(data)):
            place[0] = index
            if tap is not None:
                tap.forget()
                tap.mask = mask_of(sample)
            loss(source.module, sample).backward()  # type: ignore[no-untyped-call]
            _take(sums, layers, kind, index, {id(x.tensor()): x.tensor().grad for x in layers})
            for layer in layers:
                layer.tensor().grad = None
            tell(told, index + 1, data.samples, "samples")


def _take(sums: Sums, layers: Sequence[Layer], kind: str, index: int, found: Mapping[int, Tensor | None]) -> None:
    """Feed what was found for each parameter (by id; None is zero) to the layers that it holds.

    A gradient times its weight, entry by entry, is where the weight would move to in importance.
    """
    moved = kind == "weight-gradient" and bool(sums.of("movement"))
    if not sums.of(kind) and not moved:
        return
    for layer in layers:
        value = found[id(layer.tensor())]
        part = layer.matrix(torch.zeros_like(layer.tensor()) if value is None else value)
        _check(part, layer, index)
        sums.add(layer, part[None], kind)
        if moved:
            sums.add(layer, (part * layer.matrix(layer.tensor().detach()))[None], "movement")


def _check(value: Tensor, layer: Layer, index: int) -> None:
    if not all_finite(value):
        raise FewerError(f"NaN or infinity in the gradient of layer '{layer.name}' in sample {index}")


def tell(progress: Progress | None, done: int, total: int, what: str) -> None:
    """Report progress, where somebody listens."""
    if progress is not None:
        progress(done, total, what)
