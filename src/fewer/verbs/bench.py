"""Speed of a model in every make that the runtime has, beside both dense controls; with data also its quality."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.events import Note, Progress, RunDone, RunStarted, StageStarted, emit
from fewer.method import FewerError, find
from fewer.recipe import DataSettings, Recipe
from fewer.verbs._given import calibration as read
from fewer.verbs._given import held_out, module_of, opened_of
from fewer.verbs.result import Quality, SpeedReport

if TYPE_CHECKING:
    from torch import nn

    from fewer.adapt import Opened
    from fewer.verbs.prune_inputs import InputPruned

__all__ = ["RANDOM_LLAMA", "bench"]

#: The word for a model of random weights, whose speed is all that can be asked for.
RANDOM_LLAMA = "llama-110m"
PACKED, SKIPPING, BOTH = "packed", "activation-sparse", "packed and cut"
EQUAL, RANDOM_INPUTS, RANDOM_WEIGHTS = "packed at equal speed", "random inputs", "random weights"
#: Shares of weights kept whose speed is measured to find the one that is as fast as cutting inputs.
_PROBES = (0.8, 0.6, 0.45, 0.3)


@checked
def bench(
    model: Any,
    data: Any = None,
    *,
    calibration: Any = None,
    keep: float = 0.5,
    inputs: str = "wina",
    batches: Sequence[int] = (1, 8, 32),
    prompt: int = 32,
    steps: int = 20,
    prefills: int = 3,
    dtype: Any = None,
    context: int | None = None,
    text_field: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> SpeedReport:
    """Time prefill and decoding: torch dense, own dense, packed, activation-sparse, interleaved, weights cold.

    A model without zeros is pruned to `keep` by magnitude for the packed make, so that its speed can be seen; one
    without cuts of inputs gets them by the score `inputs`, calibrated on `calibration`, or on random tokens where there
    is none.

    Args:
        model: module, opened checkpoint, pruning result, directory, "demo", or "llama-110m" (random weights).
        data: held-out data, as in `evaluate`; brings quality, random controls, and weight sparsity of equal speed.
        calibration: text or windows that the cuts are calibrated on.
        keep: share of weights or inputs to keep where the model itself does not say.
        inputs: input score of the activation-sparse make; an empty text leaves that make out.
        batches: sequences decoded together.
        prompt: tokens of the prompt.
        steps: timed decoding steps of each make at each batch.
        prefills: timed prompts of each make at each batch.
        dtype: stored type of packed weights; None keeps the weight's own.
        context: tokens in a window of `data`.
        text_field: column of the texts, where `data` and `calibration` are files of many.
        seed: of tokens, order and random controls.
        progress: receives events.

    Returns:
        The timings with the machine named; `.to_text()`, `.to_json()` and `.to_html(path)` show them.

    Raises:
        FewerError: not a causal language model, or a share out of range.
    """
    import time

    from fewer.runtime import bench as timing

    if not 0 < keep <= 1:
        raise FewerError(f"keep must be in (0, 1], not {keep}")
    if inputs:
        find("input-score", inputs)
    elif data is not None:
        raise FewerError("quality is compared with that of cut inputs: name a score of inputs, or give no data")
    start = time.monotonic()
    emit(progress, RunStarted("bench", str(model) if isinstance(model, str | Path) else type(model).__name__, 0, 0))
    field = _Field(model, calibration, text_field, keep, inputs, dtype, seed, progress)
    if data is not None:
        field.add_equal_speed()
    emit(progress, StageStarted(f"timing {len(field.makes)} makes", 0))
    found = timing.bench(
        field.makes, batches=batches, prompt=prompt, steps=steps, prefills=prefills, seed=seed,
        progress=lambda line: emit(progress, Note(line)),
    )  # fmt: skip
    quality = _quality(field, data, context, text_field, progress) if data is not None else {}
    emit(progress, RunDone("bench", time.monotonic() - start, f"{len(found.timings)} timings"))
    return SpeedReport(
        model=field.name,
        machine=str(found.machine),
        tier=found.machine.tier,
        clock=found.clock,
        layers=found.layers,
        baselines=(timing.TORCH, timing.OWN),
        timings=tuple(dataclasses.asdict(row) for row in found.timings),
        quality=quality,
        notes=tuple(field.notes),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


class _Field:
    """The makes of one model that run against each other, and what was done to have them."""

    def __init__(
        self,
        model: Any,
        calibration: Any,
        text_field: str,
        keep: float,
        inputs: str,
        dtype: Any,
        seed: int,
        progress: Progress | None,
    ) -> None:
        from fewer.runtime.bench import OWN, TORCH, is_sparse, own_dense

        self.keep, self.inputs, self.dtype, self.seed, self.progress = keep, inputs, dtype, seed, progress
        self.notes: list[str] = _without_kernels()
        #: The packed model as its directory holds it, where MODEL is one.
        self.stored: nn.Module | None = None
        self.name, self.dense, self.cuts = self._open(model)
        if self.dense.kind not in ("causal-lm", "module"):
            what = type(self.dense.module).__name__
            raise FewerError(f"bench times the decoding of causal language models; {what} is none")
        self.calibration = self._calibration(calibration, text_field)
        self.makes: dict[str, nn.Module] = {TORCH: self.dense.module, OWN: own_dense(self.dense.module)}
        self.sparse = is_sparse(self.dense.module)
        self.pruned = self.dense if self.sparse else self._prune(keep)
        if not self.sparse:
            self.notes.append(f"{PACKED}: the model has no zeros; pruned here to {keep:.0%} by magnitude")
        self.makes[PACKED] = self.stored if self.stored is not None else self._pack(self.pruned)
        if not inputs and self.cuts is None:
            return
        self.skipping = self._skip()
        self.makes[SKIPPING] = self.skipping.model
        if self.sparse:
            self.makes[BOTH] = self._pack(self.skipping.opened)
            self.notes.append(f"{SKIPPING}: dense weights, zeros and all; {BOTH}: both at once")

    def _open(self, model: Any) -> tuple[str, Opened, Path | None]:
        """The name, the dense weights, and the directory whose cuts of inputs are to be used."""
        from fewer import adapt
        from fewer.runtime import read_cuts
        from fewer.runtime.bench import random_llama

        if model == RANDOM_LLAMA:
            self.notes.append(f"random weights, {1 - self.keep:.0%} of them zero: speed is all that they can show")
            return RANDOM_LLAMA, adapt.Opened(random_llama(1 - self.keep)), None
        if not isinstance(model, str | Path):
            return type(module_of(model)).__name__, opened_of(_dense(module_of(model))), None
        place = adapt.checkpoint.model_path(model)
        from fewer.runtime.store import is_packed

        if is_packed(place):
            self.stored = opened_of(model).module
            return str(model), adapt.Opened(_dense(self.stored), place), None
        return str(model), adapt.open(model), place if read_cuts(place) is not None else None

    def _calibration(self, calibration: Any, text_field: str) -> Any:
        import torch

        from fewer.adapt.data import batches
        from fewer.adapt.run import vocabulary_of

        if calibration is not None:
            cut = DataSettings(samples=32, length=128, seed=self.seed, text_field=text_field)
            return read(calibration, self.dense, cut)
        vocabulary = vocabulary_of(self.dense.module)
        if vocabulary is None:
            raise FewerError("bench needs a causal language model; this one has no vocabulary size")
        if self.cuts is None and self.inputs:
            self.notes.append(f"{SKIPPING}: cuts calibrated on random tokens; give --calibration for a real text")
        drawn = torch.randint(0, vocabulary, (4, 64), generator=torch.Generator().manual_seed(self.seed))
        return batches(drawn, source="random tokens")

    def _prune(self, keep: float) -> Opened:
        from fewer.verbs.prune import run

        recipe = Recipe(score="magnitude", keep=keep, damage="none", order="at-once")
        return run(self.dense, None, recipe).opened

    def _pack(self, opened: Opened) -> nn.Module:
        from fewer.verbs.pack import pack

        return pack(opened, dtype=self.dtype)

    def _skip(self) -> InputPruned:
        from fewer.verbs.prune_inputs import run_inputs
        from fewer.verbs.reopen import reopen

        if self.cuts is not None:
            known = reopen(self.cuts)
            self.notes.append(f"{SKIPPING}: cuts beside the weights, score {known.plan.recipe.score}")
            return known  # type: ignore[return-value]
        recipe = Recipe(unit="input", score=self.inputs, keep=self.keep, data=DataSettings(seed=self.seed))
        self.notes.append(f"{SKIPPING}: {self.inputs}, {self.keep:.0%} of the inputs kept")
        return run_inputs(self.dense, self.calibration, recipe)

    def add_equal_speed(self) -> None:
        """Find the share of weights whose packed form decodes as fast as cutting inputs does, and add that model."""
        from fewer.runtime import bench as timing

        if self.sparse:
            return
        emit(self.progress, StageStarted("weight sparsity of equal speed"))
        probes = {str(keep): self._pack(self._prune(keep)) for keep in _PROBES}
        found = timing.bench(
            {SKIPPING: self.skipping.model, **probes}, batches=(1,), prompt=8, steps=30, prefills=0, seed=self.seed
        )
        spent = {row.contender: row.milliseconds for row in found.timings}
        share = _between([(spent[str(keep)], keep) for keep in _PROBES], spent[SKIPPING])
        self.equal = self._prune(share)
        self.makes[EQUAL] = self._pack(self.equal)
        self.notes.append(f"{EQUAL}: {share:.1%} of the weights kept by magnitude, as fast as {SKIPPING} at batch 1")


def _without_kernels() -> list[str]:
    """What to say where sparsity cannot be fast."""
    from fewer.runtime import tier

    active = tier()
    if active.startswith("extension-"):
        return []
    reason = "without the compiled extension" if active != "numba" else "on plain loops"
    return [f"tier {active}: {reason} packed weights are multiplied as dense ones, no faster and no slower than torch"]


def _between(points: list[tuple[float, float]], wanted: float) -> float:
    """The share at a time, on straight lines between measured ones, inside of what was measured."""
    points = sorted(points)
    for (low, first), (high, second) in itertools.pairwise(points):
        if low <= wanted <= high and high > low:
            return first + (second - first) * (wanted - low) / (high - low)
    return points[0][1] if wanted < points[0][0] else points[-1][1]


def _dense(module: nn.Module) -> nn.Module:
    """The same module on plain linear layers, whatever it was packed into."""
    import torch
    from torch import nn

    from fewer.runtime.inputs import shared_copy
    from fewer.runtime.linear import NativeLinear

    plain = shared_copy(module)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, NativeLinear):
            made = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, dtype=layer.dtype)
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            made.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
            if layer.bias is not None:
                made.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, made)
    return plain


def _quality(
    field: _Field, data: Any, context: int | None, text_field: str, progress: Progress | None
) -> dict[str, Quality]:
    """Quality of every make whose outputs differ, and of random selections with the same shares."""
    from fewer.verbs.evaluate import evaluate_all
    from fewer.verbs.prune import run
    from fewer.verbs.prune_inputs import random_inputs_like

    dense = field.dense
    models: dict[str, Any] = {SKIPPING: field.skipping, RANDOM_INPUTS: random_inputs_like(dense, field.skipping)}
    if not field.sparse:
        recipe = Recipe(score="random", keep=field.keep, damage="none", order="at-once", seed=field.seed)
        models |= {
            PACKED: field.makes[PACKED] if field.dtype is not None else field.pruned,
            EQUAL: field.equal,
            RANDOM_WEIGHTS: run(dense, None, recipe),
        }
    data = held_out(data, dense, context, text_field)
    found = evaluate_all(models, data, dense=opened_of(dense), context=context, progress=progress)
    from fewer.runtime.bench import TORCH

    return {TORCH: found.pop("dense"), **found}
