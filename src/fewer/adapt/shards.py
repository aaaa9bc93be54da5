"""Reading safetensors directories strictly: every size is checked before anything is allocated.

A model directory is untrusted input. Headers are parsed here, not by a library, so that each fault becomes one line
naming the file, and so that single tensors, or single rows of them, can be read at their offset.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.method import FewerError

__all__ = ["Shards", "Stored", "all_finite", "bytes_of", "check_links", "read_json"]

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
_MAX_HEADER = 100 * 2**20
_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
    "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32,
    "F64": torch.float64, "I64": torch.int64, "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
#: What a header calls a type.
CODES = {dtype: code for code, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file: where its bytes lie and what they mean."""

    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


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
        check_links(path)
        index = path / INDEX
        if index.is_file():
            return cls(path, dict(_indexed(path, index)))
        if (path / SINGLE).is_file():
            return cls(path, read_header(path / SINGLE))
        found = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
        if found:
            raise FewerError(
                f"'{path / found[0]}' is a pickle-style checkpoint, which can run code when read: convert it to "
                "safetensors first (save_pretrained writes it)"
            )
        raise FewerError(f"'{path}' holds no {SINGLE} and no {INDEX}")

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


def check_links(path: Path) -> None:
    """Refuse files of a model directory that are links to somewhere else.

    A model directory is untrusted input and its paths stay inside it. One layout is known to be two folders that
    belong together: in the cache of the model hub, `snapshots/REVISION` holds links into `blobs` beside it.

    Raises:
        FewerError: a link that leaves; the message names both ends.
    """
    home = path.resolve()
    inside = [home] + ([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])
    for file in sorted(path.glob("*")) if path.is_dir() else ():
        if file.is_symlink() and file.is_file():
            target = file.resolve()
            if not any(target.is_relative_to(place) for place in inside):
                raise FewerError(f"'{file}' is a link to '{target}', outside its directory: put the file itself there")


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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FewerError: missing, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FewerError(f"'{path}' does not exist") from None
    except OSError as error:
        raise FewerError(f"cannot read '{path}': {error.strerror}") from None
    except (ValueError, RecursionError):
        raise FewerError(f"'{path}' is not valid JSON") from None
    if not isinstance(value, dict):
        raise FewerError(f"'{path}' must hold a JSON object")
    return value


def _indexed(path: Path, index: Path) -> Iterator[tuple[str, Stored]]:
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise FewerError(f"'{index}' has no weight_map")
    for name, file in where.items():
        inside = isinstance(file, str) and file not in ("", ".", "..") and not {"/", "\\", "\0"} & set(file)
        if not inside:
            raise FewerError(f"'{index}' places '{name}' in {file!r}: a shard must be a plain file name beside it")
        if not file.endswith(".safetensors"):
            raise FewerError(f"'{index}' names '{file}': only safetensors shards are read; convert the checkpoint")
    headers = {file: read_header(path / file) for file in sorted(set(where.values()))}
    for name, file in where.items():
        if name not in headers[file]:
            raise FewerError(f"'{path / file}' has no tensor '{name}', which '{index.name}' places in it")
        yield name, headers[file][name]


def read_header(place: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file, every offset checked against the size of the file.

    Raises:
        FewerError: missing, truncated or corrupt.
    """
    try:
        size = place.stat().st_size
        with place.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 2 <= length <= min(size - 8, _MAX_HEADER):
                raise FewerError(f"'{place}' is truncated or corrupt: its header does not fit the file of {size} bytes")
            raw = file.read(length)
    except FileNotFoundError:
        raise FewerError(f"shard '{place}' is missing") from None
    except OSError as error:
        raise FewerError(f"cannot read '{place}': {error.strerror}") from None
    try:
        header = json.loads(raw)
        tensors = dict(_entries(header, place.name, 8 + length))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FewerError(f"'{place}' is corrupt: its header is not that of a safetensors file") from None
    end = max((stored.start + stored.bytes for stored in tensors.values()), default=8 + length)
    if end != size:
        problem = "truncated" if end > size else "corrupt"
        raise FewerError(f"'{place}' is {problem}: its header describes {end} bytes, the file has {size}")
    return tensors


def _entries(header: Mapping[str, Any], file: str, base: int) -> Iterator[tuple[str, Stored]]:
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError(name)
        stored = Stored(file, _DTYPES[entry["dtype"]], shape, base + begin)
        if stored.bytes != end - begin:
            raise ValueError(name)
        spans.append((begin, end))
        yield name, stored
    spans.sort()
    if any(before[1] > after[0] for before, after in pairwise(spans)):
        raise ValueError("overlapping tensors")
