"""The catalogue: what fewer can do, by name.

A method is a function (or a frozen dataclass, where several operations share parameters). One decorator records
what a machine needs to know about it and returns the same object, unchanged: people import functions; the command
line, recipes, reports, docs and the test battery read the catalogue.

    @method("score", "wanda", papers=[Paper("A Simple ...", 2023, "2306.11695")], formula="|w| ||x||_2", unit="weight")
    def wanda(weight, input_norm, /, *, power=1.0): ...

The positional-only parameters of a function name the evidence it needs; its keyword-only parameters are its knobs.
Neither is written a second time.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

__all__ = [
    "FewerError",
    "Method",
    "Paper",
    "catalogue",
    "citations",
    "find",
    "load_extensions",
    "matches",
    "method",
    "nearest",
]

F = TypeVar("F", bound=Callable[..., Any])
Status = Literal["exact", "variant", "ours"]

#: Rooms whose import fills the catalogue. Each room lists its own methods; no folder is scanned.
ROOMS = (
    "pattern", "score", "budget", "penalty", "update", "evidence", "linear", "linear.factors", "linear.estimators",
    "runtime", "verbs",
)  # fmt: skip

#: Where the methods of a kind stand, if their room has another name: a name is found without loading every room.
HOMES = {
    "schedule": "budget", "combine": "score", "factors": "linear.factors", "estimator": "linear.estimators",
    "input-score": "score", "input-cut": "score", "input-budget": "score",
}  # fmt: skip

#: Entry-point group through which other packages add methods.
ENTRY_POINTS = "fewer.methods"


class FewerError(ValueError):
    """A fault in what the user gave: one line saying what was wrong, where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication: title as printed, year, and arXiv number where it has one."""

    title: str
    year: int
    arxiv: str = ""

    def __str__(self) -> str:
        """One line of a reference list."""
        return f"{self.title} ({self.year})" + (f", arXiv:{self.arxiv}" if self.arxiv else "")


@dataclass(frozen=True, slots=True)
class Method:
    """One entry of the catalogue; `target` is the registered function or class itself."""

    kind: str
    name: str
    target: Callable[..., Any]
    papers: tuple[Paper, ...]
    formula: str
    unit: str
    status: Status
    note: str
    within: str = ""
    writes: tuple[str, ...] = ("weight",)

    @property
    def family(self) -> str:
        """Name of the file that holds it: methods of one family share a file."""
        return self.target.__module__.rsplit(".", 1)[-1].removeprefix("_")

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.target) or "").split("\n", 1)[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the positional-only parameters: the evidence it needs."""
        return tuple(p.name for p in self._parameters() if p.kind is p.POSITIONAL_ONLY)

    @property
    def knobs(self) -> dict[str, Any]:
        """Keyword-only parameters (fields, for a class) and their defaults; `...` marks one without a default."""
        wanted = inspect.Parameter.KEYWORD_ONLY
        free = isinstance(self.target, type)
        return {
            p.name: ... if p.default is p.empty else p.default
            for p in self._parameters()
            if p.kind is wanted or (free and p.kind is p.POSITIONAL_OR_KEYWORD)
        }

    def _parameters(self) -> Iterable[inspect.Parameter]:
        return inspect.signature(self.target).parameters.values()

    def check_knobs(self, given: Mapping[str, Any]) -> None:
        """Raise `FewerError` for a knob that this method does not have, or a value of another type than its default."""
        for name, value in given.items():
            if name not in self.knobs:
                known = ", ".join(self.knobs) or "none"
                raise FewerError(
                    f"{self.kind} '{self.name}' has no option '{name}'{nearest(name, self.knobs)}; it has: {known}"
                )
            wanted = _wanted(self.knobs[name], value)
            if wanted:
                text = json.dumps(value, default=str, ensure_ascii=False)
                shown = text if len(text) <= 60 else text[:57] + "..."
                raise FewerError(f"{self.kind} '{self.name}': option '{name}' is {shown}, which is not {wanted}")


def _wanted(default: Any, value: Any) -> str:
    """What a value should have been to stand for this default, or an empty string where it may."""
    if type(default) is tuple:
        numbers = isinstance(value, list | tuple) and all(type(item) in (int, float) for item in value)
        return "" if numbers else "a list of numbers"
    kinds: dict[type, tuple[tuple[type, ...], str]] = {
        bool: ((bool,), "true or false"),
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        str: ((str,), "text"),
    }
    legal, words = kinds.get(type(default), ((object,), ""))
    good = isinstance(value, legal) and (type(default) is bool or not words or not isinstance(value, bool))
    return "" if good else words


_entries: dict[tuple[str, str], Method] = {}
_loaded = False
_extensions: tuple[Method, ...] | None = None


def method(
    kind: str,
    name: str,
    *,
    papers: Iterable[Paper] = (),
    formula: str = "",
    unit: str = "",
    status: Status = "exact",
    note: str = "",
    within: str = "",
    writes: tuple[str, ...] = ("weight",),
) -> Callable[[F], F]:
    """Register a function or class under `(kind, name)` and return it unchanged.

    Args:
        kind: score, pattern, budget, schedule, penalty, update, evidence, ...
        name: the field's own name, lower case with hyphens.
        papers: where it comes from; empty for a folk method.
        formula: the rule in one line of plain text.
        unit: what one value stands for (weight, row, channel, layer, ...).
        status: `exact` (the paper's rule, element for element), `variant` (a stated difference), `ours`.
        note: the stated difference, or what was checked against what.
        within: who competes with whom by the paper's own habit (a score); empty stands for the layer.
        writes: the parameters of a layer that it changes (an update); a layer without one of them is refused.

    Raises:
        FewerError: the name is not lower-case words, or is already taken (both places are named).
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise FewerError(f"method name '{name}' must be lower-case words joined by hyphens")

    def register(target: F) -> F:
        old = _entries.get((kind, name))
        if old is not None and (old.target.__module__, old.target.__qualname__) != (
            target.__module__,
            target.__qualname__,
        ):
            places = f"{old.target.__module__}.{old.target.__qualname__} and {target.__module__}.{target.__qualname__}"
            raise FewerError(f"{kind} '{name}' is registered twice: {places}")
        _entries[kind, name] = Method(kind, name, target, tuple(papers), formula, unit, status, note, within, writes)
        return target

    return register


def catalogue(kind: str | None = None) -> tuple[Method, ...]:
    """Every registered method, sorted by kind and name; `kind` narrows it."""
    _load()
    return tuple(m for key, m in sorted(_entries.items()) if kind in (None, key[0]))


def find(kind: str, name: str) -> Method:
    """The method of that kind and name; a score may also be an expression of scores, such as `sum(wanda, magnitude)`.

    Raises:
        FewerError: unknown name; the message suggests the nearest ones.
    """
    if not (isinstance(kind, str) and isinstance(name, str)):
        given = type(name if isinstance(kind, str) else kind).__name__
        raise FewerError(f"a method is found by its kind and its name, which are texts, not by a {given}")
    if kind == "score" and ("(" in name or _combines(name)):
        made: Method = importlib.import_module("fewer.score.expression").composed(name)
        return made
    room = HOMES.get(kind, kind)
    if (kind, name) not in _entries and room in ROOMS:
        _import(room)
    if (kind, name) not in _entries:
        load_extensions()
    if (kind, name) not in _entries and room not in ROOMS:
        _load()
    if (kind, name) not in _entries:
        names = [n for k, n in _entries if k == kind]
        raise FewerError(f"unknown {kind} '{name}'{nearest(name, names)}; `fewer methods --kind {kind}` lists them")
    return _entries[kind, name]


def _combines(name: str) -> bool:
    """Whether a name is that of a combinator, which is a score only with others in its brackets."""
    _import("score")
    return ("combine", name) in _entries


def matches(name: str, pattern: str) -> bool:
    """Whether a glob matches a layer's name; brackets are literal, because `experts.down_proj[3]` is a name.

    >>> matches("experts.down_proj[3]", "*.down_proj[3]"), matches("experts.down_proj[3]", "*[[]3]")
    (True, True)
    """
    return fnmatchcase(name, pattern.replace("[[]", "[").replace("[", "[[]"))


def nearest(name: str, names: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"` for the up to three nearest names, or an empty string.

    >>> nearest("wnada", ["wanda", "magnitude"])
    "; did you mean 'wanda'?"
    """
    close = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def citations(methods: Iterable[Method]) -> list[str]:
    """The distinct papers behind some methods, one line each, in order of appearance."""
    return list(dict.fromkeys(str(paper) for m in methods for paper in m.papers))


def load_extensions() -> tuple[Method, ...]:
    """Import what other packages registered through the entry-point group, once; returns their methods."""
    global _extensions
    if _extensions is None:
        from importlib.metadata import entry_points

        before = set(_entries)
        for entry in entry_points(group=ENTRY_POINTS):
            entry.load()
        _extensions = tuple(m for key, m in _entries.items() if key not in before and not _is_ours(m))
    return _extensions


def _is_ours(entry: Method) -> bool:
    return entry.target.__module__.split(".")[0] == "fewer"


def _load() -> None:
    """Import the rooms, then what other packages registered, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for room in ROOMS:
        _import(room)
    load_extensions()


def _import(room: str) -> None:
    """Import a room; one whose framework is not installed has no methods here."""
    try:
        importlib.import_module(f"fewer.{room}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "fewer":
            raise
