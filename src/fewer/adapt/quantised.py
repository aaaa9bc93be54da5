"""Quantised checkpoints, told from their configuration and headers alone: they are refused by that word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.adapt.headers import Stored

__all__ = ["PLAIN", "check_config", "check_stored"]

#: Types of weights that are numbers as they stand; every other one needs scales, or is no weight.
PLAIN = ("float64", "float32", "float16", "bfloat16")
_ADVICE = "open the unquantised checkpoint that it was made from"


def check_config(raw: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration that says that its weights are quantised.

    Args:
        raw: the content of `config.json`.
        path: its directory.

    Raises:
        FewerError: it has a `quantization_config`, its own or that of a part.
    """
    for key, value in _settings(raw):
        if key in ("quantization_config", "compression_config") and value:
            method = value.get("quant_method") if isinstance(value, Mapping) else None
            how = f" by {method}" if isinstance(method, str) else ""
            raise FewerError(f"'{path}' is quantised{how} ({key} in config.json): {_ADVICE}")


def _settings(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        yield key, value
        if isinstance(value, Mapping):
            yield from value.items()


def check_stored(tensors: Mapping[str, Stored], path: Path) -> None:
    """Refuse weights that are stored in a type of quantisation, or that are complex.

    Other tensors may be whole numbers: masks of attention are stored as booleans or bytes.

    Args:
        tensors: what the headers of a directory describe.
        path: the directory.

    Raises:
        FewerError: a tensor in a type of quantisation, or a weight that is not float64, float32, float16 or bfloat16.
    """
    for name, stored in tensors.items():
        if stored.type in PLAIN:
            continue
        where = f"'{path / stored.file}'"
        if stored.type.startswith("complex"):
            raise FewerError(f"{where} holds complex numbers (tensor '{name}'): fewer prunes floating-point weights")
        if stored.type.startswith("float") or "weight" in name.rpartition(".")[2]:
            raise FewerError(f"{where} is quantised: tensor '{name}' is {stored.type}; {_ADVICE}")
