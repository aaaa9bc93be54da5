"""`unit = "input"`: cuts of inputs calibrated, written beside the weights, and honoured by every verb."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

import fewer
from fewer.method import FewerError
from fewer.recipe import Recipe, parse_recipe
from fewer.runtime import ActivationSparseLinear
from fewer.runtime.cuts import FILE
from fewer.runtime.skipping import largest
from fewer.score.inputs import random_inputs, top_inputs, wina
from fewer.score.weights import random
from fewer.verbs.prune import plan_for, random_like
from fewer.verbs.prune_inputs import InputPruned

from .models import tiny_llama as llama
from .models import tokens

LAYERS = 2 * 7


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    from fewer.adapt.checkpoint import save

    return save(llama(), tmp_path_factory.mktemp("models") / "dense")


@pytest.fixture(scope="module")
def data():
    return tokens(8, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"score": "wina"}, {"score": "magnitude", "within": "row"}, {"score": "wina", "pattern": "2:4"},
        {"score": "random"}, {"budget": "greedy", "budget_options": {"step": 0.5}}, {"budget": "erk"},
    ],
)  # fmt: skip
def test_half_of_the_weights_are_read(options, dense, data):
    result = fewer.prune(dense, data, unit="input", keep=None if "pattern" in options else 0.5, **options)
    assert isinstance(result, InputPruned) and len(result.layers) == LAYERS
    assert result.sparsity == pytest.approx(0.5, abs=0.02)
    assert sum(isinstance(m, ActivationSparseLinear) for m in result.model.modules()) == LAYERS


@pytest.mark.parametrize("options", [{"score": "wina"}, {"score": "cats"}, {"score": "random"}, {"pattern": "2:4"}])
def test_a_directory_gives_the_same_model_back(options, dense, data, tmp_path):
    result = fewer.prune(dense, data, unit="input", **options, out=tmp_path / "out")
    again, fast = fewer.load(tmp_path / "out").module, fewer.runtime.load(tmp_path / "out")
    with torch.no_grad():
        wanted = result.model(data[:2]).logits
        assert torch.equal(again(data[:2]).logits, wanted)
        torch.testing.assert_close(fast(data[:2]).logits, wanted)
    known = fewer.reopen(tmp_path / "out")
    assert known.layers == result.layers and known.inputs.cuts == result.inputs.cuts


def test_the_weights_are_those_of_the_dense_model(dense, data, tmp_path):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    fewer.prune(dense, data, unit="input", out=tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (dense, tmp_path / "out"))
    assert all(torch.equal(before[name], after[name]) for name in before) and set(before) == set(after)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(plain(data).logits, AutoModelForCausalLM.from_pretrained(dense)(data).logits)


def test_the_given_model_stays_as_it_was(data):
    model = llama()
    before = model(data).logits
    fewer.prune(model, data, unit="input", keep=0.2)
    assert torch.equal(model(data).logits, before)


def test_the_share_is_found_within_the_tolerance(dense, data):
    options = {"tolerance": 0.05, "resolution": 0.1}
    result = fewer.prune(dense, data, unit="input", budget="tolerance", budget_options=options)
    base, found = (fewer.evaluate(model, data).perplexity for model in (dense, result))
    assert found <= base * 1.05 and 0 < result.sparsity < 1


def test_random_stands_beside_it_with_the_same_shares(dense, data):
    result = fewer.prune(dense, data, unit="input", keep=0.4)
    other = random_like(dense, result)
    assert [row.name for row in other.layers] == [row.name for row in result.layers]
    assert other.sparsity == pytest.approx(result.sparsity, abs=0.05)
    table = fewer.compare(dense, result, data=data).to_text()
    assert "random" in table and "wina" in table


def test_weights_and_inputs_can_both_be_sparse(dense, data, tmp_path):
    fewer.prune(dense, score="magnitude", keep=0.5, out=tmp_path / "weights")
    both = fewer.prune(tmp_path / "weights", data, unit="input", keep=0.5, out=tmp_path / "both")
    quality = fewer.evaluate(fewer.load(tmp_path / "both"), data, against=dense)
    assert quality.kl > fewer.evaluate(fewer.load(tmp_path / "weights"), data, against=dense).kl > 0
    layer = next(m for m in both.model.modules() if isinstance(m, ActivationSparseLinear))
    assert float((layer.weight == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_wina_is_wanda_with_the_roles_exchanged(data):
    from fewer.score import wanda

    x, norm = torch.randn(5, 7), torch.rand(7)
    assert torch.equal(wina(x, norm), wanda(x, norm))
    assert torch.equal(random_inputs(x, seed=3)[2], random(torch.ones(1, 7), seed=3)[0])


@pytest.mark.parametrize("group", [0, 4])
def test_the_largest_are_those_of_a_sort(group):
    worth = torch.randint(0, 4, (20, 12)).float()
    wanted = top_inputs(worth.reshape(-1, group or 12), 3).reshape(worth.shape)
    assert torch.equal(largest(worth, 3, group), wanted)
    worth[0, 5] = torch.nan
    assert bool(largest(worth, 3, group)[0, 5])


def test_a_plan_counts_the_weights_that_a_token_reads(dense):
    plan = plan_for(dense, Recipe(unit="input", keep=(0.2, 0.6)))
    assert plan.evidence == () and plan.kept == pytest.approx(0.4 * plan.total, rel=0.02)
    assert plan_for(dense, Recipe(unit="input", budget="greedy")).rows[0].kept is None
    assert "skip small inputs" in str(plan)


def test_a_resolved_recipe_is_itself():
    recipe = Recipe(unit="input", pattern="2:4").resolve()
    assert parse_recipe(recipe.to_toml()).resolve() == recipe
    assert [m.name for m in recipe.methods()] == ["wina", "top-k", "uniform"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"update": "sweep"}, "changes no weight"), ({"pattern": "16x1"}, "unstructured and N:M"),
        ({"budget": "owl"}, "for inputs there are: .*greedy"), ({"score": "wnia"}, "did you mean 'wina'"),
        ({"within": "column"}, "within layer, row"), ({"budget": "tolerance", "keep": 0.5}, "finds the share itself"),
        ({"steps": 2}, "calibrated once"), ({"pattern": "2:4", "keep": 0.3}, "keeps 0.5"),
        ({"budget": "greedy", "keep": (0.2, 0.4)}, "has nothing to do"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_for_inputs_is_refused(change, words):
    with pytest.raises(FewerError, match=words):
        dataclasses.replace(Recipe(unit="input"), **change).resolve()


def test_a_sweep_solves_weights_alone(dense, data):
    with pytest.raises(FewerError, match="`fewer prune` calibrates it"):
        fewer.sweep(dense, data, data, recipe=Recipe(unit="input"))


def test_data_is_needed_and_nothing_is_written(dense, tmp_path):
    with pytest.raises(FewerError, match="give calibration data"):
        fewer.prune(dense, unit="input", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(version=2), "version 2"), (lambda t: t.update(format="x"), "not a list of input cuts"),
        (lambda t: t.update(score="x"), "names the score"), (lambda t: t["layers"].clear(), "names no layers"),
        (lambda t: t["layers"]["lm_head"].update(threshold=-1.0), "no valid 'threshold'"),
        (lambda t: t["layers"]["lm_head"].update(count=9999), "cannot keep 9999"),
        (lambda t: t["layers"]["lm_head"].update(code="x"), "nothing else"),
        (lambda t: t["layers"].update(nine=t["layers"]["lm_head"]), "no linear layer 'nine'"),
    ],
)  # fmt: skip
def test_a_list_of_cuts_that_lies_is_one_error(change, words, dense, data, tmp_path):
    fewer.prune(dense, data, unit="input", only=["lm_head"], out=tmp_path / "out")
    table = json.loads((tmp_path / "out" / FILE).read_text())
    change(table)
    (tmp_path / "out" / FILE).write_text(json.dumps(table))
    with pytest.raises(FewerError, match=words):
        fewer.load(tmp_path / "out")
