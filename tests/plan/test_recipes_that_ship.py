from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fewer import adapt
from fewer.plan import make_plan
from fewer.recipe import load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
#: Combinations of parts, of a paper or our own, and a part that is chosen at run time.
COMBINED = {"best", "erk-random", "agreement", "specialise"}
LAYER = adapt.open(torch.nn.Sequential(torch.nn.Linear(8, 8)))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads_resolves_and_names_the_paper_of_one_of_its_methods(path):
    recipe = load_recipe(path).resolve()
    assert parse_recipe(recipe.to_toml()).resolve() == recipe
    assert any(recipe.paper in line for line in make_plan(LAYER, recipe).citations)
    titles = {paper.title for method in recipe.methods() for paper in method.papers}
    assert recipe.paper in titles or path.stem in COMBINED, json.dumps(sorted(titles))
