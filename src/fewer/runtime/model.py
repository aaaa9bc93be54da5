"""Put packed layers into a model, save it and load it again."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from fewer.adapt.layers import is_a
from fewer.arguments import checked
from fewer.events import followed
from fewer.method import FewerError, matches, nearest
from fewer.runtime.format import BLOCK_HEIGHT, DTYPES, Packed, pack_weight
from fewer.runtime.linear import GemvLinear, NativeLinear, PackedLinear, Prefill
from fewer.runtime.skipping import ActivationSparseLinear, PackedSkippingLinear

__all__ = ["chosen", "dense_weights", "linear_layers", "matrix_of", "native_layers", "pack", "replace"]

#: A block may hold this many zeros for one kept weight before single weights are packed instead.
_SPARE = 1.02


@checked
def pack(
    model: nn.Module,
    *,
    min_sparsity: float = 0.3,
    dtype: torch.dtype | None = None,
    prefill: Prefill = "keep",
    below: Literal["gemv", "leave"] = "gemv",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    copy: bool = False,
) -> nn.Module:
    """Replace the linear layers of a model by packed ones, those that GPT-2 stores transposed (`Conv1D`) among them.

    Layers that leave inputs out keep doing so, on packed weights where those are sparse.
    Weights that are zero in whole 16x1 (fp32) or 32x1 (bf16) blocks are packed as blocks, all others one by one.

    Args:
        model: any torch module on the CPU; `model.generate` of transformers keeps working.
        min_sparsity: layers with a smaller share of zeros are not packed.
        dtype: stored type; None keeps the weight's, `torch.int8` quantises weights (and inputs, at small batches).
        prefill: see `PackedLinear`.
        below: what to do with layers that are not sparse enough: give them the own dense kernel (those that are not
            stored transposed), or leave them.
        only: names of the layers to pack, with shell wildcards; empty for all.
        skip: names to leave out.
        copy: work on a copy; otherwise the model itself is changed.

    Returns:
        The model that was changed.

    Raises:
        FewerError: nothing to pack, or an option that does not exist.

    >>> weight = torch.eye(64)
    >>> model = nn.Sequential(nn.Linear(64, 64))
    >>> _ = model[0].weight.data.copy_(weight)
    >>> type(pack(model)[0]).__name__
    'PackedLinear'
    """
    if not 0 <= min_sparsity <= 1 or below not in ("gemv", "leave"):
        raise FewerError(f"min_sparsity must be in [0, 1] and below 'gemv' or 'leave', not {min_sparsity}, '{below}'")
    if dtype is not None and dtype not in DTYPES:
        raise FewerError(f"packed weights are float32, bfloat16 or int8, not {dtype}")
    if copy:
        model = copying.deepcopy(model)

    _check_named(model, (*only, *skip))

    def change(layer: Any) -> nn.Module:
        weight = matrix_of(layer)
        if weight.numel() and 1 - torch.count_nonzero(weight).item() / weight.numel() >= min_sparsity:
            packed = _packed(weight, dtype)
            return PackedLinear(packed, layer.bias, prefill=prefill, dtype=weight.dtype)
        fits = below == "gemv" and isinstance(layer, nn.Linear) and weight.dtype in (torch.float32, torch.bfloat16)
        return GemvLinear(weight, layer.bias) if fits else layer

    done = replace(model, change, only=only, skip=skip, transposed=True) + _pack_cut(model, min_sparsity, only, skip)
    if done == 0:
        raise FewerError("no linear layer of the model was chosen: check `only`, `skip` and the model")
    return model


def _pack_cut(model: nn.Module, min_sparsity: float, only: Sequence[str], skip: Sequence[str]) -> int:
    """Pack the weights of layers that leave inputs out; returns how many such layers were looked at."""
    found = [
        (n, m) for n, m in model.named_modules() if isinstance(m, ActivationSparseLinear) and chosen(n, only, skip)
    ]
    for name, layer in found:
        weight = layer.weight_t
        if weight.numel() and 1 - torch.count_nonzero(weight).item() / weight.numel() >= min_sparsity:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, PackedSkippingLinear.of(layer))
    return len(found)


def _check_named(model: nn.Module, patterns: Sequence[str]) -> None:
    """Refuse a pattern that names no layer that could be packed."""
    names = [name for *_, name, _ in linear_layers(model, transposed=True)]
    names += [name for name, part in model.named_modules() if isinstance(part, NativeLinear)]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            raise FewerError(f"no linear layer matches '{pattern}'{nearest(pattern, names)}")


def matrix_of(layer: nn.Module) -> torch.Tensor:
    """The weight of a linear layer as (out, in), however it is stored."""
    weight: torch.Tensor = layer.weight.detach()  # type: ignore[operator, union-attr, assignment]
    return weight.T.contiguous() if is_a(layer, "Conv1D") else weight


def chosen(name: str, only: Sequence[str], skip: Sequence[str]) -> bool:
    """Whether a layer is among those that `only` names (all, where it is empty) and not among those of `skip`."""
    wanted = not only or any(matches(name, pattern) for pattern in only)
    return wanted and not any(matches(name, pattern) for pattern in skip)


def replace(
    model: nn.Module,
    change: Callable[[Any], nn.Module],
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    transposed: bool = False,
) -> int:
    """Give every chosen linear layer to `change` and put what it returns in its place; returns how many."""
    made: dict[int, nn.Module] = {}
    count = 0
    for parent, child, name, layer in followed("changing layers", list(linear_layers(model, transposed=transposed))):
        if not chosen(name, only, skip):
            continue
        if id(layer) not in made:
            made[id(layer)] = change(layer).train(layer.training)
        setattr(parent, child, made[id(layer)])
        count += 1
    return count


def linear_layers(model: nn.Module, *, transposed: bool = False) -> Iterator[tuple[nn.Module, str, str, Any]]:
    """Parent, name in the parent, full name and layer, for every plain linear layer inside of a model.

    Those that are stored transposed (`Conv1D`) are among them where that is asked for.
    """
    for path, parent in model.named_modules(remove_duplicate=False):
        for child, layer in parent._modules.items():  # A layer may stand in two places.
            if type(layer) is nn.Linear or (transposed and is_a(layer, "Conv1D")):
                yield parent, child, f"{path}.{child}" if path else child, layer


def dense_weights(model: nn.Module) -> list[torch.Tensor]:
    """Parameters, and the weights of layers that hold theirs in another form, each once."""
    found = {id(value): value for value in model.parameters()}
    for module in model.modules():
        if isinstance(module, NativeLinear):
            shared = getattr(module, "weight_t", None)
            key = shared if shared is not None else module._buffers.get("weight", module)
            found.setdefault(id(key), module.weight)  # type: ignore[arg-type]
    return list(found.values())


def native_layers(model: nn.Module) -> list[NativeLinear]:
    """The layers of this package inside a model's numbered blocks: what pruning chooses, heads left out."""
    named = model.named_modules()
    return [m for name, m in named if isinstance(m, NativeLinear) and any(map(str.isdigit, name.split(".")))]


def _packed(weight: torch.Tensor, dtype: torch.dtype | None) -> Packed:
    stored = dtype or (weight.dtype if weight.dtype in DTYPES else torch.float32)
    height = BLOCK_HEIGHT.get(stored)
    if height is not None and weight.shape[0] % height == 0:
        rows, cols = weight.shape
        blocks = (weight != 0).reshape(rows // height, height, cols)
        full = int(blocks.any(dim=1).sum()) * height
        if full and full <= _SPARE * int(blocks.sum()):
            return pack_weight(weight, dtype=stored, height=height)
    return pack_weight(weight, dtype=stored)
