"""What a run says while it works: small frozen events for an optional callback.

Library code never prints. The command line turns these into a live display, plain lines, or JSON lines.

A verb hands its events to the callback that it is given. Loops far below a verb (hashing, saving, reading) report to
whoever listens in this context, by `working`: that is shown only where it takes long.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

__all__ = [
    "BlockDone",
    "Event",
    "EvidenceProgress",
    "LayerDone",
    "Note",
    "Progress",
    "RunDone",
    "RunStarted",
    "StageRunning",
    "StageStarted",
    "Working",
    "emit",
    "followed",
    "listening",
    "noted",
    "to_dict",
    "working",
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
class Working:
    """A part that is mostly short goes on: hashing, saving; `total` is 0 where it is not known."""

    what: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class StageRunning:
    """A stage takes long: how far it is, after how many seconds. Displays make these of the others."""

    title: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunDone:
    """A verb has ended."""

    verb: str
    seconds: float
    summary: str


Event: TypeAlias = (
    RunStarted | StageStarted | EvidenceProgress | LayerDone | BlockDone | Note | Working | StageRunning | RunDone
)
Progress: TypeAlias = Callable[[Event], None]


def emit(progress: Progress | None, event: Event) -> None:
    """Hand an event to the callback, if there is one."""
    if progress is not None:
        progress(event)


T = TypeVar("T")

_listener: ContextVar[Progress | None] = ContextVar("listener", default=None)


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Inside, `working` reports to this callback.

    >>> with listening(print):
    ...     working("saving", 1, 2)
    Working(what='saving', done=1, total=2)
    """
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def working(what: str, done: int = 0, total: int = 0) -> None:
    """Tell whoever listens what is going on, and how far it is."""
    emit(_listener.get(), Working(what, done, total))


def noted(text: str) -> None:
    """Tell whoever listens something that must not be missed."""
    emit(_listener.get(), Note(text))


def followed(what: str, items: Iterable[T], total: int = 0) -> Iterator[T]:
    """The items one after the other, each told as one part of the work done.

    >>> with listening(print):
    ...     list(followed("hashing", ["a", "b"]))
    Working(what='hashing', done=0, total=2)
    Working(what='hashing', done=1, total=2)
    ['a', 'b']
    """
    total = len(items) if isinstance(items, Sized) else total
    for place, item in enumerate(items):
        working(what, place, total)
        yield item


def to_dict(event: Event) -> dict[str, Any]:
    """An event as plain data, its kind under `event`.

    >>> to_dict(Note("damped"))
    {'event': 'note', 'text': 'damped'}
    """
    name = type(event).__name__
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return {"event": kind, **dataclasses.asdict(event)}
