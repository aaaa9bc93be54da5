from __future__ import annotations

import json

import pytest

from fewer.method import catalogue


def test_the_table_lists_every_method_once_under_its_kind(fewer):
    ended = fewer("methods")
    assert ended.code == 0
    lines = ended.out.splitlines()
    for kind in {m.kind for m in catalogue()}:
        start = lines.index(f"{kind} ({len(catalogue(kind))})") + 1
        names = [line.split()[0] for line in lines[start : start + len(catalogue(kind))]]
        assert names == [m.name for m in catalogue(kind)]
    assert lines[-1] == f"{len(catalogue())} methods; `fewer methods NAME` shows one"


def test_json_holds_what_the_catalogue_holds(fewer):
    found = json.loads(fewer("methods", "--json").out)
    assert [(m["kind"], m["name"]) for m in found] == [(m.kind, m.name) for m in catalogue()]
    assert all(set(m["papers"][0]) == {"title", "year", "arxiv"} for m in found if m["papers"])


def test_kind_and_family_narrow(fewer):
    found = json.loads(fewer("methods", "--kind", "penalty", "--family", "separable", "--json").out)
    assert {(m["kind"], m["family"]) for m in found} == {("penalty", "separable")}
    assert {m["name"] for m in found} == {m.name for m in catalogue("penalty") if m.family == "separable"}


@pytest.mark.parametrize("entry", catalogue(), ids=lambda m: f"{m.kind}-{m.name}")
def test_every_card_shows_its_facts_and_an_import_that_works(fewer, entry):
    text = fewer("methods", entry.name, "--kind", entry.kind).out
    assert text.startswith(f"{entry.name} ({entry.kind}, family {entry.family})\n")
    for fact in (entry.formula, entry.note, *entry.needs, *entry.knobs, *map(str, entry.papers), entry.summary):
        assert fact in text
    line = next(line for line in text.splitlines() if line.startswith("import"))
    names: dict[str, object] = {}
    exec(line.removeprefix("import").strip(), names)
    assert names[entry.target.__name__] is entry.target


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("elastic-ent",), "unknown method 'elastic-ent'; did you mean 'elastic-net'"),
        (("--kind", "penalties"), "unknown kind 'penalties'; did you mean 'penalty'"),
        (("--family", "seperable"), "unknown family 'seperable'; did you mean 'separable'"),
        (("l1", "--kind", "update"), "unknown method 'l1'"),
    ],
)
def test_unknown_names_suggest_the_nearest(refused, arguments, message):
    assert refused("methods", *arguments).startswith(message)
