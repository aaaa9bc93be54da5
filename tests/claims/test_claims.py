"""Claims are data that can be measured again; the small ones are, here."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fewer.method import find

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("claims_script", ROOT / "scripts" / "claims.py")
claims = importlib.util.module_from_spec(SPEC)
sys.modules["claims_script"] = claims
SPEC.loader.exec_module(claims)
FILES = sorted((ROOT / "claims").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_claim_is_complete_and_names_a_method_and_a_measurement(path):
    claim = claims.load(path)
    assert find(claim.kind, claim.method)
    assert claim.id in claims.MEASURES or claim.id == f"race-{claim.method}"
    assert len(claim.measured) == len(claim.entries) > 0
    assert claim.paper and claim.quantity and claim.commit and claim.hardware and claim.date


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_numbers_compare_with_the_papers(path):
    claim = claims.load(path)
    assert claim.holds(claim.measured)


@pytest.mark.parametrize("path", [path for path in FILES if claims.load(path).small], ids=lambda path: path.stem)
def test_a_small_claim_can_be_measured_again(path):
    claim = claims.load(path)
    found = claims.measure(claim)
    assert claim.stands(found) and claim.holds(found)


def test_every_measurement_has_a_claim():
    assert set(claims.MEASURES) <= {path.stem for path in FILES}


@pytest.mark.parametrize(
    ("relation", "ours", "good"),
    [
        ("equal", 1.4, True),
        ("equal", 1.6, False),
        ("at most", 0.1, True),
        ("at most", 1.6, False),
        ("at least", 0.4, False),
        ("below one", 0.99, True),
        ("below one", 1.01, False),
    ],
)
def test_relations(relation, ours, good):
    claim = claims.load(FILES[0])
    one = replace(claim, entries=("x",), published=(1.0,), measured=(ours,), tolerance=0.5, relation=relation)
    assert one.holds((ours,)) is good


def test_a_claim_with_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(FILES[0].read_text() + "extra = 1\n")
    with pytest.raises(ValueError, match="unknown keys: extra"):
        claims.load(path)
