"""Layers about which the data says nothing: what a method asks for holds no row, or zeros alone.

Zeros of an accumulator that saw no token are no measurement. A layer is judged by the size of its weights then, and
nothing is repaired. What is partly seen (single inputs that are always zero) is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt import Layer
    from fewer.method import Method
    from fewer.update import Updated

__all__ = ["Worth", "lack_of", "never_called", "unrepaired", "worth_of"]

#: What a layer's own arrays supply.
_ALWAYS = frozenset({"weight", "mask"})


@dataclass(frozen=True, slots=True)
class Worth:
    """What every weight of a layer is worth; `lack` says why magnitude stands in for the score, if it does."""

    scores: Tensor
    lack: str = ""


def worth_of(method: Method, weight: Tensor, evidence: Mapping[str, Tensor], ask: Callable[[], Tensor]) -> Worth:
    """The answer of a score, or magnitudes where the evidence says nothing.

    Args:
        method: the score.
        weight: (out, in).
        evidence: what was measured about the layer.
        ask: computes the scores (out, in).
    """
    lack = lack_of(method, evidence)
    scores = weight.abs() if lack else ask()
    lack = lack or lack_of(method, evidence, scores)
    return Worth(weight.abs(), lack) if lack else Worth(scores)


def lack_of(method: Method, evidence: Mapping[str, Tensor], scores: Tensor | None = None) -> str:
    """Why the evidence that a method asks for says nothing of a layer; empty where it says something.

    It says nothing if a part of it holds no row, if all is zero, or if a part is zero and the scores are equal.
    """
    asked = [name for name in method.needs if name not in _ALWAYS and name in evidence]
    names = [name for name in asked if _count(evidence, name) is not None]
    if any(_count(evidence, name) == 0 for name in names):
        return f"no evidence ({_amount(evidence, names)})"
    silent = [name for name in names if not bool(evidence[name].any())]
    if silent and (len(silent) == len(names) or (scores is not None and not _ranks(scores))):
        return f"evidence that is zero everywhere ({', '.join(silent)}, {_amount(evidence, silent)})"
    return ""


def never_called(layer: Layer, evidence: Mapping[str, Tensor]) -> bool:
    """Whether the data does not reach a layer at all; one of several experts may just have got no token."""
    return not layer.routed and getattr(evidence, "tokens", None) == 0


def unrepaired(weight: Tensor, mask: Tensor, lack: str, chosen: str = "") -> Updated:
    """What stays of a layer that nothing is known about; the note says so."""
    import torch

    from fewer.update import Updated

    if bool(mask.all()):
        text = f"{lack}: left dense"
    else:
        text = f"{lack}: {f'{chosen} stay, ' if chosen else ''}nothing is repaired"
    return Updated(torch.where(mask, weight, torch.zeros_like(weight)), mask, {"evidence": text})


def _count(evidence: Mapping[str, Tensor], name: str) -> int | None:
    """Rows in one kind of evidence, one where nobody knows, None where it is what it is without data."""
    count: int | None = evidence.count(name) if hasattr(evidence, "count") else 1
    return count


def _amount(evidence: Mapping[str, Tensor], names: list[str]) -> str:
    """How much was seen, in words."""
    tokens = getattr(evidence, "tokens", None)
    if tokens is not None:
        return f"{tokens:,} tokens"
    return f"{min(_count(evidence, name) or 0 for name in names):,} samples"


def _ranks(scores: Tensor) -> bool:
    """Whether scores tell any weight from another."""
    return bool((scores != scores.reshape(-1)[:1]).any()) and bool(scores.isfinite().all())
