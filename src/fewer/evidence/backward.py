"""Backward passes over a whole model: what they leave untouched, Hessian products, and the flow of ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fewer.adapt.data import Batches
from fewer.adapt.layers import Layer
from fewer.adapt.run import call, has_target, loss
from fewer.method import FewerError

__all__ = ["hessian_products", "positive_flow", "samples_of", "watched"]


@contextmanager
def watched(module: nn.Module, layers: Sequence[Layer]) -> Iterator[None]:
    """Only the parameters of these layers require a gradient; flags and gradients come back as they were."""
    wanted = {id(layer.tensor()) for layer in layers}
    every = {id(p): (p, p.requires_grad, p.grad) for p in module.parameters()}
    try:
        for key, (parameter, _, _) in every.items():
            parameter.requires_grad_(key in wanted)
            parameter.grad = None
        yield
    finally:
        for parameter, required, former in every.values():
            parameter.requires_grad_(required)
            parameter.grad = former


def samples_of(data: Batches) -> list[dict[str, Tensor]]:
    """The samples that have a loss: one that is all padding, or whose labels are all ignored, says nothing.

    Raises:
        FewerError: none has.
    """
    found = [sample for sample in data.singles() if has_target(sample)]
    if not found:
        raise FewerError(f"no sample of {data.source} has a token to predict: there is no loss to take a gradient of")
    return found


def hessian_products(module: nn.Module, data: Batches, layers: Sequence[Layer]) -> Iterator[Mapping[int, Tensor]]:
    """H_s g of every sample s by parameter id, g the mean gradient over all samples; two passes.

    Formula: H_s g = d(<dL_s/dW, g>)/dW with g held fixed (Pearlmutter's product, by differentiating twice).
    """
    weights = list({id(layer.tensor()): layer.tensor() for layer in layers}.values())
    direction = [torch.zeros_like(w, dtype=torch.promote_types(w.dtype, torch.float32)) for w in weights]
    samples = samples_of(data)
    for sample in samples:
        first = torch.autograd.grad(loss(module, sample), weights, materialize_grads=True)
        for held, part in zip(direction, first, strict=True):
            held += part / len(samples)
    for sample in samples:
        # The fused attention kernels have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            products = _twice(loss(module, sample), weights, direction)
        yield {id(w): product for w, product in zip(weights, products, strict=True)}


def _twice(value: Tensor, weights: list[Tensor], direction: list[Tensor]) -> Sequence[Tensor]:
    try:
        first = torch.autograd.grad(value, weights, create_graph=True, materialize_grads=True)
        along = torch.stack([(g.to(d.dtype) * d).sum() for g, d in zip(first, direction, strict=True)]).sum()
        if not along.requires_grad:
            return [torch.zeros_like(w) for w in weights]
        # Not torch.autograd.grad: it walks only to the weights, past a part that cannot be differentiated twice.
        along.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "derivative" not in str(error) and "differentiate twice" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise FewerError(f"hessian_grad: a part of the model has no second derivative ({reason})") from None
    products = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    for weight in weights:
        weight.grad = None
    return products


def positive_flow(module: nn.Module, data: Batches, layers: Sequence[Layer]) -> Mapping[int, Tensor]:
    """dR/d|W| by parameter id: R is the sum of the outputs for ones of the shape of the first sample.

    In float64, since the flow grows exponentially with depth; in float32 where a kernel of the model knows no other.
    """
    sample = next(data.singles())
    weights = list({id(layer.tensor()): layer.tensor() for layer in layers}.values())
    try:
        found = _flow(module, sample, weights, torch.float64)
    except (RuntimeError, FewerError) as error:
        if "Double" not in str(error):
            raise
        found = _flow(module, sample, weights, torch.float32)
    if found and not any(bool(part.any()) for part in found):
        raise FewerError("synflow_grad is zero everywhere: a normalisation removes the constant input from this model")
    return {id(w): part for w, part in zip(weights, found, strict=True)}


def _flow(module: nn.Module, sample: Mapping[str, Tensor], weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    ones = _ones(module, sample, dtype)
    with _positive(module, dtype):
        output = call(module, ones)
        for name in ("logits", "last_hidden_state"):
            output = getattr(output, name, output)
        if not isinstance(output, Tensor):
            raise FewerError(f"synflow_grad needs a tensor as output, not {type(output).__name__}")
        return list(torch.autograd.grad(output.sum(), weights, materialize_grads=True))


def _ones(module: nn.Module, sample: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A sample of ones: floating-point inputs as they are shaped, token ids as input embeddings."""
    made: dict[str, Tensor] = {}
    for name, value in sample.items():
        if name in ("labels", "attention_mask"):
            continue
        if value.is_floating_point():
            made[name] = torch.ones_like(value, dtype=dtype)
        elif name == "input_ids":
            table = getattr(module, "get_input_embeddings", lambda: None)()
            if not isinstance(table, nn.Embedding):
                raise FewerError("synflow_grad feeds ones instead of data; this model takes token ids and nothing else")
            size = (*value.shape, table.embedding_dim)
            made["inputs_embeds"] = torch.ones(size, dtype=dtype, device=table.weight.device)
        else:
            made[name] = value
    return made


@contextmanager
def _positive(module: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Parameters replaced by their absolute values for a while."""
    parameters = [(p, p.data) for p in module.parameters()]
    buffers = [(part, name, b) for part in module.modules() for name, b in part._buffers.items() if b is not None]
    try:
        for parameter, data in parameters:
            if data.is_floating_point():
                parameter.data = data.to(dtype).abs()
        for part, name, buffer in buffers:
            if buffer.is_floating_point():
                part._buffers[name] = buffer.to(dtype)
        yield
    finally:
        for parameter, data in parameters:
            parameter.data = data
        for part, name, buffer in buffers:
            part._buffers[name] = buffer
