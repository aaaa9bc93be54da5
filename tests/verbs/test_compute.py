"""What a model is computed in, from the verbs' side: said everywhere, and what is written keeps its type."""

from __future__ import annotations

import json

import pytest
import torch

import fewer
from fewer import maskfile
from fewer.method import FewerError
from fewer.recipe import Recipe
from fewer.runtime.inputs import sparsify_inputs
from fewer.verbs.compare import race
from fewer.verbs.evaluate import evaluate
from fewer.verbs.pack import pack
from fewer.verbs.prune import plan_for
from fewer.verbs.reopen import reopen

from .models import tiny_llama, tokens


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """A processor without products of bfloat16, wherever the tests run."""
    monkeypatch.setattr("fewer.compute.multiplies", lambda _: False)


def half():
    return tiny_llama().bfloat16()


def test_the_plan_says_what_is_computed_in():
    plan = plan_for(half())
    assert plan.compute == plan.to_dict()["compute"] == "float32" and "computed in float32" in str(plan)
    assert plan_for(half(), Recipe(score="wanda", compat="wanda")).compute == "bfloat16"
    asked = plan_for(half(), Recipe(compute="bfloat16"))
    assert asked.compute == "bfloat16" and asked.hash != plan.hash


def test_masks_are_those_of_the_weights_in_float32():
    mine = fewer.prune(half(), tokens(), score="wanda")
    theirs = fewer.prune(half().float(), tokens(), score="wanda", order="sequential")
    first = [name for name in mine.masks if ".0.self_attn" in name]
    assert first and all(torch.equal(mine.masks[name], theirs.masks[name]) for name in first)
    assert {p.dtype for p in mine.model.parameters()} == {torch.bfloat16}


def test_streaming_writes_what_memory_does_and_the_report_says_the_type(tmp_path):
    half().save_pretrained(tmp_path / "m")
    streamed = fewer.prune(str(tmp_path / "m"), tokens(), out=tmp_path / "out")
    held = fewer.prune(str(tmp_path / "m"), tokens())
    assert streamed.opened.hash() == held.opened.hash()
    report = json.loads((tmp_path / "out" / "fewer-report.json").read_text())
    assert report["compute"] == "float32" == maskfile.read(tmp_path / "out").provenance["compute"]
    assert {p.dtype for p in streamed.model.parameters()} == {torch.bfloat16}


def test_a_reopened_result_keeps_what_it_was_computed_in(tmp_path, monkeypatch):
    half().save_pretrained(tmp_path / "m")
    fewer.prune(str(tmp_path / "m"), score="magnitude", out=tmp_path / "out")
    monkeypatch.setattr("fewer.compute.multiplies", lambda _: True)
    assert reopen(tmp_path / "out").plan.compute == "float32"


def test_quality_is_that_of_the_weights_in_float32():
    mine = evaluate(half(), tokens(), against=half())
    wide = evaluate(half().float(), tokens(), against=half().float())
    assert (mine.nll, mine.kl, mine.compute) == (wide.nll, wide.kl, "float32")
    kept = evaluate(half(), tokens(), compute="bfloat16")
    assert kept.compute == "bfloat16" and kept.nll != mine.nll


def test_packed_and_skipping_layers_compute_in_float32_and_keep_what_they_store():
    model = fewer.prune(half(), score="magnitude", keep=0.4).model
    packed, cut = pack(model), sparsify_inputs(model, [{"input_ids": tokens()}], keep=0.99, copy=True).model
    stored = [value.clone() for value in packed.buffers()]
    for made in (packed, cut):
        assert evaluate(made, tokens(), against=model).kl == pytest.approx(0.0, abs=1e-2)
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(packed.buffers(), stored, strict=True))
    assert not any(value.is_inference() for value in (*cut.buffers(), *cut.parameters()))


def test_a_comparison_names_the_type():
    found = race(half(), [Recipe(score="wanda")], tokens(), tokens(seed=2))
    assert found.provenance.compute == "float32 (stored in bfloat16)"
    assert {c.quality.compute for c in found.candidates} == {"float32"}


def test_no_model_is_rounded():
    with pytest.raises(FewerError, match="would round the weights"):
        evaluate(tiny_llama(), tokens(), compute="bfloat16")
    with pytest.raises(FewerError, match="would round the weights"):
        fewer.prune(tiny_llama(), tokens(), compute="bfloat16")
