"""A directory as a model that runs fast: a packed file, a pruned checkpoint, or one with cuts of inputs beside it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fewer import adapt
from fewer.adapt.checkpoint import model_path
from fewer.arguments import checked
from fewer.runtime.cuts import apply_cuts
from fewer.runtime.model import pack
from fewer.runtime.store import is_packed, load_packed

__all__ = ["load", "open_as_stored"]


@checked
def load(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """Read a model to run it: sparse weights packed, small inputs skipped where the directory says so.

    Args:
        path: what `fewer pack` or `save` wrote; or any checkpoint, whose sparse layers are packed now and whose
            dense ones get the own dense kernel; or a checkpoint with `fewer-inputs.json`, whose cuts are honoured.
        into: a module of the same make whose layers are replaced and filled (packed files only); None builds the
            transformers model that the directory's configuration names.

    Returns:
        The model in evaluation mode; `generate` works on it unchanged.

    Raises:
        FewerError: anything in the directory that is missing, damaged, of another version or does not fit.
    """
    place = model_path(path)
    if into is not None or is_packed(place):
        return load_packed(place, into)
    model = open_as_stored(place).module
    return pack(model).eval()


@checked
def open_as_stored(path: str | Path, dtype: torch.dtype | None = None) -> adapt.Opened:
    """Open a directory with everything that its files say: packed layers, and cuts of inputs.

    Args:
        path: a checkpoint directory, or "demo".
        dtype: as in `adapt.open`; a packed file keeps its own.
    """
    place = model_path(path)
    if is_packed(place):
        return adapt.Opened(load_packed(place), place)
    opened = adapt.open(path, dtype=dtype)
    cut = apply_cuts(opened.module, place) is not None
    return adapt.Opened(opened.module, opened.path, opened.origins) if cut else opened
