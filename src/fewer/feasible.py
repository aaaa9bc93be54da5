"""Which layers a recipe takes, and what a plan refuses because the run would: known before a weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from fewer.adapt.layers import select_layers
from fewer.input_recipe import budget_of
from fewer.method import FewerError, find
from fewer.recipe import Recipe

__all__ = ["Entry", "check_feasible", "take"]


class Entry(Protocol):
    """What is read of a layer before its weight; `adapt` has it for opened models and for outlines."""

    @property
    def name(self) -> str:
        """As the model calls it."""
        ...

    @property
    def block(self) -> int | None:
        """Index of its block; None outside of the blocks."""
        ...

    @property
    def kind(self) -> str:
        """What it is: linear, conv2d, expert, embedding, ..."""
        ...

    @property
    def default(self) -> bool:
        """Whether it is pruned unless somebody says otherwise."""
        ...

    @property
    def tied(self) -> str:
        """The layer whose weight it shares, or an empty string."""
        ...

    @property
    def has_bias(self) -> bool:
        """Whether a bias is added to its output."""
        ...


E = TypeVar("E", bound=Entry)


def take(entries: Sequence[E], recipe: Recipe) -> tuple[list[E], dict[str, str]]:
    """The layers that a recipe takes, and by name why each of the others is left alone.

    Raises:
        FewerError: a filter that matches nothing, or no layer is left.
    """
    named = select_layers(entries, only=recipe.only, skip=recipe.skip)
    chosen = [entry for entry in named if entry.tied not in {other.name for other in named}]
    if not chosen:
        raise FewerError("no layer is left to prune; loosen only or skip")
    if recipe.unit == "input" and not recipe.only:
        first = chosen[0]
        chosen = [entry for entry in chosen if entry.kind == "linear"]
        if not chosen:
            said = f"'{first.name}' is of kind {first.kind}, and so are the others"
            raise FewerError(f"unit 'input' cuts inputs of linear layers, and this model has none: {said}")
    taken, met = {entry.name for entry in chosen}, {entry.name for entry in named}
    return chosen, {e.name: _reason(e, recipe, e.name in met) for e in entries if e.name not in taken}


def _reason(entry: Entry, recipe: Recipe, named: bool) -> str:
    if recipe.only and entry.tied:
        return f"its weight is that of {entry.tied}"
    if named and entry.kind != "linear":
        return f"of kind {entry.kind}: inputs are cut in linear layers"
    if not entry.default and not recipe.only:
        return "embedding" if entry.kind == "embedding" else "left alone unless named: head, router or tied weight"
    return "not among only" if recipe.only else "named by skip"


def check_feasible(recipe: Recipe, chosen: Sequence[Entry], evidence: Iterable[str], unit: str) -> None:
    """Refuse what would be found out in the middle of a run.

    Args:
        recipe: resolved.
        chosen: the layers to be pruned.
        evidence: what will be measured.
        unit: what its pattern keeps or drops.

    Raises:
        FewerError: an embedding whose inputs would be measured, a layer outside the blocks that is judged by its block,
            an input cut of something that is not linear, an update of a bias that is not there, a budget of single
            weights for a pattern of more, or a schedule that leaves (0, 1].
    """
    wanted = set(evidence)
    needs_bias = recipe.unit != "input" and "bias" in find("update", recipe.update).writes
    for entry in chosen:
        if entry.kind == "embedding" and wanted:
            said = "has no inputs to measure, only its weight: skip it, or choose score 'magnitude' with update 'zero'"
            raise FewerError(f"layer '{entry.name}' is an embedding: it {said}")
        if entry.block is None and "block_similarity" in wanted:
            raise FewerError(f"layer '{entry.name}' lies in no block, so it has no block_similarity: skip it")
        if needs_bias and not entry.has_bias:
            said = f"has no bias, which update '{recipe.update}' adds to: choose another update or skip it"
            raise FewerError(f"layer '{entry.name}' {said}")
        if recipe.unit == "input" and entry.kind != "linear":
            said = "inputs are cut in linear layers: skip it"
            raise FewerError(f"layer '{entry.name}' is of kind {entry.kind}; {said}")
    if not recipe.varied and unit != "weight" and recipe.unit != "input" and "weights" in budget_of(recipe).needs:
        said = f"pattern '{recipe.pattern}' keeps or drops more at once"
        raise FewerError(f"budget '{recipe.budget}' counts single weights; {said}")
    for place, share in enumerate(recipe.shares_of_rounds() or ()):
        if not 0.0 < share <= 1.0:
            raise FewerError(f"schedule '{recipe.schedule}' asks for a share of {share:g} in round {place + 1}")
