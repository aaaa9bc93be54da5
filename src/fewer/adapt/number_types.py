"""Number types of a checkpoint: those that it is stored in, and the one that it is computed in.

A checkpoint may hold tensors of several types. `from_pretrained` computes in one of them (with exceptions that the
model's class names) and rounds the others to it; what is stored is not lost by that: see `Origin`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.quantised import PLAIN, loaded_type
from fewer.adapt.shards import Shards
from fewer.method import FewerError

__all__ = ["check_module", "computed", "computed_types"]


def check_module(named: Mapping[str, Tensor]) -> None:
    """Refuse weights in memory that are no floating-point numbers.

    Args:
        named: weights by the name of their layer.

    Raises:
        FewerError: one is quantised or complex.
    """
    for name, value in named.items():
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in PLAIN:
            what = "complex" if value.dtype.is_complex else "quantised"
            raise FewerError(f"layer '{name}' is {what} ({kind}): fewer prunes floating-point weights")


def computed(config: Any, shards: Shards) -> torch.dtype:
    """The type that `from_pretrained(dtype="auto")` computes in.

    Raises:
        FewerError: there is none.
    """
    name = loaded_type(getattr(config, "dtype", None), shards.tensors)
    if not name:
        raise FewerError(f"'{shards.path}' holds no floating-point weights")
    found: torch.dtype = getattr(torch, name)
    return found


def computed_types(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The type that each parameter and saved buffer of a transformers model is computed in, by name.

    Args:
        module: the model, built while `dtype` was the default.
        dtype: the type of the model as a whole.
    """
    plan = module._get_dtype_plan(dtype) if hasattr(module, "_get_dtype_plan") else {}  # type: ignore[operator]
    types = {}
    for name, value in module.state_dict(keep_vars=True).items():
        named = (kind for pattern, kind in plan.items() if re.search(pattern.replace("*", ".*"), name))
        types[name] = next(named, value.dtype)
    return types
