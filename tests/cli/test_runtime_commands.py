"""`fewer prune --unit input`, `fewer pack`, `fewer bench` and `fewer eval` on what they write."""

from __future__ import annotations

import json

import pytest

from fewer.runtime import dispatch

DATA = ("--samples", 4, "--length", 32)
QUICK = ("--batch", 1, "--steps", 2, "--prefills", 0, "--prompt", 4)


def test_inputs_are_pruned_and_measured(fewer, checkpoint, corpus, tmp_path):
    out = tmp_path / "cut"
    ended = fewer("prune", checkpoint, "--unit", "input", "--score", "wina", "--data", corpus, *DATA, "--out", out)
    assert ended.code == 0, ended.err
    assert "weights are read for a token" in ended.out and (out / "fewer-inputs.json").is_file()
    found = json.loads(fewer("eval", out, "--data", corpus, "--context", 32, "--against", checkpoint, "--json").out)
    assert found["inputs_skipped"] == pytest.approx(0.5, abs=0.02) and found["kl"] > 0


def test_a_pruned_model_is_packed_measured_and_timed(fewer, checkpoint, corpus, tmp_path):
    fewer("prune", checkpoint, "--score", "magnitude", "--keep", 0.4, "--out", tmp_path / "pruned")
    said = fewer("pack", tmp_path / "pruned", "--out", tmp_path / "packed")
    assert said.code == 0 and "60.0 %" in said.out, said
    found = json.loads(fewer("eval", tmp_path / "packed", "--data", corpus, "--context", 32, "--json").out)
    assert found["sparsity"] == pytest.approx(0.6, abs=0.001)
    timed = json.loads(fewer("bench", tmp_path / "packed", *QUICK, "--json").out)
    assert [row["contender"] for row in timed["timings"][:3]] == ["torch dense", "own dense", "packed"]


def test_a_dense_model_packs_nothing_and_says_so(fewer, checkpoint, tmp_path):
    assert "nothing was packed" in fewer("pack", checkpoint, "--out", tmp_path / "packed").out


def test_bench_writes_a_page_with_quality(fewer, checkpoint, corpus, tmp_path):
    page = tmp_path / "speed.html"
    ended = fewer("bench", checkpoint, "--data", corpus, "--context", 32, *QUICK, "--out", page)
    assert ended.code == 0, ended.err
    assert "random inputs" in ended.out and "tokens a second" in page.read_text()


@pytest.mark.parametrize("tier", dispatch.tiers())
def test_info_names_the_forced_tier(tier, fewer, monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, tier)
    found = json.loads(fewer("bench", "--info", "--json").out)
    assert (found["tier"], found["forced"], found["variable"]) == (tier, tier, "FEWER_TIER")
    assert tier in found["tiers"] and found["cpu"]


def test_wrong_input_is_one_line(refused, checkpoint, monkeypatch):
    assert "needs a MODEL" in refused("bench")
    assert "--batch is '1,x'" in refused("bench", checkpoint, "--batch", "1,x")
    monkeypatch.setenv(dispatch.VARIABLE, "extension-avx51")
    assert "not a tier of this machine" in refused("bench", "--info")
