"""Wrappers around a model: taken off where the model inside is all there is to it, named where it is not.

Data parallelism and compilation change how a model runs, not what it is. Adapters, weights that are computed anew at
every call, and weights that are not there yet have to be settled by whoever made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from fewer.adapt.layers import is_a
from fewer.method import FewerError

__all__ = ["PREFIXES", "check_names", "check_settled", "unwrap"]

#: Wrappers by the name of their class, and the attribute that holds the model.
_AROUND = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
#: What names of parameters start with when a wrapper is saved, and what to save instead.
PREFIXES = {
    "module.": "DataParallel or DistributedDataParallel: save `model.module`",
    "_orig_mod.": "torch.compile: save the model that was compiled (`model._orig_mod`)",
}


def unwrap(module: nn.Module) -> nn.Module:
    """The model inside of wrappers for data parallelism and of compiled modules; they keep their own as it is.

    >>> unwrap(nn.DataParallel(nn.Sequential(nn.Linear(2, 2)))).__class__.__name__
    'Sequential'
    """
    inner = module
    while type(inner).__name__ in _AROUND and _home(inner).startswith("torch."):
        found = getattr(inner, _AROUND[type(inner).__name__])
        assert isinstance(found, nn.Module)
        inner = found
    return inner


def check_settled(module: nn.Module) -> None:
    """Refuse a model whose weights are not its own, or not there.

    Raises:
        FewerError: shards of FSDP, parts that are compiled, adapters that are not merged, weights that a hook or a
            parametrisation computes, lazy weights, weights on the meta device; one line says what to do first.
    """
    for name, part in module.named_modules():
        for fault in _faults(part):
            raise FewerError(f"layer '{name}' {fault}" if name else f"the model {fault}")


def check_names(tensors: Mapping[str, object], where: object) -> None:
    """Refuse a checkpoint that was saved from a wrapper.

    Raises:
        FewerError: all names have the prefix of one.
    """
    for prefix, what in PREFIXES.items():
        if tensors and all(name.startswith(prefix) for name in tensors):
            raise FewerError(f"the names of '{where}' start with '{prefix}': it was saved from {what}")


def _home(module: nn.Module) -> str:
    return type(module).__module__


def _faults(part: nn.Module) -> Iterator[str]:
    if type(part).__name__ in ("FullyShardedDataParallel", "FSDPModule"):
        yield "holds shards of FSDP: gather the whole model first (its full state dict in a model that is not sharded)"
    if type(part).__name__ == "OptimizedModule":
        yield "is compiled inside of the model: give the model before torch.compile, or compile the whole of it"
    if hasattr(part, "lora_A") and (hasattr(part, "base_layer") or hasattr(part, "lora_B")):
        yield "carries an adapter (LoRA): merge it into the weights first (merge_and_unload)"
    if "parametrizations" in part._modules and any(is_a(part, kind) for kind in ("Linear", "Conv2d", "Embedding")):
        yield "is parametrised: make it permanent first (torch.nn.utils.parametrize.remove_parametrizations)"
    for key, value in part._parameters.items():
        if key.endswith(("_orig", "_g")) and isinstance(part.__dict__.get(key.rsplit("_", 1)[0]), Tensor):
            how = "prune.remove" if key.endswith("_orig") else "remove_weight_norm"
            yield f"computes its weight in a hook: make it permanent first (torch.nn.utils.{how})"
        if isinstance(value, UninitializedParameter):
            yield "is lazy, its weight has no shape yet: run the model on one batch first"
        elif value is not None and value.device.type == "meta":
            yield "holds no weight (it is on the meta device): load the model first"
