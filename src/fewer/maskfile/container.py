"""Writing a safetensors file tensor by tensor, so that it may be larger than memory, whole or not at all."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.method import FewerError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Part", "held", "write"]


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor to be written: what it is, and how to have it when its turn comes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def held(value: Tensor) -> Part:
    """A tensor that is in memory."""
    return Part(value.dtype, tuple(value.shape), lambda: value)


def write(place: Path, about: Mapping[str, str], parts: Mapping[str, Part]) -> None:
    """Write a file beside its final place and rename it.

    Args:
        place: the file.
        about: metadata of the header.
        parts: tensors by name; the widest types stand first, so that each lies at a multiple of its own size.

    Raises:
        FewerError: the directory does not exist, may not be written, or the disk is full; nothing stays behind.
    """
    from fewer.adapt.shards import bytes_of

    order = sorted(parts, key=lambda name: (-parts[name].dtype.itemsize, name))
    partial = place.with_name(f"{place.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(_header(about, parts, order))
            for name in order:
                file.write(bytes_of(parts[name].read().contiguous()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place)
    except OSError as error:
        raise FewerError(f"cannot write '{place}': {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _header(about: Mapping[str, str], parts: Mapping[str, Part], order: list[str]) -> bytes:
    from fewer.adapt.shards import CODES

    table: dict[str, Any] = {"__metadata__": dict(about)}
    start = 0
    for name in order:
        part = parts[name]
        offsets = [start, start + part.bytes]
        table[name] = {"dtype": CODES[part.dtype], "shape": list(part.shape), "data_offsets": offsets}
        start += part.bytes
    text = json.dumps(table, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
