"""Prune inputs: calibrate where each layer may leave small inputs out; no weight is changed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.events import LayerDone, Note, Progress, RunDone, RunStarted, StageStarted, emit
from fewer.method import FewerError
from fewer.plan import Plan, make_plan
from fewer.recipe import Recipe
from fewer.verbs._given import calibration, opened_of
from fewer.verbs._memory import check_memory
from fewer.verbs.pruned import Pruned, companions
from fewer.verbs.result import LayerResult

if TYPE_CHECKING:
    from fewer.adapt import Opened
    from fewer.runtime.inputs import InputSparse

__all__ = ["InputPruned", "random_inputs_like", "reopen_inputs", "run_inputs"]


@dataclass(frozen=True)
class InputPruned(Pruned):
    """A model that skips inputs. `kept` of a layer counts the weights that a token reads, on the calibration data."""

    inputs: InputSparse | None = None

    def mark(self) -> dict[str, Any]:
        """What `fewer.json` in an output directory says."""
        return {"kind": "inputs", "plan": self.plan.hash, "dense": self.model_hash}

    def save(self, out: str | Path) -> Path:
        """Write the weights as they were, with `fewer-inputs.json`, recipe, plan, report and citations beside them.

        Args:
            out: a directory that does not exist, is empty, or was written by fewer.

        Returns:
            The directory: transformers loads it as the dense model, `fewer.runtime.load` with its cuts.
        """
        from fewer.runtime.cuts import save_beside

        assert self.inputs is not None
        return save_beside(self.inputs, out, companions(self.plan, self.to_dict()), self.mark(), self.opened.origins)


def run_inputs(
    model: Any, data: Any, recipe: Recipe, *, inplace: bool = False, progress: Progress | None = None
) -> InputPruned:
    """Calibrate the cuts of a recipe with `unit = "input"` and swap in layers that skip what lies below.

    Args:
        model: as in `prune`; a directory with cuts beside its weights is calibrated anew.
        data: calibration data; always needed.
        recipe: what to do.
        inplace: change the given module instead of a copy (which shares the weights that are not transposed).
        progress: receives events.

    Raises:
        FewerError: no data, names or shares that are wrong, or layers that are not linear.
    """
    from fewer import adapt
    from fewer.adapt import Opened
    from fewer.runtime.inputs import shared_copy

    start = time.monotonic()
    if isinstance(model, str | Path):
        check_memory(make_plan(adapt.outline(model), recipe), "unit 'input'")
    opened = adapt.open(model) if isinstance(model, str | Path) else opened_of(model)
    made = make_plan(opened, recipe)
    cut = made.recipe.data
    batches = calibration(data if data is not None else cut.text or None, opened, cut)
    if batches is None:
        raise FewerError("unit 'input' cuts inputs by their size on data: give calibration data")
    dense_hash = opened.hash()
    emit(progress, RunStarted("prune", f"inputs by {made.recipe.score}", len(made.rows), len(opened.blocks)))
    emit(progress, StageStarted("watching inputs", len(batches)))
    target = opened.module if inplace else shared_copy(opened.module)
    uses = _uses(opened)
    found = _calibrate(target, batches, made, uses)
    changed = Opened(target, opened.path, opened.origins)
    result = _result(made, found, changed, time.monotonic() - start, dense_hash, uses)
    result = dataclasses.replace(result, calibration=batches.source, calibration_hash=batches.hash)
    for row in result.layers:
        emit(progress, LayerDone(row.name, row.block, row.kept, row.total, None))
    for text in result.notes:
        emit(progress, Note(text))
    summary = f"{result.sparsity:.4%} of {made.total:,} weights are left unread for a token"
    emit(progress, RunDone("prune", result.seconds, summary))
    return result


def random_inputs_like(model: Any, like: Pruned, *, seed: int = 0) -> InputPruned:
    """A fixed random choice of inputs with the same share in every layer as another result: the control."""
    from fewer.adapt import Opened
    from fewer.runtime.inputs import InputSparse, install, shared_copy
    from fewer.runtime.skipping import Cut

    start = time.monotonic()
    opened = opened_of(model)
    uses = _uses(opened)
    rows = [(name, row) for row in like.layers for name in uses.get(row.name, [row.name])]
    shares = {name: row.kept / row.total for name, row in rows if row.kept < row.total}
    shapes = {name: row.shape for name, row in rows}
    size = (
        tuple(int(part) for part in like.plan.recipe.pattern.split(":")) if like.plan.recipe.within == "group" else ()
    )
    cuts = {
        name: Cut(0.0, *size) if size else Cut(0.0, max(1, round(share * shapes[name][1])))
        for name, share in shares.items()
    }
    target = shared_copy(opened.module)
    install(target, "random", cuts, shares, seed)
    sizes = {name: shapes[name][0] * shapes[name][1] for name in cuts}
    found = InputSparse(target, "random", cuts, shares, shares, sizes, seed)
    within = "group" if size else "layer"
    recipe = dataclasses.replace(
        like.plan.recipe, name="random", paper="", score="random", score_options={}, within=within, seed=seed
    )
    plan = dataclasses.replace(like.plan, recipe=recipe)
    return _result(plan, found, Opened(target, opened.path), time.monotonic() - start, like.model_hash, uses)


def reopen_inputs(path: str | Path, recipe: Recipe, account: Mapping[str, Any]) -> InputPruned:
    """A directory that `run_inputs` wrote, as it was handed out."""
    from fewer import adapt
    from fewer.adapt import Opened
    from fewer.runtime.cuts import apply_cuts
    from fewer.runtime.inputs import InputSparse

    opened = adapt.open(path)
    plan, uses = make_plan(opened, recipe), _uses(opened)
    plan = dataclasses.replace(plan, compute=str(account.get("compute", plan.compute)))
    found = apply_cuts(opened.module, path)
    if found is None:
        raise FewerError(f"'{path}' has no fewer-inputs.json, although its recipe cuts inputs")
    sizes = {name: row.total for row in plan.rows for name in uses[row.name] if name in found.cuts}
    made = InputSparse(opened.module, found.score, found.cuts, found.observed, found.observed, sizes, found.seed)
    target = Opened(opened.module, opened.path, opened.origins)
    result = _result(plan, made, target, 0.0, str(account["model_hash"]), uses)
    return dataclasses.replace(
        result,
        notes=tuple(account["notes"]),
        calibration=str(account["calibration"]),
        calibration_hash=str(account["calibration_hash"]),
    )


def _uses(opened: Opened) -> dict[str, list[str]]:
    """Names of the modules that multiply with the weight of each layer; each has inputs of its own."""
    names = {id(module): name for name, module in opened.module.named_modules()}
    return {layer.name: [names[id(module)] for module in layer.uses] for layer in opened.candidates}


def _calibrate(module: Any, batches: Any, plan: Plan, uses: Mapping[str, Sequence[str]]) -> InputSparse:
    """Shares by name from the plan; by greedy allocation or by search where the recipe asks for that."""
    from fewer.adapt.computing import wide
    from fewer.runtime.inputs import gates_of, keep_for_tolerance, sparsify_inputs

    recipe = plan.recipe
    rows = {name: row for row in plan.rows for name in uses[row.name]}
    names = list(rows)
    if recipe.score == "cats":
        gates = gates_of(module)
        names = [name for name in names if name in gates]
    options: dict[str, Any] = {
        "score": recipe.score, "pattern": recipe.pattern, "seed": recipe.seed,
        "within": "row" if recipe.within == "row" else "layer", "compute": wide(plan.compute),
    }  # fmt: skip
    shares = {name: row.keep if row.keep is not None else recipe.mean_keep() for name, row in rows.items()}
    if recipe.budget == "tolerance":
        found = keep_for_tolerance(
            module,
            batches,
            lambda tried: _perplexity(tried, batches, recipe.compute),
            names=names,
            **recipe.budget_options,
            **options,
        )
        shares = dict.fromkeys(names, found)
    if recipe.budget == "greedy":
        options.update(budget="greedy", **recipe.budget_options)
    return sparsify_inputs(module, batches, keep={name: shares[name] for name in names}, **options)


def _perplexity(module: Any, batches: Any, compute: str) -> float:
    from fewer.verbs.evaluate import evaluate

    found = evaluate(module, batches, compute=compute).perplexity
    if math.isnan(found):
        raise FewerError("budget 'tolerance' of unit 'input' compares perplexities: the model predicts no next token")
    return found


def _result(
    plan: Plan, found: InputSparse, opened: Opened, seconds: float, dense_hash: str, uses: Mapping[str, Sequence[str]]
) -> InputPruned:
    def read(name: str) -> float:
        return sum(found.observed.get(use, 1.0) for use in uses[name]) / len(uses[name])

    rows = tuple(
        LayerResult(row.name, row.block, row.shape, round(read(row.name) * row.total), row.total) for row in plan.rows
    )
    left = [row.name for row in plan.rows if row.name not in found.cuts and row.name not in found.unseen]
    notes = tuple(f"no evidence ({n:,} tokens): layer {name} reads every input" for name, n in found.unseen.items())
    notes += (f"{len(left)} layers stay as they are, first {left[0]}",) if left else ()
    return InputPruned(
        source=opened, masks={}, plan=plan, layers=rows, seconds=seconds, notes=notes, model_hash=dense_hash,
        inputs=found,
    )  # fmt: skip
