"""Reserving an output directory: one run at a time writes it, and none writes over what it reads."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewer.adapt.output import check_target
from fewer.method import FewerError

__all__ = ["check_apart", "reserved"]

#: Directories that this process has reserved: the thread, and how often.
_held: dict[Path, tuple[int, int]] = {}
_guard = threading.Lock()


@contextmanager
def reserved(out: str | Path | None, *sources: Path | None) -> Iterator[None]:
    """Keep a directory for this run until the context ends; a run inside of it may reserve it again.

    A file `OUT.lock` beside it is locked meanwhile and removed at the end; one that a killed run left is taken over.

    Args:
        out: the directory; None reserves nothing.
        sources: directories that the run reads, which `out` must not touch.

    Raises:
        FewerError: it may not be replaced, it holds a source or lies in one, another run has it, or its parent cannot
            be written.
    """
    if out is None:
        yield
        return
    if out == "demo":
        raise FewerError("output 'demo' would be read as the model that ships with fewer: write './demo'")
    place = Path(out)
    check_target(place)
    for source in sources:
        check_apart(place, source)
    key = place.resolve()
    handle = _take(place, key)
    try:
        yield
    finally:
        _release(key, handle)


def check_apart(out: Path, source: Path | None) -> None:
    """Refuse an output that is the model it is made from, holds it, or lies in it, by whatever path it is named.

    Raises:
        FewerError: it is one of these.
    """
    if source is None or not source.exists():
        return
    here, there = out.resolve(), source.resolve()
    if here == there:
        raise FewerError(f"output '{out}' is the model itself, which would be replaced: name another directory")
    if here in there.parents:
        raise FewerError(f"output '{out}' holds the model '{source}', which would be removed: name another directory")
    if there in here.parents:
        raise FewerError(f"output '{out}' lies inside the model directory '{source}': name another directory")


def _take(place: Path, key: Path) -> int | None:
    """The handle of the lock; None where this thread has it already."""
    me = threading.get_ident()
    with _guard:
        owner, depth = _held.get(key, (me, 0))
        if owner != me:
            raise FewerError(f"another run is writing '{place}': wait for it, or name another directory")
        handle = None if depth else _locked(place, key)
        _held[key] = (me, depth + 1)
    return handle


def _locked(place: Path, key: Path) -> int:
    file = key.with_name(f"{key.name}.lock")
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise FewerError(f"cannot write '{place}': {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise FewerError(f"another run is writing '{place}': wait for it, or name another directory") from None
        # Whoever had it may have removed the file between the two steps: then nobody else would see this lock.
        if file.exists() and os.path.samestat(file.stat(), os.fstat(handle)):
            return handle
        os.close(handle)


def _release(key: Path, handle: int | None) -> None:
    with _guard:
        owner, depth = _held.pop(key)
        if depth > 1:
            _held[key] = (owner, depth - 1)
        if handle is not None:
            key.with_name(f"{key.name}.lock").unlink(missing_ok=True)
            os.close(handle)
