"""`fewer compare`: pruned checkpoints and recipes beside the dense model and beside random."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from fewer.cli.options import TEXT_FIELD, as_json, compute, data_of, model
from fewer.cli.show import check_page, progress, result
from fewer.compute import AUTO
from fewer.method import FewerError
from fewer.recipe import load_recipe

__all__ = ["command"]


@click.command("compare")
@model
@click.argument("candidates", metavar="[DIR|RECIPE.toml]...", nargs=-1, required=True)
@click.option("--data", metavar="TEXT", required=True, help="Held-out text file, or the word demo.")
@click.option("--calibration", metavar="TEXT", help="Calibration text of the recipes that name none.")
@click.option("--context", metavar="N", type=click.IntRange(min=2), help="Tokens in a window.  [default: 256]")
@click.option("--text-field", default="", metavar="NAME", help=TEXT_FIELD)
@compute
@click.option("--out", metavar="FILE.html", help="Write the report to this file.")
@as_json
def command(
    model: str,
    candidates: tuple[str, ...],
    data: str,
    calibration: str | None,
    context: int | None,
    text_field: str,
    compute: str,
    out: str | None,
    as_json: bool,
) -> None:
    """Compare MODEL with checkpoints that fewer pruned, and with recipes that are run for it.

    A random selection with the same count in every layer stands beside each of them.

    Example: fewer compare demo pruned recipes/wanda.toml --data demo --out report.html
    """
    check_page(out)
    recipes = {path: load_recipe(path) for path in candidates if path.endswith(".toml")}
    if compute:
        recipes = {path: dataclasses.replace(recipe, compute=compute) for path, recipe in recipes.items()}
    for path in candidates:
        if path not in recipes and not Path(path).is_dir():
            raise FewerError(f"'{path}' is neither a directory nor a recipe (.toml)")
    from fewer.verbs._given import held_out, load
    from fewer.verbs.compare import compare
    from fewer.verbs.prune import run
    from fewer.verbs.reopen import reopen

    dense = load(model)
    with progress(as_json=as_json) as show:
        pruned = [
            run(dense, data_of(recipes[path], model) or calibration, recipes[path], progress=show)
            if path in recipes
            else reopen(path)
            for path in candidates
        ]
        labels = [recipes[path].name or Path(path).stem if path in recipes else Path(path).name for path in candidates]
        data = held_out(data, dense, context, text_field)
        found = compare(
            dense, *pruned, data=data, context=context, labels=labels, compute=compute or AUTO, progress=show
        )
    written = [] if out is None else ["", f"The report: {found.to_html(out)}"]
    result(
        {**json.loads(found.to_json()), "report": out},
        lambda: "\n".join([found.to_text(), *written]),
        as_json=as_json,
    )
