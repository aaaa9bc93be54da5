"""Prune a model: by arguments, by recipe, or at random like another result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.reserve import reserved
from fewer.arguments import checked
from fewer.events import Note, Progress, RunDone, RunStarted, emit, followed
from fewer.method import FewerError, catalogue
from fewer.plan import Plan, evidence_of, make_plan
from fewer.recipe import DataSettings, Keep, Recipe
from fewer.verbs._engine import Engine, missing_data, run_rounds
from fewer.verbs._given import calibration, copy_of, opened_of, reference_of, shape_alone, source_of, writable
from fewer.verbs._options import check_options
from fewer.verbs._processes import place, share
from fewer.verbs.prune_inputs import random_inputs_like, run_inputs
from fewer.verbs.pruned import Pruned, lost, saved

if TYPE_CHECKING:
    from fewer.adapt import Opened

__all__ = ["plan_for", "prune", "random_like", "run"]


@checked
def prune(
    model: Any,
    data: Any = None,
    *,
    score: str | Callable[..., Any] = "",
    keep: float | Sequence[float] | None = None,
    pattern: str = "",
    within: str = "",
    unit: str = "",
    budget: str | Callable[..., Any] = "",
    update: str | Callable[..., Any] = "",
    score_options: Mapping[str, Any] | None = None,
    budget_options: Mapping[str, Any] | None = None,
    update_options: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    choose: str = "",
    order: str = "sequential",
    steps: int = 1,
    schedule: str = "cubic",
    compat: str = "",
    compute: str = "auto",
    damage: str = "auto",
    seed: int = 0,
    samples: int = 128,
    length: int = 256,
    text_field: str = "",
    reference: Any = None,
    out: str | Path | None = None,
    complement: bool = False,
    inplace: bool = False,
    progress: Progress | None = None,
) -> Pruned:
    """Score, choose and update the weights of every layer, block by block.

    In an initialised `torch.distributed` process group every process calls it with the same arguments, measures its
    part of the data, and gets the same result; the first one writes.

    Args:
        model: torch module, opened model, checkpoint directory, or "demo".
        data: calibration data: a file of text (as in `fewer.text`), "demo", token windows (windows, length), or an
            iterable of batches or of rows with `input_ids`;
            not needed by scores and updates that look at weights alone.
        score: name of a score, or a function registered with `fewer.method.method`; "wanda" by default, "obs" where
            the update solves for the weights that stay.
        keep: share that stays, in (0, 1]; several shares are interpolated over depth. By default 0.5, or what the
            pattern says.
        pattern: "unstructured", "2:4" (keep 2 of 4), "16x1" (rows x columns), "row", "column", "layer".
        within: who competes with whom: "row", "column", "group", "layer", "model"; by default the score's own habit.
        unit: what is kept or dropped: what the pattern implies, or "input" to leave out small inputs at run time.
        budget: how kept weights are shared out over layers.
        update: what happens to the weights that stay.
        score_options: knobs of the score.
        budget_options: knobs of the budget.
        update_options: knobs of the update.
        only: globs; prune these layers alone.
        skip: globs; leave these layers alone.
        choose: who has the last word on the mask: "score", or "update" (by default with the score "obs").
        order: "sequential" (later blocks see the pruned earlier ones) or "at-once".
        steps: rounds; the kept share follows the schedule from one to the next.
        schedule: name of a schedule.
        compat: reproduce an implementation's rounding ("wanda", "sparsegpt").
        compute: number type of the forward passes: "auto" (the stored one, or float32 where the processor has no fast
            products of it; with `compat` always the stored one), "float32", "bfloat16". What is written has the type
            that it is stored in.
        damage: measure each layer's error: "auto" (where cheap), "gram" (always), "none".
        seed: of every random choice.
        samples: windows of calibration text, where data is a text file.
        length: tokens in such a window.
        text_field: column of the texts or chats, where data is a file of many (.jsonl, .json, .csv, .parquet).
        reference: a second data set, as `data`, for scores that compare two.
        out: write the result to this directory. A checkpoint directory is then streamed block by block, whatever
            its size, and a run that was killed goes on where it stopped. What fewer wrote there before is replaced
            once the new result is complete; anything else there is refused.
        inplace: write into the given module instead of a copy of it.
        progress: receives events.

    Returns:
        The pruned model, its masks, and an account of every layer.

    Raises:
        FewerError: anything wrong with names, shares, shapes, data or numbers, before anything is written.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4))
        >>> prune(model, score="magnitude", keep=0.25).layers[0].kept
        8
    """
    recipe = Recipe(
        score=_name("score", score),
        keep=_keep(keep),
        pattern=pattern,
        within=within,
        unit=unit,
        budget=_name("budget", budget),
        update=_name("update", update),
        score_options=dict(score_options or {}),
        budget_options=dict(budget_options or {}),
        update_options=dict(update_options or {}),
        only=tuple(only),
        skip=tuple(skip),
        choose=choose,
        order=order,
        steps=steps,
        schedule=schedule,
        compat=compat,
        compute=compute,
        damage=damage,
        seed=seed,
        data=DataSettings(samples=samples, length=length, seed=seed, text_field=text_field),
        reference=_second(reference, samples, length, seed, text_field),
    )
    return run(
        model, data, recipe, reference=reference, out=out, complement=complement, inplace=inplace, progress=progress
    )


@checked
def run(
    model: Any,
    data: Any,
    recipe: Recipe,
    *,
    reference: Any = None,
    out: str | Path | None = None,
    complement: bool = False,
    inplace: bool = False,
    progress: Progress | None = None,
) -> Pruned:
    """Prune a model by a recipe; everything else is as in `prune`.

    Args:
        model: as in `prune`.
        data: as in `prune`.
        recipe: what to do.
        reference: as in `prune`; by default the recipe's own.
        out: as in `prune`.
        complement: as in `prune`.
        inplace: as in `prune`.
        progress: as in `prune`.

    Returns:
        The pruned model.
    """
    check_options(recipe.resolve())  # A wrong name is told at once, before torch is loaded.

    if complement and (inplace or recipe.unit == "input"):
        why = "a run in place leaves no dense model to take it from" if inplace else "unit 'input' changes no weight"
        raise FewerError(f"there is no complement to keep: {why}")
    with reserved(out if place()[0] == 0 else None, source_of(model)), writable():
        return _run(model, data, recipe, reference, out, complement, inplace, progress)


def _run(
    model: Any,
    data: Any,
    recipe: Recipe,
    reference: Any,
    out: str | Path | None,
    complement: bool,
    inplace: bool,
    progress: Progress | None,
) -> Pruned:
    """By the road that the recipe and the model ask for: inputs, streamed, or in memory."""
    from fewer.adapt.checkpoint import rehearse
    from fewer.verbs import _streamed

    if recipe.unit == "input":
        result: Pruned = run_inputs(model, data, recipe, inplace=inplace, progress=progress)
        return result if out is None else saved(result, out)
    if out is not None and isinstance(model, str | Path) and place()[1] == 1:
        return _streamed.run(model, data, recipe, out, progress, reference, complement)
    opened = opened_of(model)
    if out is not None:
        rehearse(opened, Path(out))
    fresh = inplace or (isinstance(model, str | Path) and not complement)
    result = _run_in_memory(opened, data, recipe, reference, fresh=fresh, progress=progress)
    if complement:
        result = dataclasses.replace(result, complement=lost(result, opened))
    return saved(result, out) if out is not None and place()[0] == 0 else result


@checked
def plan_for(model: Any, recipe: Recipe | None = None) -> Plan:
    """What a run of this recipe would do to each layer, without reading a weight of a checkpoint.

    Args:
        model: directory, "demo", module or opened model.
        recipe: the default recipe if left out.

    Returns:
        The plan; print it.
    """
    made = (recipe or Recipe()).resolve()
    check_options(made)
    from fewer import adapt

    source = adapt.outline(model) if isinstance(model, str | Path) else opened_of(model)
    return make_plan(source, made)


@checked
def random_like(model: Any, like: Pruned, *, seed: int = 0) -> Pruned:
    """A random selection with the same pattern and the same count in every layer as another result.

    Args:
        model: the dense model.
        like: the result to stand beside.
        seed: of the selection.

    Returns:
        The dense model with random weights dropped and no update (or random inputs left out, where the other result
        leaves out inputs): the control that a method must beat.
    """
    if like.plan.recipe.unit == "input":
        return random_inputs_like(model, like, seed=seed)
    recipe = dataclasses.replace(
        like.plan.recipe,
        name="random",
        paper="",
        score="random",
        score_options={},
        update="zero",
        update_options={},
        choose="score",
        within="group" if like.plan.recipe.within == "group" else "layer",
        order="at-once",
        steps=1,
        compat="",
        damage="none",
        seed=seed,
    )

    opened = copy_of(opened_of(model))
    start = time.monotonic()
    rows = {row.name: row for row in like.plan.rows}
    done = {row.name: row for row in like.layers}
    unit = {name: row.total // row.units for name, row in rows.items()}
    engine = Engine(dataclasses.replace(like.plan, recipe=recipe, evidence=()))
    engine.counts = {name: row.kept // unit[name] for name, row in done.items()}
    for layer in followed("choosing at random", opened.candidates):
        if layer.name in engine.counts:
            engine.prune_layer(layer, {})
    return result_of(engine, opened, time.monotonic() - start, "", "", like.model_hash)


def _run_in_memory(
    opened: Opened, data: Any, recipe: Recipe, reference: Any, *, fresh: bool, progress: Progress | None
) -> Pruned:
    start = time.monotonic()
    made = make_plan(opened, recipe)
    settings = made.recipe.data
    given = data if data is not None else (settings.text or None)
    batches = calibration(given, opened, settings)
    names = made.evidence
    if batches is None:
        names = evidence_of(made.recipe)
        batches = shape_alone(names, opened, settings.length)
        if names and batches is None:
            raise missing_data(made)
    second = reference_of(reference, made.recipe, names, opened)
    dense_hash = opened.hash()
    target = opened if fresh else copy_of(opened)
    mine = share(batches)
    # Sums in the order of one script cannot be formed by several processes.
    engine = Engine(made, progress, share(second), windowed=mine is batches)
    title = f"{made.recipe.score}, keep {made.recipe.mean_keep():g}, {made.recipe.pattern}"
    emit(progress, RunStarted("prune", title, len(made.rows), len(opened.blocks)))
    run_rounds(engine, target, mine, names)
    source, digest = ("", "") if batches is None or not batches.source else (batches.source, batches.hash)
    source += f", reference {second.source}" if second is not None else ""
    result = result_of(engine, target, time.monotonic() - start, source, digest, dense_hash)
    for text in result.notes:
        emit(progress, Note(text))
    emit(progress, RunDone("prune", result.seconds, f"{result.sparsity:.4%} of {made.total:,} weights are zero"))
    return result


def result_of(
    engine: Engine, opened: Opened, seconds: float, calibration: str, calibration_hash: str, model_hash: str
) -> Pruned:
    """What a finished engine and its model amount to."""
    rows = [row.name for row in engine.plan.rows if row.name in engine.results]
    return Pruned(
        source=opened,
        masks=engine.masks,
        plan=engine.plan,
        layers=tuple(engine.results[name] for name in rows),
        seconds=seconds,
        notes=engine.notes(),
        histograms=engine.job.histograms.finish(),
        layer_notes=engine.layer_notes,
        calibration=calibration,
        calibration_hash=calibration_hash,
        model_hash=model_hash,
    )


def _second(reference: Any, samples: int, length: int, seed: int, text_field: str) -> DataSettings:
    """What a recipe says of the second data set: how it is cut, and where it lies if it is a text."""
    if not isinstance(reference, str | Path):
        return DataSettings()
    return DataSettings(text=str(reference), text_field=text_field, samples=samples, length=length, seed=seed)


def _name(kind: str, method: str | Callable[..., Any]) -> str:
    """The catalogue's name of a method that may be given as the function itself."""
    if isinstance(method, str):
        return method
    for entry in catalogue(kind):
        if entry.target is method:
            return entry.name
    raise FewerError(f"{method!r} is not a registered {kind}: decorate it with fewer.method.method('{kind}', name)")


def _keep(keep: float | Sequence[float] | None) -> Keep | None:
    return tuple(keep) if isinstance(keep, Sequence) and not isinstance(keep, str) else keep  # type: ignore[return-value]
