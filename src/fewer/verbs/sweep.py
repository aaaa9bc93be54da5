"""One calibration, the whole curve: every share, pattern and allocation solved again from stored evidence."""

from __future__ import annotations

import dataclasses
import glob
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.adapt.output import whole, write_extras
from fewer.adapt.reserve import reserved
from fewer.arguments import checked
from fewer.events import Progress, RunDone, RunStarted, StageStarted, emit
from fewer.method import FewerError
from fewer.plan import Plan, evidence_of, make_plan
from fewer.recipe import Recipe, load_recipe
from fewer.update import solve_levels
from fewer.verbs._engine import Engine, missing_data, ticker
from fewer.verbs._given import calibration as read
from fewer.verbs._given import copy_of, held_out, opened_of, reference_of, source_of, windows, writable
from fewer.verbs._levels import KEEPS, level_named, levels, mark_of
from fewer.verbs._losses import Losses
from fewer.verbs._shelf import Shelf, stored
from fewer.verbs._solve import Solved, working
from fewer.verbs._unmeasured import Worth, lack_of, never_called
from fewer.verbs.compare import compare
from fewer.verbs.prune import result_of
from fewer.verbs.pruned import Pruned
from fewer.verbs.result import Comparison

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt import Opened
    from fewer.adapt.data import Batches
    from fewer.evidence import Store

__all__ = ["KEEPS", "Sweep", "levels", "materialise", "sweep"]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The curve: a comparison of all levels, and what is needed to make any of them again without the data."""

    comparison: Comparison
    recipes: Mapping[str, Recipe]
    store: Store
    dense: Opened
    calibration: str
    solve_seconds: Mapping[str, float]
    evidence_seconds: float

    def materialise(self, level: str) -> Pruned:
        """Solve one level again from the stored evidence.

        Raises:
            FewerError: no level of that name.
        """
        if level not in self.recipes:
            raise FewerError(f"this sweep has no level '{level}'; it has: {', '.join(self.recipes)}")
        return _solve(self.dense, self.recipes, self.store, self.calibration, wanted=level)[level]

    def save(self, out: str | Path) -> Path:
        """Write evidence, recipes, table (JSON) and report page; `materialise(out, level, dense)` reads it.

        Args:
            out: a directory that does not exist, is empty, or was written by fewer.
        """
        target = Path(out)
        with whole(target) as partial:
            self.store.save(partial / "evidence")
            names = {name: f"level-{name.replace(':', '-').replace(' ', '-')}.toml" for name in self.recipes}
            extras = {names[name]: recipe.to_toml() for name, recipe in self.recipes.items()}
            extras["sweep.json"] = self.comparison.to_json()
            self.comparison.to_html(str(partial / "report.html"))
            mark = {"kind": "sweep", "levels": names, "dense": self.store.model, "calibration": self.calibration}
            write_extras(partial, extras, mark)
        return target


@checked
def sweep(
    model: Any,
    calibration: Any = None,
    data: Any = None,
    *,
    recipe: Recipe | None = None,
    keeps: Sequence[float] = KEEPS,
    patterns: Sequence[str] = (),
    budgets: Sequence[str] = (),
    context: int | None = None,
    store: Store | str | Path | None = None,
    out: str | Path | None = None,
    compute: str = "",
    progress: Progress | None = None,
) -> Sweep:
    """Measure evidence once on the dense model and solve every level from it.

    Args:
        model: the dense model.
        calibration: what evidence is measured on, as in `prune`; not needed with a `store`.
        data: held-out data for the measurements, as in `evaluate`.
        recipe: score, update and the rest, common to all levels.
        keeps: shares that stay.
        patterns: patterns with a share of their own, such as "2:4".
        budgets: allocations to solve every share under; by default the recipe's.
        context: as in `evaluate`.
        store: evidence of the same model, and of the same data where that is given: a store, or the directory of an
            earlier sweep. Evidence in `out`, or left by a run that was killed, is used without being named.
        out: directory for evidence, table and report.
        compute: number type of the forward passes, as in `evaluate`; by default the recipe's own.
        progress: receives events.

    Returns:
        The measured curve, random beside every level; any level can be materialised later without the data.

    Raises:
        FewerError: no data, evidence of another model, or a share out of range.
    """
    with reserved(out, source_of(model)), writable():
        return _swept(
            opened_of(model), calibration, data, recipe or Recipe(), keeps, patterns, budgets, context, store, out,
            compute, progress,
        )  # fmt: skip


def _swept(
    opened: Opened,
    calibration: Any,
    data: Any,
    recipe: Recipe,
    keeps: Sequence[float],
    patterns: Sequence[str],
    budgets: Sequence[str],
    context: int | None,
    store: Store | str | Path | None,
    out: str | Path | None,
    compute: str,
    progress: Progress | None,
) -> Sweep:
    """What `sweep` does once its directory is reserved."""
    start = time.monotonic()
    base = dataclasses.replace(recipe, compute=compute or recipe.compute)
    data = held_out(data, opened, context, base.data.text_field)
    windows(data, opened, context, 8)  # Held-out data that cannot be used is told before the work.
    wanted = levels(base, keeps, patterns, budgets)
    plans = {name: make_plan(opened, one) for name, one in wanted.items()}
    emit(
        progress, RunStarted("sweep", f"{len(plans)} levels", len(next(iter(plans.values())).rows), len(opened.blocks))
    )
    shelf = Shelf(None if out is None else Path(out))
    if isinstance(store, str | Path):
        store = stored(store, opened, next(iter(plans.values())), calibration)
    store = store or shelf.find(opened, plans, calibration, progress)
    evidence, source, batches = _evidence(opened, plans, calibration, store, progress)
    measured = time.monotonic() - start
    groups = {name: _group(plan.recipe) for name, plan in plans.items()}
    with shelf.holding(evidence):
        recipes = _settled(opened, plans, evidence, batches, progress)
        results = _solve(opened, recipes, evidence, source, progress=progress)
        labels = list(results)
        comparison = compare(
            opened, *results.values(), data=data, context=context, labels=labels, compute=base.compute,
            progress=progress,
        )  # fmt: skip
        curve = tuple(c if c.random else dataclasses.replace(c, group=groups[c.label]) for c in comparison.candidates)
        seconds = {name: result.seconds for name, result in results.items()}
        made = Sweep(
            dataclasses.replace(comparison, candidates=curve), recipes, evidence, opened, source, seconds, measured
        )
        if out is not None:
            made.save(out)
    emit(progress, RunDone("sweep", time.monotonic() - start, f"{len(results)} levels from one calibration"))
    return made


@checked
def materialise(folder: str | Path, level: str, dense: Any) -> Pruned:
    """One level of a saved sweep, solved from its stored evidence; the calibration data is not needed.

    Args:
        folder: what `sweep(..., out=folder)` wrote.
        level: its name, as in the table; "0.5" will do for "keep 0.5".
        dense: the dense model that the sweep was made of.

    Raises:
        FewerError: not a sweep, no such level, or another model.
    """
    from fewer.evidence import Store

    mark = mark_of(Path(folder))
    level = level_named(level, mark["levels"], folder)
    opened = opened_of(dense)
    store = Store.load(Path(folder) / "evidence", model=opened.hash())
    files = {name: Path(folder) / Path(str(file)).name for name, file in mark["levels"].items()}
    recipes = {name: load_recipe(file).resolve() for name, file in files.items()}
    return _solve(opened, recipes, store, str(mark["calibration"]), wanted=level)[level]


def _group(recipe: Recipe) -> str:
    parts = [recipe.score] + ([recipe.update] if recipe.update != "zero" else [])
    return " + ".join(parts + ([recipe.budget] if recipe.budget != "uniform" else []))


def _evidence(
    opened: Opened, plans: Mapping[str, Plan], calibration: Any, store: Store | None, progress: Progress | None
) -> tuple[Store, str, Batches | None]:
    """The union of what all levels need, measured on the dense model in one pass, or taken from a store."""
    from fewer import evidence

    first = next(iter(plans.values()))
    names = tuple(dict.fromkeys(name for plan in plans.values() for name in plan.evidence))
    if store is not None:
        if store.model != opened.hash():
            raise FewerError("the stored evidence was measured on another model")
        lacking = [name for name in evidence_of(first.recipe) if any(name not in store[r.name] for r in first.rows)]
        if lacking:
            raise FewerError(f"the stored evidence lacks {', '.join(lacking)}; measure it again with this recipe")
    settings = first.recipe.data
    source = calibration if calibration is not None else (settings.text or None)
    batches = read(source, opened, settings)
    if store is not None:
        if batches is None:
            return store, f"stored evidence (data {_short(store)})", None
        digest = evidence.data_hash(batches, reference_of(None, first.recipe, names, opened), names)
        if (digest,) != store.data:
            raise FewerError(f"the stored evidence was measured on data {_short(store)}, not on {digest[:12]}")
        return store, batches.source, batches
    if batches is None:
        raise missing_data(first)
    chosen = {row.name for row in first.rows}
    layers = [layer for layer in opened.candidates if layer.name in chosen]
    second = reference_of(None, first.recipe, names, opened)
    emit(progress, StageStarted("gathering evidence", len(batches)))
    found = evidence.collect(
        opened, batches, names, layers=layers, reference=second, progress=ticker(progress),
        idle=Engine(first).idle, compute=first.compute,
    )  # fmt: skip
    return found, batches.source, batches


def _settled(
    opened: Opened, plans: Mapping[str, Plan], store: Store, batches: Batches | None, progress: Progress | None
) -> dict[str, Recipe]:
    """The recipes; a budget that measures losses is replaced by what it found, so that no level needs data again."""
    recipes = {name: plan.recipe for name, plan in plans.items()}
    measured: dict[str, Losses] = {}
    for name, plan in plans.items():
        engine = Engine(plan, progress)
        if not engine.needs_losses:
            continue
        layers = [layer for layer in opened.candidates if layer.name in {row.name for row in plan.rows}]
        alike = dataclasses.replace(plan.recipe, budget="", budget_options={}, keep=None).to_toml()
        if batches is not None and alike not in measured:
            emit(progress, StageStarted("measuring what cuts cost", len(layers)))
            measured[alike] = Losses(opened, engine.job, layers, store, batches, ticker(progress), dtype=engine.dtype)
        engine.allot(layers, store, None, measured.get(alike))
        shares = {glob.escape(row.name): engine.counts[row.name] / row.units for row in plan.rows}
        recipes[name] = dataclasses.replace(plan.recipe, budget="table", budget_options={"shares": shares})
    return recipes


def _short(store: Store) -> str:
    return "+".join(part[:12] for part in store.data)


def _solve(
    opened: Opened,
    recipes: Mapping[str, Recipe],
    store: Store,
    source: str,
    *,
    wanted: str = "",
    progress: Progress | None = None,
) -> dict[str, Pruned]:
    """All levels, or one, layer by layer, so that what depends on the layer alone is computed once."""
    dense_hash = opened.hash()
    plans = {name: make_plan(opened, recipe) for name, recipe in recipes.items()}
    # What evidence was computed in belongs to the machine that measured it.
    engines = {name: Engine(dataclasses.replace(p, compute=store.compute or p.compute)) for name, p in plans.items()}
    chains = _chains(engines)
    if wanted:
        # A warm-started level is what it is because of the levels before it: they are solved again too.
        chain = next(chain for chain in chains if wanted in chain)
        chains = [chain[: chain.index(wanted) + 1]]
    targets = {name: copy_of(opened) for name in ([wanted] if wanted else recipes)}
    spent = dict.fromkeys(targets, 0.0)
    chosen = {row.name for row in next(iter(engines.values())).plan.rows}
    layers = [layer for layer in opened.candidates if layer.name in chosen]
    for name in {name for chain in chains for name in chain}:
        engines[name].allot(layers, store, None)
    emit(progress, StageStarted("solving", len(layers)))
    homes = {name: {layer.name: layer for layer in target.candidates} for name, target in targets.items()}
    for layer in layers:
        if never_called(layer, store[layer.name]):
            for name in targets:
                engines[name].leave_layer(layer)
            continue
        stored, known = layer.read(), store[layer.name]
        for name, (solved, seconds) in _solve_layer(layer.name, stored, known, engines, chains).items():
            if name in targets:
                homes[name][layer.name].write(solved.weight)
                engines[name].record(layer, solved)
                spent[name] += seconds
    return {
        name: result_of(engines[name], target, spent[name], source, "+".join(store.data), dense_hash)
        for name, target in targets.items()
    }


def _solve_layer(
    name: str,
    stored: Tensor,
    known: Mapping[str, Tensor],
    engines: Mapping[str, Engine],
    chains: Sequence[Sequence[str]],
) -> dict[str, tuple[Solved, float]]:
    """All levels of one layer, and what each of them took: scores and factorisations are shared where they can be."""
    weight = working(name, stored)
    worth: dict[str, Worth] = {}
    found: dict[str, tuple[Solved, float]] = {}
    for chain in chains:
        clock = time.monotonic()
        job = engines[chain[0]].job
        key = json.dumps([job.recipe.score, job.recipe.score_options, job.recipe.seed], sort_keys=True, default=str)
        if key not in worth:
            worth[key] = job.worth(name, job.measured(stored, weight), known)
        if _chained(job.recipe) and not worth[key].lack and not lack_of(job.update, known):
            rules = [engines[level].job.rule(name, stored, engines[level].counts[name]) for level in chain]
            made = solve_levels(weight, known["input_gram"], rules, **job.recipe.update_options)
            solved = [
                engines[level].job.finish(name, stored, weight, worth[key].scores, one, known)
                for level, one in zip(chain, made, strict=True)
            ]
        else:
            solved = [
                engines[level].job.solve(name, stored, known, engines[level].counts[name], worth=worth[key])
                for level in chain
            ]
        seconds = (time.monotonic() - clock) / len(chain)
        found.update({level: (one, seconds) for level, one in zip(chain, solved, strict=True)})
    return found


def _chains(engines: Mapping[str, Engine]) -> list[list[str]]:
    """Levels that one warm-started solve serves, largest share first; every other level alone."""
    groups: dict[str, list[str]] = {}
    for name, engine in engines.items():
        recipe = engine.recipe
        kind = f"{recipe.budget} {recipe.unit} {engine.job.pattern.keep is None}"
        key = kind if _chained(recipe) else f"alone {name}"
        groups.setdefault(key, []).append(name)
    return [sorted(group, key=lambda level: -engines[level].recipe.mean_keep()) for group in groups.values()]


def _chained(recipe: Recipe) -> bool:
    """Whether one warm-started solve serves the levels of this recipe: `alps` or `auto` with no pace of their own."""
    return (
        recipe.choose == "update" and recipe.update in ("alps", "auto") and not set(recipe.update_options) - {"damping"}
    )
