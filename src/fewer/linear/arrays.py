"""Arrays that callers give: plain numbers of a known shape, or one line that names the argument."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Range, shown
from fewer.method import FewerError

__all__ = ["GRID", "Grid", "Ratio", "factors_of", "labels_of", "numbers_of", "plain", "refuse_masked"]

Vector = NDArray[np.float64]
#: Most penalties on a grid.
GRID = 100_000
Grid = Annotated[int, Range(1, GRID)]
#: The end of a grid relative to its start.
Ratio = Annotated[float, Range(0, 1, above=True)]
#: What arrays of other kinds hold.
_WORDS = {"U": "holds text", "S": "holds bytes", "c": "holds complex numbers", "M": "holds dates", "m": "holds times"}


def plain(value: Any, name: str) -> NDArray[Any]:
    """A dense numpy array of real numbers, of any shape; nothing is copied that need not be.

    Raises:
        FewerError: no array, or one of text, dates, complex numbers, objects, masked or sparse values.

    >>> plain([1, 2], "y")
    array([1, 2])
    >>> plain(["a"], "y")
    Traceback (most recent call last):
    fewer.method.FewerError: y holds text; give numbers
    """
    if hasattr(value, "tocsc"):
        raise FewerError(f"{name} is sparse; give a dense array")
    refuse_masked(value, name)
    try:
        found = np.asarray(value)
    except ValueError:
        raise FewerError(f"{name} has rows of different lengths; give numbers") from None
    if found.dtype == object and found.ndim and all(_number(item) for item in found.flat):
        found = found.astype(np.float64)
    if found.dtype.kind not in "biuf":
        raise FewerError(f"{name} {_kind(found)}; give numbers")
    return found


def refuse_masked(value: Any, name: str) -> None:
    """Refuse an array some of whose values are masked.

    Raises:
        FewerError: it has such values, with their number.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        masked = int(np.ma.getmaskarray(value).sum())
        raise FewerError(f"{name} has {masked} masked value(s), which would count; fill them")


def numbers_of(value: Any, name: str, shape: tuple[int, ...] | None = None) -> Vector:
    """The same in double precision, of a given shape.

    Raises:
        FewerError: see `plain`; or another shape.
    """
    found = np.ascontiguousarray(plain(value, name), dtype=np.float64)
    if np.ndim(value) == 0:
        found = found.reshape(())  # contiguous arrays of numpy have one dimension at least
    if shape is not None and found.shape != shape:
        wanted = f"{shape[0]} numbers" if len(shape) == 1 else f"an array of shape {shape}"
        raise FewerError(f"{name} has shape {found.shape}; give {wanted}")
    return found


def factors_of(value: Any, columns: int) -> Vector:
    """(p,) penalty factors in [0, inf]; None is all ones."""
    if value is None:
        return np.ones(columns)
    found = numbers_of(value, "factors", (columns,))
    wrong = np.flatnonzero(~(found >= 0))
    if len(wrong):
        raise FewerError(f"factors[{wrong[0]}] is {found[wrong[0]]:g}; penalty factors are numbers in [0, inf]")
    return found


def labels_of(value: Any, name: str) -> NDArray[Any]:
    """Labels as an array in which equal ones are equal: numbers, text, dates, or a mixture, which becomes codes.

    Raises:
        FewerError: no array, complex numbers, or a label that is missing.

    >>> labels_of(["a", 1, "a"], "groups")
    array([0, 1, 0])
    """
    if hasattr(value, "tocsc"):
        raise FewerError(f"{name} is sparse; give labels in a dense array")
    try:
        found = np.asarray(value)
        if not hasattr(value, "dtype") and found.dtype.kind in "US":  # a list with text in it has become all text
            found = np.asarray(value, dtype=object)
    except ValueError:
        raise FewerError(f"{name} has rows of different lengths; give one label each") from None
    if found.dtype.kind not in "biufOUSM" or (found.dtype == object and not found.ndim):
        raise FewerError(f"{name} {_kind(found)}; give labels: numbers or text")
    missing = np.array([item is None or item != item for item in found.flat], dtype=bool)
    if missing.any():
        raise FewerError(f"{name}[{int(np.argmax(missing))}] is missing; every one needs a label")
    if found.dtype != object:
        return found
    try:
        place: dict[Any, int] = {}
        codes = [place.setdefault((isinstance(item, str), item), len(place)) for item in found.flat]
    except TypeError:
        raise FewerError(f"{name} {_kind(found)}; give labels: numbers or text") from None
    return np.asarray(codes, dtype=np.int64).reshape(found.shape)


def _kind(value: Any) -> str:
    """What is wrong with an array, in words."""
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    if kind in _WORDS:
        return _WORDS[kind]
    if np.ndim(value) == 0:
        return f"is {_type_or_value(value.item() if isinstance(value, np.ndarray) else value)}"
    wrong = next((item for item in np.asarray(value, dtype=object).flat if not _number(item)), None)
    return f"holds {shown(wrong)}"


def _number(item: Any) -> bool:
    try:
        float(item)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(item, str | bytes)


def _type_or_value(value: Any) -> str:
    return shown(value) if value is None or isinstance(value, str | bytes) else f"a {type(value).__name__}"
