"""Rounds only thin a mask, an update may not leave what its mask drops, and keep = 1 means one thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fewer
from fewer.budget.allocation import thinned
from fewer.method import FewerError, find
from fewer.recipe import Recipe
from fewer.select import rule, select
from fewer.update import Updated
from fewer.verbs._solve import Job

WEIGHT = torch.arange(1.0, 17.0).reshape(4, 4)


@pytest.mark.parametrize("schedule", ["linear", "cubic", "cosine"])
def test_a_schedule_that_grows_is_refused(schedule):
    growing = Recipe(score="magnitude", keep=0.8, steps=3, schedule=schedule, schedule_options={"start": 0.2})
    with pytest.raises(FewerError, match=r"would grow .* rounds only thin"):
        growing.resolve()
    assert Recipe(score="magnitude", keep=0.2, steps=3, schedule=schedule, schedule_options={"start": 0.8}).resolve()


def test_a_share_above_one_is_refused():
    with pytest.raises(FewerError, match=r"a share of 1\.75 in round 1; it must be in \(0, 1\]"):
        Recipe(keep=0.5, steps=2, schedule="linear", schedule_options={"start": 3.0}).resolve()


def test_a_layer_does_not_grow_while_the_model_thins():
    assert dict(thinned({"a": 9, "b": 1}, {"a": 5, "b": 8})) == {"a": 5, "b": 5}
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3)))
    done = fewer.prune(model, torch.randn(32, 8), score="wanda", budget="global", keep=0.4, steps=4)
    assert all(row.zeros == row.total - row.kept for row in done.layers)
    assert sum(row.kept for row in done.layers) == round(0.4 * 128)


def test_an_update_that_dampens_is_refused():
    job = Job.of(Recipe(score="magnitude", update="zero").resolve())
    mask = job.rule("layer", WEIGHT, 8).select(WEIGHT)
    half = Updated(torch.where(mask, WEIGHT, WEIGHT / 2), mask, {})
    with pytest.raises(FewerError, match="update 'zero' leaves weights that its mask drops in layer 'layer'"):
        job.finish("layer", WEIGHT, WEIGHT, WEIGHT, half, {})


def test_one_is_everything_and_a_count_is_called_count():
    assert rule((4, 4), 1).count == rule((4, 4), 1.0).count == 16 and rule((4, 4), count=1).count == 1
    assert select(WEIGHT, 1).all() and int(select(WEIGHT, count=1).sum()) == 1
    assert fewer.prune(torch.nn.Sequential(torch.nn.Linear(4, 4)), score="magnitude", keep=1).layers[0].kept == 16


@pytest.mark.parametrize(("given", "said"), [
    ({"keep": 3}, "a number of units is count=3"), ({}, "one of them"), ({"keep": 0.5, "count": 2}, "one of them"),
    ({"count": 99}, "there are 16 units"), ({"count": 0.5}, "count is 0.5; it must"), ({"count": True}, "is True"),
])  # fmt: skip
def test_what_is_neither_share_nor_count_is_refused(given, said):
    with pytest.raises(FewerError, match=said):
        select(np.ones((4, 4)), **given)


def test_brackets_are_literal_in_every_list_of_names():
    from fewer.adapt.layers import select_layers
    from fewer.recipe import Where
    from fewer.runtime.model import chosen

    table = find("budget", "table").target
    layers = [type("L", (), {"name": name, "default": True})() for name in ("up[3]", "up3")]
    assert [x.name for x in select_layers(layers, only=["up[3]"])] == ["up[3]"]
    assert [Where("up[3]").matches(x.name) for x in layers] == [chosen(x.name, ["up[3]"], ()) for x in layers]
    assert table({"up[3]": (1, 8), "up3": (1, 8)}, 0.5, shares={"up[3]": 0.25}) == {"up[3]": 2, "up3": 4}
