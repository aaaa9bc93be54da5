"""Reading mask files, which are untrusted input: every field, size and promise is checked."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.headers import read_header
from fewer.arguments import checked
from fewer.maskfile.file import FORMAT, NAME, VERSION, LayerMask, MaskFile, check_pattern
from fewer.method import FewerError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read"]


@checked
def read(path: str | Path) -> MaskFile:
    """Read a mask file, strictly.

    Args:
        path: the file, or the directory that `prune` wrote it to.

    Raises:
        FewerError: not a mask file, of a later version, corrupt, or a mask that breaks its own pattern or count.
    """
    from fewer.adapt.shards import Shards

    place = Path(path)
    if place.is_dir():
        place = place / NAME
        if not place.is_file():
            raise FewerError(f"'{path}' holds no {NAME}: give a mask file, or a directory that `fewer prune` wrote")
    if not place.is_file():
        raise FewerError(f"mask file '{place}' does not exist")
    stored = read_header(place)
    about = _about(place)
    source = Shards(place.parent, stored)
    layers: dict[str, LayerMask] = {}
    for name, row in about["layers"].items():
        layers[name] = _layer(place, name, row, source)
    complement = {name: _complement_of(place, name, layers[name], source) for name in layers}
    names = {*layers, *(f"{name}:{part}" for name, parts in complement.items() for part in parts)}
    if names != set(stored):
        raise FewerError(f"mask file '{place}' holds a tensor that it does not describe: {sorted(set(stored) - names)}")
    complement = {name: parts for name, parts in complement.items() if parts}
    if complement and set(complement) != set(layers):
        raise FewerError(f"mask file '{place}' holds the complement of some layers only")
    return MaskFile(about["dense"], layers, about["provenance"], complement)


def _about(place: Path) -> dict[str, Any]:
    """The description in the metadata, every field checked."""
    with place.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        meta = json.loads(file.read(length)).get("__metadata__") or {}
    if FORMAT not in meta:
        raise FewerError(f"'{place}' is not a mask file written by fewer")
    try:
        about = json.loads(meta[FORMAT])
        version, dense, rows = about["version"], about["dense"], about["layers"]
        good = isinstance(dense, str) and isinstance(rows, dict) and isinstance(about["provenance"], dict)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise FewerError(f"mask file '{place}' has a corrupt description") from None
    if type(version) is not int or version != VERSION:
        raise FewerError(f"mask file '{place}' is of version {ascii(version)[:20]}; this fewer reads version {VERSION}")
    if not good:
        raise FewerError(f"mask file '{place}' has a corrupt description")
    return dict(about)


def _layer(place: Path, name: str, row: Any, source: Any) -> LayerMask:
    """One mask, its size, its count and its pattern checked."""
    try:
        shape, kept, pattern = tuple(row["shape"]), row["kept"], row["pattern"]
        good = len(shape) == 2 and all(type(n) is int and n >= 0 for n in (*shape, kept)) and isinstance(pattern, str)
    except (KeyError, TypeError):
        good = False
    if not good or name not in source.tensors or not name.isprintable():
        raise FewerError(f"mask file '{place}' has a corrupt description of layer {name!a}")
    stored = source.tensors[name]
    if stored.shape != (-(-math.prod(shape) // 8),) or str(stored.dtype) != "torch.uint8":
        raise FewerError(f"mask file '{place}': the bits of layer '{name}' do not fit its shape {shape}")
    layer = LayerMask((shape[0], shape[1]), source.read(name).numpy(), pattern)
    if layer.kept != kept or int(layer.unpack().sum()) != kept:
        raise FewerError(f"mask file '{place}': layer '{name}' says it keeps {kept} weights, its bits say {layer.kept}")
    check_pattern(name, layer, f"mask file '{place}'")
    return layer


def _complement_of(place: Path, name: str, layer: LayerMask, source: Any) -> dict[str, Tensor]:
    """The dense values stored for one layer, if any, sizes checked."""
    sizes = {"dense": layer.total - layer.kept, "kept": layer.kept}
    found = {part: f"{name}:{part}" for part in sizes if f"{name}:{part}" in source.tensors}
    for part, tensor in found.items():
        if source.tensors[tensor].shape != (sizes[part],):
            raise FewerError(f"mask file '{place}': the complement of layer '{name}' does not fit its mask")
    return {part: source.read(tensor) for part, tensor in found.items()}
