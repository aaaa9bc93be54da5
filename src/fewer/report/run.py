"""The last part of the page: what was run, so that somebody else can run it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fewer.report.numbers import seconds
from fewer.report.records import plain
from fewer.report.svg import Markup, tag
from fewer.verbs.result import Candidate, Comparison

__all__ = ["section"]


def section(comparison: Comparison) -> Markup:
    """Model, data, machine and versions; notes; the resolved recipe of every candidate; the papers."""
    source = comparison.provenance
    facts = [
        ("model", source.model, ""),
        ("model hash", "", source.model_hash),
        ("calibration", source.calibration, ""),
        ("evaluation", source.evaluation, ""),
        ("machine", source.machine, ""),
        ("computed in", source.compute, ""),
        ("date", source.date, ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in source.versions.items()), ""),
    ]
    rows = []
    for name, words, code in facts:
        if words or code:
            rows += [tag("dt", None, name), tag("dd", None, tag("code", None, code) if code else words)]
    return tag(
        "section",
        None,
        tag("h2", None, "What was run"),
        tag("dl", {"class": "run"}, *rows),
        _notes(comparison),
        _recipes(comparison),
        _papers(comparison),
    )


def _notes(comparison: Comparison) -> Markup:
    lines = [f"{c.label}: {note}" for c in (comparison.dense, *comparison.candidates) for note in c.notes]
    if not lines:
        return Markup("")
    return Markup(tag("h4", None, "Notes") + tag("ul", {"class": "plain"}, *(tag("li", None, line) for line in lines)))


def _recipes(comparison: Comparison) -> Markup:
    panels = [_recipe(candidate) for candidate in comparison.candidates if candidate.recipe]
    if not panels:
        return Markup("")
    fold = tag("summary", None, f"Resolved recipes of {len(panels)} candidates")
    return tag("details", None, fold, tag("div", {"class": "recipes"}, *panels))


def _recipe(candidate: Candidate) -> Markup:
    title = tag("h3", None, f"{candidate.label}, {seconds(candidate.seconds)}")
    return tag("div", None, title, tag("pre", None, "\n".join(_lines(candidate.recipe))))


def _lines(table: Mapping[str, Any]) -> list[str]:
    """A recipe as it would stand in a file: plain values first, tables after them."""
    flat = [f"{key} = {_written(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            flat += ["", f"[{key}]", *(f"{k} = {_written(v)}" for k, v in value.items())]
    return flat


def _written(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


def _papers(comparison: Comparison) -> Markup:
    papers = comparison.provenance.citations
    if not papers:
        return Markup("")
    return Markup(tag("h4", None, "Papers") + tag("ul", {"class": "plain"}, *(tag("li", None, p) for p in papers)))
