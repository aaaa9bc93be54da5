"""One pass over a stream: what a former run finished comes from its journal, the rest is done block by block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewer.adapt.blocks import Block
from fewer.adapt.computing import computing
from fewer.adapt.data import Batches
from fewer.adapt.journal import Journal
from fewer.adapt.layers import Layer
from fewer.adapt.naming import Unstreamable
from fewer.adapt.output import copy_except, write_at
from fewer.adapt.parallel import Observer, each, side_by_side
from fewer.adapt.run import mask_of
from fewer.adapt.shards import bytes_of
from fewer.adapt.states import States
from fewer.adapt.walk import Call, NotAChain, Stage, output_hidden, record, run_block, same_calls, share

if TYPE_CHECKING:
    from fewer.adapt.stream import Stream

__all__ = ["Run"]

_NO_CHAIN = "blocks do not simply feed one another, so it cannot be streamed"


class Run:
    """One pass over a stream: what is done is in the journal, the rest is done now."""

    def __init__(
        self, stream: Stream, journal: Journal, data: Batches, layers: Sequence[Layer], dtype: torch.dtype
    ) -> None:
        self.stream = stream
        self.dtype = dtype
        self.apart = side_by_side(stream.module)
        self.journal = journal
        self.masks = [mask_of(batch) for batch in data]
        self.filler = stream.filler
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
            copy_except(self.stream.path / file, self.target / file, sorted(rewritten.get(file, [])))
        self.journal.append({"prepared": True})

    def _start(self, done: Mapping[int, Mapping[str, Any]]) -> States:
        """Find what every block is given, and the states that enter the first unfinished one."""
        self.calls: list[list[Call]] = []
        states: States | None = None
        with self.filler.outside(self.stream.blocks, self.dtype):
            shells = self._shells()
            for index, batch in enumerate(self._data):
                hidden, calls = self._record(batch, shells)
                self.calls.append(share(calls, self.calls[-1] if self.calls else None))
                if states is None:
                    shapes = [(*_leading(item), *hidden.shape[len(_leading(item)) :]) for item in self._data]
                    states = States(self.stream.partial / "states-0", shapes, hidden.dtype)
                if hidden.shape != states.shapes[index]:
                    raise Unstreamable("the hidden states of this model cannot be stored")
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
            raise Unstreamable(f"'{self.stream.path}': its {_NO_CHAIN}") from None

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
            raise Unstreamable(f"'{stream.path}': its {_NO_CHAIN}")
        return shells

    def names(self, block: Block) -> list[str]:
        """Names of the parameters of a block."""
        return [name for p in block.module.parameters() if (name := self.filler.name_of(p)) is not None]

    def write(self, named: Mapping[str, Tensor]) -> None:
        """Put parameters into the new shards at the places that they have in the old ones, in the types of those."""
        handles: dict[str, int] = {}
        try:
            for name, value in named.items():
                for tensor, piece in self.stream.origins[name].parts_of(value):
                    stored = self.stream.shards.tensors[tensor]
                    if stored.file not in handles:
                        handles[stored.file] = os.open(self.target / stored.file, os.O_WRONLY)
                    write_at(handles[stored.file], bytes_of(piece), stored.start)
                self.stream.origins[name].written = None
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

    def forward(self, observer: Observer) -> None:
        """Nothing is left to run."""

    def close(self, result: Any) -> None:
        """Nothing is left to write."""


class _Disk:
    """One block, loaded for as long as it is needed."""

    result: Any = None

    def __init__(self, run: Run, block: Block, before: States) -> None:
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

    def forward(self, observer: Observer) -> None:
        """Run the block on every batch."""
        run = self._run

        def see(index: int) -> None:
            with observer.seeing(index, run.masks[index]):
                self._pass(index)

        with computing(self._module, run.dtype):
            for index, _ in enumerate(each(see, len(self._before), apart=run.apart and observer.apart)):
                observer.take(index)

    def close(self, result: Any) -> None:
        """Write the block, pass the states on, make both durable, then say so in the journal."""
        run = self._run
        if self.layers:
            run.write(dict(zip(self._names, self._module.parameters(), strict=True)))
        line: dict[str, Any] = {"block": self._index, "result": result}
        if self._index < run.last:
            with computing(self._module, run.dtype):
                for hidden in each(self._pass, len(self._before), apart=run.apart):
                    self.after.append(hidden)
            line["states"] = self.after.seal()
        run.filler.empty(self._module, self._former)
        run.journal.append(line)
        self._before.path.unlink(missing_ok=True)
        self.result, self.finished = result, True

    def _pass(self, index: int) -> Tensor:
        return run_block(self._module, self._before.read(index), self._run.calls[index][self._index])


def _leading(item: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Samples, and tokens where the input is tokens: what varies in the shape of hidden states between batches."""
    ids = item.get("input_ids")
    return tuple(next(iter(item.values())).shape[:1]) if ids is None else tuple(ids.shape)
