"""The sequence that every pruning run follows: count, then layer by layer score, choose, update, write."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fewer.budget.allocation import Counts, set_aside, thinned
from fewer.events import BlockDone, EvidenceProgress, LayerDone, Progress, StageStarted, emit
from fewer.method import FewerError, find
from fewer.plan import Plan, allocate, unit_shapes
from fewer.recipe import Recipe
from fewer.verbs._losses import LOSSES, Losses
from fewer.verbs._solve import Job, Solved, working
from fewer.verbs._unmeasured import never_called
from fewer.verbs.masks import Masks
from fewer.verbs.result import LayerResult

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fewer.adapt import Layer, Opened
    from fewer.adapt.data import Batches

__all__ = ["WHOLE_MODEL", "Engine", "missing_data"]

#: Evidence that no single block can give: it needs a loss, or the whole model, and is measured before the run.
WHOLE_MODEL = frozenset(
    {"grad", "grad_abs", "grad_sq", "output_grad_norm", "hessian_grad", "synflow_grad"}
    | {"reference_grad", "reference_grad_sq"}
    | {"lora_a", "lora_b", "lora_a_grad", "lora_b_grad", "pst_a", "pst_b", "pst_rows", "pst_columns"}
)


#: Key of the note about a layer that the data does not reach.
_IDLE = "idle"
#: A note about missing evidence names so many layers.
_NAMED = 8
#: What is said of a layer whose share no loss could decide.
_UNJUDGED = "no token of the windows that losses are measured on reached it: even share, or dense where there is none"


#: From this share of zeros on an input is called sparse.
_SPARSE = 0.01


def missing_data(plan: Plan) -> FewerError:
    """What to say when the recipe needs calibration data and there is none."""
    from fewer.plan import evidence_of

    recipe = plan.recipe
    wanted = ", ".join(evidence_of(recipe))
    return FewerError(f"score '{recipe.score}' with update '{recipe.update}' needs {wanted}: give calibration data")


@dataclass(slots=True)
class Engine:
    """One run over one model: the plan, what each layer may keep, and what has been done so far."""

    plan: Plan
    progress: Progress | None = None
    reference: Batches | None = None
    windowed: bool = False
    job: Job = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)
    results: dict[str, LayerResult] = field(default_factory=dict)
    layer_notes: dict[str, dict[str, float | str]] = field(default_factory=dict)
    unjudged: set[str] = field(default_factory=set)
    rounds: int = 0
    clock: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Look the methods up once; `windowed` is asked for by runs that measure for this recipe alone."""
        job = Job.of(self.plan.recipe)
        self.windowed = self.windowed and bool(self.recipe.compat) and job.bears_windows
        self.job = dataclasses.replace(job, windowed=self.windowed)

    @property
    def precision(self) -> str:
        """How evidence is summed: as published scripts do where their masks are to be reproduced."""
        return "authors" if self.windowed else "float32"

    @property
    def dtype(self) -> torch.dtype:
        """What the forward passes are computed in."""
        from fewer.adapt.computing import wide

        return wide(self.plan.compute)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.plan.recipe

    def allot(
        self,
        layers: Iterable[Layer],
        evidence: Mapping[str, Mapping[str, Tensor]],
        keep: float | None,
        losses: Losses | None = None,
    ) -> None:
        """Decide how many units every layer keeps at this round, from scores or losses where the budget wants them."""
        rows = {row.name: row for row in self.plan.rows}
        shapes = unit_shapes(self.job.pattern, self.plan.rows)
        blocks = {name: row.block for name, row in rows.items()}
        given: dict[str, Any] = {}
        needs = self._budget_needs
        self.unjudged = set() if losses is None else losses.unreached
        if "weights" in needs:
            given["weights"] = {layer.name: working(layer.name, layer.read()) for layer in layers}
        if "scores" in needs:
            given["scores"] = self._unit_scores(layers, evidence)
        if self.needs_losses:
            if losses is None:
                raise FewerError(f"budget '{self.recipe.budget}' measures losses of the model: give calibration data")
            given |= losses.supply(needs, self.recipe.mean_keep() if keep is None else keep)
        counts = self._allocated(shapes, blocks, given, keep)
        if self.rounds:
            counts = thinned(counts, self.counts)
        self.counts, self.job = counts, dataclasses.replace(self.job, shares=counts.shares)

    def _allocated(
        self,
        shapes: dict[str, tuple[int, ...]],
        blocks: dict[str, int | None],
        given: dict[str, Any],
        keep: float | None,
    ) -> Counts:
        """Counts of all layers; one that the budget knows nothing of gets the even share, or stays dense."""
        if not self.unjudged:
            return allocate(self.recipe, self.job.pattern, shapes, blocks, given, keep)
        asked = (self.recipe.mean_keep() if keep is None else keep) if "keep" in self._budget_needs else None
        aside, rest = set_aside(shapes, self.unjudged, asked)
        known = {name: shape for name, shape in shapes.items() if name not in aside}
        given = {key: _without(value, aside) for key, value in given.items()}
        judged = allocate(self.recipe, self.job.pattern, known, _without(blocks, aside), given, rest) if known else {}
        return Counts(
            {name: aside[name] if name in aside else judged[name] for name in shapes}, getattr(judged, "shares", None)
        )

    @property
    def _fixed_counts(self) -> bool:
        return self.job.pattern.keep is not None or self.recipe.varied

    @property
    def _budget_needs(self) -> set[str]:
        return set() if self._fixed_counts else set(find("budget", self.recipe.budget).needs)

    @property
    def needs_losses(self) -> bool:
        """Whether counts can only be given out once cuts have been tried on the whole model."""
        return bool(LOSSES & self._budget_needs)

    @property
    def needs_evidence(self) -> bool:
        """Whether counts can only be given out once every layer's evidence is there."""
        return "scores" in self._budget_needs or self.needs_losses

    @property
    def needs_all_layers(self) -> bool:
        """Whether counts can only be given out once every weight has been read."""
        return bool({"scores", "weights"} & self._budget_needs) or self.needs_losses

    def _unit_scores(self, layers: Iterable[Layer], evidence: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The scores of the units of every layer, and on the way, of which layers nothing was measured."""
        found: dict[str, Tensor] = {}
        for layer in layers:
            weight = working(layer.name, layer.read())
            worth = self.job.worth(layer.name, weight, evidence.get(layer.name, {}))
            found[layer.name] = self.job.pattern.pool(worth.scores)
            if worth.lack:
                self.unjudged.add(layer.name)
        return found

    def prune_layer(self, layer: Layer, evidence: Mapping[str, Tensor]) -> None:
        """Score, choose, update and write one layer, and remember what came of it."""
        before = self.masks[layer.name] if self.rounds and layer.name in self.masks else None
        solved = self.job.solve(layer.name, layer.read(), evidence, self.counts[layer.name], before=before)
        layer.write(solved.weight)
        if solved.bias is not None:
            _add_bias(layer, solved.bias)
        self.record(layer, solved)

    def prune_layers(self, layers: Iterable[Layer], evidence: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Prune what the data reaches; a layer that is only read, or not there for this data, stays as it is."""
        for layer in layers:
            found = evidence.get(layer.name, {})
            if never_called(layer, found):
                self.leave_layer(layer)
            else:
                self.prune_layer(layer, found)

    def leave_layer(self, layer: Layer) -> None:
        """Account for a layer that was never called on the data: all of it stays."""
        import torch

        total = layer.shape[0] * layer.shape[1]
        self.masks.put(layer.name, torch.ones(layer.shape, dtype=torch.bool))
        self.results[layer.name] = LayerResult(layer.name, layer.block, layer.shape, total, total, None)
        self.layer_notes[layer.name] = {_IDLE: "never called on this data: left as they are"}
        emit(self.progress, LayerDone(layer.name, layer.block, total, total, None))

    @property
    def idle(self) -> Literal["refuse", "leave"]:
        """What becomes of a layer that is never called on the data: what somebody named is not silently left."""
        return "refuse" if self.recipe.only else "leave"

    def check_any(self) -> None:
        """Refuse a result in which no layer was called: nothing was pruned."""
        if self.results and all(_IDLE in self.layer_notes.get(name, {}) for name in self.results):
            raise FewerError(f"none of the {len(self.results)} layers was called on this data: nothing to prune by it")

    def record(self, layer: Layer, solved: Solved) -> None:
        """Keep the mask and the numbers of one layer, and tell the callback."""
        self.masks.put(layer.name, solved.mask)
        kept, total = int(solved.mask.sum()), solved.mask.numel()
        zeros, former = solved.weight.numel() - int(solved.weight.count_nonzero()), self.results.get(layer.name)
        before = solved.zeros_before if former is None else former.zeros_before
        row = LayerResult(layer.name, layer.block, layer.shape, kept, total, solved.damage, zeros, before)
        self.results[layer.name] = row
        notes = dict(solved.notes)
        if layer.name in self.unjudged and "evidence" not in notes:
            notes["budget"] = _UNJUDGED
        if notes:
            self.layer_notes[layer.name] = notes
        emit(self.progress, LayerDone(layer.name, layer.block, kept, total, solved.damage))

    def visitor(self, blocks: int) -> Callable[[Iterable[Layer], Mapping[str, Mapping[str, Tensor]]], None]:
        """What a block-by-block pass calls with the layers of a block and what was measured about them."""

        def visit(layers: Iterable[Layer], evidence: Mapping[str, Mapping[str, Tensor]]) -> None:
            mine = [layer for layer in layers if layer.name in self.counts]
            self.prune_layers(mine, evidence)
            index = mine[-1].block if mine else None
            if index is not None:
                now = time.monotonic()
                emit(self.progress, BlockDone(index, blocks, now - self.clock))
                self.clock = now

        return visit

    def notes(self) -> tuple[str, ...]:
        """What the updates had to say, each thing once, with the number of layers; first, what no layer is made of."""
        heard: dict[str, list[str]] = {}
        named: dict[str, int] = {}
        for name, notes in self.layer_notes.items():
            for key, value in notes.items():
                if isinstance(value, str):
                    said = f"{self.recipe.update} chose {value}" if key == "solver" else value
                    heard.setdefault(said, []).append(name)
                    named[said] = _NAMED if key == "evidence" else 1
        found = [f"{text} ({_layers(names, named[text])})" for text, names in heard.items()]
        rows = self.results.values()
        total, before = sum(row.total for row in rows), sum(row.zeros_before or 0 for row in rows)
        if before > _SPARSE * total:
            found.insert(0, f"the input was already sparse: {before / total:.2%} of these weights were zero before")
        unseen = self.plan.unseen
        if unseen > self.plan.total // 100:
            found.insert(0, f"{unseen:,} weights belong to no layer and were left alone: `fewer plan` names them")
        return tuple(found)


def _layers(names: Sequence[str], named: int) -> str:
    """Which layers a note is about: all of them where they are no more than `named`."""
    if len(names) <= named:
        return f"layer{'s' * (len(names) > 1)} {', '.join(names)}"
    return f"{len(names)} layers, first {names[0]}{'; the report lists them' if named > 1 else ''}"


def _without(table: Any, names: Collection[str]) -> Any:
    """A mapping by layer (or a mapping of such) without some layers; anything else as it is."""
    if not isinstance(table, Mapping):
        return table
    return {key: _without(value, names) for key, value in table.items() if key not in names}


def run_rounds(engine: Engine, opened: Opened, batches: Batches | None, names: tuple[str, ...]) -> None:
    """All rounds of an in-memory run."""
    steps, shares = engine.recipe.steps, engine.recipe.shares_of_rounds()
    for step in range(1, steps + 1):
        if steps > 1:
            emit(engine.progress, StageStarted(f"round {step} of {steps}"))
        _run_round(engine, opened, batches, names, shares[step - 1] if shares else None)
        engine.rounds += 1
    engine.check_any()


def _run_round(
    engine: Engine, opened: Opened, batches: Batches | None, names: tuple[str, ...], keep: float | None
) -> None:
    """One pass: evidence, counts, and every layer once."""
    from fewer import evidence

    chosen = {row.name for row in engine.plan.rows}
    layers = [layer for layer in opened.candidates if layer.name in chosen]
    told = ticker(engine.progress)
    at_once = engine.recipe.order == "at-once"
    dense: Mapping[str, Mapping[str, Tensor]] = {}
    if names and batches is not None and (at_once or engine.needs_evidence):
        emit(engine.progress, StageStarted("gathering evidence", len(batches)))
        own = evidence.collect(
            opened, batches, names, layers=layers, reference=engine.reference, progress=told,
            precision=engine.precision, idle=engine.idle, compute=engine.dtype,
        )  # fmt: skip
        dense = evidence.all_reduce(own)
    losses = None
    if engine.needs_losses and batches is not None:
        emit(engine.progress, StageStarted("measuring what cuts cost", len(layers)))
        losses = Losses(opened, engine.job, layers, dense, batches, told, dtype=engine.dtype)
    engine.allot(layers, dense, keep, losses)
    emit(engine.progress, StageStarted("pruning", len(opened.blocks)))
    engine.clock = time.monotonic()
    if at_once or batches is None or not names:
        engine.prune_layers(layers, dense)
        return
    visit = engine.visitor(len(opened.blocks))

    def shared(mine: Iterable[Layer], store: evidence.Store) -> None:
        visit(mine, evidence.all_reduce(store))

    evidence.sequential(
        opened, batches, names, shared, layers=layers, reference=engine.reference, progress=told,
        precision=engine.precision, idle=engine.idle, compute=engine.dtype,
    )  # fmt: skip


def ticker(progress: Progress | None) -> Callable[[int, int, str], None] | None:
    """The callback of an evidence pass as events."""
    if progress is None:
        return None
    return lambda done, total, what: emit(progress, EvidenceProgress(done, total))


def _add_bias(layer: Layer, change: Tensor) -> None:
    """Shift the bias of a layer (one group's part of it, in a grouped convolution), in every module that uses it."""
    import torch

    found: dict[int, Any] = {id(module.bias): module.bias for module in layer.uses}
    first = len(change) * (layer.index or 0)
    with torch.no_grad():
        for bias in found.values():
            bias[first : first + len(change)] += change.to(bias.dtype)
