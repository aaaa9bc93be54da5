"""The numba tier: the two kernels that a compiler of plain loops does well. Imported only where numba is."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["columns_bf16", "columns_f32", "index_rows"]

_jit = numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, nogil=True)
_GROUP = 8


@_jit  # type: ignore[untyped-decorator, unused-ignore]
def _choose(x: Any, norms: Any, threshold: Any, active: Any) -> int:
    count = 0
    for j in range(x.shape[0]):
        worth = abs(x[j]) * norms[j] if norms.shape[0] else abs(x[j])
        if not (worth <= threshold):
            active[count] = j
            count += 1
    return count


@_jit  # type: ignore[untyped-decorator, unused-ignore]
def columns_f32(weight: Any, x: Any, norms: Any, threshold: Any, start: Any, y: Any) -> Any:
    """Set y to start + W x over the inputs with |x_j| * norm_j > threshold; weight is (in, out). Returns how many."""
    y[:] = start
    active = np.empty(x.shape[0], np.int64)
    count = _choose(x, norms, threshold, active)
    bulk = count // _GROUP * _GROUP
    for a in range(0, bulk, _GROUP):
        j0, j1, j2, j3 = active[a], active[a + 1], active[a + 2], active[a + 3]
        j4, j5, j6, j7 = active[a + 4], active[a + 5], active[a + 6], active[a + 7]
        w0, w1, w2, w3, w4, w5, w6, w7 = (
            weight[j0], weight[j1], weight[j2], weight[j3], weight[j4], weight[j5], weight[j6], weight[j7],
        )  # fmt: skip
        x0, x1, x2, x3, x4, x5, x6, x7 = x[j0], x[j1], x[j2], x[j3], x[j4], x[j5], x[j6], x[j7]
        for r in range(y.shape[0]):
            low = w0[r] * x0 + w1[r] * x1 + w2[r] * x2 + w3[r] * x3
            high = w4[r] * x4 + w5[r] * x5 + w6[r] * x6 + w7[r] * x7
            y[r] += low + high
    for a in range(bulk, count):
        row = weight[active[a]]
        factor = x[active[a]]
        for r in range(y.shape[0]):
            y[r] += row[r] * factor
    return count


@_jit  # type: ignore[untyped-decorator, unused-ignore]
def columns_bf16(weight: Any, x: Any, norms: Any, threshold: Any, start: Any, y: Any) -> Any:
    """As `columns_f32`, for a weight of bfloat16 bit patterns (uint16)."""
    y[:] = start
    active = np.empty(x.shape[0], np.int64)
    count = _choose(x, norms, threshold, active)
    bulk = count // _GROUP * _GROUP
    wide = np.empty(_GROUP, np.int64)
    for a in range(0, bulk, _GROUP):
        for g in range(_GROUP):
            wide[g] = active[a + g]
        w0, w1, w2, w3 = weight[wide[0]], weight[wide[1]], weight[wide[2]], weight[wide[3]]
        w4, w5, w6, w7 = weight[wide[4]], weight[wide[5]], weight[wide[6]], weight[wide[7]]
        x0, x1, x2, x3 = x[wide[0]], x[wide[1]], x[wide[2]], x[wide[3]]
        x4, x5, x6, x7 = x[wide[4]], x[wide[5]], x[wide[6]], x[wide[7]]
        for r in range(y.shape[0]):
            low = _wide(w0[r]) * x0 + _wide(w1[r]) * x1 + _wide(w2[r]) * x2 + _wide(w3[r]) * x3
            high = _wide(w4[r]) * x4 + _wide(w5[r]) * x5 + _wide(w6[r]) * x6 + _wide(w7[r]) * x7
            y[r] += low + high
    for a in range(bulk, count):
        row = weight[active[a]]
        factor = x[active[a]]
        for r in range(y.shape[0]):
            y[r] += _wide(row[r]) * factor
    return count


@numba.njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _wide(bits: Any) -> Any:
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@_jit  # type: ignore[untyped-decorator, unused-ignore]
def index_rows(values: Any, columns: Any, offsets: Any, x: Any, y: Any) -> None:
    """Set y[r] = sum over the kept k of row r of values[k] * x[columns[k]]; x is (in, batch), y (out, batch)."""
    batch = x.shape[1]
    if batch == 1:
        flat = x[:, 0]
        for r in range(y.shape[0]):
            total = np.float32(0.0)
            for k in range(offsets[r], offsets[r + 1]):
                total += values[k] * flat[columns[k]]
            y[r, 0] = total
        return
    for r in range(y.shape[0]):
        row = y[r]
        row[:] = 0.0
        for k in range(offsets[r], offsets[r + 1]):
            value = values[k]
            source = x[columns[k]]
            for b in range(batch):
                row[b] += value * source[b]
