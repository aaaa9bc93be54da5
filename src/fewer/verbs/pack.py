"""Pack a pruned model, so that its zeros are neither stored nor read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fewer.adapt.headers import check_unpacked, model_path
from fewer.adapt.reserve import reserved
from fewer.arguments import checked
from fewer.verbs._given import module_of, source_of

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["PackedSizes", "pack", "sizes"]


@checked
def pack(
    model: Any,
    *,
    out: str | Path | None = None,
    dtype: torch.dtype | None = None,
    prefill: Literal["keep", "rebuild"] = "keep",
    min_sparsity: float = 0.3,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> nn.Module:
    """Replace the sparse linear layers of a model by packed ones; the given model stays as it is.

    Args:
        model: module, pruning result, opened checkpoint, or directory.
        out: write the packed model to this directory; `fewer.runtime.load` reads it.
        dtype: stored type of the packed weights: None keeps the weight's own, `torch.int8` quantises.
        prefill: what a packed layer does at batches where no sparse kernel pays: "keep" a dense weight beside the
            packed one from the first such call on, or "rebuild" it piece by piece at every such call.
        min_sparsity: layers with a smaller share of zeros get the own dense kernel instead.
        only: globs; pack these layers alone. Brackets are literal; a glob that matches no layer is refused.
        skip: globs; leave these layers alone.

    Returns:
        The packed module: `generate` of transformers works on it unchanged.

    Raises:
        FewerError: no linear layer is left, an unknown type, or a directory that is not ours.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(64, 64)
        >>> _ = layer.weight.data.mul_(torch.rand(64, 64) < 0.5)
        >>> packed = pack(torch.nn.Sequential(layer))
        >>> bool((packed[0].weight == layer.weight).all())
        True
    """
    from fewer import runtime
    from fewer.runtime.inputs import shared_copy

    if isinstance(model, str | Path):
        check_unpacked(model_path(model))
    with reserved(out, source_of(model)):
        packed = runtime.pack(
            shared_copy(module_of(model)), min_sparsity=min_sparsity, dtype=dtype, prefill=prefill, only=only, skip=skip
        )
        if out is not None:
            runtime.save(packed, out)
    return packed.eval()


@dataclass(frozen=True, slots=True)
class PackedSizes:
    """What packing saved: layers, and bytes of their weights dense and packed."""

    packed: int
    layers: int
    sparsity: float
    dense_bytes: int
    packed_bytes: int


def sizes(module: nn.Module) -> PackedSizes:
    """Count what is packed in a module, and what it would take dense in the number type that it computes in."""
    from fewer.runtime import PackedLinear
    from fewer.runtime.linear import NativeLinear

    native = [m for m in module.modules() if isinstance(m, NativeLinear)]
    packed = [m for m in native if isinstance(m, PackedLinear)]
    places = sum(m.in_features * m.out_features for m in packed)
    return PackedSizes(
        packed=len(packed),
        layers=len(native),
        sparsity=1.0 - sum(int(m.packed.values.count_nonzero()) for m in packed) / places if places else 0.0,
        dense_bytes=sum(m.in_features * m.out_features * m.dtype.itemsize for m in packed),
        packed_bytes=sum(m.packed.nbytes for m in packed),
    )
