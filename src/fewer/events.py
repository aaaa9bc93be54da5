"""What a run says while it works: small frozen events for an optional callback.

Library code never prints. The command line turns these into a live display, plain lines, or JSON lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "BlockDone",
    "Event",
    "EvidenceProgress",
    "LayerDone",
    "Note",
    "Progress",
    "RunDone",
    "RunStarted",
    "StageStarted",
    "emit",
    "to_dict",
]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A verb begins: what it will do to how many layers in how many blocks."""

    verb: str
    title: str
    layers: int
    blocks: int


@dataclass(frozen=True, slots=True)
class StageStarted:
    """One part of a run begins: gathering evidence, solving, measuring; `total` counts its parts, 0 if unknown."""

    title: str
    total: int = 0


@dataclass(frozen=True, slots=True)
class EvidenceProgress:
    """So many parts of this stage are done: batches, layers, trials; `total` is 0 where it is not known."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class LayerDone:
    """One layer has its mask and its new weight."""

    name: str
    block: int | None
    kept: int
    total: int
    damage: float | None


@dataclass(frozen=True, slots=True)
class BlockDone:
    """One block is finished and, for a streamed run, on disk."""

    index: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know: a damped Gram matrix, what `auto` chose."""

    text: str


@dataclass(frozen=True, slots=True)
class RunDone:
    """A verb has ended."""

    verb: str
    seconds: float
    summary: str


Event: TypeAlias = RunStarted | StageStarted | EvidenceProgress | LayerDone | BlockDone | Note | RunDone
Progress: TypeAlias = Callable[[Event], None]


def emit(progress: Progress | None, event: Event) -> None:
    """Hand an event to the callback, if there is one."""
    if progress is not None:
        progress(event)


def to_dict(event: Event) -> dict[str, Any]:
    """An event as plain data, its kind under `event`.

    >>> to_dict(Note("damped"))
    {'event': 'note', 'text': 'damped'}
    """
    name = type(event).__name__
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return {"event": kind, **dataclasses.asdict(event)}
