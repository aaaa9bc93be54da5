"""Arguments of estimators, each refused by its own name; columns of a data frame, refused by theirs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.method import FewerError, nearest

__all__ = ["check_arguments", "faults_by_column", "penalties"]


def _real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


def _shown(value: Any) -> str:
    """A value as it would be typed."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


#: What one value may be, and the words for it.
_ONE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "n_alphas": (lambda v: _whole(v, 1), "a whole number of penalties, at least 1"),
    "eps": (lambda v: _real(v) and 0 < v <= 1, "the end of the grid relative to its start, in (0, 1]"),
    "tol": (lambda v: _real(v) and v >= 0, "a number that is not negative"),
    "max_iter": (lambda v: _whole(v, 1), "a whole number of rounds, at least 1"),
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
    "n_jobs": (lambda v: v is None or isinstance(v, numbers.Integral), "None or a whole number"),
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
        if name in _NAMES and value not in _NAMES[name]:
            known = _NAMES[name]
            raise FewerError(f"unknown {name} '{value}'{nearest(str(value), known)}; known: {', '.join(known)}")
        if name in _ONE and not _ONE[name][0](value):
            raise FewerError(f"{name} is {_shown(value)}; it must be {_ONE[name][1]}")
        if name in _EACH:
            _check_each(name, value, many)
        if name == "alphas":
            penalties(value)


def _check_each(name: str, value: Any, many: bool) -> None:
    good, words = _EACH[name]
    if np.ndim(value) == 0 or not many:
        if not good(value):
            raise FewerError(f"{name} is {_shown(value)}; it must be {words}{', or several' if many else ''}")
        return
    if not len(value):
        raise FewerError(f"{name} is empty; it must be {words}, or several")
    for at, one in enumerate(value):
        if not good(one):
            raise FewerError(f"{name}[{at}] is {_shown(one)}; it must be {words}")


def penalties(alphas: Any) -> NDArray[np.float64] | int | None:
    """`alphas` as scikit-learn reads it: None, a whole number for the length of a grid, or the penalties themselves.

    >>> penalties(100), penalties([0.5, 1])
    (100, array([0.5, 1. ]))
    """
    if alphas is None or _whole(alphas, 1):
        return alphas if alphas is None else int(alphas)
    if np.ndim(alphas) != 1:
        raise FewerError(f"alphas is {_shown(alphas)}; it must be a list of penalties, or how many: a whole number")
    if not len(alphas):
        raise FewerError("alphas is empty; it must hold one penalty at least")
    for at, one in enumerate(alphas):
        if not (_real(one) and one >= 0):
            raise FewerError(f"alphas[{at}] is {_shown(one)}; penalties are finite numbers that are not negative")
    return np.asarray(alphas, dtype=np.float64)


@contextmanager
def faults_by_column(X: Any) -> Iterator[None]:
    """What scikit-learn refuses in a data frame, with the name of the column and the row."""
    try:
        yield
    except (ValueError, TypeError):
        found = _fault(X)
        if found:
            raise FewerError(found) from None
        raise


def _fault(X: Any) -> str:
    """The first value of a data frame that is no finite number; empty where there is none, or no frame."""
    names = getattr(X, "column_names", getattr(X, "columns", None))
    for name in [] if names is None or len(set(names)) < len(names) else list(names):
        for row, value in enumerate(np.asarray(X[name], dtype=object)):
            try:
                number = float(value)
            except (TypeError, ValueError):
                number, words = math.nan, "no number" if value is not None else "missing"
            else:
                words = "missing" if math.isnan(number) else "infinite"
            if not math.isfinite(number):
                shown = f" ({str(value)[:40]!r})" if words == "no number" else ""
                return f"column '{name}' of X is {words}{shown} in row {row}; give finite numbers, or leave it out"
    return ""
