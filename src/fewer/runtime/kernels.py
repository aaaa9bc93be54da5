"""Products of packed weights and activations, by form and tier.

Everything that hands an address to the extension is here: shapes, types, memory order and lifetimes are made right
before, so that no call can read outside of an array. A `Product` is made once per layer and called for every token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from fewer.method import FewerError
from fewer.runtime import dispatch
from fewer.runtime.format import DTYPES, Packed, row_sums, to_bits, unpack_weight

__all__ = ["FORMS", "Product", "cut_inputs", "forms", "multiply", "product", "skip_columns", "unpack_rows"]

#: Inputs (..., in) and outputs (..., out) to fill, both contiguous, and the batch that they hold.
Product = Callable[[Tensor, Tensor, int], object]
#: dense: own dense kernel; torch: F.linear; the others read the packed form.
FORMS = ("bitmask", "index", "blocks", "dense", "torch")
_INPUTS = {torch.float32: 0, torch.bfloat16: 1}


def forms(packed: Packed, tier: str) -> tuple[str, ...]:
    """The forms that a tier has for a packed weight."""
    if tier.startswith("extension-"):
        sparse = ("blocks",) if packed.height > 1 else ("bitmask",)
        index = ("index",) if packed.height == 1 and packed.dtype == torch.float32 else ()
        return (*sparse, *index, "dense", "torch")
    if tier == "numba" and packed.height == 1 and packed.dtype == torch.float32:
        return ("index", "torch")
    return ("torch",)


def multiply(
    packed: Packed, x: Tensor, bias: Tensor | None = None, *, form: str | None = None, tier: str | None = None
) -> Tensor:
    """The product y = x W^T + b with a chosen kernel.

    int8 weights are multiplied by inputs that are rounded to int8 too, with one factor an input row (except in the
    form `torch`, which multiplies the scaled weights by the inputs as they are).

    Args:
        packed: the weight.
        x: (batch, in) float32 or bfloat16.
        bias: (out,) or None.
        form: one of `forms(packed, tier)`; None takes the first.
        tier: None takes `dispatch.tier()`.

    Returns:
        (batch, out) in the type of x.

    Raises:
        FewerError: a form that the tier does not have, or inputs of another shape or type.
    """
    tier = tier or dispatch.tier()
    offered = forms(packed, tier)
    form = form or offered[0]
    if form not in offered:
        raise FewerError(f"tier {tier} has no form '{form}' for this weight; it has: {', '.join(offered)}")
    if x.ndim != 2 or x.shape[1] != packed.cols or x.dtype not in _INPUTS:
        raise FewerError(f"inputs are {x.dtype} {tuple(x.shape)}, expected float32 or bfloat16 (batch, {packed.cols})")
    y = x.new_empty(x.shape[0], packed.rows)
    product(packed, bias, form=form, tier=tier, x_dtype=x.dtype)(x.contiguous(), y, x.shape[0])
    return y


def product(packed: Packed, bias: Tensor | None, *, form: str, tier: str, x_dtype: torch.dtype) -> Product:
    """A product ready to be called with contiguous inputs of `x_dtype`; it keeps what it reads alive."""
    _check_bias(bias, packed.rows)
    if form == "torch":
        weight = unpack_weight(packed, dtype=x_dtype)
        return partial(_torch, weight, None if bias is None else bias.to(x_dtype))
    if tier == "numba":
        return _numba_index(packed, bias)
    if form == "dense":
        return dense_product(_stored(packed), bias, scale=packed.scale, tier=tier, x_dtype=x_dtype)
    sums = row_sums(packed) if packed.dtype == torch.int8 else None
    arrays = (packed.values, packed.mask, packed.offsets, packed.scale, sums)
    return _native_product(form, arrays, bias, (packed.rows, packed.cols), tier, x_dtype)


def dense_product(
    weight: Tensor, bias: Tensor | None, *, tier: str, x_dtype: torch.dtype, scale: Tensor | None = None
) -> Product:
    """The own dense kernel on a weight (out, in) of a packed type; extension tiers only."""
    rows, cols = weight.shape
    if weight.dtype not in DTYPES:
        raise FewerError(f"the dense kernel takes float32, bfloat16 or int8, not {weight.dtype}")
    if (weight.dtype == torch.int8) != (scale is not None and scale.shape == (rows,)):
        raise FewerError(f"an int8 weight needs a scale of shape ({rows},), and only an int8 weight")
    sums = weight.sum(dim=1, dtype=torch.int32) if weight.dtype == torch.int8 else None
    scale = None if scale is None else scale.to(torch.float32).contiguous()
    arrays = (weight.detach().contiguous(), None, None, scale, sums)
    return _native_product("dense", arrays, bias, (rows, cols), tier, x_dtype)


def _native_product(
    form: str,
    arrays: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    bias: Tensor | None,
    shape: tuple[int, int],
    tier: str,
    x_dtype: torch.dtype,
) -> Product:
    extension, number = dispatch.native(), dispatch.level(tier)
    if extension is None or number is None:
        raise FewerError(f"tier {tier} has no compiled kernels")
    _check_bias(bias, shape[0])
    wide = None if bias is None else bias.detach().to(torch.float32).contiguous()
    kept = (*arrays, wide)
    call = partial(
        getattr(extension, f"runtime_{form}"), number, DTYPES[arrays[0].dtype], *(_at(a) for a in kept), *shape,
        _INPUTS[x_dtype],
    )  # fmt: skip
    return _Native(call, kept)


class _Native:
    """A call with everything but its inputs filled in, and the tensors whose addresses it holds."""

    __slots__ = ("call", "kept")

    def __init__(self, call: Callable[[int, int, int], None], kept: tuple[Tensor | None, ...]) -> None:
        self.call = call
        self.kept = kept

    def __call__(self, x: Tensor, y: Tensor, batch: int) -> None:
        self.call(x.data_ptr(), y.data_ptr(), batch)


def skip_columns(
    weight_t: Tensor,
    x: Tensor,
    threshold: float,
    norms: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    tier: str | None = None,
) -> tuple[Tensor, int]:
    """Sum over the inputs with |x_j| norm_j > threshold of x_j W_:j, plus b; what is not a number stays.

    Args:
        weight_t: (in, out) float32 or bfloat16: the weight transposed.
        x: (in,) float32 or bfloat16.
        threshold: inputs worth this or less are skipped.
        norms: (in,) float32 factors, or None for ones.
        bias: (out,) or None.
        tier: None takes `dispatch.tier()`.

    Returns:
        (out,) in the type of x, and how many inputs stayed.

    Raises:
        FewerError: shapes or types that do not fit.
    """
    call = columns_product(weight_t, threshold, norms, bias, tier=tier or dispatch.tier(), x_dtype=x.dtype)
    if x.shape != weight_t.shape[:1]:
        raise FewerError(f"inputs have shape {tuple(x.shape)}, expected ({weight_t.shape[0]},)")
    y = x.new_empty(weight_t.shape[1])
    return y, call(x.contiguous(), y, 1)


def columns_product(
    weight_t: Tensor,
    threshold: float,
    norms: Tensor | None,
    bias: Tensor | None,
    *,
    tier: str,
    x_dtype: torch.dtype,
) -> Callable[[Tensor, Tensor, int], int]:
    """The column-skipping product ready to be called with one contiguous input."""
    if weight_t.ndim != 2 or weight_t.dtype not in _INPUTS or x_dtype not in _INPUTS:
        raise FewerError(f"column skipping takes float32 or bfloat16, not {weight_t.dtype} and {x_dtype}")
    if norms is not None and norms.shape != weight_t.shape[:1]:
        raise FewerError(f"column norms have shape {tuple(norms.shape)}, expected ({weight_t.shape[0]},)")
    _check_bias(bias, weight_t.shape[1])
    weight_t = weight_t.detach().contiguous()
    wide = None if norms is None else norms.detach().to(torch.float32).contiguous()
    number = dispatch.level(tier)
    extension = dispatch.native()
    if extension is not None and number is not None:
        limit = torch.tensor([threshold], dtype=torch.float32)
        added = None if bias is None else bias.detach().to(torch.float32).contiguous()
        kept = (weight_t, wide, limit, added)
        cols, rows = weight_t.shape
        call = partial(
            extension.runtime_columns, number, DTYPES[weight_t.dtype], *(_at(a) for a in kept), rows, cols,
            _INPUTS[x_dtype],
        )  # fmt: skip
        return _Columns(call, kept)
    if tier == "numba":
        return _numba_columns(weight_t, threshold, wide, bias)
    return partial(_torch_columns, weight_t, threshold, wide, bias)


def packed_columns_product(
    packed_t: Packed, threshold: float, norms: Tensor | None, bias: Tensor | None, *, tier: str, x_dtype: torch.dtype
) -> Callable[[Tensor, Tensor, int], int]:
    """As `columns_product`, for a weight that is packed transposed (in, out); extension tiers only."""
    cols, rows = packed_t.rows, packed_t.cols
    if packed_t.height != 1 or packed_t.dtype not in _INPUTS or x_dtype not in _INPUTS:
        raise FewerError(f"column skipping takes float32 or bfloat16 packed one by one, not {packed_t.dtype}")
    if norms is not None and norms.shape != (cols,):
        raise FewerError(f"column norms have shape {tuple(norms.shape)}, expected ({cols},)")
    _check_bias(bias, rows)
    extension, number = dispatch.native(), dispatch.level(tier)
    if extension is None or number is None:
        raise FewerError(f"tier {tier} has no compiled kernels")
    limit = torch.tensor([threshold], dtype=torch.float32)
    wide = None if norms is None else norms.detach().to(torch.float32).contiguous()
    added = None if bias is None else bias.detach().to(torch.float32).contiguous()
    kept = (packed_t.values, packed_t.mask, packed_t.offsets, wide, limit, added)
    call = partial(
        extension.runtime_packed_columns, number, DTYPES[packed_t.dtype], *(_at(a) for a in kept), rows, cols,
        _INPUTS[x_dtype],
    )  # fmt: skip
    return _Columns(call, kept)


class _Columns:
    """As `_Native`, for one input at a time."""

    __slots__ = ("call", "kept")

    def __init__(self, call: Callable[[int, int], int], kept: tuple[Tensor | None, ...]) -> None:
        self.call = call
        self.kept = kept

    def __call__(self, x: Tensor, y: Tensor, batch: int) -> int:
        return self.call(x.data_ptr(), y.data_ptr())


def cut_inputs(x: Tensor, threshold: Tensor, norms: Tensor | None) -> Tensor:
    """Inputs (batch, in) with those of |x_j| norm_j <= threshold set to zero; what is not a number stays.

    Args:
        x: (..., in).
        threshold: one float32 number.
        norms: (in,) float32 factors, or None for ones.

    >>> cut_inputs(torch.tensor([[0.4, -2.0]]), torch.tensor(0.5), None).tolist()
    [[0.0, -2.0]]
    """
    fits = norms is None or (norms.dtype, norms.shape) == (torch.float32, x.shape[-1:])
    if threshold.dtype != torch.float32 or not fits:
        raise FewerError(
            f"inputs of shape {tuple(x.shape)} need one float32 threshold and float32 norms of their width"
        )
    extension = dispatch.native()
    whole = x.is_cpu and x.dtype in _INPUTS and type(x) is Tensor and not torch.is_grad_enabled()
    if extension is None or not whole or torch.compiler.is_compiling():
        worth = x.to(torch.float32).abs()
        return torch.where((worth if norms is None else worth * norms) <= threshold, torch.zeros_like(x), x)
    x, wide = x.contiguous(), None if norms is None else norms.contiguous()
    out, cols = torch.empty_like(x), x.shape[-1]
    batch = x.numel() // cols if cols else 0
    extension.runtime_cut(_INPUTS[x.dtype], x.data_ptr(), _at(wide), threshold.data_ptr(), batch, cols, out.data_ptr())
    return out


def unpack_rows(packed: Packed, first: int, last: int, out: Tensor) -> None:
    """Dense stored values of rows first to last into contiguous `out`; multiples of the block height."""
    extension = dispatch.native()
    if extension is None:
        height, words = packed.height, packed.mask[first // packed.height : last // packed.height]
        start, stop = (int(packed.offsets[r // height]) * height for r in (first, last))
        values = torch.cat([packed.values[start:stop], packed.values[packed.kept :]])
        offsets = packed.offsets[first // height : last // height + 1] - start // height
        part = Packed(last - first, packed.cols, height, words, values, offsets)
        out.copy_(unpack_weight(part))
        return
    kept = (packed.values, packed.mask, packed.offsets)
    extension.runtime_unpack(
        DTYPES[packed.dtype], packed.height, *(_at(a) for a in kept), packed.cols, first // packed.height,
        last // packed.height, out.data_ptr(),
    )  # fmt: skip


def _stored(packed: Packed) -> Tensor:
    out = torch.empty(packed.rows, packed.cols, dtype=packed.dtype)
    unpack_rows(packed, 0, packed.rows, out)
    return out


def _torch(weight: Tensor, bias: Tensor | None, x: Tensor, y: Tensor, batch: int) -> None:
    y.copy_(functional.linear(x, weight, bias))


def _torch_columns(
    weight_t: Tensor, threshold: float, norms: Tensor | None, bias: Tensor | None, x: Tensor, y: Tensor, batch: int
) -> int:
    x = x.detach().reshape(-1)
    worth = x.to(torch.float32).abs() * norms if norms is not None else x.to(torch.float32).abs()
    stays = ~(worth <= threshold)
    left = torch.where(stays, x, torch.zeros_like(x)).to(weight_t.dtype)
    total = left[None] @ weight_t
    y.copy_((total[0] if bias is None else total[0] + bias).reshape(y.shape))
    return int(stays.sum())


def _numba_columns(
    weight_t: Tensor, threshold: float, norms: Tensor | None, bias: Tensor | None
) -> Callable[[Tensor, Tensor, int], int]:
    """Everything but the inputs as numpy arrays beforehand: at these sizes a call costs as much as a few columns."""
    import numpy as np

    from fewer.runtime import loops

    factors = np.empty(0, np.float32) if norms is None else norms.numpy()
    start = np.zeros(weight_t.shape[1], np.float32) if bias is None else bias.detach().to(torch.float32).numpy()
    narrow = weight_t.dtype == torch.bfloat16
    weight = weight_t.view(torch.uint16).numpy() if narrow else weight_t.numpy()
    columns, limit = loops.columns_bf16 if narrow else loops.columns_f32, np.float32(threshold)

    def run(x: Tensor, y: Tensor, batch: int) -> int:
        wide = x.detach() if x.dtype == torch.float32 else x.detach().to(torch.float32)
        total = y if y.dtype == torch.float32 else torch.empty(y.shape)
        count = columns(weight, wide.numpy().reshape(-1), factors, limit, start, total.numpy().reshape(-1))
        if total is not y:
            y.copy_(total)
        return int(count)

    return run


def _numba_index(packed: Packed, bias: Tensor | None) -> Product:
    import numpy as np

    from fewer.runtime import loops

    columns = to_bits(packed.mask, packed.cols).nonzero()[:, 1].numpy()
    columns = columns.astype(np.uint16 if packed.cols <= 65536 else np.int32)
    values, offsets = packed.values.numpy(), packed.offsets.numpy()
    added = None if bias is None else bias.detach().to(torch.float32).numpy()[:, None]

    def run(x: Tensor, y: Tensor, batch: int) -> None:
        wide = np.ascontiguousarray(x.detach().to(torch.float32).reshape(batch, packed.cols).numpy().T)
        total = np.empty((packed.rows, batch), np.float32)
        loops.index_rows(values, columns, offsets, wide, total)
        y.copy_(torch.from_numpy((total if added is None else total + added).T).reshape(y.shape))

    return run


def _check_bias(bias: Tensor | None, rows: int) -> None:
    if bias is not None and tuple(bias.shape) != (rows,):
        raise FewerError(f"bias has shape {tuple(bias.shape)}, expected ({rows},)")


def _at(array: Tensor | None) -> int:
    return 0 if array is None else array.data_ptr()
