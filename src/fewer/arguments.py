"""Argument checks: what callers give, held against the annotations of functions and of records.

One gate for the whole package. A word means the same everywhere, so the range of a number goes by its name: `seed`,
`length` or `steps` have one range in every function and in the recipe. Numbers of numpy become plain ones on the way.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fewer.method import FewerError, nearest

__all__ = [
    "SYNONYMS", "Count", "NotNegative", "Positive", "Range", "Share", "check_fields", "check_path", "checked",
    "instead", "shown",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

_MANY = 2**31 - 1


@dataclass(frozen=True)
class Range:
    """Least and greatest value of a number, as metadata of its annotation: `Annotated[float, Range(0, 1)]`.

    Args:
        least: the smallest number that is right.
        greatest: the largest one; None for anything that is finite.
        above: whether `least` itself is too small.
    """

    least: float
    greatest: float | None = None
    above: bool = False

    def fault(self, value: float) -> str:
        """What a number should have been, or an empty string."""
        if math.isnan(value) or (math.isinf(value) and self.greatest is None):
            return "it must be a finite number" + (f" above {self.least}" if self.above else f", at least {self.least}")
        if value < self.least or (self.above and value == self.least):
            return f"it must be {'above' if self.above else 'at least'} {self.least}"
        if self.greatest is not None and value > self.greatest:
            return f"it must be at most {self.greatest:,}"
        return ""


#: A whole number of things of which there must be one.
Count = Annotated[int, Range(1, _MANY)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]

_AT_LEAST_ONE = Range(1, _MANY)
#: What a number may be, by the name that it has in every signature.
RANGES: dict[str, Range] = {
    "batch": _AT_LEAST_ONE, "batches": _AT_LEAST_ONE, "context": Range(2, _MANY), "eps": Range(0.0, 1.0),
    "indent": Range(0, 64), "length": _AT_LEAST_ONE, "max_levels": _AT_LEAST_ONE, "min_sparsity": Range(0.0, 1.0),
    "n_alphas": Range(1, 100_000), "prefills": Range(0, _MANY), "prompt": _AT_LEAST_ONE, "samples": _AT_LEAST_ONE,
    "seed": Range(0, 2**63 - 1), "slices": _AT_LEAST_ONE, "steps": Range(1, 10_000),
}  # fmt: skip
#: What a type is called in a message.
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "True or False", Path: "a path", type(None): "None",
    Mapping: "a mapping", Callable: "a function",
}  # fmt: skip
#: Words of other tools, and the argument that does the same.
SYNONYMS = {
    "sparsity": "keep", "ratio": "keep", "amount": "keep", "prune_ratio": "keep", "pruning_ratio": "keep",
    "dataset": "data", "nsamples": "samples", "num_samples": "samples", "seqlen": "length", "seq_len": "length",
    "output": "out", "output_dir": "out", "save": "out", "save_dir": "out", "method": "score",
    "prune_method": "score", "criterion": "score", "sparsity_type": "pattern", "exclude": "skip", "include": "only",
}  # fmt: skip
#: Those of them that count what is removed, where `keep` counts what stays.
REMOVED = ("sparsity", "ratio", "amount", "prune_ratio", "pruning_ratio")


def checked(function: F) -> F:
    """Check every argument of a function against its annotation, and call it with plain numbers.

    A type that is imported for type checkers alone is known by its name; `Array` is anything with a shape and a type.

    Raises:
        FewerError: an argument of another type or out of range, or a name that the function does not have.

    >>> @checked
    ... def double(steps: int) -> int:
    ...     return 2 * steps
    >>> double(2.5)
    Traceback (most recent call last):
    fewer.method.FewerError: steps is 2.5; it must be a whole number
    """
    signature = inspect.signature(function)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())

    @functools.wraps(function)
    def gate(*args: Any, **kwargs: Any) -> Any:
        unknown = [] if open_ended else [name for name in kwargs if name not in signature.parameters]
        if unknown:
            raise FewerError(_unknown(function.__name__, unknown[0], kwargs[unknown[0]], signature.parameters))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise FewerError(f"{function.__name__}: {error}") from None
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            hint = _hint(function, parameter)
            if parameter.kind is parameter.VAR_KEYWORD:
                continue  # another gate answers for them
            if parameter.kind is parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(_plain(name, item, hint) for item in value)
            elif value is not parameter.default:
                bound.arguments[name] = _plain(name, value, hint)
        return function(*bound.args, **bound.kwargs)

    return typing.cast(F, gate)


def check_fields(record: Any, prefix: str = "") -> None:
    """Check every field of a dataclass instance against its annotation; numbers and lists become plain in place.

    Args:
        record: the instance, from its `__post_init__`.
        prefix: stands before the names of fields in messages, as in `data.`.

    Raises:
        FewerError: a field of another type, or out of range.
    """
    hints = _hints_of(typing.cast(Hashable, type(record)))
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        plain = _plain(prefix + field.name, value, hints[field.name])
        if plain is not value:
            object.__setattr__(record, field.name, plain)


def shown(value: Any) -> str:
    """A value as it stands in a message: one line, not long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


@functools.cache
def _hints_of(record: Any) -> dict[str, Any]:
    return typing.get_type_hints(record, include_extras=True)


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    return _looked_up(function, parameter.annotation)


@functools.cache
def _looked_up(function: Callable[..., Any], annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if annotation == "Array" or not isinstance(annotation, str):
        return annotation
    return eval(annotation, function.__globals__, _Absent(function.__globals__))


class _Named(type):
    """Stands for a type that is not loaded where the annotation is: known by its name."""

    def __getattr__(cls, name: str) -> Any:
        return _Named(name, (), {})


class _Absent(dict[str, Any]):
    """Finds the names that a module does not have."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, name: str) -> Any:
        if name in self._known or hasattr(builtins, name):
            raise KeyError(name)
        return _Named(name, (), {})


def _unknown(function: str, name: str, value: Any, known: Iterable[str]) -> str:
    names = list(known)
    meant = SYNONYMS.get(name, "")
    if meant in names:
        hint = f"; did you mean {instead(name, meant, value, '{}={!r}')}?"
    else:
        hint = nearest(name, names) + f"; it has: {', '.join(names)}"
    return f"{function} has no argument '{name}'{hint}"


def instead(name: str, meant: str, value: Any, form: str) -> str:
    """What to write for another tool's word: the name that is meant, with its value where that can be told.

    >>> instead("sparsity", "keep", 0.7, "--{} {}")
    '--keep 0.3'
    """
    try:
        removed = name.replace("-", "_") in REMOVED and 0.0 <= float(value) < 1.0
    except (TypeError, ValueError):
        removed = False
    return form.format(meant, float(f"{1 - float(value):.6g}") if removed else value)


def _plain(name: str, value: Any, hint: Any) -> Any:
    """The value in its plain form, or an error that names it."""
    found = _fit(name, value, hint)
    if found is _UNFIT:
        one = isinstance(value, str) and _words(hint) == "a list of texts"
        hint_of_one = f": give a list, [{value!r}]" if one else ""
        raise FewerError(f"{name} is {_type_or_value(value)}; it must be {_words(hint)}{hint_of_one}")
    if Path in typing.get_args(hint) and isinstance(found, str | Path):
        check_path(name, found)
    return found


_UNFIT = object()


def _fit(name: str, value: Any, hint: Any) -> Any:
    """The plain value if it fits the hint, else `_UNFIT`; a number out of its range is an error at once."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if hint == "Array":
        return value if hasattr(value, "dtype") and len(getattr(value, "shape", ())) else _UNFIT
    if origin is Annotated:
        # A range of its own stands in place of that of the name.
        found = _number("", value, inner[0]) if inner[0] in (int, float) else _fit(name, value, inner[0])
        return _within(name, found, inner[1:])
    if origin in (types.UnionType, typing.Union):
        tries = (_fit(name, value, part) for part in inner)
        return next((found for found in tries if found is not _UNFIT), _UNFIT)
    if origin is typing.Literal:
        return value if isinstance(value, str) and value in inner else _UNFIT
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(name, value, inner)
    if origin is Callable:
        return value if callable(value) else _UNFIT
    if origin is tuple and inner[-1] is not Ellipsis:
        fits = isinstance(value, Sequence) and len(value) == len(inner)
        return _several(name, value, inner) if fits else _UNFIT
    if origin is Iterable and inner == (Any,):  # It may be read only once, and is large.
        return value if _iterates(value) and not isinstance(value, str | bytes | set) else _UNFIT
    if origin in (tuple, Sequence, Iterable):
        return _several(name, value, inner[:1])
    if isinstance(origin, type):
        return value if isinstance(value, origin) else _UNFIT
    return _single(name, value, hint)


def _iterates(value: Any) -> bool:
    try:
        iter(value)
    except TypeError:
        return False
    return True


def _within(name: str, value: Any, ranges: tuple[Any, ...]) -> Any:
    """The value, unless it is a number out of one of the ranges."""
    for limits in ranges if value is not _UNFIT else ():
        fault = limits.fault(value)
        if fault:
            raise FewerError(f"{name} is {value}; {fault}")
    return value


def _single(name: str, value: Any, hint: Any) -> Any:
    if isinstance(value, type) and isinstance(hint, type) and not issubclass(hint, type):
        return _UNFIT  # a class in the place of one of its instances
    if hint in (None, type(None)):
        return None if value is None else _UNFIT
    if hint is bool:
        return bool(value) if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_") else _UNFIT
    if hint in (int, float):
        return _number(name, value, hint)
    if isinstance(hint, _Named):
        return value if hint.__name__ in {base.__name__ for base in type(value).__mro__} else _UNFIT
    return value if not isinstance(hint, type) or isinstance(value, hint) else _UNFIT


def _number(name: str, value: Any, hint: type) -> Any:
    """A plain number in the range that its name has."""
    wanted = numbers.Integral if hint is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, wanted):
        return _UNFIT
    plain = int(value) if isinstance(value, numbers.Integral) else float(value)
    limits = RANGES.get(name.rpartition(".")[2].partition("[")[0])
    if limits is None:
        return plain
    return _UNFIT if math.isnan(plain) else _within(name, plain, (limits,))


def check_path(name: str, value: str | Path) -> None:
    """Refuse what no file system can look up.

    Raises:
        FewerError: a null character, or a part too long for the name of a file.
    """
    text = str(value)
    if "\0" in text:
        raise FewerError(f"{name} is {shown(text)}; a path holds no null character")
    if any(len(os.fsencode(part)) > 255 for part in text.split(os.sep)):
        raise FewerError(f"{name} is {shown(text)}: too long for the name of a file")


def _several(name: str, value: Any, inner: tuple[Any, ...]) -> Any:
    """A tuple of plain values, of one type or each of its own; a text is not a list of its letters."""
    if isinstance(value, str | bytes | Mapping | set) or not isinstance(value, Iterable):
        return _UNFIT
    if isinstance(value, tuple) and inner in ((int,), (float,)) and all(type(item) is inner[0] for item in value):
        return value  # long lists of plain numbers are not looked at one by one
    try:
        found = tuple(_fit(f"{name}[{at}]", item, inner[at % len(inner)]) for at, item in enumerate(value))
    except TypeError:
        return _UNFIT
    if any(item is _UNFIT for item in found):
        return _UNFIT
    return value if isinstance(value, tuple) and all(x is y for x, y in zip(found, value, strict=True)) else found


def _mapping(name: str, value: Any, inner: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        return _UNFIT
    if inner and inner[0] is str and not all(isinstance(key, str) for key in value):
        return _UNFIT
    hint = inner[1] if len(inner) > 1 else Any
    found = {key: _fit(f"{name}.{key}", item, hint) for key, item in value.items()}
    return _UNFIT if any(item is _UNFIT for item in found.values()) else value


def _type_or_value(value: Any) -> str:
    plain = value is None or isinstance(value, str | bytes | numbers.Number | list | tuple | dict | Path)
    return shown(value) if plain else f"a {type(value).__name__}"


def _words(hint: Any) -> str:
    """What a hint asks for, in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint == "Array":
        return "an array of one or more dimensions"
    if origin is Annotated:
        return _words(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_words(part) for part in inner))
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in inner)
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a pair of {_plural(inner[0])}"
    if origin in (tuple, Sequence, Iterable):
        return f"a list of {_plural(inner[0])}"
    known = _WORDS.get(origin or hint)
    if known is None and isinstance(origin, type) and issubclass(origin, Mapping):
        known = "a mapping by name"
    return known or f"a {getattr(hint, '__name__', hint)}"


def _plural(hint: Any) -> str:
    """The same for several."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _plural(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_plural(part) for part in inner))
    many = {str: "texts", int: "whole numbers", float: "numbers"}
    return many.get(hint, f"{getattr(hint, '__name__', 'value')}s")
