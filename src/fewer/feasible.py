"""What a plan refuses because the run would: known from the recipe, the configuration and the headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from fewer.input_recipe import budget_of
from fewer.method import FewerError
from fewer.recipe import Recipe

__all__ = ["check_feasible"]


class _Entry(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def block(self) -> int | None: ...
    @property
    def kind(self) -> str: ...


def check_feasible(recipe: Recipe, chosen: Sequence[_Entry], evidence: Iterable[str], unit: str) -> None:
    """Refuse what would be found out in the middle of a run.

    Args:
        recipe: resolved.
        chosen: the layers to be pruned.
        evidence: what will be measured.
        unit: what its pattern keeps or drops.

    Raises:
        FewerError: an embedding whose inputs would be measured, a layer outside the blocks that is judged by its block,
            an input cut of something that is not linear, a budget of single weights for a pattern of more, or a
            schedule that leaves (0, 1].
    """
    wanted = set(evidence)
    for entry in chosen:
        if entry.kind == "embedding" and wanted:
            said = "has no inputs to measure, only its weight: skip it, or choose score 'magnitude' with update 'zero'"
            raise FewerError(f"layer '{entry.name}' is an embedding: it {said}")
        if entry.block is None and "block_similarity" in wanted:
            raise FewerError(f"layer '{entry.name}' lies in no block, so it has no block_similarity: skip it")
        if recipe.unit == "input" and entry.kind != "linear":
            said = "inputs are cut in linear layers: skip it"
            raise FewerError(f"layer '{entry.name}' is of kind {entry.kind}; {said}")
    if not recipe.varied and unit != "weight" and recipe.unit != "input" and "weights" in budget_of(recipe).needs:
        said = f"pattern '{recipe.pattern}' keeps or drops more at once"
        raise FewerError(f"budget '{recipe.budget}' counts single weights; {said}")
    for place, share in enumerate(recipe.shares_of_rounds() or ()):
        if not 0.0 < share <= 1.0:
            raise FewerError(f"schedule '{recipe.schedule}' asks for a share of {share:g} in round {place + 1}")
