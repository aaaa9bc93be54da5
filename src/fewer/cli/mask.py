"""`fewer mask`: masks as files; look at them, compare them, combine them, put them on a model and take them off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fewer.cli.group import Suggesting
from fewer.cli.options import as_json, model
from fewer.cli.show import progress, result
from fewer.report.masks import difference, overview

if TYPE_CHECKING:
    from fewer.maskfile import MaskFile

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group("mask", cls=Suggesting, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look at mask files, compare and combine them, apply them to a model and undo them.

    MASK is a mask file, or a directory that `fewer prune` wrote: the mask lies in it as fewer.mask, one bit a weight.
    A mask belongs to one dense model, known by its checksum; that of another model is refused.

    Undoing takes the dense values: from the mask file, if it was written with `fewer prune --complement`, and
    otherwise from the dense checkpoint (--dense).
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _mask(name: str, metavar: str) -> Callable[[F], F]:
    return click.argument(name, metavar=metavar)


_out_file = click.option("--out", metavar="FILE", required=True, help="Mask file to write; only a mask is replaced.")
_out_folder = click.option(
    "--out", metavar="DIR", required=True, help="Directory to write; an earlier result of ours is replaced."
)


@command.command("show", short_help="What a mask file says of itself.")
@_mask("mask", "MASK")
@as_json
def show(mask: str, as_json: bool) -> None:
    """Print what MASK says of itself: origin, dense model, density of every layer, and what undoing it takes.

    Example: fewer mask show pruned
    """
    from fewer.verbs.mask import show_mask

    document = show_mask(mask)
    result(document, lambda: overview(document), as_json=as_json)


@command.command("diff", short_help="Compare two masks, layer by layer.")
@_mask("first", "A")
@_mask("second", "B")
@as_json
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare masks A and B of one model, layer by layer, with the overlap that chance alone would give beside it.

    Example: fewer mask diff pruned other
    """
    from fewer.maskfile import Difference, chance
    from fewer.verbs.mask import diff_masks

    def numbers(row: Difference, by_chance: float) -> dict[str, Any]:
        return {**asdict(row), "overlap": row.overlap, "chance": by_chance}

    with progress(as_json=as_json, what="comparing"):
        rows = diff_masks(first, second)
    whole = Difference(*(sum(counts) for counts in zip(*map(astuple, rows.values()), strict=True)))
    document = {
        "first": first,
        "second": second,
        "total": numbers(whole, chance(rows.values())),
        "layers": {name: numbers(row, chance([row])) for name, row in rows.items()},
    }
    result(document, lambda: difference(document), as_json=as_json)


@command.command("intersect", short_help="Keep what both masks keep.")
@_mask("first", "A")
@_mask("second", "B")
@_out_file
@as_json
def intersect(first: str, second: str, out: str, as_json: bool) -> None:
    """Write the mask that keeps what both A and B keep.

    Example: fewer mask intersect pruned other --out both.mask
    """
    _combine(first, second, "intersect", out, as_json)


@command.command("union", short_help="Keep what either mask keeps.")
@_mask("first", "A")
@_mask("second", "B")
@_out_file
@as_json
def union(first: str, second: str, out: str, as_json: bool) -> None:
    """Write the mask that keeps what A or B keeps; a layer that one of them lacks is kept whole.

    Example: fewer mask union pruned other --out either.mask
    """
    _combine(first, second, "union", out, as_json)


@command.command("apply", short_help="Set to zero what a mask drops.")
@_mask("mask", "MASK")
@model
@_out_folder
@as_json
def apply(mask: str, model: str, out: str, as_json: bool) -> None:
    """Write MODEL, the dense model that MASK was made for, with what the mask drops set to zero.

    The weights that stay are the dense ones: what an update made of them is not in a mask.

    Example: fewer mask apply both.mask demo --out masked
    """
    from fewer.verbs.mask import apply_mask, read_mask

    with progress(as_json=as_json, what="applying"):
        apply_mask(model, mask, out)
    _report({"out": out, **_numbers(read_mask(mask))}, as_json)


@command.command("undo", short_help="Bring the dense model back.")
@_mask("mask", "MASK")
@_mask("pruned", "PRUNED")
@click.option("--dense", metavar="MODEL", help="The dense checkpoint; not needed where MASK holds the dense values.")
@_out_folder
@as_json
def undo(mask: str, pruned: str, dense: str | None, out: str, as_json: bool) -> None:
    """Bring the dense model back from PRUNED, the checkpoint that MASK was made with.

    The result is checked against the dense model's checksum; where it differs nothing is written.

    Example: fewer mask undo pruned pruned --dense demo --out dense
    """
    from fewer.verbs.mask import read_mask, undo_mask

    with progress(as_json=as_json, what="undoing"):
        undo_mask(pruned, mask, out, dense=dense)
    held = read_mask(mask)
    document = {"out": out, "dense": held.dense, "from": "the mask file" if dense is None else dense}
    lines = f"the dense model {held.dense[:12]} is back in {out}, every byte of it (values from {document['from']})"
    result(document, lambda: lines, as_json=as_json)


def _combine(first: str, second: str, how: str, out: str, as_json: bool) -> None:
    from fewer.verbs.mask import combine_masks

    with progress(as_json=as_json, what="combining"):
        made = combine_masks(first, second, how, out)
    _report({"out": out, **_numbers(made)}, as_json)


def _numbers(mask: MaskFile) -> dict[str, Any]:
    layers = mask.layers.values()
    kept, total = sum(x.kept for x in layers), sum(x.total for x in layers)
    return {"kept": kept, "total": total, "density": mask.density, "layers": len(mask.layers)}


def _report(document: dict[str, Any], as_json: bool) -> None:
    kept, total = document["kept"], document["total"]
    line = f"{kept:,} of {total:,} weights stay ({document['density']:.2%}) in {document['out']}"
    result(document, lambda: line, as_json=as_json)
