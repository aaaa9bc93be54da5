"""What the user sees while a verb works: a live display, plain lines, or JSON lines; and the result at the end."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewer.method import FewerError
from fewer.report.numbers import seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from fewer.events import Event, Progress

__all__ = ["Paced", "check_page", "plain_line", "progress", "result"]

_ASKED = os.environ.get("FEWER_SILENCE", "")
#: Away from a terminal, no stage is silent for more seconds than this; FEWER_SILENCE, whole seconds, replaces it.
SILENCE = float(_ASKED) if _ASKED.isdigit() else 10.0


@contextmanager
def progress(*, as_json: bool, what: str = "starting") -> Iterator[Progress]:
    """A callback for events; everything goes to standard error, so that standard output is the result alone.

    Lines that only announce work wait until some of it is done, so that input refused at the start is one line.
    Away from a terminal, work that says nothing for ten seconds is reported every ten seconds: what it is, and how far.

    Args:
        as_json: whether events are JSON lines.
        what: what the command does before it has named a stage.
    """
    from fewer.events import listening

    if sys.stderr.isatty() and not as_json:
        with _live() as callback, listening(callback):
            yield callback
    else:
        paced = Paced(_json_line if as_json else _plain, what)
        with _ticking(paced), listening(paced):
            yield paced
        paced.release()


def check_page(path: str | None, *, inside: bool = True) -> None:
    """Refuse a page that cannot be written, before the work whose result it would hold.

    Args:
        path: the page, or None for none.
        inside: its folder must exist; otherwise it is made.

    Raises:
        FewerError: it is a directory, its folder does not exist, or lies where no file can be made.
    """
    if path is None:
        return
    place = Path(path).absolute()
    if place.is_dir():
        raise FewerError(f"cannot write report '{path}': it is a directory; name a file")
    above = next(folder for folder in place.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise FewerError(f"cannot write report '{path}': '{above}' is not a directory")
    if inside and above != place.parent:
        raise FewerError(f"cannot write report '{path}': there is no folder '{Path(path).parent}'; make it first")
    if not os.access(above, os.W_OK):
        raise FewerError(f"cannot write report '{path}': '{above}' is not writable")


def result(document: Any, text: Callable[[], str], *, as_json: bool) -> None:
    """Write the result to standard output: strict JSON, or text for people."""
    if as_json:
        from fewer.report.records import plain

        click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(text())


def plain_line(event: Event) -> str:
    """One event as one line, or nothing for those that come by the hundred.

    >>> from fewer.events import LayerDone, Note
    >>> plain_line(Note("damping raised"))
    'note: damping raised'
    >>> plain_line(LayerDone("fc", 0, 1, 2, None))
    ''
    """
    from fewer import events

    match event:
        case events.RunStarted():
            parts = f" ({event.layers} layers in {event.blocks} blocks)" if event.layers else ""
            return f"{event.verb}: {event.title}{parts}"
        case events.StageStarted():
            return f"  {event.title}"
        case events.StageRunning():
            part = f"{event.done} of {event.total}, " if event.total else f"{event.done}, " if event.done else ""
            return f"  {event.title}: {part}{seconds(event.seconds)}"
        case events.BlockDone():
            return f"  block {event.index + 1} of {event.total}, {seconds(event.seconds)}"
        case events.Note():
            return f"note: {event.text}"
        case events.RunDone():
            return f"{event.verb}: {event.summary} in {seconds(event.seconds)}"
    return ""


class Paced:
    """Passes events on, and after ten seconds without a line says what is going on and how far it is.

    What is only announced is kept back until a part of it is done, or ten seconds are over.

    Args:
        write: shows an event and returns whether there was anything to show.
        what: what is going on before an event says so.
        clock: seconds, from any start.
    """

    def __init__(self, write: Callable[[Event], bool], what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: list[Event] | None = []
        self._said = clock()
        self._stage = _Part(what, self._said)
        self._part: _Part | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        from fewer.events import EvidenceProgress, RunStarted, StageStarted, Working

        with self._lock:
            self._follow(event)
            if self._waiting is None:
                self._say(event)
            elif not isinstance(event, Working):
                self._waiting.append(event)
                begun = isinstance(event, EvidenceProgress) and event.done < event.total
                if not begun and not isinstance(event, RunStarted | StageStarted):
                    self.release()
            self.tick()

    def tick(self) -> None:
        """Say how far the work is, if nothing was said for ten seconds."""
        from fewer.events import StageRunning

        with self._lock:
            now = self._clock()
            if now - self._said >= SILENCE:
                self.release()
                part = self._part or self._stage
                self._say(StageRunning(part.title, part.done, part.total, now - part.start))
                self._said = now

    def release(self) -> None:
        """Pass on what has waited, and wait no more."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
            for event in waiting:
                self._say(event)

    def _say(self, event: Event) -> None:
        if self._write(event):
            self._said = self._clock()

    def _follow(self, event: Event) -> None:
        """Keep in mind which stage runs, which part of it, and how much is done."""
        from fewer import events

        if isinstance(event, events.Working):
            if self._part is None or self._part.title != event.what:
                self._part = _Part(event.what, self._clock())
            self._part.done, self._part.total = event.done, event.total
            return
        self._part = None
        match event:
            case events.RunStarted():
                self._stage = _Part(event.verb, self._clock())
            case events.StageStarted():
                self._stage = _Part(event.title, self._clock(), total=event.total)
            case events.EvidenceProgress():
                self._stage.done, self._stage.total = event.done, event.total
            case events.LayerDone():
                self._stage.title = self._stage.title.split(", after ")[0] + f", after {event.name}"
            case events.BlockDone():
                self._stage.done, self._stage.total = event.index + 1, event.total


@dataclass(slots=True)
class _Part:
    """Work that goes on: since when, and how much of it is done."""

    title: str
    start: float
    done: int = 0
    total: int = 0


@contextmanager
def _ticking(paced: Paced) -> Iterator[None]:
    """While inside, a thread looks at the clock every second: work that emits no event is not silent either."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(1.0):
            paced.tick()

    thread = threading.Thread(target=run, name="fewer progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _plain(event: Event) -> bool:
    line = plain_line(event)
    if line:
        click.echo(line, err=True)
    return bool(line)


def _json_line(event: Event) -> bool:
    from fewer.events import Working, to_dict
    from fewer.report.records import plain

    if isinstance(event, Working):
        return False
    click.echo(json.dumps(plain(to_dict(event)), ensure_ascii=False, allow_nan=False), err=True)
    return True


@contextmanager
def _live() -> Iterator[Progress]:
    """Bars that move: one for the stage, one for the blocks; lines that should stay are printed above them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Live(bars)


class _Live:
    """Keeps the two bars in step with the events."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._stage = bars.add_task("", total=None, visible=False)
        self._blocks = bars.add_task("blocks", total=None, visible=False)

    def __call__(self, event: Event) -> None:
        from fewer import events

        match event:
            case events.StageStarted():
                total = event.total or None
                self._bars.reset(self._stage, description=event.title, total=total, visible=True)
            case events.EvidenceProgress():
                self._bars.update(self._stage, completed=event.done, total=event.total or None)
            case events.LayerDone():
                self._bars.update(self._stage, description=event.name)
            case events.Working():
                total = event.total or None
                self._bars.update(self._stage, description=event.what, completed=event.done, total=total, visible=True)
            case events.BlockDone():
                self._bars.update(self._blocks, completed=event.index + 1, total=event.total, visible=True)
            case _:
                self._bars.console.print(plain_line(event), markup=False, highlight=False)
