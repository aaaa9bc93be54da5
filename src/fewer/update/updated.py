"""What an update hands back."""

from __future__ import annotations

from typing import NamedTuple

from fewer.types import Array, Mask

__all__ = ["Updated"]


class Updated(NamedTuple):
    """A layer after its update: `weight` is zero exactly where `mask` is False.

    `notes` says in plain words what a reader of the result must know (damping used, iterations, solver chosen).
    `bias`, where an update needs one, is the vector (out,) to add to the layer's bias, zeros if it has none.
    """

    weight: Array
    mask: Mask
    notes: dict[str, float | str]
    bias: Array | None = None
