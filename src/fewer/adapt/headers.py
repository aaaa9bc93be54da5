"""Headers of safetensors files, read strictly and without torch: names, types, shapes and places of tensors.

A model directory is untrusted input. Headers are parsed here, not by a library, so that each fault becomes one line
naming the file. A plan needs nothing else of a checkpoint, so nothing heavy is imported here.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.arguments import check_path
from fewer.method import FewerError

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX",
    "SINGLE",
    "TYPES",
    "Stored",
    "check_content",
    "check_links",
    "check_unpacked",
    "model_path",
    "read_header",
    "read_headers",
    "read_json",
]

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
#: How a file begins that Git LFS left in the place of a large one.
_POINTER = b"version https://git-lfs"
_MAX_HEADER = 100 * 2**20
#: What a header calls a type: torch's name of it, and the bytes that one number takes.
TYPES = {
    "BOOL": ("bool", 1), "U8": ("uint8", 1), "I8": ("int8", 1), "I16": ("int16", 2), "U16": ("uint16", 2),
    "F16": ("float16", 2), "BF16": ("bfloat16", 2), "I32": ("int32", 4), "U32": ("uint32", 4), "F32": ("float32", 4),
    "F64": ("float64", 8), "I64": ("int64", 8), "U64": ("uint64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1), "F8_E8M0": ("float8_e8m0fnu", 1),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1), "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1), "C64": ("complex64", 8),
}  # fmt: skip
#: Types of quantisation that are narrower than a byte; they are not read.
_NARROW = ("F4", "F6_E2M3", "F6_E3M2")


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file: where its bytes lie and what they mean; `code` is what its header calls its type."""

    file: str
    code: str
    shape: tuple[int, ...]
    start: int

    @property
    def type(self) -> str:
        """Torch's name of its type, such as bfloat16."""
        return TYPES[self.code][0]

    @property
    def dtype(self) -> torch.dtype:
        """The type itself."""
        import torch

        found: torch.dtype = getattr(torch, self.type)
        return found

    @property
    def width(self) -> int:
        """Bytes of one number."""
        return TYPES[self.code][1]

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        return math.prod(self.shape) * self.width


def read_headers(path: Path) -> dict[str, Stored]:
    """The tensors of a directory, from its index and every header; no weight is read.

    Raises:
        FewerError: no safetensors, a pickle checkpoint, an index or a link that leaves the directory, a missing,
            truncated or corrupt shard; one line naming the file.
    """
    check_links(path)
    index = path / INDEX
    if index.is_file():
        return dict(_indexed(path, index))
    if (path / SINGLE).is_file():
        return read_header(path / SINGLE)
    found = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if found:
        raise FewerError(
            f"'{path / found[0]}' is a pickle-style checkpoint, which can run code when read: convert it to "
            "safetensors first (save_pretrained writes it)"
        )
    raise FewerError(f"'{path}' holds no {SINGLE} and no {INDEX}")


def model_path(source: str | Path) -> Path:
    """The directory a source means; "demo" is the model that ships with fewer.

    Raises:
        FewerError: no such directory, or files in it are links to somewhere else.
    """
    check_path("model", source)
    if str(source) == "demo":
        from fewer import demo

        return demo.model_path()
    path = Path(source)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        named = not path.exists() and re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(source))
        hub = " (a name on a model hub is not looked up: nothing is fetched, download it first)" if named else ""
        raise FewerError(f"model '{source}' {what}: give a checkpoint directory or 'demo'{hub}")
    check_links(path)
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise FewerError(
            f"'{path}' is an adapter (adapter_config.json), not a model: merge it into its base model and save that"
        )
    return path


def check_unpacked(path: Path) -> None:
    """Refuse a directory whose weights are packed: it runs as it is and cannot be changed.

    Raises:
        FewerError: its mark says that it is packed.
    """
    mark = path / "fewer.json"
    if mark.is_file() and read_json(mark).get("format") == "fewer-packed":
        raise FewerError(f"'{path}' is packed (`fewer pack`) and cannot be changed: give the checkpoint it was made of")


def check_content(path: Path) -> None:
    """Refuse a file that is there in name only.

    Raises:
        FewerError: it is empty, or a pointer of Git LFS.
    """
    with path.open("rb") as file:
        head = file.read(len(_POINTER))
    if not head:
        raise FewerError(f"'{path}' is empty")
    if head == _POINTER:
        raise FewerError(f"'{path}' is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`")


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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FewerError: missing, not JSON, or not an object.
    """
    try:
        check_content(path)
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FewerError(f"'{path}' does not exist") from None
    except OSError as error:
        raise FewerError(f"cannot read '{path}': {error.strerror}") from None
    except FewerError:
        raise
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
        check_content(place)
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
    except FewerError as error:
        raise FewerError(f"'{place}' {error}") from None
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
        if entry["dtype"] in _NARROW:
            raise FewerError(f"is quantised: tensor '{name}' is {entry['dtype']}; open the unquantised checkpoint")
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError(name)
        stored = Stored(file, entry["dtype"], shape, base + begin)
        if stored.bytes != end - begin:
            raise ValueError(name)
        spans.append((begin, end))
        yield name, stored
    spans.sort()
    if any(before[1] > after[0] for before, after in pairwise(spans)):
        raise ValueError("overlapping tensors")
