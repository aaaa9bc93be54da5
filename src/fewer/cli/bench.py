"""`fewer bench`: how fast a model is in every make, beside both dense controls."""

from __future__ import annotations

import json

import click

from fewer.cli.options import TEXT_FIELD, as_json
from fewer.cli.show import check_page, progress, result
from fewer.method import FewerError

__all__ = ["command"]


@click.command("bench")
@click.argument("model", metavar="MODEL", required=False)
@click.option("--info", is_flag=True, help="Name the machine, its tiers and the active one, and end.")
@click.option("--data", metavar="TEXT", help="Held-out text, or the word demo: measure quality beside speed.")
@click.option("--calibration", metavar="TEXT", help="Text that cuts of inputs are calibrated on.")
@click.option(
    "--keep",
    type=float,
    default=0.5,
    show_default=True,
    help="Share of weights and inputs to keep, where MODEL itself does not say.",
)
@click.option("--inputs", default="wina", show_default=True, metavar="SCORE", help="Input score of the cut inputs.")
@click.option("--batch", default="1,8,32", show_default=True, metavar="N,N", help="Sequences decoded together.")
@click.option("--prompt", type=click.IntRange(min=1), default=32, show_default=True, help="Tokens of the prompt.")
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, help="Timed decoding steps.")
@click.option("--prefills", type=click.IntRange(min=0), default=3, show_default=True, help="Timed prompts.")
@click.option(
    "--store",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    help="Number type of packed weights.  [default: the weight's own]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch and of the kernels.  [default: torch's]")
@click.option("--context", metavar="N", type=click.IntRange(min=2), help="Tokens in a window of --data.")
@click.option("--text-field", default="", metavar="NAME", help=TEXT_FIELD)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of tokens, order and random controls.")
@click.option("--out", metavar="FILE.html", help="Write the report with a chart to this file.")
@as_json
def command(
    model: str | None,
    info: bool,
    data: str | None,
    calibration: str | None,
    keep: float,
    inputs: str,
    batch: str,
    prompt: int,
    steps: int,
    prefills: int,
    store: str | None,
    threads: int | None,
    context: int | None,
    text_field: str,
    seed: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Time MODEL dense in torch, dense on the own kernel, packed, and with small inputs left out.

    Prefill and decoding, all makes interleaved in random order, weights cold; both dense controls are always there.
    MODEL is a checkpoint, a packed or input-pruned directory, the word demo, or llama-110m: random weights of that
    size, whose speed is all that can be asked for.

    The environment variable FEWER_TIER forces a tier: one of those that --info lists.

    Example: fewer bench pruned --data demo --out speed.html
    """
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if info:
        _info(as_json=as_json)
        return
    if model is None:
        raise FewerError("bench needs a MODEL (a directory, demo or llama-110m), or --info")
    batches = _whole(batch)
    check_page(out)
    import torch

    from fewer.verbs.bench import bench

    text = calibration or ("demo" if model == "demo" else None)
    dtype = None if store is None else getattr(torch, store)
    with progress(as_json=as_json) as show:
        found = bench(
            model, data, calibration=text, keep=keep, inputs=inputs, batches=batches, prompt=prompt, steps=steps,
            prefills=prefills, dtype=dtype, context=context, text_field=text_field, seed=seed,
            progress=show,
        )  # fmt: skip
    written = [] if out is None else ["", f"The report: {found.to_html(out)}"]
    result(
        {**json.loads(found.to_json()), "report": out},
        lambda: "\n".join([found.to_text(), *written]),
        as_json=as_json,
    )


def _info(*, as_json: bool) -> None:
    """The machine as the runtime sees it."""
    import dataclasses
    import os

    from fewer.runtime import dispatch
    from fewer.runtime.machine import machine

    here = machine()
    forced = os.environ.get(dispatch.VARIABLE)
    document = {**dataclasses.asdict(here), "variable": dispatch.VARIABLE, "forced": forced, "loop": dispatch.loop()}
    why = f"forced by {dispatch.VARIABLE}" if forced else "the best that this machine has"
    lines = [
        f"processor  {here.cpu}, {here.cores} cores",
        f"features   {' '.join(here.flags) or 'none that matters here'}",
        f"tier       {here.tier} ({why})",
        f"tiers      {', '.join(here.tiers)}",
        f"threads    {here.threads}, {document['loop']}",
        f"torch      {here.torch}",
        f"variable   {dispatch.VARIABLE}=TIER forces a tier",
    ]
    if dispatch.native() is None:
        lines.append("extension  not built: the portable tiers run; a C compiler at install time brings the kernels")
    result(document, lambda: "\n".join(lines), as_json=as_json)


def _whole(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise FewerError(f"--batch is '{text}'; it must be a whole number of at least 1, or several with commas")
    return found
