"""The catalogue at a glance: names and formulas read from the source, so that listing them imports no framework.

What a decorator says of a method (kind, name, status, formula) is written in literals; parsing them takes a tenth of a
second, importing every room takes torch and scikit-learn. Evidence and knobs are read from signatures, and for those
the module of that one method is imported. A test holds this list equal to the catalogue.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fewer.method import ROOMS, Method, find, load_extensions

__all__ = ["Listed", "listing"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One method as its decorator declares it; `module` holds it."""

    kind: str
    name: str
    module: str
    status: str
    formula: str
    summary: str

    @property
    def family(self) -> str:
        """Name of the file that holds it."""
        return self.module.rsplit(".", 1)[-1].removeprefix("_")

    def method(self) -> Method:
        """The catalogue's entry; imports its module."""
        importlib.import_module(self.module)
        return find(self.kind, self.name)


def listing() -> tuple[Listed, ...]:
    """Every method, sorted by kind and name; those of other packages are imported, as they have no place to be read.

    >>> next(entry.formula for entry in listing() if (entry.kind, entry.name) == ("score", "magnitude"))
    '|w|^power'
    """
    found = {(entry.kind, entry.name): entry for room in ROOMS for entry in _of_room(room)}
    for method in load_extensions():
        entry = Listed(
            method.kind, method.name, method.target.__module__, method.status, method.formula, method.summary
        )
        found.setdefault((entry.kind, entry.name), entry)
    return tuple(found[key] for key in sorted(found))


@cache
def _of_room(room: str) -> tuple[Listed, ...]:
    return tuple(_read_room(room))


def _read_room(room: str) -> Iterator[Listed]:
    package = Path(__file__).resolve().parent
    place = package / room.replace(".", "/")
    for path in sorted(place.glob("*.py")):
        text = path.read_text("utf-8")
        if "@method(" in text:
            module = ".".join(("fewer", *path.relative_to(package).with_suffix("").parts))
            for node in ast.parse(text).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    yield from (_entry(call, node, module) for call in node.decorator_list if _registers(call))


def _registers(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "method"


def _entry(call: ast.expr, node: ast.FunctionDef | ast.ClassDef, module: str) -> Listed:
    assert isinstance(call, ast.Call)
    kind, name = (str(ast.literal_eval(value)) for value in call.args[:2])
    said = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in ("status", "formula")}
    summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
    return Listed(kind, name, module, str(said.get("status", "exact")), str(said.get("formula", "")), summary)
