"""The masks of a streamed run: written block by block beside the shards, put together into one file at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.headers import read_header
from fewer.maskfile.container import Part, held, write
from fewer.maskfile.file import LayerMask, changed, describe
from fewer.verbs.masks import Masks
from fewer.verbs.result import LayerResult

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt import Layer

__all__ = ["BlockMasks"]


@dataclass(frozen=True, slots=True)
class BlockMasks:
    """One file a block in `folder`; with `complement` it also holds the dense values that the block lost."""

    folder: Path
    complement: bool

    def before(self, layers: Iterable[Layer]) -> dict[str, Tensor]:
        """The dense weights of a block, where they will be needed."""
        return {layer.name: layer.read() for layer in layers} if self.complement else {}

    def store(self, block: int, layers: Iterable[Layer], masks: Masks, dense: Mapping[str, Tensor]) -> None:
        """Write what a block kept; durable when it returns."""
        import torch

        parts: dict[str, Part] = {}
        for layer in layers:
            if layer.name not in masks:
                continue
            bits = masks.packed(layer.name)[1]
            parts[layer.name] = held(torch.from_numpy(bits))
            if self.complement:
                lost = changed(LayerMask(layer.shape, bits), dense[layer.name], layer.read())
                parts |= {f"{layer.name}:{kind}": held(value) for kind, value in lost.items()}
        write(self.folder / f"masks-{block}", {}, parts)

    def writer(
        self, dense: str, provenance: Mapping[str, Any], layers: Iterable[LayerResult], pattern: str
    ) -> Callable[[Path], None]:
        """What writes the whole mask file, one tensor in memory at a time."""
        rows = {x.name: (x.shape, x.kept, pattern if x.kept < x.total else "unstructured") for x in layers}

        def whole(place: Path) -> None:
            write(place, describe(dense, provenance, rows), self._parts())

        return whole

    def _parts(self) -> dict[str, Part]:
        from fewer.adapt.shards import Shards

        parts: dict[str, Part] = {}
        for file in sorted(self.folder.glob("masks-*")):
            block = Shards(self.folder, read_header(file))
            for name, stored in block.tensors.items():
                parts[name] = Part(stored.dtype, stored.shape, lambda b=block, n=name: b.read(n))  # type: ignore[misc]
        return parts
