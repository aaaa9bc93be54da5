"""The journal of a run that may be killed: one JSON line a step, durable before the next step begins."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from fewer.adapt.output import flush
from fewer.method import FewerError

__all__ = ["Journal"]


class Journal:
    """Lines of a run; the first says what is run, a torn last line (killed while writing) is dropped."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.jsonl"
        self._lock: IO[bytes] = (folder / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise FewerError(f"another run is writing '{folder}'") from None
        self.lines = self._read()

    def close(self) -> None:
        """Let other runs have it."""
        self._lock.close()

    def begin(self, head: Mapping[str, Any]) -> bool:
        """Start, or continue, the run that `head` describes; true when there is something to continue.

        Raises:
            FewerError: the journal belongs to another run.
        """
        if not self.lines:
            self.append(head)
            return False
        for key, value in head.items():
            if self.lines[0].get(key) != value:
                raise FewerError(
                    f"'{self.path.parent}' holds an unfinished run with another {key}: finish that one, or remove the "
                    "directory to start anew"
                )
        return True

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line and wait until it is on the disk."""
        fresh = not self.path.exists()
        with self.path.open("ab") as file:
            file.write(json.dumps(dict(line)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            flush(self.path.parent)
        self.lines.append(dict(line))

    def find(self, key: str) -> list[dict[str, Any]]:
        """The lines that have a key."""
        return [line for line in self.lines if key in line]

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        raw = self.path.read_bytes()
        kept = raw[: raw.rfind(b"\n") + 1]
        if len(kept) != len(raw):
            with self.path.open("r+b") as file:
                file.truncate(len(kept))
                os.fsync(file.fileno())
        try:
            return [dict(json.loads(line)) for line in kept.splitlines()]
        except (ValueError, TypeError):
            raise FewerError(f"'{self.path}' is damaged: remove '{self.path.parent}' to start anew") from None
