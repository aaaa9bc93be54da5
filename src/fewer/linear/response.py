"""What is to be explained: the target of each family, events, row weights; each checked by what its family allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewer.linear.files import numbers
from fewer.linear.matrix import refuse_extremes
from fewer.method import FewerError

__all__ = ["CLASSES", "codes", "event_column", "label_codes", "possible", "target_column", "weight_column"]

CLASSES = ("binomial", "multinomial", "ordinal")


def target_column(column: Any, name: str, family: str, levels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Target values, and the labels behind class codes."""
    if column.null_count:
        raise FewerError(
            f"target '{name}' has {column.null_count} missing value(s); leave their rows out with --missing drop"
        )
    if family in CLASSES:
        return codes(column.to_pylist(), name, family, levels or _own_order(column))
    try:
        y = numbers(column, f"target '{name}'")
    except TypeError:
        raise FewerError(f"target '{name}' is not a number; for classes use --family binomial or multinomial") from None
    return possible(y, name, family), ()


def possible(y: np.ndarray, name: str, family: str) -> np.ndarray:
    """The numbers of a target, if its family allows them."""
    if not np.isfinite(y).all():
        raise FewerError(f"target '{name}' is not finite in row {int(np.flatnonzero(~np.isfinite(y))[0]) + 1}")
    refuse_extremes(y[:, None], lambda _: f"target '{name}'")
    if family == "poisson" and (y < 0).any():
        raise FewerError(f"target '{name}' has negative counts (row {int(np.flatnonzero(y < 0)[0]) + 1})")
    if family == "cox" and (y <= 0).any():
        raise FewerError(f"time '{name}' must be positive (row {int(np.flatnonzero(y <= 0)[0]) + 1})")
    if np.ptp(y) == 0:
        raise FewerError(f"target '{name}' is constant; there is nothing to explain")
    return y


def codes(values: list[Any], name: str, family: str, order: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes and labels; numbers in their order, text in the order given (for ordinal) or sorted."""
    if any(isinstance(v, list | dict) for v in values[:1]):
        raise FewerError(f"target '{name}' holds lists or records; classes are text, numbers or booleans")
    values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    found = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    labels = [f"{v:g}" if isinstance(v, float) and v == int(v) else str(v) for v in found]
    place = dict(zip(found, labels, strict=True))
    if order:
        if sorted(order) != sorted(labels):
            raise FewerError(f"--levels {','.join(order)} are not the labels of '{name}': {', '.join(labels[:10])}")
        labels = list(order)
    elif family == "ordinal" and len(labels) > 2 and any(isinstance(v, str) for v in found):
        raise FewerError(f"target '{name}' has labels without an order; say it with --levels {','.join(labels[:10])}")
    if len(labels) < 2:
        raise FewerError(f"target '{name}' has one class only ('{labels[0]}'); at least two are needed")
    if family == "binomial" and len(labels) > 2:
        raise FewerError(f"target '{name}' has {len(labels)} classes; use --family multinomial or ordinal")
    if not order and len(labels) > max(2, len(values) // 2):
        raise FewerError(
            f"target '{name}' has {len(labels)} values in {len(values)} rows, too many for classes; "
            "for numbers use --family gaussian"
        )
    index = {label: i for i, label in enumerate(labels)}
    return np.asarray([index[place[v]] for v in values], dtype=np.float64), tuple(labels)


def _own_order(column: Any) -> list[str]:
    """The order that an ordered category of Arrow or Parquet carries; of the labels in use."""
    import pyarrow.types as kinds

    if not kinds.is_dictionary(column.type) or not column.type.ordered:
        return []
    used = set(column.unique().to_pylist())
    return [str(v) for v in column.unify_dictionaries().chunk(0).dictionary.to_pylist() if v in used]


def event_column(column: Any, name: str) -> np.ndarray:
    """(n,) 1 for an event, 0 for censoring."""
    try:
        values = numbers(column, f"event column '{name}'")
    except TypeError:
        values = np.full(len(column), np.nan)
    if not np.isin(values, (0.0, 1.0)).all():
        raise FewerError(f"event column '{name}' must hold 0 (censored) and 1 (event) only")
    if not values.any():
        raise FewerError(f"event column '{name}' has no event; a Cox model cannot be fitted")
    return values


def weight_column(column: Any, name: str) -> np.ndarray:
    """(n,) row weights, not negative, not all zero."""
    try:
        values = numbers(column, f"weights '{name}'")
    except TypeError:
        raise FewerError(f"weights '{name}' are not numbers") from None
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise FewerError(f"weight '{name}' is {values[wrong[0]]:g} in row {int(wrong[0]) + 1}; give numbers >= 0")
    if not values.any():
        raise FewerError(f"weights '{name}' are all zero")
    return values


def label_codes(column: Any, name: str) -> np.ndarray:
    """(n,) codes of labels, numbered as they first appear."""
    if column.null_count:
        raise FewerError(f"groups '{name}' have {column.null_count} missing value(s); every row needs a label")
    place: dict[str, int] = {}
    return np.asarray([place.setdefault(str(label), len(place)) for label in column.to_pylist()], dtype=np.int64)
