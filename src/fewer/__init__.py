"""fewer: keep what matters. Sparsity and importance, from a lasso to a language model.

The root is a table of contents; nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewer.method import FewerError, catalogue, find

__version__ = "0.1.0"

_HOMES = {
    "FewerError": "fewer.method",
    "catalogue": "fewer.method",
    "find": "fewer.method",
}

__all__ = ["FewerError", "catalogue", "find"]


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fewer' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Public names only."""
    return sorted([*__all__, "__version__"])
