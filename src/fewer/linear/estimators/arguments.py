"""Arguments of estimators, each refused by its own name; data, refused by argument, column and row."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import shown
from fewer.linear.arrays import GRID, refuse_masked
from fewer.linear.losses import Loss
from fewer.method import FewerError, nearest

__all__ = ["check_arguments", "faults_in", "penalties"]


def _real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= int(value) <= most


def _list(value: Any) -> bool:
    """Whether there may be several values in it."""
    try:
        return np.ndim(value) > 0
    except ValueError:  # rows of different lengths
        return True


def _truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _folds(value: Any) -> bool:
    """A number of folds, a splitter, or what can be gone through; what it holds is checked against the rows."""
    if value is None or isinstance(value, numbers.Number | np.generic):
        return value is None or _whole(value, 2)
    if isinstance(value, str | bytes | Mapping | Set) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return False
    return hasattr(value, "split") or isinstance(value, Iterable)


def _loss(value: Any) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, Loss) and not isinstance(value, type))


#: What one value may be, and the words for it.
_ONE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "n_alphas": (lambda v: _whole(v, 1, GRID), f"a whole number of penalties, at least 1 and at most {GRID:,}"),
    "eps": (lambda v: _real(v) and 0 < v <= 1, "the end of the grid relative to its start, in (0, 1]"),
    "tol": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "max_iter": (lambda v: _whole(v, 1, 2**31 - 1), "a whole number of rounds, at least 1"),
    "fit_intercept": (_truth, "True or False"),
    "standardize": (_truth, "True or False"),
    "positive": (_truth, "True or False"),
    "assume_centered": (_truth, "True or False"),
    "q": (lambda v: _real(v) and 0 < v < 1, "a quantile, between 0 and 1"),
    "smooth": (lambda v: _real(v) and v > 0, "a positive number"),
    "delta": (lambda v: _real(v) and v > 0, "a positive number"),
    "ridge": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "size": (lambda v: _whole(v, 1), "a whole number; at least one column must be allowed"),
    "max_size": (lambda v: v is None or _whole(v, 1), "None or a whole number, at least 1"),
    "n_jobs": (lambda v: v is None or (_whole(v, -4096, 4096) and v != 0), "None or a whole number, not 0"),
    "cv": (_folds, "None, a number of folds from 2, a splitter, or a list of pairs (training rows, held-out rows)"),
    "loss": (_loss, "None, a name, or a loss of fewer.linear"),
}  # fmt: skip
#: What each of one or, for a choice by cross-validation, of several values may be.
_EACH: dict[str, tuple[Callable[[Any], bool], str]] = {
    "l1_ratio": (lambda v: _real(v) and 0 <= v <= 1, "a share, in [0, 1]"),
    "phi": (lambda v: _real(v) and 0 <= v <= 1, "a share, in [0, 1]"),
    "sparse": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "gamma": (lambda v: _real(v) and v > 0, "a positive number"),
}  # fmt: skip
_NAMES = {"rule": ("min", "1se"), "ties": ("breslow", "efron"), "pilot": ("ridge", "lasso")}


def check_arguments(model: Any) -> None:
    """Refuse an argument that no data could satisfy.

    Raises:
        FewerError: one line with the argument's name, its value, and what it may be.
    """
    many = hasattr(model, "cv")
    for name, value in model.get_params(deep=False).items():
        if name in _NAMES and not (isinstance(value, str) and value in _NAMES[name]):
            known, hint = _NAMES[name], nearest(value, _NAMES[name]) if isinstance(value, str) else ""
            raise FewerError(f"unknown {name} {shown(value)}{hint}; known: {', '.join(known)}")
        if isinstance(value, np.generic):
            value = value.item()  # shown as it would be typed
        if name in _ONE and not _ONE[name][0](value):
            raise FewerError(f"{name} is {shown(value)}; it must be {_ONE[name][1]}")
        if name in _EACH:
            _check_each(name, value, many)
        if name == "alphas":
            penalties(value)


def _check_each(name: str, value: Any, many: bool) -> None:
    good, words = _EACH[name]
    if not _list(value) or not many:
        if not good(value):
            raise FewerError(f"{name} is {shown(value)}; it must be {words}{', or several' if many else ''}")
        return
    if not len(value):
        raise FewerError(f"{name} is empty; it must be {words}, or several")
    for at, one in enumerate(value):
        if not good(one):
            raise FewerError(f"{name}[{at}] is {shown(one)}; it must be {words}")


def penalties(alphas: Any) -> NDArray[np.float64] | int | None:
    """`alphas` as scikit-learn reads it: None, a whole number for the length of a grid, or the penalties themselves.

    >>> penalties(100), penalties([0.5, 1])
    (100, array([0.5, 1. ]))
    """
    if alphas is None or _whole(alphas, 1, GRID):
        return alphas if alphas is None else int(alphas)
    if not _list(alphas) or (isinstance(alphas, np.ndarray) and alphas.ndim > 1):
        raise FewerError(f"alphas is {shown(alphas)}; it must be a list of penalties, or how many: a whole number")
    if not len(alphas):
        raise FewerError("alphas is empty; it must hold one penalty at least")
    for at, one in enumerate(alphas):
        if not (_real(one) and one >= 0):
            raise FewerError(f"alphas[{at}] is {shown(one)}; penalties are finite numbers that are not negative")
    return np.asarray(alphas, dtype=np.float64)


@contextmanager
def faults_in(name: str, value: Any) -> Iterator[None]:
    """What scikit-learn refuses, in one line that names the argument, and the column and row where they are known.

    Raises:
        FewerError: for a ValueError, and for what scikit-learn would take for numbers: dates and masked values.
        TypeError: where scikit-learn raises one.
    """
    _refuse_silent(name, value)
    try:
        yield
    except (ValueError, TypeError) as error:
        found = _fault(name, value)
        text = re.sub(r"\[[^A-Za-df-ik-z]*\]", "[...]", " ".join(str(error).split()))
        if not re.search(rf"\b{name}\b", text):
            text = f"{name}: {text}"
        kind = TypeError if isinstance(error, TypeError) and not found else FewerError
        raise kind(found or (text if len(text) <= 300 else text[:297] + "...")) from None


def _refuse_silent(name: str, value: Any) -> None:
    """What would become numbers without a word."""
    refuse_masked(value, name)
    kinds = getattr(value, "dtypes", getattr(getattr(value, "schema", None), "types", getattr(value, "dtype", "")))
    names = _columns(value)
    for at, kind in enumerate(kinds if isinstance(kinds, Iterable) and not isinstance(kinds, str) else [kinds]):
        if str(kind).lower().startswith(("date", "time", "duration", "period", "interval")):
            where = f"column '{names[at]}' of {name}" if len(names) > at else name
            raise FewerError(f"{where} holds dates or times; make them numbers")
    twice = [column for column in names if names.count(column) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise FewerError(f"{name} has {names.count(twice[0])} columns named '{twice[0]}'; give each a name of its own")


def _columns(value: Any) -> list[Any]:
    """Names of the columns of a data frame; none elsewhere."""
    names = getattr(value, "column_names", getattr(value, "columns", None))
    return [] if names is None else list(names)


def _fault(name: str, value: Any) -> str:
    """The first value that is no finite number; empty where there is none, or where that cannot be said."""
    names = _columns(value)
    if names:
        return next((found for column in names if (found := _of_column(name, column, value[column]))), "")
    if (
        hasattr(value, "tocsc")
        or not isinstance(value, np.ndarray)
        or value.dtype.kind != "f"
        or value.ndim not in (1, 2)
    ):
        return ""
    wrong = np.argwhere(~np.isfinite(value))
    if not len(wrong):
        return ""
    where = f"column {wrong[0][1]} of {name}" if value.ndim == 2 else name
    words = "NaN" if np.isnan(value[tuple(wrong[0])]) else "infinite"
    return f"{where} is {words} in row {wrong[0][0]}; give finite numbers"


def _of_column(name: str, column: Any, values: Any) -> str:
    for row, value in enumerate(np.asarray(values, dtype=object)):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number, words = math.nan, "no number" if value is not None else "missing"
        else:
            words = "missing" if math.isnan(number) else "infinite"
        if not math.isfinite(number):
            text = f" ({str(value)[:40]!r})" if words == "no number" else ""
            return f"column '{column}' of {name} is {words}{text} in row {row}; give finite numbers, or leave it out"
    return ""
