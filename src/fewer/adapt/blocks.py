"""Where a model's blocks are, and which of its layers are left alone unless named.

Nothing here knows a model family. Blocks are the entries of the outermost `ModuleList`s (or `Sequential`s of one
repeated class) whose entries hold weight matrices. Left alone by default: embeddings, whatever shares its weight
with one, routers of experts, depthwise convolutions, and

- in a transformers model, every layer outside the blocks (output and classifier heads, poolers, patch embeddings);
- in any other module, the last layer outside the blocks, which is its output head, unless it is the only layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fewer.adapt.layers import Layer, is_a, is_linear, layers_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Block", "candidates_of", "find_blocks"]


@dataclass(frozen=True, slots=True)
class Block:
    """One repeated block: its dotted path, its place in the order of the forward pass, the module."""

    name: str
    index: int
    module: nn.Module


def find_blocks(root: nn.Module) -> tuple[Block, ...]:
    """The blocks of a model in registration order; empty when it has no repeated part."""
    return tuple(Block(name, index, module) for index, (name, module) in enumerate(_stacked(root, "")))


def _stacked(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    if _is_stack(module):
        for key, child in module.named_children():
            yield f"{prefix}{key}", child
        return
    for key, child in module.named_children():
        yield from _stacked(child, f"{prefix}{key}.")


def _is_stack(module: nn.Module) -> bool:
    children = list(module.children())
    if is_a(module, "Sequential"):
        repeated = len(children) > 1 and len({type(child) for child in children}) == 1
    else:
        repeated = is_a(module, "ModuleList") and bool(children)
    return repeated and all(_holds_layers(child) for child in children)


def _holds_layers(module: nn.Module) -> bool:
    """Whether weight matrices lie strictly inside: a bare `nn.Linear` is a layer, not a block."""
    return any(is_linear(child) for child in module.modules() if child is not module)


def candidates_of(root: nn.Module, blocks: tuple[Block, ...]) -> tuple[Layer, ...]:
    """Every weight matrix of the model, its block and whether it is pruned by default filled in."""
    from_transformers = is_a(root, "PreTrainedModel")
    layers = tuple(layers_of(root))
    homes: dict[int, set[int]] = {}
    for block in blocks:
        for part in block.module.modules():
            homes.setdefault(id(part), set()).add(block.index)
    tied = {name for layer in layers if layer.tied for name in (layer.name, layer.tied)}
    routers = {id(module) for module in _routers(root)}
    for layer in layers:
        inside = [homes.get(id(module), set()) for module in layer.uses]
        layer.blocks = tuple(sorted(set().union(*inside)))
        layer.block = min(layer.blocks) if all(inside) else None
        layer.default = not (
            layer.kind == "embedding"
            or layer.name in tied
            or any(id(module) in routers for module in layer.uses)
            or _is_depthwise(layer.module)
            or (from_transformers and layer.block is None)
        )
    outside = [layer for layer in layers if layer.block is None and layer.default]
    if not from_transformers and len(layers) > 1 and outside:
        for layer in outside:
            layer.default = layer.module is not outside[-1].module
    return layers


def unseen_of(root: nn.Module, layers: tuple[Layer, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Parameters of two or more dimensions that are no layer: it is not known what they are multiplied with."""
    seen = {id(layer.tensor()) for layer in layers}
    return tuple(
        (name, tuple(value.shape))
        for name, value in root.named_parameters()
        if id(value) not in seen and sum(size > 1 for size in value.shape) > 1
    )


def _routers(root: nn.Module) -> Iterator[nn.Module]:
    """Linear layers that stand directly beside experts, or that call themselves a router."""
    for module in root.modules():
        children = dict(module.named_children())
        beside_experts = any("experts" in key for key in children)
        named = type(module).__name__.endswith(("Router", "Gate"))
        if beside_experts or (named and not is_a(module, "Linear")):
            yield from (child for child in children.values() if is_a(child, "Linear"))


def _is_depthwise(module: nn.Module) -> bool:
    return is_a(module, "Conv2d") and bool(1 < module.groups == module.in_channels)
