"""Prune a checkpoint directory block by block into another: never in memory as a whole, resumable, whole at the end."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fewer import adapt, evidence
from fewer.adapt.data import batches as from_tensor
from fewer.adapt.naming import Unstreamable
from fewer.adapt.stream import Stream
from fewer.events import Note, Progress, RunDone, RunStarted, StageStarted, emit
from fewer.maskfile import NAME
from fewer.plan import Plan, evidence_of, make_plan
from fewer.recipe import Recipe
from fewer.verbs._blockmasks import BlockMasks
from fewer.verbs._engine import WHOLE_MODEL, Engine, missing_data, ticker
from fewer.verbs._given import calibration
from fewer.verbs._memory import check_memory
from fewer.verbs._solve import Histograms
from fewer.verbs.masks import Masks, StoredMasks
from fewer.verbs.pruned import Pruned, companions, provenance, saved
from fewer.verbs.result import LayerResult

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt import Layer, Outline
    from fewer.adapt.data import Batches

__all__ = ["run"]

#: What goes through a model block by block.
_STREAMS = "a sequential run with budget 'uniform' or 'erk' streams block by block"


def run(
    source: str | Path,
    data: Any,
    recipe: Recipe,
    out: str | Path,
    progress: Progress | None,
    reference: Any = None,
    complement: bool = False,
) -> Pruned:
    """Prune the checkpoint at `source` into the directory `out`."""
    from fewer.verbs.prune import run as run_in_memory

    outline = adapt.outline(source)
    plan = make_plan(outline, recipe)
    settings, reason, instead = plan.recipe.data, _needs_memory(plan, outline), ""
    if not reason:
        reason, instead = _compares_all(plan), _STREAMS
    if not reason:
        start = time.monotonic()
        text = data if data is not None else (settings.text or None)
        data = calibration(text, _Tokens(source), settings)
        if data is None and evidence_of(plan.recipe):
            raise missing_data(plan)
        try:
            return _stream(source, plan, data, Path(out), start, progress, complement)
        except Unstreamable as error:
            reason, instead = str(error), ""
            emit(progress, Note(f"{reason}: opened in memory"))
    check_memory(plan, reason, instead)
    opened = adapt.open(source)
    adapt.checkpoint.rehearse(opened, Path(out))
    result = run_in_memory(
        opened, data, recipe, reference=reference, complement=complement, inplace=not complement, progress=progress
    )
    return saved(result, out)


def _needs_memory(plan: Plan, outline: Outline) -> str:
    """Why no run of this model and these layers can be streamed, or an empty string."""
    if outline.kind != "causal-lm" or not outline.blocks:
        return f"a model of kind '{outline.kind}'"
    names = {row.name for row in plan.rows}
    outside = next((row.name for row in plan.rows if row.block is None), None)
    if outside is not None:
        return f"layer '{outside}', which lies outside the blocks,"
    shared = next((x.name for x in outline.candidates if len(x.blocks) > 1 and x.name in names), None)
    if shared is not None:
        return f"layer '{shared}', whose weight several blocks share,"
    return ""


def _compares_all(plan: Plan) -> str:
    """What in the recipe asks for all layers at once, or an empty string."""
    recipe = plan.recipe
    if recipe.steps > 1:
        return f"steps = {recipe.steps}"
    if recipe.order == "at-once":
        return "order 'at-once'"
    whole = WHOLE_MODEL & set(plan.evidence)
    if whole:
        return f"{', '.join(sorted(whole))} for score '{recipe.score}'"
    if Engine(plan).needs_all_layers:
        return f"budget '{recipe.budget}', which compares all layers,"
    return ""


class _Tokens:
    """Opens a checkpoint's tokenizer without its weights, when calibration text asks for it."""

    def __init__(self, source: str | Path) -> None:
        self._source = source

    def tokenizer(self) -> Any:
        """The tokenizer beside the checkpoint."""
        from fewer.adapt.checkpoint import model_path, read_tokenizer

        return read_tokenizer(model_path(self._source))

    def hash(self) -> str:
        """Never asked for; its presence says that `tokenizer` is a method."""
        return ""


def _stream(
    source: str | Path,
    plan: Plan,
    batches: Batches | None,
    out: Path,
    start: float,
    progress: Progress | None,
    complement: bool,
) -> Pruned:

    names = plan.evidence if batches is not None else ()
    # Blocks are gone through in any case; without evidence to measure, two tokens are enough for that.
    through = batches if batches is not None and names else from_tensor(torch.zeros(1, 2, dtype=torch.long))
    key = hashlib.sha256(f"{plan.hash}:{through.hash}{':complement' * complement}".encode()).hexdigest()
    stream = Stream(source, out, key=key)
    engine, kept = Engine(plan, progress, windowed=True), BlockMasks(stream.partial, complement)
    recipe = plan.recipe
    title = f"{recipe.score}, keep {recipe.mean_keep():g}, {recipe.pattern}, streamed"
    emit(progress, RunStarted("prune", title, len(plan.rows), len(stream.blocks)))
    chosen = {row.name for row in plan.rows}
    layers = [layer for layer in stream.candidates if layer.name in chosen]
    engine.allot(layers, {}, None)
    emit(progress, StageStarted("pruning", len(stream.blocks)))
    visit = _journalled(engine, len(stream.blocks), kept)
    with stream.working():
        records = evidence.sequential(
            stream, through, names, visit, layers=layers, progress=ticker(progress), precision=engine.precision,
            idle=engine.idle, compute=engine.dtype,
        )  # fmt: skip
        result = _collect(engine, records, stream, batches, out)
        engine.check_any()
    made = provenance(plan, result.calibration, result.calibration_hash)
    masks = kept.writer(result.model_hash, made, result.layers, plan.recipe.pattern)
    stream.finish(extras={**companions(plan, result.to_dict()), NAME: masks}, mark=result.mark())
    seconds = time.monotonic() - start
    for text in result.notes:
        emit(progress, Note(text))
    emit(progress, RunDone("prune", seconds, f"{result.sparsity:.4%} of {plan.total:,} weights are zero"))
    return dataclasses.replace(result, seconds=seconds)


def _journalled(engine: Engine, blocks: int, kept: BlockMasks) -> Any:
    """A visitor whose result is plain data: what a resumed run needs to know of a finished block."""
    inner = engine.visitor(blocks)

    def visit(layers: Iterable[Layer], store: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
        held = tuple(layers)
        engine.job.histograms.counts.clear()
        dense = kept.before(held)
        inner(held, store)
        if held:
            kept.store(held[0].block or 0, held, engine.masks, dense)
        engine.masks = Masks()
        done = [layer.name for layer in held if layer.name in engine.results]
        return {
            "layers": [asdict(engine.results[name]) for name in done],
            "notes": {name: engine.layer_notes[name] for name in done if name in engine.layer_notes},
            "histograms": [[t, k, c.tolist()] for (t, k), c in engine.job.histograms.counts.items()],
        }

    return visit


def _collect(
    engine: Engine, records: Iterable[Mapping[str, Any]], stream: Stream, batches: Batches | None, out: Path
) -> Pruned:
    """The account of all blocks, those of an interrupted run included."""
    import numpy as np

    histograms = Histograms()
    for record in records:
        for row in record["layers"]:
            engine.results[row["name"]] = LayerResult(**{**row, "shape": tuple(row["shape"])})
        engine.layer_notes.update(record["notes"])
        for title, kept, counts in record["histograms"]:
            key = (title, bool(kept))
            histograms.counts[key] = histograms.counts.get(key, 0) + np.asarray(counts)
    return Pruned(
        source=out,
        masks=StoredMasks(out / NAME, {row.name: row.shape for row in engine.plan.rows}),
        plan=engine.plan,
        layers=tuple(engine.results[row.name] for row in engine.plan.rows),
        seconds=0.0,
        notes=engine.notes(),
        histograms=histograms.finish(),
        layer_notes=engine.layer_notes,
        calibration="" if batches is None else batches.source,
        calibration_hash="" if batches is None else batches.hash,
        model_hash=stream.hash(),
    )
