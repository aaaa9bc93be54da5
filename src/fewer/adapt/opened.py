"""Open a model: find its blocks and its layers, whatever it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import Block, candidates_of, find_blocks, unseen_of
from fewer.adapt.layers import Layer
from fewer.adapt.shards import bytes_of
from fewer.method import FewerError

__all__ = ["LayerOutline", "Opened", "Outline", "kind_of", "outline", "tensors_of"]


class Opened:
    """A model in memory with its blocks and layers found.

    `kind` is causal-lm, encoder, vision or module. `layers` are those that are pruned when nobody names any;
    `candidates` adds what is left alone by default (see `select_layers`).
    """

    def __init__(self, module: nn.Module, path: Path | None = None) -> None:
        self.module = module
        self.path = path
        self.kind = kind_of(module)
        self.blocks: tuple[Block, ...] = find_blocks(module)
        self.candidates: tuple[Layer, ...] = candidates_of(module, self.blocks)

    def __repr__(self) -> str:
        return f"Opened({type(self.module).__name__}, {len(self.blocks)} blocks, {len(self.layers)} layers)"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are pruned by default."""
        return tuple(layer for layer in self.candidates if layer.default)

    @property
    def unseen(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and shapes of weights that are no layer (see `Outline`)."""
        return unseen_of(self.module, self.candidates)

    @property
    def config(self) -> Any:
        """The transformers configuration, or None for a plain module."""
        return getattr(self.module, "config", None)

    def hash(self) -> str:
        """SHA-256 over names, shapes, types and bytes of all weights, as they are now."""
        digest = hashlib.sha256()
        for name, value in sorted(tensors_of(self.module).items()):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
            digest.update(bytes_of(value.detach().cpu().contiguous()))
        return digest.hexdigest()

    def tokenizer(self) -> Any:
        """The tokenizer beside the model, loaded on first use.

        Raises:
            FewerError: the model has no directory, or there is no tokenizer in it.
        """
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Any:
        from fewer.adapt.checkpoint import read_tokenizer

        path = self.path or Path(getattr(self.config, "_name_or_path", "") or "")
        return read_tokenizer(path if path.is_dir() and str(path) != "." else None)

    def outline(self) -> Outline:
        """Names, shapes and types alone."""
        return Outline.of(self.module, self.candidates, self.blocks, self.path)


@dataclass(frozen=True, slots=True)
class LayerOutline:
    """What is known of a layer without reading its weight."""

    name: str
    shape: tuple[int, int]
    block: int | None
    kind: str
    dtype: torch.dtype
    default: bool
    dimensions: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes that the dense weight takes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Outline:
    """A model's layers and blocks without their weights: what a plan is made from.

    `unseen` are parameters of two or more dimensions that are no layer: it is not known what they are multiplied with
    (fused experts that do not declare their layout, one-dimensional convolutions, tables of positions).
    """

    kind: str
    path: Path | None
    candidates: tuple[LayerOutline, ...]
    blocks: tuple[str, ...]
    unseen: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def layers(self) -> tuple[LayerOutline, ...]:
        """The layers that are pruned by default."""
        return tuple(layer for layer in self.candidates if layer.default)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        layers: tuple[Layer, ...],
        blocks: tuple[Block, ...],
        path: Path | None,
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> Outline:
        """From layers already found; `dtypes` are those of the files, by layer name, where they differ."""
        dtypes = dtypes or {}
        rows = tuple(
            LayerOutline(x.name, x.shape, x.block, x.kind, dtypes.get(x.name, x.dtype), x.default, x.dimensions)
            for x in layers
        )
        return cls(kind_of(module), path, rows, tuple(block.name for block in blocks), unseen_of(module, layers))


def outline(source: Any) -> Outline:
    """Names, shapes, types and blocks of a model, without reading a weight.

    Args:
        source: a checkpoint directory, "demo", a module, or anything that `open` returned.

    Raises:
        FewerError: what `open` would say of the directory.
    """
    if isinstance(source, (str, Path)):
        from fewer.adapt.checkpoint import read_outline

        return read_outline(source)
    if isinstance(source, nn.Module):
        source = Opened(source)
    if isinstance(getattr(source, "outline", None), type(None)):
        raise FewerError(f"cannot outline a {type(source).__name__}: give a directory, 'demo' or a torch module")
    result: Outline = source.outline()
    return result


def kind_of(module: nn.Module) -> str:
    """What the model is: causal-lm, encoder, vision, or module for anything that is not from transformers."""
    if not hasattr(module, "main_input_name") or not hasattr(module, "config"):
        return "module"
    if module.main_input_name == "pixel_values":
        return "vision"
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = {str(name) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}
    mine = {base.__name__ for base in type(module).mro()}
    return "causal-lm" if mine & names or type(module).__name__.endswith("ForCausalLM") else "encoder"


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by name, tied ones once, under the first name."""
    return dict(_distinct(module.state_dict(keep_vars=True)))


def _distinct(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, value in state.items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            yield name, value
