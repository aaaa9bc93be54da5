"""What solvers have compiled, where the extension was built and the arrays lie in this machine's memory.

FEWER_TIER=dense, numba or portable turns it off; extension-avx2 and extension-portable choose its instruction set.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from array_api_compat import array_namespace, device, is_numpy_array, is_torch_array

from fewer.types import Array, Mask

__all__ = ["address", "can_run", "in_memory", "run", "solve_rows", "spread"]

R = TypeVar("R")

_OFF = ("dense", "numba", "portable")
_PREFIX = "extension-"
#: Less work than this (multiplications) is not worth a thread.
_SMALL = 2e7


@cache
def _extension() -> Any | None:
    """The extension with its levels, or None when it is missing or of an older version."""
    try:
        module = importlib.import_module("fewer._native")
    except ImportError:
        return None
    return module if hasattr(module, "update_supports") else None


def _level() -> int | None:
    """Number of the instruction set to use, None for none."""
    module, wanted = _extension(), os.environ.get("FEWER_TIER", "")
    if module is None or wanted in _OFF:
        return None
    names = module.update_levels()
    name = wanted.removeprefix(_PREFIX)
    return names.index(name) if name in names else 0


def can_run(array: Array) -> bool:
    """Whether compiled functions take arrays like this one: numpy, or torch on the processor."""
    near = is_numpy_array(array) or (is_torch_array(array) and device(array).type == "cpu")
    return near and _level() is not None


def run(name: str, *arguments: Any) -> Any:
    """A function of the extension, at the level in force."""
    module, level = _extension(), _level()
    assert module is not None and level is not None, "ask `can_run` first"
    return getattr(module, f"update_{name}")(level, *arguments)


def solve_rows(matrix: Array, right: Array, mask: Mask) -> tuple[Array, Mask]:
    """Rows x with x zero off their support S and matrix[S, S] x[S] = right[S], by Cholesky in float64.

    Args:
        matrix: (n, n) symmetric.
        right: (rows, n).
        mask: (rows, n) bool, True on the support.

    Returns:
        (rows, n) float64, and (rows,) bool: True where a pivot was not positive and the row must be solved otherwise.
    """
    xp = array_namespace(matrix, right, mask)
    rows, columns = right.shape
    matrix, right = in_memory(matrix, xp.float64), in_memory(right, xp.float64)
    kept = in_memory(mask, xp.uint8)
    out, failed = xp.empty_like(right), xp.empty(rows, dtype=xp.uint8, device=device(right))
    addresses = address(matrix), address(right), address(kept), address(out), address(failed)

    def part(first: int, last: int) -> None:
        at, wide = first * columns, 8 * first * columns
        run(
            "supports", addresses[0], addresses[1] + wide, addresses[2] + at, last - first, columns,
            addresses[3] + wide, addresses[4] + first,
        )  # fmt: skip

    size = float(xp.sum(xp.astype(mask, xp.float64))) / max(1, rows)
    spread(part, rows, rows * size**3 / 3)
    return out, xp.astype(failed, xp.bool)


def in_memory(array: Array, dtype: Any = None) -> Array:
    """The array with its numbers in order in memory."""
    if dtype is not None:
        array = array_namespace(array).astype(array, dtype, copy=False)
    if is_torch_array(array):
        return array.detach().contiguous()
    import numpy as np

    return np.ascontiguousarray(array)


def address(array: Any) -> int:
    """Where the first number lies."""
    return int(array.data_ptr() if is_torch_array(array) else array.ctypes.data)


def spread(part: Callable[[int, int], R], count: int, work: float, multiple: int = 1) -> list[R]:
    """`part(first, last)` over ranges in multiples of something, on as many threads as torch would use.

    Without torch it is as many as OpenMP would use.
    """
    threads = _threads() if work > _SMALL else 1
    step = -(-count // (4 * threads * multiple)) * multiple
    if threads == 1 or step >= count:
        return [part(0, count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(part, range(0, count, step), [*range(step, count, step), count]))


def _threads() -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(said) if said.isdigit() else os.cpu_count() or 1)
