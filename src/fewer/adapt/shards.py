"""Reading the tensors of a safetensors directory: single ones, or single rows of them, at their offset."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.adapt.headers import TYPES, Stored, read_headers
from fewer.method import FewerError

__all__ = ["CODES", "Shards", "all_finite", "bytes_of"]

#: What a header calls a type.
CODES = {getattr(torch, name): code for code, (name, _) in TYPES.items()}


@dataclass(frozen=True)
class Shards:
    """The tensors of a directory, by name. Use `Shards.scan`."""

    path: Path
    tensors: Mapping[str, Stored]

    @classmethod
    def scan(cls, path: Path) -> Shards:
        """Parse the index and every header; no weight is read.

        Raises:
            FewerError: no safetensors, a pickle checkpoint, an index or a link that leaves the directory, a missing,
                truncated or corrupt shard; one line naming the file.
        """
        return cls(path, read_headers(path))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the shards."""
        return tuple(sorted({stored.file for stored in self.tensors.values()}))

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(stored.bytes for stored in self.tensors.values())

    def read(self, name: str) -> Tensor:
        """One tensor, read at its offset into memory of its own."""
        stored = self.tensors[name]
        return self._read(stored, stored.start, stored.shape)

    def read_rows(self, name: str, rows: Iterable[int]) -> Tensor:
        """Some rows (first dimension) of a tensor, stacked, without reading the rest."""
        stored = self.tensors[name]
        wanted = list(rows)
        width = stored.bytes // max(stored.shape[0], 1)
        out = torch.empty((len(wanted), *stored.shape[1:]), dtype=stored.dtype)
        for place, row in enumerate(wanted):
            out[place] = self._read(stored, stored.start + row * width, stored.shape[1:])
        return out

    def chunks(self, name: str, size: int = 16 * 2**20) -> Iterator[Tensor]:
        """A tensor piece by piece, flat, so that the largest one needs little memory.

        Raises:
            FewerError: a piece holds NaN or infinity.
        """
        stored = self.tensors[name]
        total, width = math.prod(stored.shape), stored.dtype.itemsize
        for first in range(0, total, size // width):
            piece = self._read(stored, stored.start + first * width, (min(size // width, total - first),))
            if stored.dtype.is_floating_point and not all_finite(piece):
                raise FewerError(f"'{self.path / stored.file}': tensor '{name}' holds NaN or infinity")
            yield piece

    def _read(self, stored: Stored, start: int, shape: tuple[int, ...]) -> Tensor:
        out = torch.empty(shape, dtype=stored.dtype)
        view = memoryview(bytes_of(out))
        place = self.path / stored.file
        file = os.open(place, os.O_RDONLY)
        try:
            done = 0
            while done < len(view):
                got = os.preadv(file, [view[done:]], start + done)
                if got == 0:
                    raise FewerError(f"'{place}' is truncated: it ends inside a tensor")
                done += got
        finally:
            os.close(file)
        return out


def bytes_of(value: Tensor) -> Any:
    """The memory of a contiguous tensor as bytes (a numpy view, writable)."""
    return value.detach().reshape(-1).view(torch.uint8).numpy()


def all_finite(value: Tensor) -> bool:
    """Whether it holds neither NaN nor infinity.

    The extremes tell, NaN included, and are found up to thirty times faster than by looking at every entry.
    """
    if not value.numel():
        return True
    if value.dtype.itemsize == 1:
        value = value.float()
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))
