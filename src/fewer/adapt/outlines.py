"""A model's layers and blocks without their weights: what a plan is made from. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.blocks import Block, candidates_of, find_blocks, unseen_of
from fewer.adapt.headers import Stored, check_unpacked, model_path, read_headers, read_json
from fewer.adapt.layers import Layer
from fewer.adapt.module_tree import module_tree
from fewer.adapt.quantised import check_config, check_stored, loaded_type
from fewer.adapt.stand_ins import NotKnown
from fewer.arguments import checked
from fewer.compute import most
from fewer.method import FewerError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["LayerOutline", "Outline", "outline"]


@dataclass(frozen=True, slots=True)
class LayerOutline:
    """What is known of a layer without reading its weight; `type` is torch's name of its stored type.

    `blocks` and `tied` are as in `Layer`.
    """

    name: str
    shape: tuple[int, int]
    block: int | None
    kind: str
    type: str
    default: bool
    dimensions: tuple[int, ...]
    bytes: int
    blocks: tuple[int, ...] = ()
    tied: str = ""
    has_bias: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The stored type itself."""
        import torch

        found: torch.dtype = getattr(torch, self.type)
        return found


@dataclass(frozen=True, slots=True)
class Outline:
    """A model's layers and blocks without their weights: what a plan is made from.

    `unseen` are parameters of two or more dimensions that are no layer: it is not known what they are multiplied with
    (fused experts that do not declare their layout, one-dimensional convolutions, tables of positions). `computes` is
    the number type that the loaded model holds its weights in, which need not be the one that most are stored in.
    """

    kind: str
    path: Path | None
    candidates: tuple[LayerOutline, ...]
    blocks: tuple[str, ...]
    unseen: tuple[tuple[str, tuple[int, ...]], ...] = ()
    computes: str = ""

    @property
    def layers(self) -> tuple[LayerOutline, ...]:
        """The layers that are pruned by default."""
        return tuple(layer for layer in self.candidates if layer.default)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        kind: str,
        layers: tuple[Layer, ...],
        blocks: tuple[Block, ...],
        path: Path | None,
        stored: Mapping[str, Stored] | None = None,
        computes: str = "",
    ) -> Outline:
        """From layers already found.

        Args:
            module: the model.
            kind: what it is (`kind_of`).
            layers: its candidates.
            blocks: its blocks.
            path: its directory, if it has one.
            stored: the tensors of its files by name, whose types stand where a model's own are not those of its files.
            computes: the number type of the loaded model.
        """
        usual = _usual(stored) if stored else None
        rows = tuple(_row(layer, *_type(layer, stored or {}, usual)) for layer in layers)
        return cls(kind, path, rows, tuple(block.name for block in blocks), unseen_of(module, layers), computes)


@checked
def outline(source: Any) -> Outline:
    """Names, shapes, types and blocks of a model, without reading a weight.

    Args:
        source: a checkpoint directory, "demo", a module, or anything that `open` returned.

    Raises:
        FewerError: what `open` would say of the directory.
    """
    if isinstance(source, (str, Path)):
        return _of_directory(model_path(source))
    from torch import nn

    if isinstance(source, nn.Module):
        from fewer.adapt.opened import Opened
        from fewer.adapt.wrappers import unwrap

        source = Opened(unwrap(source))
    if isinstance(getattr(source, "outline", None), type(None)):
        raise FewerError(f"cannot outline a {type(source).__name__}: give a directory, 'demo' or a torch module")
    result: Outline = source.outline()
    return result


def _of_directory(path: Path) -> Outline:
    """By the quick way, which reads the source of the model's class, or else by building the model without weights."""
    check_unpacked(path)
    quick = _quick(path)
    if quick is not None:
        return quick
    from fewer.adapt.checkpoint import build_outline

    return build_outline(path)


def _quick(path: Path) -> Outline | None:
    """What the source of the model's class tells; None where that is not all, or something is wrong."""
    try:
        stored = read_headers(path)
        config = read_json(path / "config.json")
        check_config(config, path)
        check_stored(stored, path)
        found = module_tree(config, stored)
        if found is None:
            return None
        module, kind = found
        blocks = find_blocks(module)
        computes = loaded_type(config.get("dtype", config.get("torch_dtype")), stored)
        return Outline.of(module, kind, candidates_of(module, blocks), blocks, path, stored, computes)
    except (FewerError, NotKnown):
        return None


def _row(layer: Layer, type_: str, width: int) -> LayerOutline:
    size = layer.shape[0] * layer.shape[1] * width
    rest = (layer.blocks, layer.tied, layer.has_bias)
    return LayerOutline(
        layer.name, layer.shape, layer.block, layer.kind, type_, layer.default, layer.dimensions, size, *rest
    )


def _type(layer: Layer, stored: Mapping[str, Stored], usual: Stored | None) -> tuple[str, int]:
    """Name of a layer's type and bytes of one number: as stored, as is usual there, or as it is in memory."""
    found = stored.get(f"{layer.name}.{layer.parameter}", usual)
    if found is None:
        return layer.type, layer.dtype.itemsize
    return found.type, found.width


def _usual(stored: Mapping[str, Stored]) -> Stored:
    """A tensor of the type that takes the most bytes."""
    usual = most((tensor.type, tensor.bytes) for tensor in stored.values())
    return next(tensor for tensor in stored.values() if tensor.type == usual)
