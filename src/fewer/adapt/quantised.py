"""Number types told from a configuration and headers alone: what is loaded in which, and what is quantised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.adapt.headers import Stored

__all__ = ["PLAIN", "check_config", "check_stored", "loaded_type"]

#: Types of weights that are numbers as they stand; every other one needs scales, or is no weight.
PLAIN = ("float64", "float32", "float16", "bfloat16")
_ADVICE = "open the unquantised checkpoint that it was made from"


def loaded_type(named: object, tensors: Mapping[str, Stored]) -> str:
    """The type that `from_pretrained(dtype="auto")` loads a checkpoint in; empty where it holds no numbers.

    It is the one that the configuration names; without one, that of the first floating-point tensor of the first file.

    Args:
        named: the configuration's dtype, by name or as torch has it, or None.
        tensors: what the headers of the directory describe.
    """
    name = str(named).removeprefix("torch.")
    if name in PLAIN:
        return name
    ordered = sorted(tensors.items(), key=lambda item: (item[1].file, item[0]))
    return next((stored.type for _, stored in ordered if stored.type in PLAIN), "")


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
