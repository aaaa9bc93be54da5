"""Scores that compare two data sets, and those whose evidence needs the whole model."""

from __future__ import annotations

import pytest
import torch

import fewer
from fewer import adapt, evidence
from fewer.method import FewerError
from fewer.recipe import DataSettings, Recipe, parse_recipe
from fewer.verbs.prune import run

from .models import tiny_llama, tokens

NAMES = ["grad", "grad_sq", "reference_grad", "reference_grad_sq"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dense") / "model"
    tiny_llama().save_pretrained(path)
    return path


@pytest.mark.parametrize("name", ["gaprune", "d-pruner"])
def test_masks_are_those_of_the_score_of_both_data_sets(name):
    model, data, second = tiny_llama(), tokens(3), tokens(4, seed=2)
    done = fewer.prune(model, data, score=name, keep=0.5, update="zero", reference=second)
    opened = adapt.open(model)
    store = evidence.collect(opened, data, NAMES, reference=second)
    score = {"gaprune": fewer.score.gaprune, "d-pruner": fewer.score.d_pruner}[name]
    for layer in opened.layers:
        worth = score(layer.read(), *(store[layer.name][x] for x in NAMES)).flatten()
        mask = torch.zeros(worth.numel(), dtype=torch.bool)
        mask[worth.argsort(descending=True, stable=True)[: worth.numel() // 2]] = True
        assert torch.equal(done.masks[layer.name].flatten(), mask)
    assert done.calibration.endswith(", reference batches")


def test_another_reference_gives_another_mask():
    made = [fewer.prune(tiny_llama(), tokens(3), score="gaprune", reference=tokens(3, seed=s)).masks for s in (2, 3)]
    assert any(not torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_without_a_reference_one_line_says_what_is_missing(folder, tmp_path):
    for options in ({}, {"out": tmp_path / "out"}):
        with pytest.raises(FewerError) as caught:
            fewer.prune(folder, tokens(), score="gaprune", **options)
        wanted = "score 'gaprune' needs reference_grad, reference_grad_sq: give a second data set (reference)"
        assert str(caught.value) == wanted
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["grasp", "synflow", "gaprune"])
def test_a_directory_gives_what_memory_gives(folder, tmp_path, name):
    options = {"score": name, "keep": 0.5, "budget": "global", "reference": tokens(2, seed=5)}
    streamed = fewer.prune(folder, tokens(2), out=tmp_path / "out", **options)
    memory = fewer.prune(folder, tokens(2), **options)
    assert all(torch.equal(streamed.masks[x], memory.masks[x]) for x in memory.masks)


def test_what_does_not_fit_is_refused_in_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fewer.verbs._memory._free_memory", lambda: 1000.0)
    with pytest.raises(FewerError, match=r"hessian_grad for score 'grasp' needs the whole model in memory") as caught:
        fewer.prune(folder, tokens(), score="grasp", out=tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hessian_grad", "synflow_grad", "reference_grad"])
def test_a_stream_refuses_what_needs_the_whole_model(folder, tmp_path, name):
    stream = adapt.stream.Stream(folder, tmp_path / "out", key="none")
    with pytest.raises(FewerError, match="needs the whole model in memory") as caught:
        evidence.sequential(stream, tokens(2), [name], lambda layers, store: None, reference=tokens(2))
    assert "\n" not in str(caught.value)
    stream.discard()


def test_synflow_of_a_language_model_needs_no_data():
    without = fewer.prune(tiny_llama(), score="synflow", keep=0.5, length=16)
    beside = fewer.prune(tiny_llama(), tokens(2, length=16), score="synflow", keep=0.5)
    assert all(torch.equal(without.masks[x], beside.masks[x]) for x in beside.masks)
    assert (without.calibration, without.calibration_hash) == ("", "")
    with pytest.raises(FewerError, match="needs synflow_grad: give calibration data"):
        fewer.prune(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)), score="synflow")


def test_a_recipe_keeps_its_reference():
    recipe = Recipe(score="gaprune", reference=DataSettings(text="b.txt", samples=3))
    assert parse_recipe(recipe.to_toml()) == recipe
    assert "reference" not in Recipe(score="gaprune").to_dict()
    with pytest.raises(FewerError, match=r"cannot read .*b\.txt|b\.txt"):
        run("demo", "demo", recipe)
