"""Plain data as TOML text; the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["to_toml"]


def to_toml(table: Mapping[str, Any]) -> str:
    r"""Scalars first, then tables, then lists of tables.

    >>> to_toml({"keep": 0.5, "data": {"samples": 8}})
    'keep = 0.5\n\n[data]\nsamples = 8\n'
    """
    scalars, tables, arrays = [], [], []
    for key, value in table.items():
        if isinstance(value, dict):
            tables.append(f"\n[{key}]\n" + "".join(f"{_key(k)} = {_value(v)}\n" for k, v in value.items()))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                arrays.append(f"\n[[{key}]]\n" + "".join(f"{_key(k)} = {_value(v)}\n" for k, v in row.items()))
        else:
            scalars.append(f"{key} = {_value(value)}\n")
    return "".join([*scalars, *tables, *arrays])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_value(item) for item in value) + "]" if isinstance(value, list) else repr(value)
