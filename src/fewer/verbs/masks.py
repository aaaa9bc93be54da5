"""Masks by layer name, kept at one bit a weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.headers import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt.shards import Shards

__all__ = ["Masks", "StoredMasks"]


class Masks(Mapping[str, "Tensor"]):
    """Layer name -> boolean tensor (out, in), True where a weight stayed; unpacked when it is looked up.

    >>> import torch
    >>> masks = Masks()
    >>> masks.put("layer", torch.tensor([[True, False, True]]))
    >>> masks["layer"].tolist(), masks.kept("layer"), masks.bytes
    ([[True, False, True]], 2, 1)
    """

    def __init__(self) -> None:
        self._packed: dict[str, tuple[tuple[int, ...], Any]] = {}

    def put(self, name: str, mask: Tensor) -> None:
        """Store a mask (any device), replacing an earlier one of that name."""
        import numpy as np

        self._packed[name] = (tuple(mask.shape), np.packbits(mask.detach().cpu().numpy().reshape(-1)))

    def put_packed(self, name: str, shape: tuple[int, ...], packed: Any) -> None:
        """Store bits that are packed already (numpy uint8, most significant bit first)."""
        self._packed[name] = (tuple(shape), packed)

    def packed(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Shape and packed bits of one mask."""
        return self._packed[name]

    def kept(self, name: str) -> int:
        """Number of weights that stayed."""
        import numpy as np

        return int(np.unpackbits(self._packed[name][1]).sum())

    @property
    def bytes(self) -> int:
        """Memory that the bits take."""
        return sum(bits.nbytes for _, bits in self._packed.values())

    def __getitem__(self, name: str) -> Tensor:
        """The mask of one layer."""
        shape, bits = self._packed[name]
        return _unpacked(shape, bits)

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the layers."""
        return iter(self._packed)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self._packed)


@dataclass(frozen=True)
class StoredMasks(Mapping[str, "Tensor"]):
    """Masks that lie in a mask file, read one layer at a time; `shapes` are those of the layers."""

    path: Path
    shapes: Mapping[str, tuple[int, int]]

    def __getitem__(self, name: str) -> Tensor:
        """The mask of one layer."""
        return _unpacked(self.shapes[name], self._file.read(name).numpy())

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the layers."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.shapes)

    @cached_property
    def _file(self) -> Shards:
        from fewer.adapt.shards import Shards

        return Shards(self.path.parent, read_header(self.path))


def _unpacked(shape: tuple[int, ...], bits: Any) -> Tensor:
    import numpy as np
    import torch

    flat = np.unpackbits(bits, count=math.prod(shape)).astype(bool)
    return torch.from_numpy(flat.reshape(shape))
