"""Checkpoints larger than memory: one block at a time from the shards, changed, written on.

The model is built without weights. The peak is one block, one batch of hidden states and what is measured on them;
everything else lies on the disk in `OUT.partial`: the new shards (`model/`), the hidden states that enter the next
block, and a journal. A block is journalled only after its weights and the states behind it are durable, and the
source is never changed: a run killed at any moment starts again at its unfinished block and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.adapt.blocks import Block, candidates_of, find_blocks
from fewer.adapt.checkpoint import model_class, model_path, quiet, read_config, read_tokenizer
from fewer.adapt.data import Batches
from fewer.adapt.journal import Journal
from fewer.adapt.layers import Layer
from fewer.adapt.naming import parts_of
from fewer.adapt.opened import Outline, kind_of, tensors_of
from fewer.adapt.output import check_space, check_target, copy_beside, is_full, publish, write_extras
from fewer.adapt.run import evaluating, mask_of
from fewer.adapt.shards import INDEX, Shards, bytes_of
from fewer.adapt.skeleton import Filler, hollow
from fewer.adapt.states import States
from fewer.adapt.walk import Before, Call, NotAChain, Stage, output_hidden, record, run_block, same_calls, share
from fewer.method import FewerError

__all__ = ["Stream"]

_NO_CHAIN = "blocks do not simply feed one another: this model cannot be streamed; open it in memory"


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
        self.config = read_config(self.path)
        self.shards = Shards.scan(self.path)
        kind = model_class(self.config, self.path)
        dtype = _widest(self.shards)
        self.config.dtype = dtype
        with quiet(), hollow(dtype):
            self.module = kind(self.config).eval()
        self.kind = kind_of(self.module)
        self.parts = parts_of(self.module, self.shards)
        self.blocks: tuple[Block, ...] = find_blocks(self.module)
        self.candidates: tuple[Layer, ...] = candidates_of(self.module, self.blocks)
        self._filler = Filler(self.module, self.parts)
        for layer in self.candidates:
            self._bind(layer)
        self._hash = ""
        self._begun = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are pruned by default."""
        return tuple(layer for layer in self.candidates if layer.default)

    @property
    def partial(self) -> Path:
        """Where the work lies until it is finished."""
        return self.out.absolute().with_name(f"{self.out.name}.partial")

    def outline(self) -> Outline:
        """Names, shapes and types alone."""
        return Outline.of(self.candidates, self.blocks, self.kind, self.path)

    def tokenizer(self) -> Any:
        """The tokenizer beside the model."""
        return read_tokenizer(self.path)

    def hash(self) -> str:
        """As `Opened.hash`, read in small pieces; refuses NaN and infinity on the way."""
        if not self._hash:
            digest = hashlib.sha256()
            for name, value in sorted(tensors_of(self.module).items()):
                parts = self.parts.of[name]
                digest.update(f"{name}:{self.parts.dtype(name)}:{tuple(value.shape)}:".encode())
                for part in parts:
                    for piece in self.shards.chunks(part.tensor):
                        digest.update(bytes_of(piece))
            self._hash = digest.hexdigest()
        return self._hash

    def stages(self, data: Batches, layers: Sequence[Layer]) -> Iterator[Stage]:
        """The blocks in order, finished ones (of a killed run) with their result.

        Raises:
            FewerError: a layer outside the blocks, blocks that are no chain, another run's partial directory, or no
                space left.
        """
        outside = [layer.name for layer in layers if layer.block is None]
        if outside:
            raise FewerError(f"layer '{outside[0]}' lies outside the blocks and cannot be streamed: skip it")
        head = {
            "format": 1, "plan": self.key, "model": self.hash(), "data": data.hash,
            "layers": hashlib.sha256("\n".join(layer.name for layer in layers).encode()).hexdigest(),
        }  # fmt: skip
        fresh = not self.partial.exists()
        if not fresh and not _is_ours(self.partial):
            raise FewerError(f"'{self.partial}' is where unfinished work is kept, but fewer did not write it: remove it")
        need = self.shards.bytes if fresh else 0
        check_space(self.out, need)
        with self._guard(fresh):
            self.partial.mkdir(exist_ok=True)
        journal = Journal(self.partial)
        try:
            journal.begin(head)
            self._begun = True
            with self._guard(True), _threads(journal), evaluating(self.module), torch.no_grad():
                yield from _Run(self, journal, data, layers).stages()
        finally:
            journal.close()

    def finish(self, *, extras: Mapping[str, str] | None = None, mark: Mapping[str, Any] | None = None) -> Path:
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
                with self._guard(True):
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
    def _guard(self, ours: bool) -> Iterator[None]:
        """Turn a full disk into one line; leave nothing behind then."""
        try:
            yield
        except OSError as error:
            if is_full(error):
                if ours:
                    shutil.rmtree(self.partial, ignore_errors=True)
                raise FewerError(f"no space left while writing '{self.out}'; nothing was kept") from None
            raise FewerError(f"cannot write '{self.partial}': {error.strerror}") from None

    def _bind(self, layer: Layer) -> None:
        value = layer.tensor()
        name = self._filler.name_of(value)
        assert name is not None
        layer.dtype = self.parts.dtype(name)
        layer.fetch = lambda: self.parts.read(name, value.shape)


class _Run:
    """One pass over a stream: what is done is in the journal, the rest is done now."""

    def __init__(self, stream: Stream, journal: Journal, data: Batches, layers: Sequence[Layer]) -> None:
        self.stream = stream
        self.journal = journal
        self.masks = [mask_of(batch) for batch in data]
        self.filler = stream._filler
        self.by_block = {block.index: tuple(x for x in layers if x.block == block.index) for block in stream.blocks}
        self.last = max((index for index, mine in self.by_block.items() if mine), default=-1)
        self._data = data
        self.target = stream.partial / "model"

    def stages(self) -> Iterator[Stage]:
        """Finished stages first, then the others."""
        done = {line["block"]: line for line in self.journal.find("block")}
        for block in self.stream.blocks[: len(done)]:
            if self.by_block[block.index]:
                yield _Finished(self.by_block[block.index], block, done[block.index]["result"])
        if len(done) <= self.last:
            if not self.journal.find("prepared"):
                self._prepare()
            states = self._start(done)
            for block in self.stream.blocks[len(done) : self.last + 1]:
                stage = _Disk(self, block, states)
                if stage.layers:
                    yield stage
                if not stage.finished:
                    stage.close(None)
                states = stage.after
        if not self.journal.find("done"):
            self.journal.append({"done": True})

    def _prepare(self) -> None:
        """Reserve the new shards at full size and copy everything that no block will write."""
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        rewritten: dict[str, list[tuple[int, int]]] = {}
        for block in self.stream.blocks[: self.last + 1]:
            if self.by_block[block.index]:
                for name in self.names(block):
                    for part in self.stream.parts.of[name]:
                        stored = self.stream.shards.tensors[part.tensor]
                        rewritten.setdefault(stored.file, []).append((stored.start, stored.start + stored.bytes))
        for file in self.stream.shards.files:
            _copy_except(self.stream.path / file, self.target / file, sorted(rewritten.get(file, [])))
        self.journal.append({"prepared": True})

    def _start(self, done: Mapping[int, Mapping[str, Any]]) -> States:
        """Find what every block is given, and the states that enter the first unfinished one."""
        self.calls: list[list[Call]] = []
        states: States | None = None
        with self.filler.outside(self.stream.blocks):
            shells = self._shells()
            for index, batch in enumerate(self._data):
                hidden, calls = self._record(batch, shells)
                self.calls.append(share(calls, self.calls[-1] if self.calls else None))
                if states is None:
                    shapes = [(*_leading(item), *hidden.shape[len(_leading(item)) :]) for item in self._data]
                    states = States(self.stream.partial / "states-0", shapes, hidden.dtype)
                if hidden.shape != states.shapes[index]:
                    raise FewerError("the hidden states of this model cannot be stored: open it in memory")
                if not done:
                    states.append(hidden)
        assert states is not None
        if done:
            states = states.next(self.stream.partial / f"states-{len(done)}")
            states.check(done[len(done) - 1]["states"])
        for file in self.stream.partial.glob("states-*"):
            if file != states.path:
                file.unlink()
        return states

    def _record(self, batch: Mapping[str, Tensor], shells: Sequence[Any]) -> tuple[Tensor, list[Call]]:
        try:
            return record(self.stream.module, self.stream.blocks, batch, shells)
        except NotAChain:
            raise FewerError(f"'{self.stream.path}': its {_NO_CHAIN}") from None

    def _shells(self) -> list[tuple[Any, ...] | None]:
        """What blocks return beside the hidden states, from running the first one; and whether they are a chain."""
        stream, blocks, batch = self.stream, self.stream.blocks, self._data[0]
        try:
            hidden, calls = record(stream.module, blocks, batch, [None])
            former = self.filler.fill(blocks[0].module)
            rest = calls[0]
            args = rest.args if rest.name else (hidden, *rest.args)
            kwargs = {**rest.kwargs, rest.name: hidden} if rest.name else rest.kwargs
            shell = output_hidden(blocks[0].module(*args, **kwargs))[1]
            self.filler.empty(blocks[0].module, former)
            shells = [shell] * len(blocks)
            plain = record(stream.module, blocks, batch, shells)[1]
            scaled = record(stream.module, blocks, batch, shells, scale=0.5)[1]
        except NotAChain:
            scaled, plain, shells = [], [], []
        if not plain or not same_calls(plain, scaled):
            raise FewerError(f"'{stream.path}': its {_NO_CHAIN}")
        return shells

    def names(self, block: Block) -> list[str]:
        """Names of the parameters of a block."""
        return [name for p in block.module.parameters() if (name := self.filler.name_of(p)) is not None]

    def write(self, named: Mapping[str, Tensor]) -> None:
        """Put parameters into the new shards at the places that they have in the old ones."""
        handles: dict[str, int] = {}
        try:
            for name, value in named.items():
                for part in self.stream.parts.of[name]:
                    stored = self.stream.shards.tensors[part.tensor]
                    if stored.file not in handles:
                        handles[stored.file] = os.open(self.target / stored.file, os.O_WRONLY)
                    _write_at(handles[stored.file], bytes_of(part.of(value).contiguous()), stored.start)
            for handle in handles.values():
                os.fsync(handle)
        finally:
            for handle in handles.values():
                os.close(handle)


class _Finished:
    """A stage that a former run has completed."""

    finished = True

    def __init__(self, layers: tuple[Layer, ...], block: Block, result: Any) -> None:
        self.layers = layers
        self.block: Block | None = block
        self.result = result

    def forward(self, before: Before) -> None:
        """Nothing is left to run."""

    def close(self, result: Any) -> None:
        """Nothing is left to write."""


class _Disk:
    """One block, loaded for as long as it is needed."""

    result: Any = None

    def __init__(self, run: _Run, block: Block, before: States) -> None:
        self.block: Block | None = block
        self.layers = run.by_block[block.index]
        self.finished = False
        self.after = before.next(run.stream.partial / f"states-{block.index + 1}")
        self._run = run
        self._index = block.index
        self._module = block.module
        self._before = before
        self._names = run.names(block)
        self._former = run.filler.fill(block.module)

    def forward(self, before: Before) -> None:
        """Run the block on every batch."""
        for index in range(len(self._before)):
            before(index, self._run.masks[index])
            run_block(self._module, self._before.read(index), self._run.calls[index][self._index])

    def close(self, result: Any) -> None:
        """Write the block, pass the states on, make both durable, then say so in the journal."""
        run = self._run
        if self.layers:
            run.write(dict(zip(self._names, self._module.parameters(), strict=True)))
        line: dict[str, Any] = {"block": self._index, "result": result}
        if self._index < run.last:
            for index in range(len(self._before)):
                hidden = self._before.read(index)
                self.after.append(run_block(self._module, hidden, run.calls[index][self._index]))
            line["states"] = self.after.seal()
        run.filler.empty(self._module, self._former)
        run.journal.append(line)
        self._before.path.unlink(missing_ok=True)
        self.result, self.finished = result, True


def _leading(item: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Samples, and tokens where the input is tokens: what varies in the shape of hidden states between batches."""
    ids = item.get("input_ids")
    return tuple(next(iter(item.values())).shape[:1]) if ids is None else tuple(ids.shape)


def _is_ours(partial: Path) -> bool:
    """Whether a directory holds nothing but what a run leaves there."""
    known = ("journal.jsonl", "lock", "model")
    return partial.is_dir() and all(x.name in known or x.name.startswith("states-") for x in partial.iterdir())


def _widest(shards: Shards) -> torch.dtype:
    """The floating-point type that most bytes are stored in."""
    sizes: dict[torch.dtype, int] = {}
    for stored in shards.tensors.values():
        if stored.dtype.is_floating_point:
            sizes[stored.dtype] = sizes.get(stored.dtype, 0) + stored.bytes
    if not sizes:
        raise FewerError(f"'{shards.path}' holds no floating-point weights")
    return max(sizes, key=lambda dtype: sizes[dtype])


def _copy_except(source: Path, target: Path, holes: Sequence[tuple[int, int]]) -> None:
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
                _write_at(writer, piece, place)
                place += len(piece)
            place = stop
        os.fsync(writer)
    finally:
        os.close(reader)
        os.close(writer)


def _write_at(handle: int, data: Any, place: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done


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
