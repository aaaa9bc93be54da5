"""All that knows a framework: open a model, find its blocks and layers, run it, read and write its checkpoints.

Layers are seen as matrices (out, in), whatever the framework stores. Left alone unless named: embeddings, norms,
output and classifier heads, anything tied to an embedding, routers of experts, depthwise convolutions, and in a
transformers model everything outside the blocks. Not found at all: the weights inside `nn.MultiheadAttention`, which
no call reaches, one- and three-dimensional convolutions, and fused experts that do not declare their layout (in
transformers 5.23 those of Llama 4, DBRX, JetMoE); a plan lists them as left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewer.adapt import checkpoint, data, stream
from fewer.adapt.blocks import Block
from fewer.adapt.layers import Layer, select_layers
from fewer.adapt.opened import LayerOutline, Opened, Outline, outline
from fewer.method import FewerError

__all__ = [
    "Block", "Layer", "LayerOutline", "Opened", "Outline", "checkpoint", "data", "open", "outline", "select_layers",
    "stream",
]  # fmt: skip


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
    if isinstance(source, Opened):
        opened = source
    elif isinstance(source, nn.Module):
        opened = Opened(source)
    elif isinstance(source, (str, Path)):
        opened = checkpoint.open_directory(checkpoint.model_path(source), dtype)
    else:
        raise FewerError(f"cannot open a {type(source).__name__}: give a directory, 'demo' or a torch module")
    if not opened.candidates:
        raise FewerError(f"{type(opened.module).__name__} holds no linear layer, convolution or expert to prune")
    if dtype is not None and any(layer.dtype != dtype for layer in opened.candidates):
        opened.module.to(dtype)
        opened = Opened(opened.module, opened.path)
    return opened
