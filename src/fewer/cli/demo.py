"""`fewer demo`: the shipped model, pruned several ways, measured, and shown."""

from __future__ import annotations

from pathlib import Path

import click

from fewer.cli.options import as_json
from fewer.cli.show import check_page, progress, result
from fewer.recipe import DataSettings, Recipe

__all__ = ["command", "recipes"]


@click.command("demo")
@click.option("--out", default="demo-report", show_default=True, metavar="DIR", help="Where the report goes.")
@as_json
def command(out: str, as_json: bool) -> None:
    """Prune the shipped model by magnitude, Wanda and the OBS sweep, and compare with dense and random.

    At 50 % of the weights and at 2 of every 4; a table here, a page to open in DIR/report.html.
    """
    from fewer.verbs.compare import race

    page = str(Path(out) / "report.html")
    check_page(page)
    with progress(as_json=as_json) as show:
        found = race("demo", recipes(), "demo", "demo", progress=show)
    found.to_html(page)
    result(_document(found.to_json(), page), lambda: f"{found.to_text()}\n\nThe report: {page}", as_json=as_json)


def recipes() -> list[Recipe]:
    """The contenders: a data-free score, a score that sees inputs, and a sweep that corrects what stays."""
    data = DataSettings(samples=64, length=256)
    methods = (("magnitude", "magnitude", "zero"), ("wanda", "wanda", "zero"), ("OBS sweep", "obs", "sweep"))
    return [
        Recipe(name=name, score=score, update=update, pattern=pattern, damage="gram", data=data)
        for pattern in ("unstructured", "2:4")
        for name, score, update in methods
    ]


def _document(comparison: str, page: str) -> dict[str, object]:
    import json

    document: dict[str, object] = json.loads(comparison)
    return {**document, "report": page}
