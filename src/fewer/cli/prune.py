"""`fewer prune`: remove weights from a model and write what is left."""

from __future__ import annotations

from typing import Any

import click

from fewer.cli.group import resume_with
from fewer.cli.options import as_json, data_of, model, recipe_from, recipe_options
from fewer.cli.show import progress, result

__all__ = ["COMPLEMENT", "command", "text"]

COMPLEMENT = (
    "Keep the dense values that are lost in the mask file, so that `fewer mask undo` needs no dense checkpoint."
)


@click.command("prune")
@model
@recipe_options
@click.option(
    "--out",
    metavar="DIR",
    required=True,
    help="Directory to write; an earlier result of ours is replaced.",
)
@click.option("--complement", is_flag=True, help=COMPLEMENT)
@as_json
def command(model: str, out: str, complement: bool, as_json: bool, **given: Any) -> None:
    """Prune MODEL and write a checkpoint that transformers loads.

    The mask lies beside it as fewer.mask, one bit a weight: see `fewer mask`.

    A checkpoint is read block by block, so it may be larger than memory. A run that was killed goes on at the
    unfinished block when the same command is given again. Under `torchrun --nproc-per-node N -m fewer prune ...` the
    processes share the calibration data; each then holds the whole model.

    With --unit input no weight is changed: cuts are calibrated below which a layer leaves out its inputs, and written
    beside the weights. `fewer eval` and `fewer bench` honour them.

    Example: fewer prune demo --score wanda --keep 0.5 --out pruned
    """
    recipe = recipe_from(given)
    if recipe.unit != "input":
        resume_with(f"the same command goes on at the unfinished block; '{out}' does not exist until it is complete")
    from fewer.verbs._processes import joined
    from fewer.verbs.prune import run

    with joined() as first, progress(as_json=as_json) as show:
        told = show if first else None
        pruned = run(model, data_of(recipe, model), recipe, out=out, complement=complement, progress=told)
    document = {"out": out, "seconds": pruned.seconds, **pruned.to_dict()}
    if first:
        result(document, lambda: text(document, model), as_json=as_json)


def text(document: dict[str, Any], model: str = "MODEL") -> str:
    """The result for people, and what to do with it."""
    from fewer.report.numbers import seconds

    kept, total = document["kept"], document["total"]
    if document["recipe"].get("unit") == "input":
        said = f"{kept:,} of {total:,} weights are read for a token ({document['sparsity']:.2%} skipped)"
        lines = [f"{said}; weights and cuts in {document['out']}"]
        return "\n".join([*lines, *(f"note: {note}" for note in document["notes"])])
    lines = [f"{document['zeros']:,} of {total:,} weights are zero ({document['sparsity']:.2%}) in {document['out']}"]
    if document["seconds"]:
        lines.append(f"it took {seconds(document['seconds'])}")
    out = document["out"]
    next_step = (
        f"the size on disk is unchanged: `fewer pack {out} --out DIR` shrinks it, "
        f"`fewer eval {out} --against {model} --data TEXT` says what it cost"
    )
    return "\n".join([*lines, *(f"note: {note}" for note in document["notes"]), next_step])
