"""Time a model in several makes, side by side: torch dense, own dense, packed, activation-sparse.

Both dense controls are always there. Steps of all contenders are interleaved in random order and the 20th percentile
is taken; on one thread the clock is the thread's CPU time, which other programs cannot stretch. Weights are cold, as
they are when a model is larger than the caches: before every step of a smaller one, other memory is read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fewer.adapt.run import vocabulary_of
from fewer.method import FewerError
from fewer.runtime.inputs import shared_copy, sparsify_inputs
from fewer.runtime.linear import GemvLinear, NativeLinear, PackedLinear
from fewer.runtime.machine import Machine, machine
from fewer.runtime.model import linear_layers, pack, replace
from fewer.runtime.skipping import PackedSkippingLinear, SkippingLinear

__all__ = ["OWN", "TORCH", "Bench", "Timing", "bench", "contenders", "own_dense", "random_llama", "weights_read"]

_CLASSES = (nn.Linear, NativeLinear)
TORCH, OWN = "torch dense", "own dense"
#: Where a model hands out what it has read so far, to be handed in with the next token.
_STATES = ("past_key_values", "cache_params", "state", "mems")
#: Models that read less than this would stay in the caches of a processor from one step to the next.
_COLD_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender at one batch in one phase.

    Milliseconds are those of a step (of the whole prompt, in prefill); those of a layer are spent inside of a linear
    layer, on average. Bytes are those of linear weights, read once a step, over the tokens of the step.
    """

    contender: str
    phase: Literal["prefill", "decode"]
    batch: int
    tokens_per_second: float
    milliseconds: float
    milliseconds_per_layer: float
    bytes_per_token: int
    samples: int


@dataclass(frozen=True, slots=True)
class Bench:
    """All timings of one run, with the machine and the clock named."""

    machine: Machine
    clock: str
    layers: int
    timings: tuple[Timing, ...]

    def ratio(self, contender: str, against: str = TORCH, *, phase: str = "decode", batch: int = 1) -> float:
        """How many times faster a contender is than another."""
        found = {t.contender: t for t in self.timings if t.phase == phase and t.batch == batch}
        if contender not in found or against not in found:
            raise FewerError(f"no timing of '{contender}' and '{against}' at batch {batch} in {phase}")
        return found[contender].tokens_per_second / found[against].tokens_per_second


def contenders(
    model: nn.Module, *, keep: float = 0.5, data: Sequence[Any] = (), dtype: torch.dtype | None = None
) -> dict[str, nn.Module]:
    """The makes of a model that `bench` compares: both controls, packed if it is sparse, activation-sparse with data.

    Args:
        model: a causal language model, sparse or not.
        keep: share of inputs for the activation-sparse make.
        data: calibration batches; without any that make is left out.
        dtype: stored type of packed weights.
    """
    found: dict[str, nn.Module] = {TORCH: model, OWN: own_dense(model)}
    if is_sparse(model):
        found["packed"] = pack(shared_copy(model), dtype=dtype)
    if data:
        sparse = sparsify_inputs(model, data, score="magnitude", keep=keep, skip=(), copy=True)
        found["activation-sparse"] = sparse.model
    return found


def own_dense(model: nn.Module) -> nn.Module:
    """The same model on the own dense kernel: the control that shows what sparsity itself earns."""
    own = shared_copy(model)
    replace(own, lambda layer: GemvLinear(layer.weight, layer.bias))
    return own


def is_sparse(model: nn.Module) -> bool:
    """Whether any linear layer has a share of zeros that packing pays for."""
    weights = [layer.weight for *_, layer in linear_layers(model)]
    return any(int(torch.count_nonzero(weight)) < 0.7 * weight.numel() for weight in weights)


def bench(
    models: nn.Module | Mapping[str, nn.Module],
    *,
    batches: Sequence[int] = (1, 8, 32),
    prompt: int = 32,
    steps: int = 10,
    prefills: int = 3,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Time prefill and decoding of causal language models.

    Args:
        models: contenders by name (see `contenders`), or one model.
        batches: sequences decoded together.
        prompt: tokens of the prompt.
        steps: timed decoding steps of each contender at each batch.
        prefills: timed prompts of each contender at each batch; 0 leaves the phase out.
        seed: of the tokens and of the order.
        progress: called with a line after each batch.

    Returns:
        The timings.

    Raises:
        FewerError: no steps, or a model without a vocabulary.
    """
    named = models if isinstance(models, Mapping) else contenders(models)
    if steps < 1 or not named:
        raise FewerError("bench needs at least one model and one step")
    first = next(iter(named.values()))
    vocabulary = vocabulary_of(first)
    if vocabulary is None:
        raise FewerError(f"bench needs a causal language model; {type(first).__name__} has no vocabulary size")
    clock, name = (time.thread_time, "thread CPU time") if torch.get_num_threads() == 1 else (time.perf_counter, "wall")
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    layers = sum(isinstance(module, _CLASSES) for module in first.modules())
    found: list[Timing] = []
    rank = {name: place for place, name in enumerate(named)}
    for batch in batches:
        tokens = torch.randint(0, vocabulary, (batch, prompt + steps + 1), generator=generator)
        times = _race(named, tokens, prompt, steps, prefills, clock, chance)
        for (contender, phase), seen in sorted(times.items(), key=lambda pair: (pair[0][1], rank[pair[0][0]])):
            seconds, inside = map(_low, zip(*seen, strict=True))
            count = batch * (prompt if phase == "prefill" else 1)
            read = weights_read(named[contender], count) / count
            layer = inside * 1e3 / max(layers, 1)
            found.append(Timing(contender, phase, batch, count / seconds, seconds * 1e3, layer, round(read), len(seen)))
        if progress is not None:
            progress(f"batch {batch} timed")
    return Bench(machine(), name, layers, tuple(found))


def random_llama(
    sparsity: float = 0.0, *, dtype: torch.dtype = torch.float32, layers: int = 12, seed: int = 0
) -> nn.Module:
    """A Llama of 110 million random weights (hidden 768, 12 layers, intermediate 2048, vocabulary 16000) to time.

    Every linear layer, the output head among them, has a random share `sparsity` of zeros.

    Args:
        sparsity: share of zeros.
        dtype: float32 or bfloat16.
        layers: number of blocks.
        seed: of weights and zeros.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=768, num_hidden_layers=layers, intermediate_size=2048, num_attention_heads=12,
        num_key_value_heads=12, vocab_size=16000, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().to(dtype)
    with torch.no_grad():
        for *_, layer in linear_layers(model):
            if sparsity:
                layer.weight.mul_(torch.rand(layer.weight.shape) >= sparsity)
    assert isinstance(model, nn.Module)
    return model


_Times = dict[tuple[str, Literal["prefill", "decode"]], list[tuple[float, float]]]


def _race(
    models: Mapping[str, nn.Module],
    tokens: torch.Tensor,
    prompt: int,
    steps: int,
    prefills: int,
    clock: Callable[[], float],
    chance: random.Random,
) -> _Times:
    """Seconds of every call and seconds inside of its linear layers, contenders in a new random order every turn."""
    times: _Times = {}
    states: dict[str, dict[str, Any]] = {}
    order = list(models)
    chill = _chill(models.values())
    watches = {name: _Watch(model, clock) for name, model in models.items()}

    def call(name: str, phase: Literal["prefill", "decode"], counts: bool, here: torch.Tensor) -> None:
        past = {} if phase == "prefill" else states[name]
        chill()
        watch = watches[name]
        watch.inside = 0.0
        start = clock()
        out = models[name](here, use_cache=True, **past)
        spent = clock() - start
        if counts:
            times.setdefault((name, phase), []).append((spent, watch.inside))
        held = out if isinstance(out, Mapping) else {}
        states[name] = {key: held[key] for key in _STATES if held.get(key) is not None}
        if not states[name]:
            raise FewerError(f"{type(models[name]).__name__} keeps nothing of what it has read: no decoding to time")

    try:
        with torch.inference_mode():
            for turn in range(max(prefills, 0) + 1):
                chance.shuffle(order)
                for name in order:
                    call(name, "prefill", bool(turn), tokens[:, :prompt])
            for step in range(steps + 1):
                chance.shuffle(order)
                for name in order:
                    call(name, "decode", bool(step), tokens[:, prompt + step : prompt + step + 1])
    finally:
        for watch in watches.values():
            watch.end()
    return times


class _Watch:
    """Sums up the time inside of a model's linear layers: two readings of the clock a layer."""

    def __init__(self, model: nn.Module, clock: Callable[[], float]) -> None:
        self.inside, self.clock, self.start = 0.0, clock, 0.0
        layers = {id(m): m for m in model.modules() if isinstance(m, _CLASSES)}.values()
        self.handles = [layer.register_forward_pre_hook(self._enter) for layer in layers]
        self.handles += [layer.register_forward_hook(self._leave) for layer in layers]

    def _enter(self, *_: Any) -> None:
        self.start = self.clock()

    def _leave(self, *_: Any) -> None:
        self.inside += self.clock() - self.start

    def end(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


def _chill(models: Iterable[nn.Module]) -> Callable[[], None]:
    """Push weights out of the caches, where all of them together could stay in."""
    if min(weights_read(model, 1) for model in models) >= _COLD_BYTES:
        return lambda: None
    other = torch.zeros(_COLD_BYTES // 4 // 4)

    def read() -> None:
        other.sum()

    return read


def _low(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 5]


def weights_read(model: nn.Module, rows: int) -> int:
    """Bytes of linear weights that one step reads, for so many rows of inputs."""
    total = 0
    for module in model.modules():
        if isinstance(module, PackedLinear):
            dense = module.in_features * module.out_features * module.dtype.itemsize
            total += module.packed.nbytes if module.by_kernel(rows) or module.prefill == "rebuild" else dense
        elif isinstance(module, SkippingLinear):
            single = rows == 1 and module.by_kernel(1)
            size = module.in_features * module.out_features * module.dtype.itemsize
            if single and isinstance(module, PackedSkippingLinear):
                size = module.packed_t.nbytes
            share = module.observed if single and module.observed is not None else 1.0
            total += round(share * size)
        elif isinstance(module, nn.Linear | GemvLinear):
            total += module.weight.numel() * module.weight.element_size()
    return total
