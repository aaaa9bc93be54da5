"""`fewer plan`: what a run would do, without reading a weight."""

from __future__ import annotations

from typing import Any

import click

from fewer.cli.options import as_json, model, recipe_from, recipe_options
from fewer.cli.show import progress, result

__all__ = ["command"]


@click.command("plan")
@model
@recipe_options
@as_json
def command(model: str, as_json: bool, **given: Any) -> None:
    """Print what `fewer prune` would do to each layer of MODEL: counts, bytes, evidence. No weight is read."""
    recipe = recipe_from(given)
    from fewer.verbs.prune import plan_for

    with progress(as_json=as_json, what="reading the model's outline"):
        made = plan_for(model, recipe)
    result(made.to_dict(), lambda: str(made), as_json=as_json)
