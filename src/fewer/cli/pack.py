"""`fewer pack`: a pruned checkpoint as a packed one that runs faster."""

from __future__ import annotations

import dataclasses

import click

from fewer.cli.options import as_json, model
from fewer.cli.show import progress, result
from fewer.report.numbers import percent, size

__all__ = ["command"]


@click.command("pack")
@model
@click.option("--out", metavar="DIR", required=True, help="Directory to write; only an earlier result is replaced.")
@click.option(
    "--store",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    help="Number type of the packed weights; int8 quantises row by row.  [default: the weight's own]",
)
@click.option(
    "--prefill",
    type=click.Choice(["keep", "rebuild"]),
    default="keep",
    show_default=True,
    help="Keep a dense weight too for large batches, or rebuild it at every one.",
)
@click.option(
    "--min-sparsity",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Layers with a smaller share of zeros are not packed.",
)
@as_json
def command(model: str, out: str, store: str | None, prefill: str, min_sparsity: float, as_json: bool) -> None:
    """Pack the sparse layers of MODEL: a bit for every weight, and the values that are not zero.

    `fewer.runtime.load(DIR)`, `fewer eval DIR` and `fewer bench DIR` read the result; transformers alone does not.
    The packed weights are those of MODEL bit for bit, unless --store changes their type.

    Example: fewer pack pruned --out packed
    """
    import torch

    from fewer.verbs.pack import pack, sizes

    dtype = None if store is None else getattr(torch, store)
    with progress(as_json=as_json, what="packing"):
        packed = pack(model, out=out, dtype=dtype, prefill=prefill, min_sparsity=min_sparsity)  # type: ignore[arg-type]
    found = sizes(packed)
    lines = [
        f"{found.packed} of {found.layers} layers packed in {out}: {percent(found.sparsity)} of their weights "
        f"are zero, {size(found.dense_bytes)} became {size(found.packed_bytes)}"
    ]
    if not found.packed:
        lines = [f"no layer has {min_sparsity:.0%} zeros: nothing was packed; {out} holds the weights as they are"]
    result({"out": out, **dataclasses.asdict(found)}, lambda: "\n".join(lines), as_json=as_json)
