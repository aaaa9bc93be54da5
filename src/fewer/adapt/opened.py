"""Open a model: find its blocks and its layers, whatever it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import Block, candidates_of, find_blocks, unseen_of
from fewer.adapt.computing import dtype_of, name_of
from fewer.adapt.layers import Layer
from fewer.adapt.number_types import check_module
from fewer.adapt.outlines import Outline
from fewer.adapt.wrappers import check_settled, unwrap
from fewer.arguments import checked
from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.adapt.origin import Origins

__all__ = ["Opened", "bind", "kind_of", "open", "tensors_of"]


class Opened:
    """A model in memory with its blocks and layers found.

    `kind` is causal-lm, encoder, vision or module. `layers` are those that are pruned when nobody names any;
    `candidates` adds what is left alone by default (see `select_layers`). `origins` are the stored values of a
    checkpoint whose tensors are of other types than the model computes in; None where the model holds all there is.
    """

    def __init__(self, module: nn.Module, path: Path | None = None, origins: Origins | None = None) -> None:
        self.module = module
        self.path = path
        self.origins = origins
        self.kind = kind_of(module)
        self.blocks: tuple[Block, ...] = find_blocks(module)
        self.candidates: tuple[Layer, ...] = candidates_of(module, self.blocks)
        if origins is not None:
            bind(module, self.candidates, origins)

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
    def device(self) -> str:
        """The kind of device that the weights are on: cpu, cuda, ..."""
        kinds = (value.device.type for value in self.module.parameters())
        return next((kind for kind in kinds if kind != "meta"), "cpu")

    @property
    def computes(self) -> str:
        """The number type that most of the weights are held in."""
        return name_of(dtype_of(self.module, authors=True))

    @property
    def config(self) -> Any:
        """The transformers configuration, or None for a plain module."""
        return getattr(self.module, "config", None)

    def hash(self) -> str:
        """SHA-256 over names, shapes, types and bytes of all weights, as they are now and are stored."""
        from fewer.adapt.origin import digest_of

        return digest_of(tensors_of(self.module), self.origins or {})

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
        return Outline.of(self.module, self.kind, self.candidates, self.blocks, self.path, computes=self.computes)


@checked
def open(source: Any, *, dtype: torch.dtype | None = None) -> Opened:
    """Open a model and find its blocks and layers.

    Args:
        source: a checkpoint directory, "demo", a transformers model, any `nn.Module`, or an `Opened` model.
        dtype: convert the weights (floating-point ones); None keeps the stored type.

    Raises:
        FewerError: the directory cannot be trusted or loaded, or the module holds no weight matrix.

    >>> [layer.name for layer in open(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))).layers]
    ['0']
    """
    from fewer.adapt.checkpoint import model_path, open_directory

    if isinstance(source, Opened):
        opened = source
    elif isinstance(source, nn.Module):
        inner = unwrap(source)
        check_settled(inner)
        opened = Opened(inner)
    elif isinstance(source, (str, Path)):
        opened = open_directory(model_path(source), dtype)
    else:
        raise FewerError(f"cannot open a {type(source).__name__}: give a directory, 'demo' or a torch module")
    if not opened.candidates:
        raise FewerError(f"{type(opened.module).__name__} holds no linear layer, convolution or expert to prune")
    check_module({layer.name: layer.tensor() for layer in opened.candidates})
    if dtype is not None and any(layer.dtype != dtype for layer in opened.candidates):
        opened.module.to(dtype)
        opened = Opened(opened.module, opened.path)
    return opened


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


def bind(module: nn.Module, layers: Iterable[Layer], origins: Origins) -> None:
    """Give every layer the stored values of its parameter."""
    names = {id(value): name for name, value in tensors_of(module).items()}
    for layer in layers:
        name = names.get(id(layer.tensor()))
        if name is not None and name in origins:
            layer.bind(origins[name])


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by name, tied ones once, under the first name."""
    return dict(_distinct(module.state_dict(keep_vars=True)))


def _distinct(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, value in state.items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            yield name, value
