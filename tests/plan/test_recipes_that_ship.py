from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewer.recipe import load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads_resolves_and_names_the_paper_of_one_of_its_methods(path):
    recipe = load_recipe(path).resolve()
    assert parse_recipe(recipe.to_toml()).resolve() == recipe
    titles = {paper.title for method in recipe.methods() for paper in method.papers}
    assert recipe.paper in titles, json.dumps(sorted(titles))
