"""`fewer run`: a recipe from a file, with model, data and output in it."""

from __future__ import annotations

import dataclasses

import click

from fewer.cli.group import resume_with
from fewer.cli.options import as_json, compute, data_of
from fewer.cli.prune import COMPLEMENT, text
from fewer.cli.show import progress, result
from fewer.method import FewerError
from fewer.recipe import load_recipe

__all__ = ["command"]


@click.command("run")
@click.argument("recipe", metavar="RECIPE.toml")
@click.option("--model", metavar="MODEL", help="Instead of the recipe's own.")
@click.option("--data", metavar="TEXT", help="Instead of the recipe's own.")
@click.option("--reference", metavar="TEXT", help="Instead of the recipe's own.")
@click.option("--out", metavar="DIR", help="Instead of the recipe's own.")
@compute
@click.option("--complement", is_flag=True, help=COMPLEMENT)
@as_json
def command(
    recipe: str,
    model: str | None,
    data: str | None,
    reference: str | None,
    out: str | None,
    compute: str,
    complement: bool,
    as_json: bool,
) -> None:
    """Run a recipe: a pruning run as data.

    Example: fewer run recipes/wanda.toml --model demo --out pruned
    """
    loaded = load_recipe(recipe)
    if compute:
        loaded = dataclasses.replace(loaded, compute=compute)
    source, target = model or loaded.model, out or loaded.out
    for name, value in (("model", source), ("out", target)):
        if not value:
            raise FewerError(f'{recipe}: no {name}; write {name} = "..." into the recipe or give --{name}')
    resume_with(f"the same command goes on at the unfinished block; '{target}' does not exist until it is complete")
    from fewer.verbs.prune import run

    with progress(as_json=as_json) as show:
        pruned = run(
            source,
            data or data_of(loaded, source),
            loaded,
            reference=reference,
            out=target,
            complement=complement,
            progress=show,
        )
    document = {"out": target, "seconds": pruned.seconds, **pruned.to_dict()}
    result(document, lambda: text(document, source), as_json=as_json)
