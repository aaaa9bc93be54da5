"""fewer: keep what matters. Sparsity and importance, from a lasso to a language model.

The root is a table of contents; nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewer import runtime
    from fewer.method import FewerError, Paper, catalogue, find
    from fewer.recipe import Recipe, load_recipe
    from fewer.verbs._given import load, text
    from fewer.verbs.bench import bench
    from fewer.verbs.compare import compare, race
    from fewer.verbs.evaluate import evaluate
    from fewer.verbs.pack import pack
    from fewer.verbs.prune import plan_for, prune, run
    from fewer.verbs.reopen import reopen
    from fewer.verbs.sweep import materialise, sweep

__version__ = "0.1.0"

_HOMES = {
    "FewerError": "fewer.method",
    "Paper": "fewer.method",
    "Recipe": "fewer.recipe",
    "bench": "fewer.verbs.bench",
    "catalogue": "fewer.method",
    "compare": "fewer.verbs.compare",
    "evaluate": "fewer.verbs.evaluate",
    "find": "fewer.method",
    "load": "fewer.verbs._given",
    "load_recipe": "fewer.recipe",
    "materialise": "fewer.verbs.sweep",
    "pack": "fewer.verbs.pack",
    "plan_for": "fewer.verbs.prune",
    "prune": "fewer.verbs.prune",
    "race": "fewer.verbs.compare",
    "reopen": "fewer.verbs.reopen",
    "run": "fewer.verbs.prune",
    "runtime": "fewer",
    "sweep": "fewer.verbs.sweep",
    "text": "fewer.verbs._given",
}

__all__ = [
    "FewerError",
    "Paper",
    "Recipe",
    "bench",
    "catalogue",
    "compare",
    "evaluate",
    "find",
    "load",
    "load_recipe",
    "materialise",
    "pack",
    "plan_for",
    "prune",
    "race",
    "reopen",
    "run",
    "runtime",
    "sweep",
    "text",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fewer' has no attribute '{name}'")
    import importlib

    if _HOMES[name] == "fewer":
        return importlib.import_module(f"fewer.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Public names only."""
    return sorted([*__all__, "__version__"])
