"""What a mask file holds, and how it is made and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.maskfile.container import held, write
from fewer.method import FewerError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from fewer.adapt import Opened

__all__ = ["FORMAT", "NAME", "VERSION", "LayerMask", "MaskFile", "changed", "check_pattern", "describe", "make"]

FORMAT = "fewer-mask"
VERSION = 1
#: What the mask file beside a pruned checkpoint is called; loaders that read every `*.safetensors` leave it alone.
NAME = "fewer.mask"


@dataclass(frozen=True, slots=True)
class LayerMask:
    """The mask of one layer: `bits` is packed uint8; `pattern` is what it promises to satisfy."""

    shape: tuple[int, int]
    bits: np.ndarray[Any, Any]
    pattern: str = "unstructured"

    @property
    def total(self) -> int:
        """Weights of the layer."""
        return math.prod(self.shape)

    @property
    def kept(self) -> int:
        """Weights that stayed."""
        import numpy as np

        return int(np.unpackbits(self.bits).sum())

    def unpack(self) -> np.ndarray[Any, Any]:
        """The mask as booleans (out, in)."""
        import numpy as np

        return np.unpackbits(self.bits, count=self.total).astype(bool).reshape(self.shape)


@dataclass(frozen=True)
class MaskFile:
    """Masks of a model by layer name.

    `dense` is the checksum of the dense model (`Opened.hash`). `provenance` says how the masks came about: method,
    keep, resolved recipe, hash of the data, and the checksums of parent masks. `complement` holds dense values by
    layer, `dropped` and, where the update changed the others too, `kept`.
    """

    dense: str
    layers: Mapping[str, LayerMask]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    complement: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @property
    def density(self) -> float:
        """Share of weights that stayed, over all layers."""
        total = sum(layer.total for layer in self.layers.values())
        return sum(layer.kept for layer in self.layers.values()) / total if total else 1.0

    def to_dict(self) -> dict[str, Any]:
        """What `fewer mask show` prints: everything but the bits."""
        rows = {
            name: {
                "shape": list(x.shape),
                "total": x.total,
                "kept": x.kept,
                "density": x.kept / max(1, x.total),
                "pattern": x.pattern,
            }
            for name, x in self.layers.items()
        }
        return {
            "version": VERSION,
            "dense": self.dense,
            "density": self.density,
            "undo": "from the mask file itself" if self.complement else "needs the dense checkpoint",
            "provenance": dict(self.provenance),
            "layers": rows,
        }

    def save(self, path: str | Path) -> Path:
        """Write the file whole or not at all.

        Raises:
            FewerError: a file that is no mask file is there already, the directory does not exist, or the disk is full.
        """
        import torch

        place = Path(path)
        _check_place(place)
        parts = {name: held(torch.from_numpy(x.bits)) for name, x in self.layers.items()}
        for name, stored in self.complement.items():
            parts |= {f"{name}:{part}": held(value) for part, value in stored.items()}
        rows = {name: (x.shape, x.kept, x.pattern) for name, x in self.layers.items()}
        write(place, describe(self.dense, self.provenance, rows), parts)
        return place


def _check_place(place: Path) -> None:
    """Only a mask file is replaced."""
    if not place.exists():
        return
    if place.is_file():
        with place.open("rb") as file:
            head = file.read(4096)
        if f'"{FORMAT}"'.encode() in head:
            return
    raise FewerError(f"'{place}' exists and is not a mask file: name another file or remove it")


def describe(
    dense: str, provenance: Mapping[str, Any], rows: Mapping[str, tuple[tuple[int, int], int, str]]
) -> dict[str, str]:
    """The metadata of a mask file; `rows` holds shape, weights kept and pattern by layer."""
    layers = {name: {"shape": list(shape), "kept": kept, "pattern": kind} for name, (shape, kept, kind) in rows.items()}
    about = {"version": VERSION, "dense": dense, "provenance": dict(provenance), "layers": layers}
    return {FORMAT: json.dumps(about)}


@checked
def make(
    masks: Mapping[str, Any],
    dense: Opened,
    *,
    provenance: Mapping[str, Any] | None = None,
    pattern: str = "unstructured",
    complement_of: Opened | None = None,
) -> MaskFile:
    """A mask file from masks in memory.

    Args:
        masks: layer name -> boolean array (out, in), True is kept.
        dense: the model that they belong to, unpruned.
        provenance: what to record (method, keep, recipe, data hash, ...); must be JSON.
        pattern: what every mask satisfies.
        complement_of: the pruned model, if the file is to be able to undo by itself: then the dense values that
            differ from it are stored too.

    Returns:
        The file's content; `save` writes it.

    Raises:
        FewerError: a layer that the model does not have, another shape, or a mask that breaks the pattern.
    """
    import numpy as np

    known = {layer.name: layer for layer in dense.candidates}
    layers = {}
    for name, mask in masks.items():
        values = np.ascontiguousarray(np.asarray(mask))
        if name not in known or values.shape != known[name].shape or values.dtype != np.bool_:
            raise FewerError(f"the model has no layer '{name}' with a boolean mask of shape {values.shape}")
        layers[name] = LayerMask(known[name].shape, np.packbits(values), pattern)
        check_pattern(name, layers[name], "this mask")
    content = MaskFile(dense.hash(), layers, dict(provenance or {}))
    if complement_of is None:
        return content
    after = {layer.name: layer for layer in complement_of.candidates}
    stored = {name: changed(layers[name], known[name].read(), after[name].read()) for name in layers}
    return replace(content, complement=stored)


def changed(layer: LayerMask, dense: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Dense values off the mask, and on it too where the update changed them."""
    import torch

    kept = torch.from_numpy(layer.unpack())
    dense = dense.cpu()
    parts = {"dense": dense[~kept]}
    if not bool(torch.equal(dense[kept], after.cpu()[kept])):
        parts["kept"] = dense[kept]
    return parts


def check_pattern(name: str, layer: LayerMask, where: str) -> None:
    """A mask must satisfy what it promises."""
    import numpy as np

    from fewer.pattern import NM, parse

    pattern = parse(layer.pattern)
    pattern.check(layer.shape, f"layer '{name}'")
    mask = layer.unpack()
    if isinstance(pattern, NM):
        counts = mask.reshape(-1, pattern.m).sum(axis=1)
        good = bool((counts == pattern.n).all())
    else:
        shares = pattern.pool(mask.astype(np.float64))
        good = bool(np.array_equal(pattern.spread(shares > 0, layer.shape), mask))
    if not good:
        raise FewerError(f"{where}: layer '{name}' breaks the pattern '{layer.pattern}'")
