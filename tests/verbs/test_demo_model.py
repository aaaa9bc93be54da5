"""The model that ships, end to end: the promises of the README on real weights."""

from __future__ import annotations

import pytest
import torch

import fewer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dense():
    return fewer.load("demo")


@pytest.fixture(scope="module")
def calibration(dense):
    return fewer.text("demo", dense, samples=8, length=128)


@pytest.mark.parametrize("keep", [0.5, 0.37])
def test_share_is_met_and_nothing_else_is_touched(dense, calibration, keep):
    done = fewer.prune(dense, calibration, score="wanda", keep=keep)
    before, after = dense.module.state_dict(), done.model.state_dict()
    pruned = {f"{row.name}.weight" for row in done.layers}
    for name, value in after.items():
        if name in pruned:
            zeros = int((value == 0).sum()) - int((before[name] == 0).sum())
            assert abs(zeros - (1 - keep) * value.numel()) <= 1 + int((before[name] == 0).sum())
        else:
            assert torch.equal(value, before[name]), name
    assert not any(part in name for name in pruned for part in ("embed", "norm", "lm_head"))


def test_a_stated_order_of_quality(dense, calibration):
    """Far apart at any size of model: random is hopeless, a least-squares refit beats plain masking."""
    data = fewer.text("demo:evaluation", dense, samples=8, length=128)
    makes = {"random": "zero", "magnitude": "zero", "wanda": "zero", "obs": "auto"}
    kl = {
        score: fewer.evaluate(fewer.prune(dense, calibration, score=score, update=update), data, against=dense).kl
        for score, update in makes.items()
    }
    assert kl["random"] > 5 * kl["magnitude"] and kl["obs"] < 0.8 * kl["wanda"]


def test_streamed_demo_is_the_demo_in_memory(calibration, tmp_path):
    memory = fewer.prune("demo", calibration, score="wanda", pattern="2:4")
    streamed = fewer.prune("demo", calibration, score="wanda", pattern="2:4", out=tmp_path / "out")
    expected, found = memory.model.state_dict(), streamed.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
