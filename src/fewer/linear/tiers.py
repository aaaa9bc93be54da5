"""Which kernels run: the compiled extension, or numpy with the same answers.

FEWER_TIER=dense or portable forces numpy; anything else takes the extension where it was built.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["native"]

_KERNELS = (
    "concave_path",
    "csc_tdot",
    "extremes",
    "glm_path",
    "gram_block",
    "gram_path",
    "joint_newton",
    "residual_path",
)
_loaded: list[Any] = []


def native() -> Any | None:
    """The extension, or None when it is missing or turned off."""
    if os.environ.get("FEWER_TIER") in ("dense", "portable"):
        return None
    if not _loaded:
        try:
            module = importlib.import_module("fewer._native")
        except ImportError:
            module = None
        # One built from older sources counts as missing.
        _loaded.append(module if all(hasattr(module, name) for name in _KERNELS) else None)
    return _loaded[0]
