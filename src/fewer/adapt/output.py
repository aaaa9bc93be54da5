"""Output directories that appear whole or not at all.

A directory is ours when `fewer.json` lies in it; only such a one (or an empty one) is replaced.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from fewer.method import FewerError

__all__ = [
    "MARK",
    "Extra",
    "check_target",
    "copy_beside",
    "copy_except",
    "publish",
    "whole",
    "write_at",
    "write_extras",
]

#: What stands in an extra file: its text, or a function that is given its path and writes it.
Extra: TypeAlias = str | Callable[[Path], object]
#: The file that marks a directory as written by fewer.
MARK = "fewer.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".py", ".gguf")
_BESIDE = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "chat_template*", "LICENSE*", "NOTICE*",
)  # fmt: skip


def check_target(out: Path) -> None:
    """Refuse an output path that exists and that we did not write.

    Raises:
        FewerError: it exists, is not empty and does not hold our mark, or its parent is missing.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FewerError(f"output '{out}' exists and is not a directory")
    if out.is_dir() and any(out.iterdir()) and not _ours(out):
        raise FewerError(f"output '{out}' exists and was not written by fewer: name another directory or remove it")
    if not out.absolute().parent.is_dir():
        raise FewerError(f"output '{out}': the directory '{out.absolute().parent}' does not exist")


def _ours(out: Path) -> bool:
    """Whether the mark in a directory is one that fewer wrote: a file of that name alone is no leave to replace it."""
    try:
        mark = json.loads((out / MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(mark, dict) and bool({"fewer", "kind"} & mark.keys())


@contextmanager
def whole(out: Path, need: int = 0) -> Iterator[Path]:
    """Fill a directory beside `out`, which takes its place only when everything went well.

    Args:
        out: the final directory.
        need: bytes that will be written, checked against the free space first.

    Raises:
        FewerError: `out` is not ours, or no space is left; nothing stays behind then.
    """
    check_target(out)
    check_space(out, need)
    partial = out.absolute().with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        publish(partial, out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if is_full(error):
            raise FewerError(f"no space left while writing '{out}'; nothing was kept") from None
        if isinstance(error, OSError):
            raise FewerError(f"cannot write '{out}': {error.strerror}") from None
        raise


def publish(partial: Path, out: Path) -> None:
    """Flush a finished directory to the disk and give it its final name."""
    for file in partial.rglob("*"):
        flush(file)
    flush(partial)
    old = out.absolute().with_name(f"{out.name}.old-{os.getpid()}")
    if out.is_dir():
        os.rename(out, old)
    os.rename(partial, out)
    flush(out.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)


def check_space(out: Path, need: int) -> None:
    """Refuse to start writing what cannot fit.

    Raises:
        FewerError: less than `need` bytes are free where `out` will lie.
    """
    free = shutil.disk_usage(out.absolute().parent).free
    if need > free:
        raise FewerError(f"no space left for '{out}': {need:,} bytes are needed, {free:,} are free")


def is_full(error: BaseException) -> bool:
    """Whether an error, of Python or of a library that wraps it, means that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return type(error).__name__ == "SafetensorError" and "No space left" in str(error)


def flush(path: Path) -> None:
    """Make a file or a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_beside(source: Path | None, target: Path) -> None:
    """Copy tokenizer, generation settings and licence files that `target` does not have yet."""
    if source is None:
        return
    for pattern in _BESIDE:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and file.suffix not in _WEIGHTS and not (target / file.name).exists():
                shutil.copyfile(file, target / file.name)


def write_extras(target: Path, extras: Mapping[str, Extra], mark: Mapping[str, Any]) -> None:
    """Write extra files (text, or a function that writes the file) and the mark that says who wrote the directory."""
    for name, content in extras.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise FewerError(f"extra file '{name}' must be a plain file name")
        if isinstance(content, str):
            (target / name).write_text(content, "utf-8")
        else:
            content(target / name)
    (target / MARK).write_text(json.dumps(dict(mark), indent=2, sort_keys=True) + "\n", "utf-8")


def copy_except(source: Path, target: Path, holes: Sequence[tuple[int, int]]) -> None:
    """Copy a file but for some spans, whose room is reserved."""
    size = source.stat().st_size
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        if size:
            os.posix_fallocate(writer, 0, size)
        place = 0
        for start, stop in (*holes, (size, size)):
            while place < start:
                piece = os.pread(reader, min(2**24, start - place), place)
                if not piece:
                    raise FewerError(f"'{source}' became shorter while it was read")
                write_at(writer, piece, place)
                place += len(piece)
            place = stop
        os.fsync(writer)
    finally:
        os.close(reader)
        os.close(writer)


def write_at(handle: int, data: Any, place: int) -> None:
    """Write all bytes at an offset."""
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done
