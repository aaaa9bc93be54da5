"""Hidden states of all batches on the disk, one file a block boundary."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from fewer.adapt.shards import bytes_of
from fewer.method import FewerError

__all__ = ["States"]


class States:
    """The states that enter one block: tensors of known shapes and one type, end to end in one file."""

    def __init__(self, path: Path, shapes: Iterable[tuple[int, ...]], dtype: torch.dtype) -> None:
        self.path = path
        self.shapes = tuple(shapes)
        self.dtype = dtype
        self._digest = hashlib.sha256()

    def next(self, path: Path) -> States:
        """An empty file of the same form."""
        return States(path, self.shapes, self.dtype)

    def __len__(self) -> int:
        return len(self.shapes)

    def read(self, index: int) -> Tensor:
        """The states of one batch."""
        out = torch.empty(self.shapes[index], dtype=self.dtype)
        start = sum(math.prod(shape) for shape in self.shapes[:index]) * self.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(start)
            if file.readinto(bytes_of(out)) != out.nbytes:
                raise FewerError(f"'{self.path}' is truncated: remove '{self.path.parent}' to start anew")
        return out

    def append(self, value: Tensor) -> None:
        """Write the next batch; the first one starts the file."""
        raw = bytes_of(value.contiguous())
        first = self._digest.digest() == hashlib.sha256().digest()
        with self.path.open("wb" if first else "ab") as file:
            file.write(raw)
        self._digest.update(raw)

    def seal(self) -> str:
        """Wait until all is on the disk; returns the hash of the file."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return self._digest.hexdigest()

    def check(self, expected: str) -> None:
        """Refuse a file that is not what was sealed."""
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                while piece := file.read(2**22):
                    digest.update(piece)
        except OSError:
            digest.update(b"missing")
        if digest.hexdigest() != expected:
            raise FewerError(f"'{self.path}' was changed since it was written: remove its directory to start anew")
