"""Masks as files: one bit a weight, with provenance; they can be compared, combined, applied and undone.

A file is a safetensors container. Every tensor is a mask, packed row by row, most significant bit first; the
metadata entry `fewer-mask` is JSON: version, dense checksum, provenance, and for every layer shape, count and pattern.
It may also hold the complement: the dense values off the mask (`NAME:dense`) and, where the update changed them, on
it (`NAME:kept`). Then a pruned model can be brought back without the dense checkpoint.
"""

from __future__ import annotations

from fewer.maskfile.file import NAME, LayerMask, MaskFile, make
from fewer.maskfile.operations import Difference, apply, chance, diff, intersect, undo, union
from fewer.maskfile.reading import read

__all__ = [
    "NAME", "Difference", "LayerMask", "MaskFile", "apply", "chance", "diff", "intersect", "make", "read", "undo",
    "union",
]  # fmt: skip
