"""What one batch of data may hold: token ids, masks and labels that fit each other, or plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fewer.method import FewerError

__all__ = ["check_item"]

#: Names under which a batch holds token ids, (samples, length) each.
_IDS = ("input_ids", "decoder_input_ids")
#: Types that look up rows of a table; a smaller one is widened.
_LONG_ENOUGH = (torch.int32, torch.int64)


def check_item(item: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """One batch with token ids that look up rows, a single sequence as a batch of one.

    Args:
        item: named tensors.
        index: of the batch, for messages.

    Raises:
        FewerError: token ids that are no whole numbers or have three dimensions, a mask of another shape, labels of
            another number of samples, a tensor without a dimension or without values.
    """
    found = dict(item)
    for name, value in found.items():
        where = f"{name} of batch {index}"
        if value.layout != torch.strided or value.device.type == "meta":
            raise FewerError(f"{where} is a {value.layout} tensor on '{value.device}'; it must be an ordinary tensor")
        if value.ndim == 0:
            raise FewerError(f"{where} is a single number; a batch is a tensor with one sample a row")
        if name in _IDS and (value.dtype == torch.bool or value.is_floating_point() or value.is_complex()):
            kind = str(value.dtype).removeprefix("torch.")
            raise FewerError(f"{where} is of type {kind}; token ids are whole numbers (int64)")
    _single(found)
    for name in _IDS:
        if name in found:
            if found[name].ndim != 2:
                shape = tuple(found[name].shape)
                raise FewerError(f"{name} of batch {index} has shape {shape}; token ids are (samples, length)")
            found[name] = found[name] if found[name].dtype in _LONG_ENOUGH else found[name].long()
    _check_beside(found, index)
    return found


def _single(found: dict[str, Tensor]) -> None:
    """A sequence on its own, and what goes with it, as a batch of one."""
    ids = found.get("input_ids")
    if ids is None or ids.ndim != 1:
        return
    for name, value in found.items():
        if value.ndim == 1:
            found[name] = value[None]


def _check_beside(found: Mapping[str, Tensor], index: int) -> None:
    """Masks and labels against the token ids."""
    ids, mask, labels = (found.get(name) for name in ("input_ids", "attention_mask", "labels"))
    if ids is None:
        return
    shape = tuple(ids.shape)
    if mask is not None and mask.ndim <= 2 and tuple(mask.shape) != shape:
        raise FewerError(
            f"attention_mask of batch {index} has shape {tuple(mask.shape)}; the token ids have shape {shape}"
        )
    if labels is not None and labels.shape[0] != shape[0]:
        raise FewerError(f"labels of batch {index} are for {labels.shape[0]} samples; the token ids are {shape[0]}")
