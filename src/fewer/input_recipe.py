"""Recipes with `unit = "input"`: what their blanks stand for, and what they cannot ask for.

Inputs are cut as they come, so there is no update, no order and no rounds; what is left of a recipe is a score, a
share, who competes with whom (all tokens of a layer, the inputs of one token, N of M neighbours), and a budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fewer.method import FewerError, Method, catalogue, find, nearest

__all__ = ["AT_RUN_TIME", "budget_of", "methods_of", "resolve"]

#: Budgets over inputs that measure the model, so that no plan knows their shares.
AT_RUN_TIME = ("greedy", "tolerance")


def resolve(recipe: Any, check_knobs: Callable[[Method, Any], None]) -> Any:
    """Fill in the blanks of a recipe for inputs.

    Args:
        recipe: a `fewer.recipe.Recipe` whose unit is "input".
        check_knobs: refuses knobs that a method does not have.

    Raises:
        FewerError: unknown names, or a choice that has no meaning for inputs.
    """
    from fewer.pattern import parse

    pattern = parse(recipe.pattern or "unstructured")
    if pattern.unit != "weight":
        raise FewerError(f"unit 'input' goes with the patterns unstructured and N:M, not with '{pattern}'")
    _refuse(recipe)
    budget, score = recipe.budget or "uniform", recipe.score or "wina"
    full = dataclasses.replace(
        recipe,
        score=score,
        pattern=str(pattern),
        budget=budget,
        within=_within(recipe, pattern.keep is not None, score),
        keep=_keep(recipe, pattern.keep, budget),
        update="zero",
        choose="score",
        order="at-once",
        damage="none",
    )
    check_knobs(find("input-score", score), full.score_options)
    check_knobs(budget_of(full), full.budget_options)
    if budget != "uniform" and (full.varied or pattern.keep is not None):
        raise FewerError(f"the shares are already given layer by layer; budget '{budget}' has nothing to do")
    return full


def budget_of(recipe: Any) -> Method:
    """The budget of a recipe: for inputs also one of those that measure what skipping does."""
    if recipe.unit == "input" and recipe.budget in AT_RUN_TIME:
        return find("input-budget", recipe.budget)
    found = find("budget", recipe.budget)
    if recipe.unit == "input" and not set(found.needs) <= {"shapes", "blocks", "keep"}:
        known = [b.name for b in catalogue("budget") if set(b.needs) <= {"shapes", "blocks", "keep"}]
        raise FewerError(
            f"budget '{found.name}' counts weights by their scores; for inputs there are: "
            + ", ".join(sorted([*known, *AT_RUN_TIME]))
        )
    return found


def methods_of(recipe: Any) -> tuple[Method, ...]:
    """The catalogue entries that a resolved recipe for inputs names."""
    cut = "quantile" if recipe.within == "layer" else "top-k"
    return find("input-score", recipe.score), find("input-cut", cut), budget_of(recipe)


def _refuse(recipe: Any) -> None:
    idle = {"update": ("", "zero"), "choose": ("", "score"), "compat": ("",)}
    for name, harmless in idle.items():
        value = getattr(recipe, name)
        if value not in harmless:
            raise FewerError(f"unit 'input' changes no weight: {name} '{value}' has nothing to do; leave it out")
    if recipe.steps > 1:
        raise FewerError(f"unit 'input' is calibrated once; steps = {recipe.steps} has nothing to do")


def _within(recipe: Any, fixed: bool, score: str) -> str:
    legal = ("group",) if fixed else ("layer",) if score == "cats" else ("layer", "row")
    within: str = recipe.within or legal[0]
    if within not in legal:
        known = ", ".join(legal)
        raise FewerError(f"inputs compete here within {known}, not within '{within}'{nearest(within, legal)}")
    return within


def _keep(recipe: Any, fixed: float | None, budget: str) -> Any:
    if budget == "tolerance":
        if recipe.keep is not None or recipe.where:
            raise FewerError("budget 'tolerance' finds the share itself; leave keep out")
        return None
    if fixed is None:
        return 0.5 if recipe.keep is None else recipe.keep
    for value in [recipe.keep, *(row.keep for row in recipe.where)]:
        if value is not None and (isinstance(value, tuple) or abs(value - fixed) > 1e-9):
            raise FewerError(f"pattern '{recipe.pattern}' keeps {fixed:g}, but keep is {value}; leave keep out")
    return fixed
