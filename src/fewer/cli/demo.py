"""`fewer demo`: the shipped model, pruned several ways, measured, and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewer.cli.options import as_json
from fewer.cli.show import check_page, progress, result
from fewer.recipe import DataSettings, Recipe

if TYPE_CHECKING:
    from fewer.events import Progress
    from fewer.verbs.result import SpeedReport

__all__ = ["PART", "command", "recipes"]

#: Every so many windows of the held-out text are measured: the order is that of all of them, every KL within 3 %.
PART = 4


@click.command("demo")
@click.option("--out", default="demo-report", show_default=True, metavar="DIR", help="Where the report goes.")
@as_json
def command(out: str, as_json: bool) -> None:
    """Prune the shipped model by magnitude, Wanda, the OBS sweep and the default solver; compare with dense and random.

    At 50 % of the weights and at 2 of every 4, measured on every fourth window of the held-out text; a table here, a
    page to open in DIR/report.html. Then decode with a Llama of 110 million random weights, half of them zero, dense
    and packed: DIR/speed.html.
    """
    from fewer.verbs._given import load, text
    from fewer.verbs.compare import race

    page, speed_page = (str(Path(out) / name) for name in ("report.html", "speed.html"))
    check_page(page, inside=False)
    with progress(as_json=as_json) as show:
        model = load("demo")
        held_out = text("demo:evaluation", model, samples=None).spread(PART)
        found = race(model, recipes(), "demo", held_out, progress=show)
        found.to_html(page)
        speed = _speed(show)
    speed.to_html(speed_page)
    document = {**json.loads(found.to_json()), "report": page}
    document["speed"] = {**json.loads(speed.to_json()), "report": speed_page}
    written = f"The report: {page}\nThe speed:  {speed_page}"
    result(document, lambda: f"{found.to_text()}\n\n{speed.to_text()}\n\n{written}", as_json=as_json)


def recipes() -> list[Recipe]:
    """The contenders: a data-free score, a score that sees inputs, and two solvers that correct what stays."""
    data = DataSettings(samples=64, length=256)
    bare = (("magnitude", "magnitude", "zero"), ("wanda", "wanda", "zero"))
    methods = (*bare, ("OBS sweep", "obs", "sweep"), ("default solver", "obs", "auto"))
    return [
        Recipe(name=name, score=score, update=update, pattern=pattern, damage="gram", data=data)
        for pattern in ("unstructured", "2:4")
        for name, score, update in methods
    ]


def _speed(show: Progress) -> SpeedReport:
    """Tokens a second of one model, dense and packed, on one thread: enough steps for a stable ratio, no more."""
    import torch

    from fewer.verbs.bench import RANDOM_LLAMA, bench

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        return bench(RANDOM_LLAMA, inputs="", batches=(1,), prompt=8, steps=24, prefills=0, progress=show)
    finally:
        torch.set_num_threads(threads)
