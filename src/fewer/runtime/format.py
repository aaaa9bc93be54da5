"""The packed form of a sparse weight: a bit for every place, the kept values in a row, and where each row starts.

    mask     (rows / height, ceil(cols / 64)) int64: bit j % 64 of word j / 64 says that input j is kept
    values   (kept + 64,) fp32, bf16 or int8: kept values in row order; the last 64 are zero, so that whole vectors
             can be read at the end
    offsets  (rows / height + 1,) int32: number of bits set before each row
    scale    (rows,) fp32, int8 only: weight = value * scale

A bit stands for `height` rows of one column (1, or 16 for fp32 and 32 for bf16 blocks), whose values lie together.
N:M patterns need nothing of their own. A zero of either sign is a pruned place and comes back as +0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from fewer.arguments import checked
from fewer.method import FewerError

__all__ = ["BLOCK_HEIGHT", "DTYPES", "Packed", "check", "pack_weight", "unpack_weight"]

#: Stored types and the numbers that the kernels know them by.
DTYPES: Final = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
#: Height of the blocks that the kernels know.
BLOCK_HEIGHT: Final = {torch.float32: 16, torch.bfloat16: 32}
PAD: Final = 64
WORD: Final = 64
#: Sums of int8 products stay inside 32 bits up to here.
_MOST_INT8_INPUTS: Final = 65536
_MOST_BITS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A packed weight of shape (rows, cols); see the module for the arrays."""

    rows: int
    cols: int
    height: int
    mask: Tensor
    values: Tensor
    offsets: Tensor
    scale: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Stored type of the values."""
        return self.values.dtype

    @property
    def kept(self) -> int:
        """Number of stored weights, zeros inside blocks included."""
        return self.values.numel() - PAD

    @property
    def sparsity(self) -> float:
        """Share of places that are not stored."""
        return 1.0 - self.kept / (self.rows * self.cols) if self.rows * self.cols else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.mask, self.values, self.offsets, self.scale)
        return sum(a.numel() * a.element_size() for a in arrays if a is not None)


@checked
def pack_weight(weight: Tensor, *, dtype: torch.dtype | None = None, height: int = 1) -> Packed:
    """Pack the places of a weight that are not zero.

    int8 takes scale_r = max_j |w_rj| / 127 and value = round(w / scale); what rounds to zero is dropped too.

    Args:
        weight: (out, in) floating-point matrix, finite.
        dtype: float32, bfloat16 or int8; None keeps the weight's own (float32 for float16 and float64).
        height: rows that share one bit; a place is kept when any of them is not zero.

    Returns:
        The packed weight; `unpack_weight` gives the stored numbers back exactly.

    Raises:
        FewerError: not a finite matrix, a type or height that the form does not have, or too large.

    >>> packed = pack_weight(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    >>> packed.kept, packed.sparsity, unpack_weight(packed).tolist()
    (2, 0.5, [[0.0, 2.0], [3.0, 0.0]])
    """
    if weight.ndim != 2 or not weight.is_floating_point():
        raise FewerError(f"only a floating-point matrix can be packed, this is {weight.dtype} {tuple(weight.shape)}")
    dtype = dtype or (weight.dtype if weight.dtype in DTYPES else torch.float32)
    rows, cols = weight.shape
    _check_kind(rows, cols, dtype, height)
    dense = weight.detach().to("cpu")
    if not bool(torch.isfinite(dense).all()):
        raise FewerError("weight has values that are not finite; a packed weight must be finite")
    stored, scale = _quantise(dense) if dtype == torch.int8 else (dense.to(dtype), None)
    bits = (stored != 0).reshape(rows // height, height, cols).any(dim=1)
    counts = bits.sum(dim=1, dtype=torch.int64)
    offsets = torch.zeros(rows // height + 1, dtype=torch.int64)
    torch.cumsum(counts, dim=0, out=offsets[1:])
    if int(offsets[-1]) > _MOST_BITS:
        raise FewerError(f"weight of shape ({rows}, {cols}) keeps {int(offsets[-1])} places, more than {_MOST_BITS}")
    blocks = stored.reshape(rows // height, height, cols).transpose(1, 2)[bits]
    values = torch.cat([blocks.reshape(-1), torch.zeros(PAD, dtype=dtype)])
    return Packed(rows, cols, height, _to_words(bits), values, offsets.to(torch.int32), scale)


@checked
def unpack_weight(packed: Packed, *, dtype: torch.dtype | None = None) -> Tensor:
    """The dense weight (out, in): scale times value where a place is kept, +0 elsewhere.

    Args:
        packed: what `pack_weight` made.
        dtype: of the result; None for the stored type (float32 for int8).
    """
    bits = to_bits(packed.mask, packed.cols)
    groups = packed.rows // packed.height
    dense = torch.zeros(groups, packed.cols, packed.height, dtype=packed.dtype)
    dense[bits] = packed.values[: packed.kept].reshape(-1, packed.height)
    weight = dense.transpose(1, 2).reshape(packed.rows, packed.cols)
    if packed.scale is not None:
        weight = weight.to(torch.float32) * packed.scale[:, None]
    return weight.to(dtype or weight.dtype).contiguous()


def row_sums(packed: Packed) -> Tensor:
    """(rows,) int32 sums of the stored int8 values, which the kernels with unsigned inputs need."""
    running = torch.zeros(packed.values.numel() + 1, dtype=torch.int64)
    torch.cumsum(packed.values, dim=0, dtype=torch.int64, out=running[1:])
    starts = running[packed.offsets.long()]
    return (starts[1:] - starts[:-1]).to(torch.int32)


def to_bits(mask: Tensor, cols: int) -> Tensor:
    """(groups, cols) bool: the mask with a place for every bit."""
    if not mask.numel():
        return torch.zeros(mask.shape[0], cols, dtype=torch.bool)
    spread = np.unpackbits(mask.numpy().view(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(spread[:, :cols].astype(bool))


def check(packed: Packed, where: str) -> None:
    """Refuse arrays that do not fit each other: nothing past this point reads outside of them.

    Raises:
        FewerError: the first thing that is wrong, with `where`.
    """
    _check_kind(packed.rows, packed.cols, packed.dtype, packed.height, where)
    groups, words = packed.rows // packed.height, -(-packed.cols // WORD)
    wanted = {"mask": (torch.int64, (groups, words)), "offsets": (torch.int32, (groups + 1,))}
    if packed.dtype == torch.int8:
        wanted["scale"] = (torch.float32, (packed.rows,))
    elif packed.scale is not None:
        raise FewerError(f"{where}: only int8 weights have a scale, this one is {packed.dtype}")
    for name, (dtype, shape) in wanted.items():
        array = getattr(packed, name)
        if array is None or array.dtype != dtype or tuple(array.shape) != shape:
            found = "missing" if array is None else f"{array.dtype} {tuple(array.shape)}"
            raise FewerError(f"{where}: {name} is {found}, expected {dtype} {shape}")
    offsets = packed.offsets.numpy().astype(np.int64)
    words_set = np.bitwise_count(packed.mask.numpy().view(np.uint64)).sum(axis=1, dtype=np.int64)
    if offsets[0] != 0 or not np.array_equal(np.diff(offsets), words_set):
        raise FewerError(f"{where}: row offsets do not agree with the bits of the mask")
    tail = packed.cols % WORD
    if tail and groups and bool((packed.mask[:, -1].numpy().view(np.uint64) >> np.uint64(tail)).any()):
        raise FewerError(f"{where}: the mask has bits beyond column {packed.cols}")
    if packed.values.ndim != 1 or packed.values.numel() != int(offsets[-1]) * packed.height + PAD:
        length = int(offsets[-1]) * packed.height + PAD
        raise FewerError(f"{where}: values have shape {tuple(packed.values.shape)}, expected ({length},)")
    for name in ("values", "scale"):
        array = getattr(packed, name)
        if array is not None and array.is_floating_point() and not bool(torch.isfinite(array).all()):
            raise FewerError(f"{where}: {name} are not all finite")


def _check_kind(rows: int, cols: int, dtype: torch.dtype, height: int, where: str = "weight") -> None:
    if dtype not in DTYPES:
        raise FewerError(f"{where}: packed weights are float32, bfloat16 or int8, not {dtype}")
    if height != 1 and height != BLOCK_HEIGHT.get(dtype):
        raise FewerError(f"{where}: blocks are 16 high in float32 and 32 in bfloat16, not {height} in {dtype}")
    if rows < 0 or cols < 0 or rows % height:
        raise FewerError(f"{where}: shape ({rows}, {cols}) cannot be cut into blocks {height} high")
    if dtype == torch.int8 and cols > _MOST_INT8_INPUTS:
        raise FewerError(f"{where}: int8 takes at most {_MOST_INT8_INPUTS} inputs, this has {cols}")


def _quantise(dense: Tensor) -> tuple[Tensor, Tensor]:
    wide = dense.to(torch.float32)
    largest = wide.abs().amax(dim=1) if wide.shape[1] else wide.new_zeros(wide.shape[0])
    scale = torch.where(largest > 0, largest / 127.0, torch.ones_like(largest))
    return (wide / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def _to_words(bits: Tensor) -> Tensor:
    rows, cols = bits.shape
    wide = np.zeros((rows, -(-cols // WORD) * WORD), dtype=bool)
    wide[:, :cols] = bits.numpy()
    packed = np.packbits(wide, axis=1, bitorder="little")
    return torch.from_numpy(packed.view("<i8").reshape(rows, wide.shape[1] // WORD).copy())
