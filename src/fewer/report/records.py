"""A comparison as strict JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from fewer.arguments import checked
from fewer.report.order import control, times_closer
from fewer.report.story import answer
from fewer.verbs.result import Candidate, Comparison

__all__ = ["plain", "to_json"]


def plain(value: Any) -> Any:
    """Records, mappings and tuples as dictionaries and lists; a number that is not finite becomes null.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


@checked
def to_json(comparison: Comparison, *, indent: int | None = 2) -> str:
    """The whole comparison: every record, the exact sparsities, and the control of each candidate.

    Args:
        comparison: what was measured.
        indent: spaces of indentation; None for one line.

    Returns:
        JSON without NaN or Infinity; `format` and `version` name the layout.
    """
    document = {
        "format": "fewer-comparison",
        "version": 1,
        "answer": answer(comparison),
        "dense": _candidate(comparison.dense, comparison),
        "candidates": [_candidate(candidate, comparison) for candidate in comparison.candidates],
        "provenance": plain(comparison.provenance),
    }
    return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)


def _candidate(candidate: Candidate, comparison: Comparison) -> dict[str, Any]:
    record: dict[str, Any] = plain(candidate)
    for row, layer in zip(record["layers"], candidate.layers, strict=True):
        row["sparsity"] = layer.sparsity
    record["sparsity"] = candidate.sparsity
    beside = control(candidate, comparison)
    record["control"] = beside.label if beside is not None and not candidate.random else None
    record["times_closer_than_random"] = plain(times_closer(candidate, comparison))
    return record
