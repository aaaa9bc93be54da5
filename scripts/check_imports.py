"""The import contract: each room may import only what stands before it, and the light rooms no array library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: From the bottom to the top; rooms in one row do not know each other.
ROWS: tuple[tuple[str, ...], ...] = (
    ("types", "toml_text"),
    ("method", "events", "_fast"),
    ("arguments",),
    ("listing", "compute"),
    ("pattern", "score", "penalty"),
    ("select",),
    ("budget",),
    ("update",),
    ("linear",),
    ("adapt",),
    ("evidence",),
    ("maskfile",),
    ("runtime",),
    ("input_recipe",),
    ("recipe",),
    ("feasible",),
    ("plan",),
    ("verbs",),
    ("report",),
    ("cli",),
    ("__main__",),
)
#: The version and the table of contents, and the paths of what ships with the package: everybody may ask for them.
FREE = frozenset({"", "demo"})
#: Packages that a room may not import at all.
FORBIDDEN = {
    **{
        room: ("torch", "numpy", "sklearn", "transformers", "scipy")
        for room in (
            "method",
            "types",
            "events",
            "toml_text",
            "input_recipe",
            "recipe",
            "listing",
            "compute",
            "arguments",
        )
    },
    **{room: ("torch", "sklearn", "transformers") for room in ("pattern", "score", "budget", "penalty", "select")},
    "linear": ("torch", "transformers"),
    "report": ("torch", "numpy", "sklearn", "transformers"),
}
#: Upward imports inside a function that are part of the design, with the reason.
ALLOWED = {
    ("method", "*"): "the catalogue imports the rooms by name when a name is looked up",
    ("verbs", "report"): "the result records offer to_text, to_json and to_html as a convenience",
}


def faults(source: Path) -> list[str]:
    """One line for every import that the contract forbids.

    Args:
        source: directory of the package.
    """
    level = {room: i for i, row in enumerate(ROWS) for room in row}
    found = []
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        room = "" if parts == ("__init__",) else parts[0]
        if room in FREE:
            continue
        if room not in level:
            found.append(f"{path}: room '{room}' has no place in scripts/check_imports.py")
            continue
        for line, module in imported(ast.parse(path.read_text("utf-8"))):
            fault = judge(room, module, level)
            if fault:
                found.append(f"{path}:{line}: {fault}")
    return found


def judge(room: str, module: str, level: dict[str, int]) -> str:
    """What is wrong with a room importing a module; empty if nothing is."""
    top, *rest = module.split(".")
    if top in FORBIDDEN.get(room, ()):
        return f"{room} may not import {top}"
    if top != "fewer":
        return ""
    other = rest[0] if rest else ""
    if other in FREE or other == room or (room, other) in ALLOWED or other not in level:
        return ""
    return "" if level[other] < level[room] else f"{room} imports {other}, which does not stand below it"


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import that runs; those for type checkers alone are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            yield from ((node.lineno, f"fewer.{n}" if node.module == "fewer" else node.module) for n in names)
        else:
            yield from imported(node)
