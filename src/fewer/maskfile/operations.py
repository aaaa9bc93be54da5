"""Comparing, combining, applying and undoing masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.events import followed
from fewer.maskfile.file import LayerMask, MaskFile
from fewer.method import FewerError

if TYPE_CHECKING:
    import numpy as np

    from fewer.adapt import Opened

__all__ = ["Difference", "apply", "chance", "diff", "intersect", "undo", "union"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two masks of one layer: weights kept by both, by the first alone, by the second alone, by neither."""

    both: int
    first: int
    second: int
    neither: int

    @property
    def overlap(self) -> float:
        """Kept by both over kept by either (Jaccard); 1 for equal masks."""
        either = self.both + self.first + self.second
        return self.both / either if either else 1.0

    @property
    def by_chance(self) -> float:
        """Weights that two independent random masks of these sizes would both keep, on average."""
        total = self.both + self.first + self.second + self.neither
        return (self.both + self.first) * (self.both + self.second) / total if total else 0.0


@checked
def diff(first: MaskFile, second: MaskFile) -> dict[str, Difference]:
    """What two masks of one model have in common, layer by layer; a layer that one lacks counts as kept whole.

    Raises:
        FewerError: masks of different models.
    """
    import numpy as np

    _same_model(first, second)
    found = {}
    for name in followed("comparing masks", {**first.layers, **second.layers}):
        one, two = _whole_or(first, second, name), _whole_or(second, first, name)
        pairs = ((one & two), (one & ~two), (~one & two), (~one & ~two))
        found[name] = Difference(*(int(np.count_nonzero(pair)) for pair in pairs))
    return found


@checked
def chance(rows: Iterable[Difference]) -> float:
    """The overlap that random masks of the same density in every layer would have, over all these layers.

    >>> round(chance([Difference(25, 25, 25, 25)]), 4)
    0.3333
    """
    held = tuple(rows)
    both = sum(row.by_chance for row in held)
    either = sum(2 * row.both + row.first + row.second for row in held) - both
    return both / either if either else 1.0


@checked
def intersect(first: MaskFile, second: MaskFile) -> MaskFile:
    """What both keep; a layer that one lacks is as the other has it.

    Raises:
        FewerError: masks of different models.
    """
    return _combined(first, second, "intersect", lambda one, two: one & two)


@checked
def union(first: MaskFile, second: MaskFile) -> MaskFile:
    """What either keeps; a layer that one lacks is kept whole.

    Raises:
        FewerError: masks of different models.
    """
    return _combined(first, second, "union", lambda one, two: one | two)


@checked
def apply(mask: MaskFile, opened: Opened) -> None:
    """Set what the mask drops to zero in its dense model, in place; nothing else changes.

    Raises:
        FewerError: the model is not the one that the mask was made for, or lacks a layer; nothing is written then.
    """
    import torch

    _check_model(mask, opened, "the mask belongs to")
    known = {layer.name: layer for layer in opened.candidates}
    for name, layer in followed("applying the mask", mask.layers.items()):
        value = known[name].read()
        kept = torch.from_numpy(layer.unpack()).to(value.device)
        known[name].write(torch.where(kept, value, torch.zeros_like(value)))


@checked
def undo(mask: MaskFile, opened: Opened, dense: Opened | None = None) -> None:
    """Bring the dense weights of all masked layers back, in place.

    Args:
        mask: the mask that the model was pruned with.
        opened: the pruned model.
        dense: the dense model; without it the complement in the mask file is used.

    Raises:
        FewerError: the file has no complement and no dense model is given, the dense model is another one, or the
            model differs from the dense one elsewhere too. In the last case the layers are as they were.
    """
    import torch

    if dense is None and not mask.complement:
        raise FewerError(
            "this mask file does not hold the dense values: give the dense checkpoint (--dense); one that "
            "`fewer prune --complement` wrote needs none"
        )
    if dense is not None:
        _check_model(mask, dense, "the mask belongs to")
    _check_layers(mask, opened)
    known = {layer.name: layer for layer in opened.candidates}
    source = {layer.name: layer for layer in dense.candidates} if dense is not None else {}
    before = {name: known[name].read() for name in mask.layers}
    for name, layer in followed("undoing the mask", mask.layers.items()):
        if dense is not None:
            known[name].write(source[name].read())
            continue
        value, kept = before[name].clone(), torch.from_numpy(layer.unpack())
        value[~kept] = mask.complement[name]["dense"]
        if "kept" in mask.complement[name]:
            value[kept] = mask.complement[name]["kept"]
        known[name].write(value)
    if opened.hash() != mask.dense:
        for name, value in before.items():
            known[name].write(value)
        raise FewerError("the model differs from the dense one outside the masked layers (a bias?); nothing was undone")


def _same_model(first: MaskFile, second: MaskFile) -> None:
    if first.dense != second.dense:
        raise FewerError(f"the masks belong to different models ({first.dense[:12]} and {second.dense[:12]})")


def _check_layers(mask: MaskFile, opened: Opened) -> None:
    known = {layer.name: layer.shape for layer in opened.candidates}
    for name, layer in mask.layers.items():
        if known.get(name) != layer.shape:
            raise FewerError(f"the mask is of another model: there is no layer '{name}' of shape {layer.shape}")


def _check_model(mask: MaskFile, opened: Opened, what: str) -> None:
    _check_layers(mask, opened)
    found = opened.hash()
    if found != mask.dense:
        raise FewerError(f"{what} model {mask.dense[:12]}; this model is {found[:12]}")


def _whole_or(mine: MaskFile, other: MaskFile, name: str) -> np.ndarray[Any, Any]:
    """The mask of a layer, or everything kept."""
    import numpy as np

    if name in mine.layers:
        return mine.layers[name].unpack()
    return np.ones(other.layers[name].shape, dtype=bool)


def _combined(first: MaskFile, second: MaskFile, verb: str, how: Callable[[Any, Any], Any]) -> MaskFile:
    """Layer by layer; a unit pattern that both promise still holds, an N:M count does not."""
    import numpy as np

    _same_model(first, second)
    layers = {}
    for name in followed("combining masks", {**first.layers, **second.layers}):
        kinds = {file.layers[name].pattern for file in (first, second) if name in file.layers}
        kind = kinds.pop() if len(kinds) == 1 else "unstructured"
        one, two = _whole_or(first, second, name), _whole_or(second, first, name)
        values = how(one, two)
        layers[name] = LayerMask(values.shape, np.packbits(values), "unstructured" if ":" in kind else kind)
    parents = [dict(file.provenance) for file in (first, second)]
    return MaskFile(first.dense, layers, {"method": verb, "parents": parents})
