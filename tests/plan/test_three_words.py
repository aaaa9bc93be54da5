"""Unit, pattern and within: the same in Python, on the command line and in recipes, for everything that is pruned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fewer
from fewer.cli.options import recipe_from
from fewer.method import FewerError
from fewer.recipe import Recipe, parse_recipe
from fewer.select import select

LEGAL = [
    *(("weight", "unstructured", within) for within in ("row", "column", "layer", "model")),
    *(("block", "4x2", within) for within in ("row", "column", "layer", "model")),
    *(("row", "row", within) for within in ("layer", "model")),
    *(("column", "column", within) for within in ("layer", "model")),
    ("weight", "2:4", "group"),
    ("layer", "layer", "model"),
]


@pytest.mark.parametrize(("unit", "pattern", "within"), LEGAL)
def test_they_mean_the_same_in_python_on_the_command_line_and_in_toml(unit, pattern, within):
    words = {"unit": unit, "pattern": pattern, "within": within, "score": "magnitude"}
    one = Recipe(**words).resolve()
    assert recipe_from(words).resolve() == one
    assert parse_recipe("\n".join(f'{key} = "{value}"' for key, value in words.items())).resolve() == one
    assert (one.budget == "global") == (within == "model") and parse_recipe(one.to_toml()).resolve() == one


@pytest.mark.parametrize(("unit", "pattern", "within"), LEGAL)
def test_they_select_what_they_say(unit, pattern, within):
    torch.manual_seed(0)
    net = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(4)), torch.nn.Linear(8, 2))
    done = fewer.prune(net, score="magnitude", unit=unit, pattern=pattern, within=within)
    masks = [done.masks[row.name] for row in done.layers]
    assert len(masks) == 4 and sum(int(mask.sum()) for mask in masks) == 128
    if within in ("row", "column"):
        assert all(len(set(mask.sum(int(within == "row")).tolist())) == 1 for mask in masks)
    if within != "model":
        assert {int(mask.sum()) for mask in masks} == {32}


def test_competition_over_the_model_contradicts_another_budget():
    with pytest.raises(FewerError, match="within 'model' is the budget 'global'; budget 'owl' contradicts it"):
        Recipe(within="model", budget="owl").resolve()
    with pytest.raises(FewerError, match="over all layers of a model it is the budget 'global'"):
        select(np.ones((2, 2)), 0.5, within="model")
