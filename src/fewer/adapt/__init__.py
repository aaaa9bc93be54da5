"""All that knows a framework: open a model, find its blocks and layers, run it, read and write its checkpoints.

Layers are seen as matrices (out, in), whatever the framework stores. Left alone unless named: embeddings, norms,
output and classifier heads, anything tied to an embedding, routers of experts, depthwise convolutions, and in a
transformers model everything outside the blocks. Not found at all: the weights inside `nn.MultiheadAttention`, which
no call reaches, one- and three-dimensional convolutions, and fused experts that do not declare their layout (in
transformers 5.23 those of Llama 4, DBRX, JetMoE); a plan lists them as left alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewer.adapt import checkpoint, data, stream
    from fewer.adapt.blocks import Block
    from fewer.adapt.layers import Layer, select_layers
    from fewer.adapt.opened import Opened, open
    from fewer.adapt.outlines import LayerOutline, Outline, outline

__all__ = [
    "Block", "Layer", "LayerOutline", "Opened", "Outline", "checkpoint", "data", "open", "outline", "select_layers",
    "stream",
]  # fmt: skip

#: Where the names stand. They are looked up when used, so that an outline is read without loading torch.
_HOMES = {
    "Block": "blocks", "Layer": "layers", "LayerOutline": "outlines", "Opened": "opened", "Outline": "outlines",
    "open": "opened", "outline": "outlines", "select_layers": "layers",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the file of a name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'fewer.adapt' has no attribute '{name}'")
    module = importlib.import_module(f"fewer.adapt.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module
