from __future__ import annotations

import json

import pytest
import torch

import fewer
from fewer.method import FewerError
from fewer.recipe import Recipe

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def dense():
    return tiny_llama()


@pytest.fixture(scope="module")
def raced(dense):
    recipes = [
        Recipe(score="magnitude", update="zero"),
        ("activations", Recipe(score="wanda", update="zero")),
        Recipe(score="wanda", pattern="2:4", update="zero"),
        Recipe(score="magnitude", budget="lamp", update="zero"),
    ]
    return fewer.race(dense, recipes, tokens(), tokens(seed=2))


def test_random_stands_beside_every_allocation_once(raced):
    labels = [candidate.label for candidate in raced.candidates]
    assert labels[:4] == ["magnitude", "activations", "wanda", "magnitude + lamp"]
    assert labels[4:] == ["random, uniform", "random, uniform", "random, lamp"]
    counts = lambda c: (c.pattern, tuple((row.name, row.kept) for row in c.layers))  # noqa: E731
    assert {counts(c) for c in raced.candidates if c.random} == {counts(c) for c in raced.candidates if not c.random}


def test_random_only_drops_weights(dense):
    done = fewer.prune(dense, score="magnitude", pattern="2:4", update="zero")
    control = next(c for c in fewer.compare(dense, done, data=tokens()).candidates if c.random)
    assert control.recipe["score"] == "random" and control.recipe["update"] == "zero"
    assert [row.kept for row in control.layers] == [row.kept for row in done.layers]


def test_numbers_are_those_of_evaluate(dense, raced):
    done = fewer.prune(dense, tokens(), score="wanda", update="zero")
    alone = fewer.evaluate(done, tokens(seed=2), against=dense)
    among = next(c for c in raced.candidates if c.label == "activations").quality
    assert alone.kl == pytest.approx(among.kl, rel=1e-6) and alone.nll == pytest.approx(among.nll, rel=1e-6)
    assert raced.dense.quality.kl is None and raced.dense.quality.top1_agreement is None


def test_the_data_may_come_last(dense):
    done = fewer.prune(dense, score="magnitude", update="zero")
    assert fewer.compare(dense, done, tokens()).candidates[0].quality.tokens == 8 * 23


def test_counts_and_bytes(dense, raced):
    candidate = raced.candidates[0]
    parameters = sum(p.numel() for p in dense.parameters())
    assert candidate.parameters == parameters == raced.dense.nonzero
    assert candidate.nonzero == parameters - sum(row.total - row.kept for row in candidate.layers)
    assert candidate.bytes == 4 * parameters == raced.dense.packed_bytes
    bits = sum(row.total // 8 for row in candidate.layers)
    assert candidate.packed_bytes == 4 * candidate.nonzero + bits


def test_provenance_names_versions_hashes_and_papers(dense, raced):
    about = raced.provenance
    assert {"python", "torch", "fewer"} <= set(about.versions) and len(about.model_hash) == 64
    assert any("Simple and Effective" in line for line in about.citations) and "sha256" in about.evaluation


def test_it_is_json(raced):
    assert len(json.loads(raced.to_json())["candidates"]) == 7


def test_the_dense_model_is_left_alone(dense, raced):
    fresh = tiny_llama().state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in dense.state_dict().items())


def test_no_data_and_no_result_are_refused(dense):
    done = fewer.prune(dense, score="magnitude", update="zero")
    with pytest.raises(FewerError, match="needs held-out data"):
        fewer.compare(dense, done)
    with pytest.raises(FewerError, match=r"takes results of fewer\.prune, not LlamaForCausalLM"):
        fewer.compare(dense, dense, data=tokens())
    with pytest.raises(FewerError, match="at least one recipe"):
        fewer.race(dense, [], data=tokens())
