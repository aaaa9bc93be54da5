"""How large files and functions are, what files are called, and what a method costs."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

FILE_LIMIT = 400
FUNCTION_LIMIT = 40
DRAWERS = ("util", "utils", "common", "helper", "helpers", "misc")
#: Rooms whose functions may be long: solver loops read better in one piece.
SOLVERS = ("linear", "update", "runtime")
METHOD_ROOMS = ("pattern", "score", "budget", "penalty", "update")


def faults(source: Path) -> list[str]:
    """One line for every file or function that is too long or badly named."""
    found = []
    for path in sorted(source.rglob("*.py")):
        text = path.read_text("utf-8")
        if path.stem.strip("_") in DRAWERS:
            found.append(f"{path}: '{path.stem}' is a drawer; name the file after what stands in it")
        if len(text.splitlines()) > FILE_LIMIT:
            found.append(f"{path}: {len(text.splitlines())} lines; the limit is {FILE_LIMIT}")
        if path.relative_to(source).parts[0] in SOLVERS:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and body_lines(node) > FUNCTION_LIMIT:
                found.append(f"{path}:{node.lineno}: {node.name} has {body_lines(node)} lines; limit {FUNCTION_LIMIT}")
    return found


def twins(tests: Path) -> list[str]:
    """One line for every two test modules of one name: pytest would import one of them for both."""
    homes: dict[str, Path] = {}
    found = []
    for path in sorted(tests.rglob("*.py")):
        if path.stem in ("__init__", "conftest") or (path.parent / "__init__.py").exists():
            continue
        first = homes.setdefault(path.stem, path)
        if first != path:
            found.append(f"{path}: has the name of {first}; every test module needs a name of its own")
    return found


def numbers(source: Path) -> str:
    """Code lines a method (median and worst) in the rooms that hold methods, and the share of drawers."""
    from fewer.method import catalogue

    costs = {}
    for method in catalogue():
        if method.target.__module__.split(".")[1] in METHOD_ROOMS:
            costs[f"{method.kind} {method.name}"] = _cost(method.target.__module__, method.target.__name__, source)
    files = list(source.rglob("*.py"))
    drawers = sum(path.stem.strip("_") in DRAWERS for path in files)
    if not costs:
        return "no methods"
    worst = max(costs, key=costs.__getitem__)
    return (
        f"{len(costs)} methods, code lines a method: median {statistics.median(costs.values()):g}, "
        f"worst {costs[worst]} ({worst}); drawer share {drawers / len(files):.0%}"
    )


def code_lines(node: ast.FunctionDef | ast.ClassDef) -> int:
    """Lines of a definition without its docstring, from the `def` or `class` on."""
    end = node.end_lineno or node.lineno
    doc = node.body[0] if ast.get_docstring(node) is not None else None
    inside = 0 if doc is None else (doc.end_lineno or doc.lineno) - doc.lineno + 1
    if isinstance(node, ast.ClassDef):
        inside += sum(_doc_lines(part) for part in node.body if isinstance(part, ast.FunctionDef))
    return end - node.lineno + 1 - inside


def body_lines(node: ast.FunctionDef) -> int:
    """Lines between the signature and docstring and the end: a long list of options is no long function."""
    first = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or node.lineno) - first[0].lineno + 1 if first else 0


def _doc_lines(node: ast.FunctionDef) -> int:
    doc = node.body[0]
    return (doc.end_lineno or doc.lineno) - doc.lineno + 1 if ast.get_docstring(node) is not None else 0


def _cost(module: str, name: str, source: Path) -> int:
    path = source.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return code_lines(node)
    return 0
