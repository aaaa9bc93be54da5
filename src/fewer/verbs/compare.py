"""Put pruned models beside the dense one and beside random selections at the same allocation."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.compute import AUTO
from fewer.events import Progress, StageStarted, emit
from fewer.method import FewerError
from fewer.recipe import Recipe
from fewer.verbs._given import calibration as read
from fewer.verbs._given import opened_of
from fewer.verbs.result import Candidate, Comparison, LayerResult, Provenance, Quality

if TYPE_CHECKING:
    from fewer.adapt import Opened
    from fewer.verbs.pruned import Pruned

__all__ = ["compare", "race"]

#: Candidates are measured together as long as their parameters take less memory than this.
_TOGETHER = 1 << 30
_PACKAGES = ("fewer", "torch", "transformers", "numpy", "safetensors", "tokenizers")


@checked
def compare(
    dense: Any,
    *pruned: Any,
    data: Any = None,
    random: bool = True,
    context: int | None = None,
    labels: Sequence[str] = (),
    compute: str = AUTO,
    progress: Progress | None = None,
) -> Comparison:
    """Measure pruned models against the dense one on the same held-out data.

    Args:
        dense: the model before pruning.
        pruned: results of `fewer.prune`; the last argument may be the data instead.
        data: held-out data, as in `evaluate`.
        random: put a random selection with the same pattern and the same count in every layer beside each.
        context: tokens in a window, as in `evaluate`.
        labels: names of the pruned models, in order; by default made of score, update and budget.
        compute: number type of the forward passes, as in `evaluate`.
        progress: receives events.

    Returns:
        The comparison; `.to_text()`, `.to_json()` and `.to_html(path)` show it.

    Raises:
        FewerError: no data, or something that is not a pruning result.
    """
    from fewer.verbs.pruned import Pruned

    results = list(pruned)
    if data is None and results and not isinstance(results[-1], Pruned):
        data = results.pop()
    if data is None:
        raise FewerError("compare needs held-out data: pass data=, a text file or token windows")
    for item in results:
        if not isinstance(item, Pruned):
            raise FewerError(f"compare takes results of fewer.prune, not {type(item).__name__}")
    opened = opened_of(dense)
    if len(labels) > len(results):
        raise FewerError(f"{len(labels)} labels for {len(results)} results")
    names = [*labels, *(label_of(item.plan.recipe) for item in results[len(labels) :])]
    entries = list(zip(names, results, strict=True))
    if random:
        emit(progress, StageStarted("random selections"))
        controls = _controls(opened, results)
        several = len({item.plan.recipe.budget for item in controls}) > 1
        entries += [(f"random, {c.plan.recipe.budget}" if several else "random", c) for c in controls]
    quality, base = _measure(opened, entries, data, context, compute, progress)
    candidates = [
        _candidate(name, item, found, random=item.plan.recipe.score == "random")
        for (name, item), found in zip(entries, quality, strict=True)
    ]
    return Comparison(_dense(opened, base), tuple(candidates), provenance(opened, results, base))


@checked
def race(
    model: Any,
    recipes: Iterable[Recipe | tuple[str, Recipe]],
    calibration: Any = None,
    data: Any = None,
    *,
    random: bool = True,
    context: int | None = None,
    compute: str = "",
    progress: Progress | None = None,
) -> Comparison:
    """Prune one model by several recipes and compare the results.

    Args:
        model: the dense model.
        recipes: the contenders, each alone or as (label, recipe).
        calibration: what the recipes' evidence is measured on.
        data: held-out data, as in `evaluate`.
        random: as in `compare`.
        context: as in `evaluate`.
        compute: number type of the forward passes, as in `evaluate`; each recipe's own, and "auto" for the
            measurements, where it is left out.
        progress: receives events.

    Returns:
        The comparison, contenders in the order given.
    """
    from fewer.verbs.prune import run

    opened = opened_of(model)
    pairs = [entry if isinstance(entry, tuple) else (label_of(entry.resolve()), entry) for entry in recipes]
    if not pairs:
        raise FewerError("a race needs at least one recipe")
    if compute:
        pairs = [(label, dataclasses.replace(recipe, compute=compute)) for label, recipe in pairs]
    first = pairs[0][1].data
    batches = read(calibration, opened, first)
    results = [run(opened, batches, recipe, progress=progress) for _, recipe in pairs]
    labels = [label for label, _ in pairs]
    return compare(
        opened, *results, data=data, random=random, context=context, labels=labels, compute=compute or AUTO,
        progress=progress,
    )  # fmt: skip


def label_of(recipe: Recipe) -> str:
    """What a table calls a recipe: its own name, or what distinguishes it."""
    if recipe.name:
        return recipe.name
    parts = [recipe.score]
    if recipe.update not in ("", "zero"):
        parts.append(recipe.update)
    if recipe.budget not in ("", "uniform"):
        parts.append(recipe.budget)
    return " + ".join(parts)


def provenance(opened: Opened, results: Sequence[Pruned], measured: Quality) -> Provenance:
    """Versions, hashes, machine, date and the papers behind what was run."""
    citations = dict.fromkeys(line for item in results for line in item.plan.citations)
    sources = dict.fromkeys(item.calibration for item in results if item.calibration)
    return Provenance(
        model=_called(opened),
        model_hash=opened.hash(),
        calibration="; ".join(sources) or "none",
        evaluation=measured.data,
        versions=versions(),
        machine=machine(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        citations=tuple(citations),
        compute=_types(opened, results, measured),
    )


def _types(opened: Opened, results: Sequence[Pruned], measured: Quality) -> str:
    """What the passes of pruning and of measuring were computed in, and what the weights are stored in."""
    from fewer.adapt.computing import dtype_of, name_of

    pruned = dict.fromkeys(item.plan.compute for item in results)
    stored = name_of(dtype_of(opened.module, authors=True))
    apart = [name for name in pruned if name != measured.compute]
    tail = f", pruned in {', '.join(pruned)}" if apart else ""
    return f"{measured.compute}{tail} (stored in {stored})"


def _called(opened: Opened) -> str:
    """What the user calls the model: `demo`, its directory, or what kind of model it is."""
    from fewer.demo import model_path

    return "demo" if opened.path == model_path() else str(opened.path or opened.kind)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Processor architecture, cores, and threads in use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}, {sys.platform}, {cores} cores, {torch.get_num_threads()} torch threads"


def _controls(opened: Opened, results: Sequence[Pruned]) -> list[Pruned]:
    """One random selection for every distinct pattern and allocation among the results."""
    from fewer.verbs.prune import random_like

    found: dict[tuple[Any, ...], Pruned] = {}
    for item in results:
        key = (item.plan.recipe.pattern, *((row.name, row.kept) for row in item.layers))
        if item.plan.recipe.score != "random" and key not in found:
            found[key] = random_like(opened, item)
    return list(found.values())


def _measure(
    opened: Opened,
    entries: Sequence[tuple[str, Pruned]],
    data: Any,
    context: int | None,
    compute: str,
    progress: Progress | None,
) -> tuple[list[Quality], Quality]:
    """Quality of every entry and of the dense model; as many at once as memory allows."""
    from fewer.verbs.evaluate import evaluate_all

    size = max(1, sum(p.numel() * p.element_size() for p in opened.module.parameters()))
    together = max(1, _TOGETHER // size)
    found: list[Quality] = []
    base: Quality | None = None
    for start in range(0, len(entries), together):
        part = {str(start + place): item for place, (_, item) in enumerate(entries[start : start + together])}
        got = evaluate_all(part, data, dense=opened, context=context, compute=compute, progress=progress)
        base = got.pop("dense")
        found += got.values()
    if base is None:
        base = evaluate_all({"model": opened}, data, context=context, compute=compute, progress=progress)["model"]
    return found, base


def _candidate(name: str, item: Pruned, quality: Quality, *, random: bool) -> Candidate:
    recipe = item.plan.recipe
    return Candidate(
        label=name,
        group=name,
        keep=recipe.mean_keep(),
        pattern=recipe.pattern,
        random=random,
        quality=quality,
        layers=item.layers,
        **_sizes(item.opened, item.layers),
        seconds=item.seconds,
        recipe=recipe.to_dict(),
        histograms=item.histograms,
        notes=item.notes,
    )


def _dense(opened: Opened, quality: Quality) -> Candidate:
    return Candidate(
        label="dense",
        group="dense",
        keep=1.0,
        pattern="unstructured",
        random=False,
        quality=dataclasses.replace(quality, kl=None, top1_agreement=None),
        layers=(),
        **_sizes(opened, ()),
        seconds=0.0,
    )


def _sizes(opened: Opened, layers: Sequence[LayerResult]) -> dict[str, Any]:
    """Parameters, non-zero parameters and bytes of a model; a shared parameter counts once."""
    from fewer.runtime.model import dense_weights

    weights = dense_weights(opened.module)
    # Layers that skip inputs are no candidates any more: all of their weights are kept.
    width = {layer.name: layer.dtype.itemsize for layer in opened.candidates}
    packable = [row for row in layers if row.name in width]
    saved = sum(max(0, width[row.name] * row.dropped - -(-row.total // 8)) for row in packable)
    total = sum(w.numel() * w.element_size() for w in weights)
    return {
        "parameters": sum(w.numel() for w in weights),
        "nonzero": sum(int((w != 0).sum()) for w in weights),
        "bytes": total,
        "packed_bytes": total - saved,
    }
