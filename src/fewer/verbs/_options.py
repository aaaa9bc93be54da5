"""Options of a recipe's methods, tried on a small layer: a value that a method refuses is told before the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fewer.arguments import shown
from fewer.method import FewerError, Method, find
from fewer.recipe import Recipe
from fewer.types import EVIDENCE

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_options"]

_SIZES = {"out": 8, "in": 16, "rank": 8, "tokens": 64}


def check_options(recipe: Recipe) -> None:
    """Try the score and the update of a resolved recipe where options of theirs are set.

    Raises:
        FewerError: a method refuses a value, or cannot compute with it.
    """
    if recipe.unit == "input":
        return
    for kind in ("score", "update"):
        options: Mapping[str, Any] = getattr(recipe, f"{kind}_options")
        if options:
            _try(find(kind, getattr(recipe, kind)), options)


def _try(method: Method, options: Mapping[str, Any]) -> None:
    import torch

    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(_SIZES["tokens"], _SIZES["in"], generator=draw)
    supply: dict[str, Tensor] = {
        "weight": torch.randn(_SIZES["out"], _SIZES["in"], generator=draw),
        "input_gram": inputs.T @ inputs / len(inputs),
        "input_sample": inputs,
    }
    supply["mask"] = supply["weight"] > 0
    try:
        method.target(*(supply[n] if n in supply else _measured(n, draw) for n in method.needs), **options)
    except FewerError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise FewerError(f"{method.kind} '{method.name}' cannot work with {shown(dict(options))}: {said}") from error


def _measured(name: str, draw: Any) -> Tensor:
    """Positive numbers of the shape that the vocabulary declares."""
    import torch

    dimensions = EVIDENCE[name].split(")", 1)[0].lstrip("(").replace(" ", "").split(",")
    return torch.rand([_SIZES[d] for d in dimensions if d in _SIZES], generator=draw) + 0.1
