"""Fewer calibration tokens than inputs: damped, and the result says so wherever people look."""

from __future__ import annotations

import json

import pytest

import fewer
from fewer.cli.group import call

from .models import tiny_llama, tokens


@pytest.mark.parametrize("update", ["auto", "alps", "sweep", "admm", "least-squares"])
def test_one_short_window_is_damped_and_said(update):
    done = fewer.prune(tiny_llama(), tokens(rows=1, length=8), score="obs", keep=0.5, update=update, choose="score")
    said = [note for note in done.notes if "Gram matrix" in note]
    assert said and "14 layers" in said[0]
    assert "damp" in done.to_dict()["layers"][0]["notes"]["singular"]


def test_enough_tokens_say_nothing():
    assert not [note for note in fewer.prune(tiny_llama(), tokens(rows=16), keep=0.5).notes if "singular" in note]


def test_an_update_that_needs_no_gram_matrix_says_nothing():
    done = fewer.prune(tiny_llama(), tokens(rows=1, length=8), score="wanda", keep=0.5)
    assert not done.notes


def test_the_command_says_so_in_text_json_and_report(tmp_path, capsys):
    words = ["prune", "demo", "--samples", "1", "--length", "16", "--only", "*.0.self_attn.q_proj", "--out"]
    assert call([*words, str(tmp_path / "a")]) == 0
    assert "note: the Gram matrix is singular" in capsys.readouterr().out
    assert call([*words, str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("singular" in note for note in found["notes"])
    assert json.loads((tmp_path / "b" / "fewer-report.json").read_text())["notes"] == found["notes"]


def test_a_sweep_says_so_of_its_levels():
    made = fewer.sweep(tiny_llama(), tokens(rows=1, length=8), tokens(seed=2), keeps=(0.5, 0.4))
    notes = [candidate.notes for candidate in made.comparison.candidates if not candidate.random]
    assert all(any("singular" in note for note in found) for found in notes)


def test_auto_says_what_it_chose():
    notes = fewer.prune(tiny_llama(), tokens(rows=16), keep=0.5).notes
    assert any(note.startswith("auto chose alps") for note in notes)
