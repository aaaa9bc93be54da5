"""`fewer sweep` and `fewer materialise`: one calibration, every level; and one of them as a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import click

from fewer.cli.group import resume_with
from fewer.cli.options import as_json, data_of, model, numbers, recipe_from, recipe_options
from fewer.cli.show import progress, result
from fewer.method import FewerError

__all__ = ["command", "materialise"]


@click.command("sweep")
@model
@recipe_options
@click.option("--eval", "held_out", metavar="TEXT", help="Held-out text file; demo for the model demo.")
@click.option("--context", metavar="N", type=click.IntRange(min=2), help="Tokens in a window.  [default: 256]")
@click.option(
    "--evidence", metavar="DIR", help="Use the evidence of an earlier sweep; of another model or --data it is refused."
)
@click.option(
    "--out", metavar="DIR", help="Directory for evidence, table and page; an earlier result of ours is replaced."
)
@as_json
def command(
    model: str,
    held_out: str | None,
    context: int | None,
    evidence: str | None,
    out: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure evidence of MODEL once and solve every level from it: shares, patterns, allocations.

    Here --keep, --pattern and --budget take several values with commas, each a level of its own. `fewer materialise`
    writes one of them as a checkpoint later, without the data. A run that was killed, or one into the same --out,
    uses the evidence that is there already.

    Example: fewer sweep demo --keep 0.7,0.5,0.3 --pattern 2:4 --update sweep --out swept
    """
    keeps = numbers(given.pop("keep") or "0.9,0.8,0.7,0.6,0.5,0.4,0.3", "--keep")
    patterns, budgets = (_words(given.pop(name)) for name in ("pattern", "budget"))
    recipe = recipe_from(given)
    text = held_out or ("demo" if model == "demo" else None)
    if text is None:
        raise FewerError("sweep measures every level on held-out text: give --eval FILE")
    if out:
        resume_with("the same command uses the evidence that was measured already")
    from fewer.verbs.sweep import sweep

    # The demo text is not checked against evidence that somebody brings, unless it is named.
    source = (recipe.data.text or None) if evidence else data_of(recipe, model)
    with progress(as_json=as_json) as show:
        found = sweep(
            model,
            source,
            text,
            recipe=recipe,
            keeps=keeps,
            patterns=patterns,
            budgets=budgets,
            context=context,
            store=evidence,
            out=out,
            progress=show,
        ).comparison
    result({**json.loads(found.to_json()), "out": out}, lambda: _text(found.to_text(), out), as_json=as_json)


@click.command("materialise")
@click.argument("sweep", metavar="SWEEP")
@click.argument("level", metavar="LEVEL")
@model
@click.option("--out", metavar="DIR", required=True, help="Directory to write; an earlier result of ours is replaced.")
@as_json
def materialise(sweep: str, level: str, model: str, out: str, as_json: bool) -> None:
    """Write one LEVEL of the directory SWEEP as a checkpoint of MODEL; the calibration text is not needed.

    Example: fewer materialise swept 0.5 demo --out half
    """
    from fewer.cli.prune import text
    from fewer.verbs.sweep import materialise

    with progress(as_json=as_json, what="materialising"):
        pruned = materialise(sweep, level, model)
        pruned.save(out)
    document = {"out": out, "seconds": pruned.seconds, **pruned.to_dict()}
    result(document, lambda: text(document, model), as_json=as_json)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _text(table: str, out: str | None) -> str:
    return table if out is None else f"{table}\n\nThe report: {out}/report.html"
