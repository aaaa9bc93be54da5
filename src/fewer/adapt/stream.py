"""Checkpoints larger than memory: one block at a time from the shards, changed, written on.

The model is built without weights. The peak is one block, one batch of hidden states and what is measured on them;
everything else lies on the disk in `OUT.partial`: the new shards (`model/`), the hidden states that enter the next
block, and a journal. A block is journalled only after its weights and the states behind it are durable, and the
source is never changed: a run killed at any moment starts again at its unfinished block and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fewer.adapt.blocks import Block, candidates_of, find_blocks, unseen_of
from fewer.adapt.checkpoint import blank, model_path, quiet, read_config, read_tokenizer
from fewer.adapt.computing import dtype_of, name_of
from fewer.adapt.data import Batches
from fewer.adapt.headers import INDEX, check_unpacked
from fewer.adapt.journal import Journal
from fewer.adapt.layers import Layer
from fewer.adapt.naming import parts_of
from fewer.adapt.number_types import computed, computed_types
from fewer.adapt.opened import bind, kind_of, tensors_of
from fewer.adapt.origin import Origins
from fewer.adapt.outlines import Outline
from fewer.adapt.output import Extra, check_space, check_target, copy_beside, is_full, publish, write_extras
from fewer.adapt.resume import Run
from fewer.adapt.run import evaluating
from fewer.adapt.shards import Shards, bytes_of
from fewer.adapt.skeleton import Filler, hollow, retype
from fewer.adapt.walk import Stage
from fewer.events import followed
from fewer.method import FewerError

__all__ = ["Stream"]


class Stream:
    """A checkpoint that is pruned from directory to directory without being in memory.

    It has the `layers`, `candidates`, `blocks`, `kind` and `config` of an `Opened` model and goes where one goes in
    `evidence.sequential`. A layer can be read at any time (from the source) and written while its block is visited.

    Args:
        path: a safetensors directory (or "demo").
        out: the directory to write; `out.partial` beside it holds the work.
        key: hash of what will be done (the plan): an unfinished run with another key is refused.

    Raises:
        FewerError: what `open` would say of the source, or `out` exists and is not ours.
    """

    def __init__(self, path: str | Path, out: str | Path, *, key: str = "") -> None:
        self.path = model_path(path)
        self.out = Path(out)
        self.key = key
        check_target(self.out)
        check_unpacked(self.path)
        self.config = read_config(self.path)
        self.shards = Shards.scan(self.path)
        kind = type(blank(self.config, self.shards, self.path))
        dtype = computed(self.config, self.shards)
        self.config.dtype = dtype
        with quiet(), hollow(dtype):
            self.module = kind(self.config).eval()
        retype(self.module, computed_types(self.module, dtype))
        self.kind = kind_of(self.module)
        self.parts = parts_of(self.module, self.shards)
        self.blocks: tuple[Block, ...] = find_blocks(self.module)
        self.candidates: tuple[Layer, ...] = candidates_of(self.module, self.blocks)
        self.filler = Filler(self.module, self.parts)
        self.origins = Origins(self.parts)
        bind(self.module, self.candidates, self.origins)
        self._hash = ""
        self._begun = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are pruned by default."""
        return tuple(layer for layer in self.candidates if layer.default)

    @property
    def unseen(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and shapes of weights that are no layer (see `Outline`)."""
        return unseen_of(self.module, self.candidates)

    @property
    def partial(self) -> Path:
        """Where the work lies until it is finished."""
        return self.out.absolute().with_name(f"{self.out.name}.partial")

    def outline(self) -> Outline:
        """Names, shapes and types alone."""
        return Outline.of(
            self.module, self.kind, self.candidates, self.blocks, self.path, computes=name_of(self.config.dtype)
        )

    def tokenizer(self) -> Any:
        """The tokenizer beside the model."""
        return read_tokenizer(self.path)

    def hash(self) -> str:
        """As `Opened.hash`, read in small pieces; refuses NaN and infinity on the way."""
        if not self._hash:
            digest = hashlib.sha256()
            for name, value in followed("hashing", sorted(tensors_of(self.module).items())):
                parts = self.parts.of[name]
                digest.update(f"{name}:{self.parts.dtype(name)}:{tuple(value.shape)}:".encode())
                for part in parts:
                    for piece in self.shards.chunks(part.tensor):
                        digest.update(bytes_of(piece))
            self._hash = digest.hexdigest()
        return self._hash

    def stages(self, data: Batches, layers: Sequence[Layer], dtype: torch.dtype | None = None) -> Iterator[Stage]:
        """The blocks in order, finished ones (of a killed run) with their result.

        They compute in `dtype`, or as `auto` has it.

        Raises:
            FewerError: a layer outside the blocks, blocks that are no chain, another run's partial directory, or no
                space left.
        """
        outside = [layer.name for layer in layers if layer.block is None]
        if outside:
            raise FewerError(f"layer '{outside[0]}' lies outside the blocks and cannot be streamed: skip it")
        shared = [layer.name for layer in layers if len(layer.blocks) > 1]
        if shared:
            raise FewerError(f"layer '{shared[0]}' is used by several blocks and cannot be streamed: skip it")
        dtype = dtype or dtype_of(self.module)
        head = {
            "format": 1, "plan": self.key, "model": self.hash(), "data": data.hash, "compute": name_of(dtype),
            "layers": hashlib.sha256("\n".join(layer.name for layer in layers).encode()).hexdigest(),
        }  # fmt: skip
        fresh = not self.partial.exists()
        if not fresh and not _is_ours(self.partial):
            raise FewerError(f"'{self.partial}' would hold unfinished work, but fewer did not write it: remove it")
        need = self.shards.bytes if fresh else 0
        check_space(self.out, need)
        with self._guard(fresh):
            self.partial.mkdir(exist_ok=True)
        journal = Journal(self.partial)
        try:
            journal.begin(head)
            self._begun = True
            with self._guard(True), _threads(journal), evaluating(self.module), torch.no_grad():
                yield from Run(self, journal, data, layers, dtype).stages()
        finally:
            journal.close()

    def finish(self, *, extras: Mapping[str, Extra] | None = None, mark: Mapping[str, Any] | None = None) -> Path:
        """Complete the directory (configuration, tokenizer, extras, mark) and give it its name.

        Raises:
            FewerError: blocks are still to be done, or no space is left.
        """
        from fewer import __version__

        journal = Journal(self.partial) if self.partial.is_dir() else None
        if journal is None or not journal.find("done"):
            raise FewerError(f"'{self.out}' cannot be finished: its blocks were not all gone through")
        target = self.partial / "model"
        try:
            if target.is_dir():
                with self._guard(False):
                    for name in ("config.json", INDEX):
                        if (self.path / name).is_file():
                            shutil.copyfile(self.path / name, target / name)
                    copy_beside(self.path, target)
                    write_extras(target, extras or {}, {"fewer": __version__, **(mark or {})})
                    publish(target, self.out)
        finally:
            journal.close()
        shutil.rmtree(self.partial)
        return self.out

    def discard(self) -> None:
        """Throw this run's unfinished work away: a fault in the input will not mend itself.

        Another run's partial directory (one that was refused) is left alone.
        """
        if self._begun:
            shutil.rmtree(self.partial, ignore_errors=True)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Throw the work away at a fault in the input; say of it at any other what it is good for."""
        try:
            yield
        except FewerError:
            self.discard()
            raise
        except BaseException as error:
            if self._begun and self.partial.is_dir():
                error.add_note(
                    f"'{self.partial}' holds what was finished: the same call goes on there; remove it to start anew"
                )
            raise

    @contextmanager
    def _guard(self, ours: bool) -> Iterator[None]:
        """Turn a full disk into one line; leave nothing behind then."""
        try:
            yield
        except OSError as error:
            if is_full(error):
                if ours:
                    shutil.rmtree(self.partial, ignore_errors=True)
                kept = "nothing was kept" if ours else f"'{self.partial}' is kept: the same call goes on there"
                raise FewerError(f"no space left while writing '{self.out}'; {kept}") from None
            raise FewerError(f"cannot write '{self.partial}': {error.strerror}") from None


def _is_ours(partial: Path) -> bool:
    """Whether a directory holds nothing but what a run leaves there."""
    known = ("journal.jsonl", "lock", "model")
    return partial.is_dir() and all(
        x.name in known or x.name.startswith(("states-", "masks-")) for x in partial.iterdir()
    )


@contextmanager
def _threads(journal: Journal) -> Iterator[None]:
    """Continue with as many threads as the run began with: sums depend on how they are split."""
    former = torch.get_num_threads()
    said = journal.find("threads")
    if not said:
        journal.append({"threads": former})
    torch.set_num_threads(int(said[0]["threads"]) if said else former)
    try:
        yield
    finally:
        torch.set_num_threads(former)
