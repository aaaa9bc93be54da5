"""Going through a model block by block, so that later blocks see what was done to the earlier ones.

In most models the output of one block is the input of the next. Then the hidden states of all batches are kept and
each block is run on its own. What else a block is given (masks, rotary angles; they may differ from block to block)
is found by putting recorders in the places of the blocks and running the rest of the model once. Whether the model
is such a chain is checked on the first batch; if not, the whole model is run again for every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import Block
from fewer.adapt.computing import computing
from fewer.adapt.data import Batches
from fewer.adapt.layers import Layer
from fewer.adapt.opened import Opened
from fewer.adapt.parallel import Observer, each, side_by_side
from fewer.adapt.run import call, evaluating, mask_of

__all__ = [
    "Call", "NotAChain", "Stage", "hidden_of", "output_hidden", "record", "run_block", "same_calls",
    "share", "stages",
]  # fmt: skip


class NotAChain(Exception):
    """The blocks of this model do not simply feed one another."""


class Stage(Protocol):
    """Some layers whose inputs are observed together, then changed, before the next stage runs."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The selected layers of the stage."""

    @property
    def block(self) -> Block | None:
        """The block they lie in."""

    @property
    def finished(self) -> bool:
        """Whether the stage needs no visit (any more)."""

    @property
    def result(self) -> Any:
        """What the visit returned, once finished."""

    def forward(self, observer: Observer) -> None:
        """Run all batches, so that hooks see the inputs."""

    def close(self, result: Any) -> None:
        """Go on with the weights as they are now."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a block is given besides the hidden states.

    `name` is the keyword of the hidden states, or None when they come first by position.
    """

    name: str | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def hidden_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Call]:
    """Split a block's arguments into the hidden states and the rest."""
    if args and isinstance(args[0], Tensor):
        return args[0], Call(None, args[1:], dict(kwargs))
    for name, value in kwargs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            return value, Call(name, args, {key: x for key, x in kwargs.items() if key != name})
    raise NotAChain


def output_hidden(output: Any) -> tuple[Tensor, tuple[Any, ...] | None]:
    """Split a block's output into the hidden states and the tuple they stand in."""
    if isinstance(output, Tensor):
        return output, None
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0], output[1:]
    raise NotAChain


def run_block(module: nn.Module, hidden: Tensor, rest: Call) -> Tensor:
    """One block on its own."""
    args = rest.args if rest.name else (hidden, *rest.args)
    kwargs = {**rest.kwargs, rest.name: hidden} if rest.name else rest.kwargs
    return output_hidden(module(*args, **kwargs))[0]


class _Done(Exception):
    """All blocks were reached: nothing after them needs to run."""


class _Recorder(nn.Module):
    """Stands in the place of a block: notes what it is given and passes the hidden states on."""

    def __init__(self, block: Block, trace: _Trace) -> None:
        super().__init__()
        self.__dict__.update(_block=block, _trace=trace)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_block"].module, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_trace"].take(self.__dict__["_block"].index, *hidden_of(args, kwargs))


class _Trace:
    """What the recorders see in one pass."""

    def __init__(self, shells: Sequence[tuple[Any, ...] | None], scale: float) -> None:
        self.calls: list[Call] = []
        self.first: Tensor | None = None
        self._shells = shells
        self._scale = scale
        self._passed: Tensor | None = None

    def take(self, index: int, hidden: Tensor, rest: Call) -> Any:
        """One block's turn."""
        if index != len(self.calls) or (index and hidden is not self._passed):
            raise NotAChain
        self.first = hidden if self.first is None else self.first
        self.calls.append(rest)
        if len(self.calls) == len(self._shells):
            raise _Done
        shell = self._shells[index]
        self._passed = hidden if self._scale == 1.0 else hidden * self._scale
        return self._passed if shell is None else (self._passed, *shell)


def record(
    module: nn.Module,
    blocks: Sequence[Block],
    batch: Mapping[str, Tensor],
    shells: Sequence[tuple[Any, ...] | None],
    *,
    scale: float = 1.0,
) -> tuple[Tensor, list[Call]]:
    """Run a model but for its blocks on one batch: the hidden states that enter them, and each block's call.

    Args:
        module: the model; its blocks are not run, so they need no weights.
        blocks: all of them, in order.
        batch: the inputs.
        shells: what each of the first blocks returns beside the hidden states; the pass ends after as many blocks.
        scale: multiplies the hidden states between blocks, to see whether anything else depends on them.

    Raises:
        NotAChain: the blocks are not called once each, in order, on the same hidden states.
    """
    trace = _Trace(shells, scale)
    with _swapped(module, blocks, lambda block: _Recorder(block, trace)), torch.no_grad():
        try:
            call(module, batch)
        except _Done:
            assert trace.first is not None
            return trace.first, trace.calls
    raise NotAChain


@contextmanager
def _swapped(root: nn.Module, blocks: Sequence[Block], make: Callable[[Block], nn.Module]) -> Iterator[None]:
    places = [(root.get_submodule(b.name.rpartition(".")[0]), b.name.rpartition(".")[2], b) for b in blocks]
    try:
        for parent, key, block in places:
            parent._modules[key] = make(block)
        yield
    finally:
        for parent, key, block in places:
            parent._modules[key] = block.module


def stages(opened: Opened, data: Batches, layers: Sequence[Layer], dtype: torch.dtype) -> Iterator[Stage]:
    """The stages of a model in memory: its blocks in order, then what lies outside them, if anything was selected.

    A model without blocks is gone through layer by layer. Between two stages the caller may write weights; they are
    in the stored type then, whatever `dtype` the model is computed in.
    """
    inside = [layer for layer in layers if layer.block is not None]
    outside = [layer for layer in layers if layer.block is None]
    with evaluating(opened.module), torch.no_grad():
        if inside:
            try:
                chain = _chain(opened, data, inside, dtype)
            except NotAChain:
                yield from _rerun(opened, data, inside, dtype)
            else:
                yield from chain.stages(inside)
                del chain
        if outside and opened.blocks:
            yield _Whole(opened, data, tuple(outside), None, dtype)
        else:
            yield from (_Whole(opened, data, (layer,), None, dtype) for layer in outside)


def _chain(opened: Opened, data: Batches, layers: Sequence[Layer], dtype: torch.dtype) -> _Chain:
    """The blocks as a chain; a weight of several blocks has to see the inputs of all of them at once."""
    if any(len(layer.blocks) > 1 for layer in layers):
        raise NotAChain
    return _Chain(opened, data, dtype)


def _rerun(opened: Opened, data: Batches, layers: Sequence[Layer], dtype: torch.dtype) -> Iterator[Stage]:
    for block in opened.blocks:
        mine = tuple(layer for layer in layers if layer.block == block.index)
        if mine:
            yield _Whole(opened, data, mine, block, dtype)


class _Chain:
    """The hidden states before the current block, and every block's calls, for all batches.

    That the blocks are a chain is seen on one sample: run on their own they must give what the model gives.
    """

    def __init__(self, opened: Opened, data: Batches, dtype: torch.dtype) -> None:
        self.blocks = opened.blocks
        self.dtype = dtype
        self.hidden: list[Tensor] = []
        self.calls: list[list[Call]] = []
        self.masks = [mask_of(batch) for batch in data]
        self.apart = side_by_side(opened.module)
        with computing(opened.module, dtype, opened.blocks):
            self._record(opened, data)

    def _record(self, opened: Opened, data: Batches) -> None:
        sample = _first_sample(data[0])
        shells, final = _observe(opened, sample)
        for batch in data:
            hidden, calls = record(opened.module, self.blocks, batch, shells)
            self.hidden.append(hidden)
            self.calls.append(share(calls, self.calls[-1] if self.calls else None))
        state, calls = record(opened.module, self.blocks, sample, shells)
        for block in self.blocks:
            state = run_block(block.module, state, calls[block.index])
        if not torch.equal(state, final):
            raise NotAChain

    def stages(self, layers: Sequence[Layer]) -> Iterator[Stage]:
        """One stage a block; blocks without a selected layer are only run, those after the last one not at all."""
        last = max(layer.block for layer in layers if layer.block is not None)
        for block in self.blocks[: last + 1]:
            mine = tuple(layer for layer in layers if layer.block == block.index)
            stage = _Link(self, block, mine, block.index == last)
            if mine:
                yield stage
            if not stage.finished:
                stage.close(None)


def _first_sample(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """One sample of a batch, where its tensors agree on what a sample is."""
    lengths = {value.shape[0] if value.ndim else 0 for value in batch.values()}
    return {key: value[:1] for key, value in batch.items()} if len(lengths) == 1 and lengths != {0} else batch


def _observe(opened: Opened, batch: Mapping[str, Tensor]) -> tuple[list[tuple[Any, ...] | None], Tensor]:
    """Run the model as it is: what form each block's output has, and what leaves the last one."""
    found: dict[int, tuple[Tensor, tuple[Any, ...] | None]] = {}
    handles = []
    for block in opened.blocks:

        def note(module: nn.Module, args: Any, output: Any, index: int = block.index) -> None:
            found[index] = output_hidden(output)

        handles.append(block.module.register_forward_hook(note))
    try:
        call(opened.module, batch)
    finally:
        for handle in handles:
            handle.remove()
    if len(found) != len(opened.blocks):
        raise NotAChain
    return [found[block.index][1] for block in opened.blocks], found[len(found) - 1][0]


class _Link:
    """One block of a chain."""

    result: Any = None

    def __init__(self, chain: _Chain, block: Block, layers: tuple[Layer, ...], last: bool) -> None:
        self._chain = chain
        self._last = last
        self._module = block.module
        self._index = block.index
        self.block: Block | None = block
        self.layers = layers
        self.finished = False

    def forward(self, observer: Observer) -> None:
        """Run the block on every batch."""
        chain = self._chain

        def see(index: int) -> None:
            with observer.seeing(index, chain.masks[index]):
                self._run(index)

        with computing(self._module, chain.dtype):
            for index, _ in enumerate(each(see, len(chain.hidden), apart=chain.apart and observer.apart)):
                observer.take(index)

    def close(self, result: Any) -> None:
        """Pass the hidden states through the block as it is now."""
        chain = self._chain
        with computing(self._module, chain.dtype):
            count = 0 if self._last else len(chain.hidden)
            for index, hidden in enumerate(each(self._run, count, apart=chain.apart)):
                chain.hidden[index] = hidden
        self.finished = True

    def _run(self, index: int) -> Tensor:
        return run_block(self._module, self._chain.hidden[index], self._chain.calls[index][self._index])


class _Whole:
    """Layers observed by running the whole model."""

    result: Any = None

    def __init__(
        self, opened: Opened, data: Batches, layers: tuple[Layer, ...], block: Block | None, dtype: torch.dtype
    ) -> None:
        self._opened = opened
        self._data = data
        self._dtype = dtype
        self.layers = layers
        self.block = block
        self.finished = False

    def forward(self, observer: Observer) -> None:
        """Run the model on every batch."""
        with computing(self._opened.module, self._dtype, self._opened.blocks):
            for index, batch in enumerate(self._data):
                with observer.seeing(index, mask_of(batch)):
                    call(self._opened.module, batch)
                observer.take(index)

    def close(self, result: Any) -> None:
        """Nothing is carried over: the next stage runs the changed model."""
        self.finished = True


def share(calls: list[Call], former: list[Call] | None) -> list[Call]:
    """The same calls, reusing the tensors of the former batch where they are equal (masks, rotary angles)."""
    if former is None:
        return calls
    known: dict[int, Any] = {}

    def same(new: Any, old: Any) -> Any:
        if id(new) not in known:
            known[id(new)] = old if _equal(new, old) else new
        return known[id(new)]

    return [
        Call(
            new.name,
            tuple(same(a, b) for a, b in zip_longest(new.args, old.args[: len(new.args)])),
            {key: same(value, old.kwargs.get(key)) for key, value in new.kwargs.items()},
        )
        for new, old in zip(calls, former, strict=True)
    ]


def same_calls(one: list[Call], other: list[Call]) -> bool:
    """Whether two passes gave the blocks the same things."""
    return len(one) == len(other) and all(
        a.name == b.name
        and len(a.args) == len(b.args)
        and a.kwargs.keys() == b.kwargs.keys()
        and all(_equal(x, y) for x, y in zip(a.args, b.args, strict=True))
        and all(_equal(value, b.kwargs[key]) for key, value in a.kwargs.items())
        for a, b in zip(one, other, strict=True)
    )


def _equal(new: Any, old: Any) -> bool:
    if isinstance(new, Tensor) and isinstance(old, Tensor):
        return new.shape == old.shape and new.dtype == old.dtype and torch.equal(new, old)
    if isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old):
        return all(_equal(a, b) for a, b in zip(new, old, strict=True))
    return new is old or (isinstance(new, (bool, int, float, str)) and type(new) is type(old) and new == old)
