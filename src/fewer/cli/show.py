"""What the user sees while a verb works: a live display, plain lines, or JSON lines; and the result at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewer.method import FewerError
from fewer.report.numbers import seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from fewer.events import Event, Progress

__all__ = ["check_page", "plain_line", "progress", "result"]


@contextmanager
def progress(*, as_json: bool) -> Iterator[Progress]:
    """A callback for events; everything goes to standard error, so that standard output is the result alone.

    Lines that only announce work wait until some of it is done, so that input refused at the start is one line.
    """
    if sys.stderr.isatty() and not as_json:
        with _live() as callback:
            yield callback
    else:
        held = _Held(_json_line if as_json else _plain)
        yield held
        held.release()


def check_page(path: str | None) -> None:
    """Refuse a page that cannot be written, before the work whose result it would hold.

    Raises:
        FewerError: it is a directory, or lies where no file can be made.
    """
    if path is None:
        return
    place = Path(path).absolute()
    if place.is_dir():
        raise FewerError(f"cannot write report '{path}': it is a directory; name a file")
    above = next(folder for folder in place.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise FewerError(f"cannot write report '{path}': '{above}' is not a directory")
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
        case events.BlockDone():
            return f"  block {event.index + 1} of {event.total}, {seconds(event.seconds)}"
        case events.Note():
            return f"note: {event.text}"
        case events.RunDone():
            return f"{event.verb}: {event.summary} in {seconds(event.seconds)}"
    return ""


class _Held:
    """Keeps back what is only announced until a part of it is done, then passes every event on at once."""

    def __init__(self, write: Progress) -> None:
        self._write = write
        self._waiting: list[Event] | None = []

    def __call__(self, event: Event) -> None:
        from fewer.events import EvidenceProgress, RunStarted, StageStarted

        if self._waiting is None:
            self._write(event)
            return
        self._waiting.append(event)
        begun = isinstance(event, EvidenceProgress) and event.done < event.total
        if not begun and not isinstance(event, RunStarted | StageStarted):
            self.release()

    def release(self) -> None:
        """Pass on what has waited, and wait no more."""
        waiting, self._waiting = self._waiting or [], None
        for event in waiting:
            self._write(event)


def _plain(event: Event) -> None:
    line = plain_line(event)
    if line:
        click.echo(line, err=True)


def _json_line(event: Event) -> None:
    from fewer.events import to_dict
    from fewer.report.records import plain

    click.echo(json.dumps(plain(to_dict(event)), ensure_ascii=False, allow_nan=False), err=True)


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
            case events.BlockDone():
                self._bars.update(self._blocks, completed=event.index + 1, total=event.total, visible=True)
            case _:
                self._bars.console.print(plain_line(event), markup=False, highlight=False)
