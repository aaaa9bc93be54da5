"""The table of papers and the entries that cover them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from fewer.method import find

# By its place: a package of the same name measures how much code tests run.
_SPEC = importlib.util.spec_from_file_location(
    "papers_covered", Path(__file__).resolve().parents[2] / "scripts" / "coverage.py"
)
assert _SPEC is not None and _SPEC.loader is not None
coverage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(coverage)

WANDA = find("score", "wanda").papers[0].title
ROWS = [
    {"id": "P1", "paper": WANDA, "family": "prune", "relevance": 3},
    {"id": "P2", "paper": "Nobody Has Written This", "family": "prune", "relevance": 3},
]


def test_a_row_is_covered_by_the_entries_that_name_its_title():
    lines = coverage.covered(ROWS, [find("score", "wanda"), find("score", "magnitude")])
    assert lines[0].endswith("  score/wanda") and lines[1].endswith("  -")
    assert lines[2] == "1 of 2 rows are covered"


def test_a_title_spelt_in_another_way_is_found():
    rows = [{"paper": WANDA.upper().replace(" ", "-", 1)}]
    assert coverage.misspelt(rows, [find("score", "wanda")]) == [f"'{WANDA}' should read '{rows[0]['paper']}'"]
    assert coverage.unlisted(rows, [find("score", "wanda")]) == [WANDA]
    assert coverage.misspelt(ROWS, [find("score", "wanda")]) == []


@pytest.mark.parametrize(("title", "code"), [(WANDA, 0), (WANDA.lower(), 1)])
def test_the_check_fails_on_a_misspelt_title(tmp_path, capsys, title, code):
    path = tmp_path / "methods.jsonl"
    path.write_text(json.dumps({**ROWS[0], "paper": title}) + "\n")
    assert coverage.main([str(path), "--check"]) == code
    assert f"{1 - code} of 1 rows are covered" in capsys.readouterr().out
