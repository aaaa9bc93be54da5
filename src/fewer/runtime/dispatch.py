"""Which code runs: the extension at one of its instruction-set levels, numba, or masked dense torch.

Best first: `extension-avx512`, `extension-avx2`, `extension-portable`, `numba`, `dense`. The environment variable
`FEWER_TIER` forces one. A layer asks when it is first used and keeps the answer.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from fewer.method import FewerError, nearest

__all__ = ["VARIABLE", "level", "loop", "native", "tier", "tiers"]

#: Environment variable that forces a tier.
VARIABLE = "FEWER_TIER"
_PREFIX = "extension-"
_TORCH_LOOP, _OPENMP_LOOP = 1, 2


#: What the kernels of this version ask of the extension.
_FUNCTIONS = (
    "levels", "threads", "dense", "bitmask", "index", "blocks", "columns", "packed_columns", "cut", "unpack", "stream",
)  # fmt: skip


@cache
def native() -> ModuleType | None:
    """The compiled extension with its threads set up, or None where it was not built (or not since an update)."""
    try:
        extension = importlib.import_module("fewer._native")
    except ImportError:
        return None
    if not all(hasattr(extension, f"runtime_{name}") for name in _FUNCTIONS):
        return None
    extension.runtime_threads(*_parallel_loop())
    return extension


@cache
def tiers() -> tuple[str, ...]:
    """Tiers of this machine, best first; `dense` is always there.

    >>> tiers()[-1]
    'dense'
    """
    extension = native()
    found = [_PREFIX + name for name in extension.runtime_levels()] if extension else []
    if importlib.util.find_spec("numba") is not None:
        found.append("numba")
    return (*found, "dense")


def tier() -> str:
    """The tier that a layer made now will use: the best one, or what `FEWER_TIER` names.

    Raises:
        FewerError: the variable names a tier that this machine does not have.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return tiers()[0]
    if wanted not in tiers():
        hint, known = nearest(wanted, tiers()), ", ".join(tiers())
        raise FewerError(f"{VARIABLE}={wanted} is not a tier of this machine{hint}; it has: {known}")
    return wanted


def level(name: str) -> int | None:
    """Number of an extension tier as the extension counts it; None for the other tiers."""
    extension = native()
    if extension is None or not name.startswith(_PREFIX):
        return None
    return int(extension.runtime_levels().index(name.removeprefix(_PREFIX)))


def loop() -> str:
    """Whose threads the kernels use: torch's pool, the OpenMP library that torch has loaded, or none.

    >>> loop() in ("torch's pool", "OpenMP", "one thread")
    True
    """
    if native() is None:
        return "torch's pool"
    return {_TORCH_LOOP: "torch's pool", _OPENMP_LOOP: "OpenMP"}.get(_parallel_loop()[0], "one thread")


def _parallel_loop() -> tuple[int, int, int]:
    """Addresses of a parallel loop over threads that torch has already made, and of its count of threads.

    Torch 2.10 and newer export their own as plain C functions. Older ones come with an OpenMP library, whose entry
    points are as stable; that one, already loaded, is used, so that no second pool of threads appears.
    """
    lib = Path(torch.__file__).parent / "lib"
    try:
        torch_cpu = ctypes.CDLL(str(lib / "libtorch_cpu.so"))
        return _TORCH_LOOP, _address(torch_cpu.torch_parallel_for), _address(torch_cpu.torch_get_num_threads)
    except (OSError, AttributeError):
        return openmp_loop()


def openmp_loop() -> tuple[int, int, int]:
    """The loop of the OpenMP library that is loaded in this process, or zeros: then everything runs in one thread."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        found = re.search(r"(/\S*libgomp\S*\.so\S*)", maps)
        if found is None:
            return 0, 0, 0
        library = ctypes.CDLL(found.group(1))
        return _OPENMP_LOOP, _address(library.GOMP_parallel), _address(library.omp_get_max_threads)
    except (OSError, AttributeError):
        return 0, 0, 0


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
