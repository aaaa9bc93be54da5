"""Entries of data that is given in Python, as named tensors: batches, rows of tables, lists of token ids, arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from fewer.method import FewerError

__all__ = ["entries", "input_name", "tensor_of"]

#: Columns of a row that a model takes; others (texts, lengths, masks of special tokens) stay behind.
_COLUMNS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "labels", "pixel_values", "inputs_embeds")


def entries(data: Iterable[Any], batch: int) -> Iterator[dict[str, Tensor]]:
    """Every entry as a mapping of tensors; single samples in a row that are of one shape are put together.

    Args:
        data: batches (mappings of tensors, tensors, (inputs, labels), lists of one tensor), rows (mappings of lists, or
            of one-dimensional tensors), lists of token ids, or arrays.
        batch: samples that are put together at most.

    Raises:
        FewerError: an entry that is none of these; the message says which.
    """
    held: list[dict[str, Tensor]] = []
    for index, entry in enumerate(data):
        for item, single in _items(entry, index):
            if held and (not single or len(held) == batch or _form(held[0]) != _form(item)):
                yield _together(held)
                held = []
            if single:
                held.append(item)
            else:
                yield item
    if held:
        yield _together(held)


def tensor_of(value: Any) -> Tensor | None:
    """A tensor from one, from an array of numpy, or from equally long lists of numbers; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "__array_interface__"):
        import numpy as np

        array = np.asarray(value)
        if array.dtype.kind in "iu":
            array = array.astype(np.int64)
        return torch.from_numpy(np.ascontiguousarray(array)) if array.dtype.kind in "iufb" else None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value):
        if all(isinstance(part, Tensor) and part.shape == value[0].shape for part in value):
            return torch.stack(tuple(value))
        try:
            return torch.tensor(value)
        except (ValueError, TypeError, RuntimeError):
            return None
    return None


def input_name(value: Tensor) -> str:
    """What a tensor without a name is: token ids, or other input."""
    return "input_ids" if value.ndim <= 2 and not value.is_floating_point() else "inputs"


def _items(entry: Any, index: int) -> Iterator[tuple[dict[str, Tensor], bool]]:
    """The batches in an entry, and whether each is one sample that may stand beside others."""
    if isinstance(entry, Mapping):
        yield from _mapping({str(key): value for key, value in entry.items()}, index)
    elif isinstance(entry, list | tuple) and entry and all(isinstance(part, Tensor) for part in entry):
        yield _tensors(entry, index), False
    elif isinstance(entry, list | tuple) and entry and all(isinstance(part, Integral) for part in entry):
        yield {"input_ids": torch.tensor([[int(part) for part in entry]])}, False
    else:
        value = tensor_of(entry)
        if value is None or isinstance(entry, list | tuple):
            raise FewerError(f"batch {index} of the data is {_what(entry)}")
        name = input_name(value)
        yield {name: value[None] if name == "input_ids" and value.ndim == 1 else value}, False


def _tensors(parts: Sequence[Tensor], index: int) -> dict[str, Tensor]:
    if len(parts) > 2:
        raise FewerError(f"batch {index} of the data is {len(parts)} tensors without names: give a mapping")
    first = {input_name(parts[0]): parts[0]}
    return first if len(parts) == 1 else {**first, "labels": parts[1]}


def _mapping(entry: dict[str, Any], index: int) -> Iterator[tuple[dict[str, Tensor], bool]]:
    if any(isinstance(value, Tensor) and value.ndim > 1 for value in entry.values()):
        yield {key: value for key, value in entry.items() if isinstance(value, Tensor)}, False
        return
    ids: Any = entry.get("input_ids")
    ragged = isinstance(ids, list | tuple) and all(isinstance(row, list | tuple) for row in ids)
    if ragged and len({len(row) for row in ids}) > 1:
        # Rows of different lengths, which nobody has padded, one by one.
        for place in range(len(ids)):
            yield from _mapping({key: value[place] for key, value in entry.items() if key in _COLUMNS}, index)
        return
    named = {key: found for key in _COLUMNS if (found := tensor_of(entry.get(key))) is not None}
    if "input_ids" not in named and not any(value.ndim > 1 for value in named.values()):
        kept = {key: value for key, value in entry.items() if isinstance(value, Tensor)}
        if not kept or any(isinstance(value, str) for value in entry.values()):
            raise FewerError(f"batch {index} of the data is {_what(entry)}")
        yield kept, False
        return
    single = "input_ids" in named and named["input_ids"].ndim == 1
    yield ({key: value[None] for key, value in named.items()} if single else named), single


def _form(item: Mapping[str, Tensor]) -> Any:
    return {key: (value.shape, value.dtype) for key, value in item.items()}


def _together(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


def _what(entry: Any) -> str:
    """What an entry is, and what would be right."""
    if isinstance(entry, str) or (isinstance(entry, Mapping) and any(isinstance(x, str) for x in entry.values())):
        return "text: tokenise it first (input_ids), or write it to a .jsonl file and name that"
    return f"a {type(entry).__name__}: expected a tensor, a mapping or (inputs, labels)"
