"""`fewer methods`: the catalogue as a table, a card, or JSON."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import click

from fewer.cli.options import as_json
from fewer.cli.show import result
from fewer.listing import Listed, listing
from fewer.method import FewerError, Method, nearest

__all__ = ["card", "command", "record"]


@click.command("methods")
@click.argument("name", required=False)
@click.option("--kind", metavar="KIND", help="Only this kind: score, pattern, budget, update, ...")
@click.option("--family", metavar="FAMILY", help="Only the methods of this file.")
@as_json
def command(name: str | None, kind: str | None, family: str | None, as_json: bool) -> None:
    """List the methods, or show the card of one: formula, evidence, knobs, papers."""
    found = _narrow(_narrow(listing(), "kind", kind), "family", family)
    if name is not None:
        known = sorted({entry.name for entry in found})
        found = [entry for entry in found if entry.name == name]
        if not found:
            raise FewerError(f"unknown method '{name}'{nearest(name, known)}; `fewer methods` lists them all")
    if name is None and not as_json:
        click.echo(table(found))
        return
    methods = [entry.method() for entry in found]
    result([record(m) for m in methods], lambda: "\n\n".join(map(card, methods)), as_json=as_json)


def _narrow(methods: Sequence[Listed], attribute: str, wanted: str | None) -> list[Listed]:
    known = sorted({str(getattr(m, attribute)) for m in methods})
    if wanted is not None and wanted not in known:
        raise FewerError(f"unknown {attribute} '{wanted}'{nearest(wanted, known)}; known: {', '.join(known)}")
    return [m for m in methods if wanted is None or getattr(m, attribute) == wanted]


def record(method: Method) -> dict[str, Any]:
    """One entry as plain data; a knob without a default is null."""
    return {
        "kind": method.kind,
        "name": method.name,
        "family": method.family,
        "summary": method.summary,
        "formula": method.formula,
        "unit": method.unit,
        "status": method.status,
        "note": method.note,
        "needs": method.needs,
        "knobs": {name: None if value is ... else value for name, value in method.knobs.items()},
        "papers": method.papers,
        "import": f"{method.target.__module__}.{method.target.__qualname__}",
    }


def table(methods: Sequence[Listed]) -> str:
    """Name, formula or summary, and status, by kind."""
    lines: list[str] = []
    width = max((len(m.name) for m in methods), default=0)
    for kind in dict.fromkeys(m.kind for m in methods):
        rows = [m for m in methods if m.kind == kind]
        lines += ["", f"{kind} ({len(rows)})"] if lines else [f"{kind} ({len(rows)})"]
        lines += [f"  {m.name:<{width}}  {m.status:<7}  {m.formula or m.summary}" for m in rows]
    return "\n".join([*lines, "", f"{len(methods)} methods; `fewer methods NAME` shows one"])


def card(method: Method) -> str:
    """Everything about one method."""
    knobs = ", ".join(name if value is ... else f"{name}={value!r}" for name, value in method.knobs.items())
    facts = [
        ("formula", method.formula),
        ("unit", method.unit),
        ("needs", ", ".join(method.needs)),
        ("knobs", knobs or "none"),
        ("status", method.status + (f": {method.note}" if method.note else "")),
        ("papers", "\n           ".join(map(str, method.papers)) or "none"),
        ("import", f"from {_public(method)} import {method.target.__name__}"),
    ]
    head = f"{method.name} ({method.kind}, family {method.family})"
    lines = [f"{name:<9}  {value}" for name, value in facts if value]
    return "\n".join([head, "", *lines, "", inspect.getdoc(method.target) or ""]).rstrip()


def _public(method: Method) -> str:
    """The room that exports it, where it does; else its own module."""
    import sys

    room = ".".join(method.target.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(room), method.target.__name__, None) is method.target
    return room if exported else method.target.__module__
