"""R14 to R17: modules and whole models."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import torch
from benchmarks.runtime.kernels import Row, weight
from benchmarks.runtime.timing import race, ring
from torch import nn

from fewer.runtime import dispatch
from fewer.runtime.bench import OWN, TORCH, bench, contenders, random_llama
from fewer.runtime.format import pack_weight
from fewer.runtime.linear import GemvLinear, PackedLinear
from fewer.runtime.skipping import ActivationSparseLinear


def end_to_end(steps: int) -> Iterator[Row]:
    """R14 and R15: the 110 million parameter Llama, batch-1 decoding."""
    goals = {"fp32": {0.5: (2.2, 1.2), 0.7: (2.7, 1.45)}, "bf16": {0.5: (2.3, 1.2), 0.7: (2.8, 1.45)}}
    for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for sparsity, (against_torch, against_own) in goals[label].items():
            made = contenders(random_llama(sparsity, dtype=dtype))
            result = bench(made, batches=(1,), steps=steps, prefills=0)
            found = {t.contender: t.tokens_per_second for t in result.timings}
            speed = ", ".join(f"{name} {value:.0f}" for name, value in found.items())
            what = f"Llama 110M decode vs torch, {label}, {sparsity:.0%} (tokens/s: {speed})"
            yield "R14", what, result.ratio("packed", TORCH), "at least", against_torch
            what = f"Llama 110M decode vs own dense, {label}, {sparsity:.0%}"
            yield "R15", what, result.ratio("packed", OWN), "at least", against_own


def overhead() -> Iterator[Row]:
    """R16."""
    layer, x = nn.Linear(64, 64), torch.randn(1, 1, 64)
    sparse = layer.weight * (torch.rand(64, 64) < 0.5)
    made = {
        "torch": layer,
        "packed": PackedLinear(pack_weight(sparse), layer.bias),
        "input-sparse": ActivationSparseLinear(layer.weight, 0.5, bias=layer.bias),
    }
    least = dict.fromkeys(made, float("inf"))
    with torch.inference_mode():
        for _ in range(300):
            for name, module in made.items():
                start = time.perf_counter_ns()
                for _ in range(30):
                    module(x)
                least[name] = min(least[name], (time.perf_counter_ns() - start) / 30)
    for name in ("packed", "input-sparse"):
        yield "R16", f"{name} 64x64 module call over nn.Linear", least[name] / least["torch"], "at most", 1.1


def never_slower(seconds: float) -> Iterator[Row]:
    """R17: the worst ratio to torch dense over shapes and sparsities, for each tier, type and batch."""
    before = os.environ.get(dispatch.VARIABLE)
    try:
        for tier in dispatch.tiers():
            os.environ[dispatch.VARIABLE] = tier
            for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                yield from _worst(tier, label, dtype, seconds)
    finally:
        if before is None:
            os.environ.pop(dispatch.VARIABLE, None)
        else:
            os.environ[dispatch.VARIABLE] = before


def _worst(tier: str, label: str, dtype: torch.dtype, seconds: float) -> Iterator[Row]:
    """Choices of a kernel are timed; a choice of torch is the same call as the baseline's, timed once for all."""
    worst: dict[int, tuple[float, str]] = {}
    for shape in ((2048, 2048), (768, 3072)):
        size = shape[0] * shape[1] * dtype.itemsize
        dense = torch.randn(shape).to(dtype)
        layers = {"torch": ring(lambda d=dense: _linear(d.clone()), size)}
        for sparsity in (0.3, 0.5, 0.7, 0.9):
            packed = pack_weight(weight(*shape, 1 - sparsity, dtype))
            layers[f"packed {sparsity:.0%}"] = ring(lambda p=packed, t=dtype: PackedLinear(_copy(p), dtype=t), size)
        layers["own dense"] = ring(lambda d=dense: GemvLinear(d.clone()), size)
        for batch in (1, 2, 4, 8, 16, 32, 64):
            x = torch.randn(batch, shape[1]).to(dtype)

            def call(made: list, x: torch.Tensor = x) -> object:
                return lambda turn: made[turn % len(made)](x)

            chosen = {name: made for name, made in layers.items() if name == "torch" or _kernel(made, batch, x)}
            if len(chosen) == 1:
                chosen["packed 50%"] = layers["packed 50%"]
            with torch.inference_mode():
                for made in chosen.values():
                    for module in made:
                        module(x)
                t = race({name: call(made) for name, made in chosen.items()}, seconds, least=40)
            for name in list(t)[1:]:
                ratio = t["torch"] / t[name]
                if ratio < worst.get(batch, (9e9, ""))[0]:
                    how = "by a kernel" if _kernel(chosen[name], batch, x) else "by torch throughout"
                    worst[batch] = (ratio, f"{name}, {shape[0]}x{shape[1]}, {how}")
    for batch, (ratio, which) in worst.items():
        yield "R17", f"{tier}, {label}, batch {batch}: worst vs torch ({which})", ratio, "at least", 0.95


def _kernel(made: list, batch: int, x: torch.Tensor) -> bool:
    """Whether a layer answers this batch with a kernel."""
    ready = made[0]._prepare(x)
    return batch < len(ready.by_batch) and ready.by_batch[batch] is not None


def _linear(dense: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(dense.shape[1], dense.shape[0], bias=False)
    layer.weight = nn.Parameter(dense, requires_grad=False)
    return layer


def _copy(packed: object) -> object:
    from dataclasses import replace

    return replace(packed, mask=packed.mask.clone(), values=packed.values.clone())
