"""Budgets that measure what cuts cost: what they hand out, and that they leave the model as it was."""

from __future__ import annotations

import pytest
import torch

import fewer
from fewer import adapt
from fewer.events import EvidenceProgress
from fewer.method import FewerError
from fewer.recipe import Recipe
from fewer.verbs._engine import Engine
from fewer.verbs._losses import Losses
from fewer.verbs.prune import plan_for

from .models import tiny_llama, tokens

MAGNITUDE = Recipe(score="magnitude", update="zero")


@pytest.fixture(scope="module")
def opened():
    return adapt.open(tiny_llama())


@pytest.fixture(scope="module")
def losses(opened):
    job = Engine(plan_for(opened, MAGNITUDE)).job
    return Losses(opened, job, opened.layers, {}, adapt.data.batches(tokens(rows=10), batch=4))


def test_the_curve_is_what_evaluation_says_of_the_model_with_one_layer_cut(opened, losses):
    name = opened.layers[3].name
    curve = losses.supply({"curve"}, 0.5)["curve"][name]
    cut = fewer.prune(opened, score="magnitude", update="zero", keep=0.45, only=[name])
    assert curve[cut.layers[0].kept / cut.layers[0].total] == pytest.approx(
        fewer.evaluate(cut, tokens(rows=10), against=opened).kl, rel=1e-4
    )


def test_rise_is_the_difference_of_log_likelihoods(opened, losses):
    cut = fewer.prune(opened, score="magnitude", update="zero", keep=0.3)
    counts = {row.name: row.kept for row in cut.layers}
    found = fewer.evaluate(cut, tokens(rows=10)).nll - fewer.evaluate(opened, tokens(rows=10)).nll
    assert losses.rise(counts) == pytest.approx(found, rel=1e-4)


def test_slices_are_groups_of_windows_whose_mean_is_the_curve(losses):
    given = losses.supply({"curve", "slices"}, 0.05)
    assert list(given["slices"]) == ["easiest", "easier", "harder", "hardest"]
    name, levels = next(iter(given["curve"].items()))
    sizes = [2, 3, 2, 3]
    for level, loss in levels.items():
        parts = [given["slices"][group][name][level] for group in given["slices"]]
        assert sum(n * part for n, part in zip(sizes, parts, strict=True)) / 10 == pytest.approx(loss)
    assert min(levels) < 0.05


def test_measuring_leaves_every_weight_as_it_was(opened, losses):
    before = opened.hash()
    losses.supply({"curve", "slices"}, 0.5)
    losses.rise({layer.name: 9 for layer in opened.layers})
    assert opened.hash() == before


@pytest.mark.parametrize("budget", ["sensitivity", "evolution", "balanced"])
def test_a_measured_split_meets_the_share_exactly(opened, budget):
    options = {"eps": 9.0} if budget == "balanced" else {}
    done = fewer.prune(opened, tokens(), score="wanda", keep=0.5, budget=budget, budget_options=options)
    assert sum(row.kept for row in done.layers) == round(0.5 * sum(row.total for row in done.layers))
    assert len({row.kept / row.total for row in done.layers}) > 1


@pytest.mark.parametrize("budget", ["affordable", "tolerance"])
def test_a_tolerance_is_met_by_what_was_measured(opened, losses, budget):
    counts = fewer.prune(
        opened, tokens(rows=10), score="magnitude", budget=budget, budget_options={"rise": 0.02, "resolution": 0.1}
    ).layers
    whole = {row.name: row.total for row in counts}
    kept = {row.name: row.kept for row in counts}
    alone = (
        [losses.rise({**whole, name: kept[name]}) for name in kept] if budget == "tolerance" else [losses.rise(kept)]
    )
    assert max(alone) <= 0.02 and kept != whole


@pytest.mark.parametrize("budget", ["affordable", "tolerance"])
def test_a_tolerance_that_no_cut_meets_is_refused_and_nothing_written(opened, tmp_path, budget):
    with pytest.raises(FewerError, match="no cut raises the loss by -5 or less; allow a larger rise"):
        fewer.prune(
            opened, tokens(), score="magnitude", budget=budget, budget_options={"rise": -5.0}, out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_budget_that_measures_needs_data(opened):
    with pytest.raises(FewerError, match="budget 'sensitivity' measures losses of the model: give calibration data"):
        fewer.prune(opened, score="magnitude", budget="sensitivity")


def test_a_module_that_is_no_language_model_is_measured_by_its_outputs():
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(12, 12) for _ in range(3)))
    done = fewer.prune(model, torch.randn(20, 12), score="wanda", keep=0.5, budget="sensitivity")
    assert sum(row.kept for row in done.layers) == sum(row.total for row in done.layers) // 2


def test_a_sweep_settles_measured_budgets_so_that_levels_need_no_data(tmp_path):
    dense, out = tiny_llama(), tmp_path / "swept"
    recipe = Recipe(score="wanda", budget_options={})
    made = fewer.sweep(
        dense, tokens(), tokens(seed=2), recipe=recipe, keeps=(0.5,), budgets=("uniform", "sensitivity"), out=out
    )
    level = fewer.materialise(out, "keep 0.5 sensitivity", dense)
    expected = made.materialise("keep 0.5 sensitivity")
    assert {r.name: r.kept for r in level.layers} == {r.name: r.kept for r in expected.layers}
    assert [c.group for c in made.comparison.candidates][:2] == ["wanda", "wanda + sensitivity"]


def test_a_budget_that_finds_the_share_is_one_level_of_a_sweep():
    found = fewer.sweep(
        tiny_llama(), tokens(), tokens(seed=2), recipe=MAGNITUDE, keeps=(0.7, 0.5), budgets=("uniform", "affordable")
    )
    assert list(found.recipes) == ["keep 0.7 uniform", "keep 0.5 uniform", "affordable"]


def test_every_trial_is_told(opened):
    events = []
    budget = dict(score="magnitude", update="zero", budget="tolerance", budget_options={"rise": 10.0})
    fewer.prune(opened, tokens(rows=4), **budget, progress=events.append)
    trials = [event.done for event in events if isinstance(event, EvidenceProgress) and event.total == 0]
    assert trials == list(range(1, len(trials) + 1)) and len(trials) >= len(opened.layers)
