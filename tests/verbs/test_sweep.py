from __future__ import annotations

import json

import pytest
import torch

import fewer
from fewer.method import FewerError
from fewer.recipe import Recipe
from fewer.verbs.sweep import levels

from .models import tiny_llama, tokens

KEEPS = (0.75, 0.5, 0.25)


@pytest.fixture(scope="module")
def dense():
    return tiny_llama()


@pytest.fixture(scope="module")
def made(dense, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    recipe = Recipe(score="wanda", update="least-squares")
    return fewer.sweep(dense, tokens(), tokens(seed=2), recipe=recipe, keeps=KEEPS, patterns=("2:4",), out=out), out


def test_every_level_has_random_beside_it(made):
    candidates = made[0].comparison.candidates
    assert [c.label for c in candidates] == ["keep 0.75", "keep 0.5", "keep 0.25", "2:4", *["random"] * 4]
    assert {c.group for c in candidates} == {"wanda + least-squares", "random"}
    damage = [c.quality.kl for c in candidates[:3]]
    assert damage == sorted(damage)


def test_a_level_is_what_prune_at_once_gives(dense, made):
    level = made[0].materialise("keep 0.5")
    alone = fewer.prune(dense, tokens(), score="wanda", update="least-squares", keep=0.5, order="at-once")
    assert all(torch.equal(level.masks[name], alone.masks[name]) for name in alone.masks)
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(level.model.state_dict()[name], value)


def test_a_saved_sweep_gives_a_level_without_the_data(dense, made, tmp_path):
    level = fewer.materialise(made[1], "2:4", dense)
    expected = made[0].materialise("2:4").model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in level.model.state_dict().items())
    assert (level.save(tmp_path / "level") / "model.safetensors").is_file()
    assert json.loads((made[1] / "sweep.json").read_text())["candidates"] and (made[1] / "report.html").is_file()


def test_stored_evidence_serves_another_recipe(dense, made):
    other = fewer.sweep(
        dense, data=tokens(), recipe=Recipe(score="magnitude", update="sweep"), keeps=(0.5,), store=made[0].store
    )
    assert other.comparison.candidates[0].quality.kl > 0


@pytest.mark.parametrize("update", ["alps", "sweep"])
def test_levels_that_the_update_chooses_meet_their_share(dense, update):
    found = fewer.sweep(dense, tokens(), tokens(), recipe=Recipe(score="obs", update=update), keeps=KEEPS)
    for candidate, keep in zip(found.comparison.candidates, KEEPS, strict=False):
        assert candidate.sparsity == pytest.approx(1 - keep, abs=1e-3)


@pytest.mark.parametrize("update", ["alps", "auto"])
def test_a_warm_started_level_is_materialised_as_it_was_measured(dense, update):
    found = fewer.sweep(dense, tokens(), tokens(), recipe=Recipe(score="obs", update=update), keeps=KEEPS)
    measured = {c.label: c for c in found.comparison.candidates}
    for level in ("keep 0.75", "keep 0.25"):
        again = found.materialise(level)
        assert again.layers == measured[level].layers
        assert fewer.evaluate(again, tokens(), against=dense).kl == measured[level].quality.kl


def test_budgets_multiply_the_levels():
    assert list(levels(Recipe(), (0.5, 0.3), ("2:4",), ("uniform", "erk"))) == [
        "keep 0.5 uniform", "keep 0.3 uniform", "keep 0.5 erk", "keep 0.3 erk", "2:4",
    ]  # fmt: skip


def test_faults(dense, made, tmp_path):
    sweep, out = made
    with pytest.raises(FewerError, match=r"no level 'keep 0\.1'; it has: keep 0\.75"):
        sweep.materialise("keep 0.1")
    with pytest.raises(FewerError, match="measured on model"):
        fewer.materialise(out, "2:4", tiny_llama(seed=5))
    with pytest.raises(FewerError, match="another model"):
        fewer.sweep(tiny_llama(seed=5), data=tokens(), store=sweep.store)
    with pytest.raises(FewerError, match="lacks grad"):
        fewer.sweep(dense, data=tokens(), recipe=Recipe(score="taylor", update="zero"), store=sweep.store)
    with pytest.raises(FewerError, match="is not a sweep"):
        fewer.materialise(tmp_path, "2:4", dense)
    with pytest.raises(FewerError, match="needs input_norm: give calibration data"):
        fewer.sweep(dense, data=tokens(), recipe=Recipe(score="wanda", update="zero"))
