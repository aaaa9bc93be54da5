"""Masks as files, on models and directories: write, apply, undo, combine, compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer import maskfile
from fewer.adapt.reserve import reserved
from fewer.arguments import checked
from fewer.maskfile.file import check_pattern
from fewer.method import FewerError
from fewer.verbs._given import copy_of, opened_of, source_of, writable
from fewer.verbs.pruned import Pruned, lost
from fewer.verbs.reopen import reopen

if TYPE_CHECKING:
    from fewer.adapt import Opened
    from fewer.maskfile import Difference, MaskFile

__all__ = ["apply_mask", "combine_masks", "diff_masks", "read_mask", "save_mask", "show_mask", "undo_mask"]


@checked
def save_mask(pruned: Any, dense: Any, path: str | Path, *, complement: bool = False) -> MaskFile:
    """Write the masks of a pruning result to a file of their own, one bit a weight.

    Args:
        pruned: what `prune` or `reopen` returned, or a directory that `prune` wrote.
        dense: the model before pruning.
        path: the file.
        complement: also store the dense values that the run changed, so that `undo_mask` needs no dense checkpoint.

    Returns:
        What was written.

    Raises:
        FewerError: the result was not made of this dense model, or its zeros break the pattern that it was pruned to.
    """
    result = reopen(pruned) if isinstance(pruned, str | Path) else pruned
    if not isinstance(result, Pruned):
        raise FewerError(f"save_mask takes a result of fewer.prune or its directory, not a {type(pruned).__name__}")
    if not result.masks:
        raise FewerError("this result has no masks: unit 'input' drops no weight")
    base = opened_of(dense)
    if result.model_hash and result.model_hash != base.hash():
        raise FewerError("this is not the dense model that the result was pruned from")
    made = result.mask_file()
    for name, layer in made.layers.items():
        check_pattern(name, layer, "this result")
    if complement:
        made = dataclasses.replace(made, complement=lost(result, base))
    made.save(path)
    return made


@checked
def read_mask(path: str | Path) -> MaskFile:
    """A mask file, or the one in a directory that `prune` wrote."""
    return maskfile.read(path)


@checked
def show_mask(path: str | Path) -> dict[str, Any]:
    """What a mask file says of itself: provenance, checksum of the dense model, density of every layer."""
    return read_mask(path).to_dict()


@checked
def diff_masks(first: str | Path, second: str | Path) -> dict[str, Difference]:
    """What two mask files of one model have in common, layer by layer."""
    return maskfile.diff(read_mask(first), read_mask(second))


@checked
def combine_masks(first: str | Path, second: str | Path, how: str, path: str | Path) -> MaskFile:
    """Write the intersection or the union of two mask files.

    Args:
        first: a mask file.
        second: another of the same model.
        how: "intersect" (kept by both) or "union" (kept by either).
        path: the file to write.

    Raises:
        FewerError: masks of different models, or another word for `how`.
    """
    known = {"intersect": maskfile.intersect, "union": maskfile.union}
    if how not in known:
        raise FewerError(f"masks are combined by intersect or union, not by '{how}'")
    made = known[how](read_mask(first), read_mask(second))
    made.save(path)
    return made


@checked
def apply_mask(dense: Any, path: str | Path, out: str | Path | None = None) -> Opened:
    """Set to zero what a mask file drops.

    Args:
        dense: the model that the mask was made for; it is left as it is.
        path: the mask file.
        out: directory to write the result to.

    Returns:
        The masked model.

    Raises:
        FewerError: another model's mask.
    """
    with reserved(out, source_of(dense)), writable():
        mask = read_mask(path)
        target = _copy(dense)
        maskfile.apply(mask, target)
        return _written(target, out, "masked", mask)


@checked
def undo_mask(pruned: Any, path: str | Path, out: str | Path | None = None, *, dense: Any = None) -> Opened:
    """Bring back the dense model.

    Args:
        pruned: the pruned model or its directory; it is left as it is.
        path: the mask file that it was pruned with.
        out: directory to write the dense model to.
        dense: the dense model; without it the mask file must hold the complement.

    Returns:
        The dense model.

    Raises:
        FewerError: no complement and no dense model, or another model's mask.
    """
    with reserved(out, source_of(pruned), None if dense is None else source_of(dense)), writable():
        mask = read_mask(path)
        target = _copy(pruned)
        maskfile.undo(mask, target, None if dense is None else opened_of(dense))
        return _written(target, out, "dense")


def _copy(model: Any) -> Opened:
    opened = opened_of(model)
    return opened if isinstance(model, str | Path) else copy_of(opened)


def _written(opened: Opened, out: str | Path | None, kind: str, mask: MaskFile | None = None) -> Opened:
    if out is not None:
        from fewer.adapt import checkpoint

        extras = {} if mask is None else {maskfile.NAME: mask.save}
        checkpoint.save(opened, out, extras=extras, mark={"kind": kind})
    return opened
