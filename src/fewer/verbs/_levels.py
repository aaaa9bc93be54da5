"""Levels of a sweep: their recipes, their names, and where a finished sweep keeps them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fewer.arguments import checked
from fewer.method import FewerError, find, nearest
from fewer.recipe import Recipe

__all__ = ["KEEPS", "level_named", "levels", "mark_of"]

KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


@checked
def levels(
    base: Recipe, keeps: Iterable[float] = KEEPS, patterns: Iterable[str] = (), budgets: Iterable[str] = ()
) -> dict[str, Recipe]:
    """The recipes of a sweep by name: every share under every budget, then every pattern that has its own share.

    A budget that finds the share itself, such as `tolerance`, is one level.

    >>> list(levels(Recipe(update="zero"), keeps=(0.5, 0.3), patterns=("2:4",)))
    ['keep 0.5', 'keep 0.3', '2:4']
    """
    found: dict[str, Recipe] = {}
    kinds = tuple(budgets) or (base.budget,)
    for budget in kinds:
        suffix = f" {budget}" if len(kinds) > 1 else ""
        if budget and "keep" not in find("budget", budget).needs:
            found[budget] = dataclasses.replace(base, keep=None, budget=budget)
            continue
        for keep in keeps:
            found[f"keep {keep:g}{suffix}"] = dataclasses.replace(base, keep=float(keep), budget=budget)
    for pattern in patterns:
        found[pattern] = dataclasses.replace(base, keep=None, pattern=pattern, within="", unit="", budget="")
    return found


def level_named(asked: str, known: Iterable[str], folder: str | Path) -> str:
    """The name of a level from what somebody calls it."""
    names = tuple(known)
    found = [name for name in names if name in (asked, f"keep {asked}")]
    with suppress(ValueError):
        found = found or [name for name in names if name == f"keep {float(asked.removeprefix('keep ')):g}"]
    if not found:
        raise FewerError(f"'{folder}' has no level '{asked}'{nearest(asked, names)}; it has: {', '.join(names)}")
    return found[0]


def mark_of(folder: Path) -> dict[str, Any]:
    """What `fewer.json` of a finished sweep says.

    Raises:
        FewerError: not the directory of a sweep.
    """
    try:
        mark = json.loads((folder / "fewer.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise FewerError(f"'{folder}' is not a sweep: it has no readable fewer.json") from None
    if not isinstance(mark, dict) or mark.get("kind") != "sweep" or not isinstance(mark.get("levels"), dict):
        raise FewerError(f"'{folder}' was not written by fewer sweep")
    return mark
