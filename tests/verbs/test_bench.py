"""The race of makes: both controls always there, what was done to have them said, quality beside speed."""

from __future__ import annotations

import json

import pytest
import torch

import fewer
from fewer.method import FewerError
from fewer.report.speed import to_text
from fewer.report.speed_page import page
from fewer.runtime import PackedLinear, pack_weight
from fewer.runtime.bench import weights_read
from fewer.verbs.bench import _between

from .models import tiny_llama, tokens

QUICK = {"batches": (1, 2), "prompt": 4, "steps": 2, "prefills": 1}


@pytest.fixture(scope="module")
def report():
    return fewer.bench(tiny_llama(), tokens(4, 16), keep=0.4, **QUICK)


def test_every_make_is_timed_at_every_batch_and_phase(report):
    makes = {"torch dense", "own dense", "packed", "activation-sparse", "packed at equal speed"}
    seen = {(row["contender"], row["phase"], row["batch"]) for row in report.timings}
    assert seen == {(m, p, b) for m in makes for p in ("decode", "prefill") for b in (1, 2)}
    assert all(row["tokens_per_second"] > 0 and row["milliseconds_per_layer"] > 0 for row in report.timings)


def test_bytes_are_those_of_the_weights(report):
    read = {row["contender"]: row["bytes_per_token"] for row in report.timings if row["phase"] == "decode"}
    first = {r["contender"]: r["bytes_per_token"] for r in report.timings if (r["phase"], r["batch"]) == ("decode", 1)}
    dense = 4 * sum(m.weight.numel() for m in tiny_llama().modules() if isinstance(m, torch.nn.Linear))
    assert first["torch dense"] == first["own dense"] == dense and read["torch dense"] == dense // 2
    assert first["activation-sparse"] < dense


def test_quality_stands_beside_random(report):
    assert set(report.quality) == {
        "torch dense", "activation-sparse", "random inputs", "packed", "packed at equal speed", "random weights",
    }  # fmt: skip
    assert report.quality["packed"].kl > 0 and report.quality["torch dense"].kl is None


def test_it_is_shown_as_table_json_and_page(report):
    document = json.loads(report.to_json())
    assert document["format"] == "fewer-speed" and report.machine in to_text(report)
    assert {row["times_torch"] for row in document["timings"] if row["contender"] == "torch dense"} == {1.0}
    html = page(report)
    assert html.count("<figure") == 4 and "random weights" in html and report.machine in html


def test_a_sparse_model_is_not_pruned_again(tmp_path):
    fewer.prune(tiny_llama(), score="magnitude", keep=0.3, out=tmp_path / "sparse")
    packed = fewer.pack(tmp_path / "sparse", out=tmp_path / "packed")
    for source in (tmp_path / "sparse", tmp_path / "packed", packed):
        found = fewer.bench(source, **QUICK)
        assert not any("pruned here" in note for note in found.notes)
        assert found.ratio("packed", "own dense") > 0


def test_a_packed_directory_is_timed_as_it_is_stored(tmp_path):
    pruned = fewer.prune(tiny_llama(), score="magnitude", keep=0.3)
    packed = fewer.pack(pruned, dtype=torch.int8, out=tmp_path / "packed")
    found = fewer.bench(tmp_path / "packed", **QUICK)
    row = next(r for r in found.timings if (r["contender"], r["phase"], r["batch"]) == ("packed", "decode", 1))
    assert row["bytes_per_token"] == weights_read(packed, 1)


def test_cuts_beside_the_weights_are_used(tmp_path):
    data = tokens(8, 16)
    fewer.prune(tiny_llama(), data, unit="input", score="magnitude", keep=0.3, out=tmp_path / "cut")
    found = fewer.bench(tmp_path / "cut", data, **QUICK)
    assert any("score magnitude" in note for note in found.notes)
    kept = fewer.evaluate(fewer.load(tmp_path / "cut"), data).perplexity
    assert found.quality["activation-sparse"].perplexity == pytest.approx(kept)


@pytest.mark.parametrize(("wanted", "share"), [(2.0, 0.5), (0.5, 0.2), (9.0, 0.8), (3.0, 0.65)])
def test_the_share_of_equal_speed_is_between_measured_ones(wanted, share):
    assert _between([(4.0, 0.8), (1.0, 0.2), (2.0, 0.5)], wanted) == pytest.approx(share)


def test_a_packed_layer_reads_its_dense_weight_where_no_kernel_pays():
    layer = PackedLinear(pack_weight(torch.eye(64)))
    model = torch.nn.Sequential(layer)
    assert weights_read(model, 100_000) == 64 * 64 * 4
    assert weights_read(model, 1) == (layer.packed.nbytes if layer.by_kernel(1) else 64 * 64 * 4)


def test_cut_inputs_can_be_left_out():
    found = fewer.bench(tiny_llama(), inputs="", **QUICK)
    assert {row["contender"] for row in found.timings} == {"torch dense", "own dense", "packed"}
    with pytest.raises(FewerError, match="did you mean 'wina'"):
        fewer.bench(tiny_llama(), inputs="wnia")


def test_what_cannot_be_timed_is_refused():
    with pytest.raises(FewerError, match="vocabulary"):
        fewer.bench(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)))
    with pytest.raises(FewerError, match=r"keep must be in \(0, 1\]"):
        fewer.bench(tiny_llama(), keep=0.0)
