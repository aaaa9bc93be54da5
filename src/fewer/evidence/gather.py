"""The passes that fill the accumulators: all layers at once, or block by block."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from fewer import adapt
from fewer.adapt.capture import Rows, Tap
from fewer.adapt.computing import computing, dtype_of, name_of
from fewer.adapt.data import Batches
from fewer.adapt.layers import Layer
from fewer.adapt.opened import Opened
from fewer.adapt.parallel import each, side_by_side
from fewer.adapt.run import Enough, call, evaluating, mask_of
from fewer.adapt.shards import all_finite
from fewer.adapt.stream import Stream
from fewer.adapt.walk import NotAChain, hidden_of, output_hidden, stages
from fewer.arguments import checked
from fewer.compute import AUTO
from fewer.evidence.accumulate import KINDS, Accumulator
from fewer.evidence.gradients import OF_LOSS, Progress, gradients, tell
from fewer.evidence.store import Store
from fewer.evidence.windows import WINDOWED
from fewer.method import FewerError, nearest

__all__ = ["Progress", "collect", "data_hash", "sequential"]

R = TypeVar("R")
#: Called with a block's layers and their evidence; it may write weights.
Visit = Callable[[tuple[Layer, ...], Store], R]

_PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "authors": torch.float32}
#: Batches are seen side by side where the sums, of which each holds its part meanwhile, take at most this many bytes.
_TOGETHER = 1 << 27
_OF_PASS = ("input", "block")


@checked
def collect(
    opened: Opened | nn.Module,
    data: Batches | Tensor | Any,
    names: Sequence[str],
    *,
    layers: Sequence[Layer] | None = None,
    reference: Batches | Tensor | Any = None,
    progress: Progress | None = None,
    precision: str = "float32",
    idle: Literal["refuse", "leave"] = "refuse",
    compute: str | torch.dtype = AUTO,
) -> Store:
    """Measure some kinds of evidence for all layers at once.

    Padding tokens (attention_mask 0) are left out. Gradients are taken one sample at a time, whatever the batches:
    the loss is the mean over the tokens of a sample, and moments are means over samples, so that the result does
    not depend on the batch size. Where the first batch called every layer once, later batches are taken to do so too
    and run no further than their last layer: a model that turns on its data needs a batch first that shows it.

    Args:
        opened: the model.
        data: batches, or anything that `adapt.data.batches` takes.
        names: of `types.EVIDENCE`; "weight" is always there and is skipped.
        layers: which ones; the default layers of the model.
        reference: the second data set, for the evidence whose name begins with "reference".
        progress: called after each batch.
        precision: "float32" or "float64", of the large sums (Gram matrices, weight gradients); "authors": window by
            window and per window, as the scripts of Wanda, SparseGPT and DSnoT do (see `evidence/windows.py`).
        idle: a layer that is never called on the data is refused, or left with no token.
        compute: number type of the passes: `auto` is the stored one, or float32 where the processor has no fast
            products of it and `precision` is not "authors".

    Returns:
        The store; every layer has every name.

    Raises:
        FewerError: unknown name, a layer that the data never reaches through a call, NaN or infinity in an
            activation or a gradient (layer and batch named).

    >>> store = collect(torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.ones(4, 2), ["input_norm"])
    >>> store["0"]["input_norm"], store.tokens
    (tensor([1., 1.]), {'0': 4})
    """
    source = adapt.open(opened)
    batches = _batches(data, precision)
    second = None if reference is None else adapt.data.batches(reference)
    chosen = tuple(source.layers if layers is None else layers)
    sums = _Sums(chosen, names, precision)
    dtype = dtype_of(source.module, compute, authors=precision == "authors")
    store = Store(sums.held, source.hash(), (data_hash(batches, second, sums.names),), name_of(dtype))
    with evaluating(source.module):
        if sums.of(*_OF_PASS):
            small = side_by_side(source.module)

            def see(index: int) -> None:
                with sums.seeing(index, mask_of(batches[index])):
                    call(source.module, batches[index])

            with torch.no_grad(), sums.watching(source, chosen):
                apart = small and sums.apart
                with computing(source.module, dtype, () if apart else source.blocks):
                    for index, _ in enumerate(each(see, len(batches), apart=apart)):
                        sums.take(index)
                        tell(progress, index + 1, len(batches), "batches")
            sums.check_reached(chosen, idle)
        with computing(source.module, dtype):
            gradients(source, batches, second, sums, chosen, progress)
    return store


@checked
def sequential(
    source: Any,
    data: Batches | Tensor | Any,
    names: Sequence[str],
    visit: Visit[R],
    *,
    layers: Sequence[Layer] | None = None,
    reference: Batches | Tensor | Any = None,
    progress: Progress | None = None,
    precision: str = "float32",
    idle: Literal["refuse", "leave"] = "refuse",
    compute: str | torch.dtype = AUTO,
) -> list[R]:
    """Measure block by block: each block's evidence is taken after `visit` has dealt with all earlier ones.

    Evidence about gradients is the exception: it is taken once, for the model as it was given.

    Args:
        source: an `Opened` model, or a `Stream` (a checkpoint that is larger than memory).
        data: batches, or anything that `adapt.data.batches` takes.
        names: of `types.EVIDENCE`; may be empty, then blocks are only visited.
        visit: called with the block's layers and their evidence; it may write their weights. Layers outside the
            blocks come last, together; in a model without blocks every layer is a visit of its own.
        layers: which ones; the default layers of the model.
        reference: as for `collect`.
        progress: called after each block.
        precision: as for `collect`.
        idle: as for `collect`.
        compute: as for `collect`.

    Returns:
        What `visit` returned, in order. A resumed stream gives the journalled results of finished blocks.

    Raises:
        FewerError: as for `collect`; gradients of a stream.
    """
    batches = _batches(data, precision)
    opened = source if isinstance(source, Stream) else adapt.open(source)
    chosen = tuple(opened.layers if layers is None else layers)
    dtype = dtype_of(opened.module, compute, authors=precision == "authors")
    first = _Sums((), names, precision)
    early: Mapping[str, Mapping[str, Accumulator]] = {}
    if first.of(*OF_LOSS):
        if isinstance(opened, Stream):
            raise FewerError("gradient evidence needs the whole model in memory; open it instead of streaming it")
        dense = _Sums(chosen, first.of(*OF_LOSS), precision)
        with evaluating(opened.module), computing(opened.module, dtype):
            second = None if reference is None else adapt.data.batches(reference)
            gradients(opened, batches, second, dense, chosen, None)
        early = dense.held
    try:
        return _visit_all(opened, batches, chosen, first.of(*_OF_PASS), visit, early, progress, precision, dtype, idle)
    except FewerError:
        if isinstance(opened, Stream):
            opened.discard()
        raise


def _batches(data: Batches | Tensor | Any, precision: str) -> Batches:
    """The data in batches; where authors' scripts are followed, one window at a time."""
    batches = adapt.data.batches(data)
    return dataclasses.replace(batches, items=tuple(batches.singles())) if precision == "authors" else batches


def _visit_all(
    opened: Any,
    batches: Batches,
    chosen: tuple[Layer, ...],
    names: tuple[str, ...],
    visit: Visit[R],
    early: Mapping[str, Mapping[str, Accumulator]],
    progress: Progress | None,
    precision: str,
    dtype: torch.dtype,
    idle: str,
) -> list[R]:
    """One stage after the other: measure, visit, go on with what the visit left."""
    results: list[R] = []
    model = opened.hash()
    if isinstance(opened, Stream):
        walk = opened.stages(batches, chosen, dtype)
    else:
        walk = stages(opened, batches, chosen, dtype)
    total = len({layer.block for layer in chosen if layer.block is not None}) or len(chosen)
    for stage in walk:
        if stage.finished:
            results.append(stage.result)
        else:
            sums = _Sums(stage.layers, names, precision)
            if names:
                with sums.watching(opened, stage.layers):
                    stage.forward(sums)
                sums.check_reached(stage.layers, idle)
            held = {x.name: {**sums.held[x.name], **early.get(x.name, {})} for x in stage.layers}
            results.append(visit(stage.layers, Store(held, model, (batches.hash,), name_of(dtype))))
            stage.close(results[-1])
        tell(progress, len(results), max(total, len(results)), "blocks")
    return results


@dataclasses.dataclass(slots=True)
class _Turn:
    """One batch: its number and mask, how often each layer was called, and what is to be added."""

    index: int
    mask: Tensor | None
    calls: Counter[str] = dataclasses.field(default_factory=Counter)
    parts: list[tuple[Accumulator, Tensor, int]] = dataclasses.field(default_factory=list)


class _Sums:
    """The accumulators of some layers, and what feeds them while the model runs."""

    def __init__(self, layers: Sequence[Layer], names: Sequence[str], precision: str) -> None:
        for name in names:
            if name not in KINDS and name != "weight":
                raise FewerError(f"unknown evidence '{name}'{nearest(name, KINDS)}; there is: {', '.join(KINDS)}")
        if precision not in _PRECISIONS:
            raise FewerError(f"precision must be float32, float64 or authors, not '{precision}'")
        kinds = KINDS | (WINDOWED if precision == "authors" else {})
        self.names = tuple(dict.fromkeys(name for name in names if name != "weight"))
        dtype = _PRECISIONS[precision]
        self.held = {x.name: {name: kinds[name].zeros(x.shape, dtype) for name in self.names} for x in layers}
        self.apart = precision != "authors" and self._bytes() <= _TOGETHER
        self._tap: Tap | None = None
        self._reached: set[str] = set()
        self._here = threading.local()
        self._turns: dict[int, _Turn] = {}
        self._once, self._first = False, threading.Event()

    def of(self, *sources: str) -> tuple[str, ...]:
        """The names that are fed by these."""
        return tuple(name for name in self.names if KINDS[name].source in sources)

    def _bytes(self) -> int:
        return sum(held.total.nbytes for found in self.held.values() for held in found.values())

    @property
    def _turn(self) -> _Turn:
        """The batch that this thread runs."""
        turn: _Turn = self._here.turn
        return turn

    @contextmanager
    def seeing(self, index: int, mask: Tensor | None) -> Iterator[None]:
        """Around a batch. Where the first one called every layer once, others need not run beyond the last."""
        turn = self._turns[index] = self._here.turn = _Turn(index, mask)
        if self._tap is not None:
            self._tap.forget()
            self._tap.mask = mask
        try:
            with suppress(Enough):
                yield
        finally:
            if index == 0:
                self._once = not self.of("block") and [turn.calls[name] for name in self.held] == [1] * len(self.held)
                self._first.set()

    def take(self, index: int) -> None:
        """Add what a batch gave, in the order of the batches."""
        turn = self._turns.pop(index)
        self._reached |= turn.calls.keys()
        for held, part, count in turn.parts:
            held.add(part, count)

    def watching(self, source: Any, layers: Sequence[Layer]) -> ExitStack:
        """Hooks for inputs and blocks, until the returned stack is closed."""
        stack = ExitStack()
        if self.of("input"):
            self._tap = stack.enter_context(Tap(layers, on_input=self._input))
            self.apart = self.apart and not self._tap.routed
        if self.of("block"):
            for block in source.blocks:
                mine = [layer for layer in layers if block.index in layer.blocks]
                if mine:
                    handle = block.module.register_forward_hook(self._block_hook(mine), with_kwargs=True)
                    stack.callback(handle.remove)
            lost = next((layer.name for layer in layers if layer.block is None), None)
            if lost is not None:
                stack.close()
                raise FewerError(f"layer '{lost}' lies in no block, so it has no block_similarity")
        return stack

    def check_reached(self, layers: Sequence[Layer], idle: str) -> None:
        """Refuse silence: a layer that was never called has no evidence. One expert of several may stay idle."""
        if not self.of("input") or idle == "leave":
            return
        never = [x.name for x in layers if x.name not in self._reached and not x.routed]
        if never:
            hint = f"leave it out with skip, as in '{_glob(never)}'"
            raise FewerError(f"layer '{never[0]}' was never called on this data: {hint}")

    def add(
        self,
        layer: Layer,
        rows: Tensor,
        source: str,
        cache: dict[object, Tensor] | None = None,
        lengths: Sequence[int] | None = None,
        turn: _Turn | None = None,
    ) -> None:
        """Feed one layer; parts are shared through the cache. `lengths` are those of the sequences in the rows.

        With a `turn`, and where batches are seen side by side, the parts wait for theirs.
        """
        for name in self.of(source):
            held = self.held[layer.name][name]
            cache = {} if cache is None else cache
            if name not in cache:
                cache[name] = held.part_of(rows, lengths or [rows.shape[0]])
            if turn is not None and self.apart:
                turn.parts.append((held, cache[name], rows.shape[0]))
            else:
                held.add(cache[name], rows.shape[0])

    def _input(self, layer: Layer, rows: Rows) -> None:
        turn = self._turn
        if not rows.cache and not all_finite(rows.values):
            raise FewerError(f"NaN or infinity in the input of layer '{layer.name}' in batch {turn.index}")
        self.add(layer, rows.values, "input", rows.cache, self._lengths(rows), turn)
        turn.calls[layer.name] += 1
        if turn.index and len(turn.calls) == len(self.held):
            self._first.wait()
            if self._once:
                raise Enough

    def _lengths(self, rows: Rows) -> list[int]:
        """Tokens of each sequence of the batch, where the rows are still in that order; else one for all."""
        shape, total = rows.source.shape, rows.values.shape[0]
        if (mask := self._turn.mask) is not None:
            found = [int(n) for n in mask.sum(1)]
        else:
            found = [int(shape[1])] * int(shape[0]) if len(shape) == 3 else [total]
        return found if sum(found) == total else [total]

    def _block_hook(self, layers: list[Layer]) -> Callable[..., None]:
        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            turn = self._turn
            rows = _pairs(layers[0], args, kwargs, output, turn.mask)
            if not all_finite(rows):
                raise FewerError(f"NaN or infinity around the block of '{layers[0].name}' in batch {turn.index}")
            cache: dict[object, Tensor] = {}
            for layer in layers:
                self.add(layer, rows, "block", cache, None, turn)

        return seen


def _glob(names: Sequence[str]) -> str:
    """One glob for layers of the same name in every block."""
    found = {re.sub(r"\.\d+\.", ".*.", name) for name in names}
    return min(found, key=len) if len(found) == 1 else names[0]


def _pairs(layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, mask: Tensor | None) -> Tensor:
    """What enters and what leaves a block, side by side, one token a row."""
    try:
        before, after = hidden_of(args, kwargs)[0], output_hidden(output)[0]
    except NotAChain:
        raise FewerError(f"the block of '{layer.name}' has no hidden states to compare (block_similarity)") from None
    if before.shape != after.shape:
        raise FewerError(f"the block of '{layer.name}' changes the shape of its input: no block_similarity")
    both = torch.cat([x.movedim(1, -1) if x.ndim == 4 else x for x in (before, after)], dim=-1)
    flat = both.reshape(-1, both.shape[-1])
    return flat[mask.reshape(-1)] if mask is not None and both.shape[:-1] == mask.shape else flat


@checked
def data_hash(data: Batches, reference: Batches | None, names: Sequence[str]) -> str:
    """Identifies the data of some kinds of evidence; with the reference where one of them is measured on that."""
    if reference is None or not any(KINDS[name].source == "reference-gradient" for name in names if name in KINDS):
        return data.hash
    return hashlib.sha256(f"{data.hash} {reference.hash}".encode()).hexdigest()
