"""Scores made of scores, by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import fewer
from fewer.method import FewerError, find
from fewer.recipe import Recipe, parse_recipe
from fewer.score import contrast, fisher, magnitude, product, taylor, total, wanda

RNG = np.random.default_rng(0)
W, G, F, H, N = (np.abs(RNG.standard_normal((3, 4))) + 0.1 for _ in range(5))
NORM = N[0]
SUPPLY = {"weight": W, "grad": G, "grad_sq": F, "reference_grad_sq": H, "input_norm": NORM}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(wanda, magnitude)", total(wanda(W, NORM), magnitude(W))),
        ("sum(wanda, magnitude, weights=[1, 0.5])", total(wanda(W, NORM), magnitude(W), weights=(1.0, 0.5))),
        ('sum(wanda, taylor, scale="mean")', total(wanda(W, NORM), taylor(W, G), scale="mean")),
        ("product(wanda(power=0.5), magnitude(power=2))", product(wanda(W, NORM, power=0.5), magnitude(W, power=2.0))),
        ("contrast(fisher, reference(fisher))", contrast(fisher(W, F), fisher(W, H))),
        ("contrast(fisher, reference(fisher(power=1)), lam=2)", contrast(fisher(W, F), fisher(W, H, power=1), lam=2.0)),
        ("product(sum(wanda, magnitude), taylor)", product(total(wanda(W, NORM), magnitude(W)), taylor(W, G))),
        ("wanda(power=2)", wanda(W, NORM, power=2.0)),
    ],
)
def test_an_expression_is_what_the_functions_give(text, expected):
    method = find("score", text)
    np.testing.assert_array_equal(method.target(*(SUPPLY[need] for need in method.needs)), expected)
    assert find("score", method.name).name == method.name


def test_options_of_the_outer_combinator_come_from_the_recipe():
    method = find("score", "contrast(fisher, reference(fisher))")
    assert method.needs == ("weight", "grad_sq", "reference_grad_sq")
    assert method.knobs == {"lam": 1.0, "scale": "mean"}
    found = method.target(W, F, H, lam=3.0, scale="none")
    np.testing.assert_array_equal(found, fisher(W, F) - 3.0 * fisher(W, H))


def test_habits_and_papers_are_those_of_the_parts():
    assert find("score", "sum(wanda, gblm)").within == "row"
    assert find("score", "sum(wanda, magnitude)").within == ""
    assert find("score", "product(wanda, taylor)").papers == (*find("score", "wanda").papers, *_taylor_papers())


def _taylor_papers():
    return find("score", "taylor").papers


def test_a_random_part_takes_the_seed_of_the_run():
    method = find("score", "product(random, magnitude)")
    one, two, again = (method.target(W, seed=seed) for seed in (1, 2, 1))
    assert (one == again).all() and (one != two).any()
    fixed = find("score", "product(random(seed=3), magnitude)")
    assert "seed" not in fixed.knobs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sum(wnada, magnitude)", "at character 10: unknown score or combinator 'wnada'; did you mean 'wanda'"),
        ("sum", "'sum' combines scores: give them in brackets, as in sum(wanda, magnitude)"),
        ("sum(wanda", "expected ')'"),
        ("sum(wanda, magnitude))", "there is something after the end"),
        ("contrast(wanda)", "'contrast' combines 2 scores (target, reference), not 1"),
        ("wanda(pwer=2)", "score 'wanda' has no option 'pwer'; did you mean 'power'"),
        ('wanda(power="two")', "option 'power' is \"two\", which is not a number"),
        ("sum(wanda, magnitude, weights=3)", "option 'weights' is 3, which is not a list of numbers"),
        ("wanda(magnitude)", "'wanda' is a score: only options such as power=2 stand in its brackets"),
        ("reference(wanda)", "'wanda' needs input_norm; on the reference data there is grad, grad_sq alone"),
        ("reference(magnitude)", "'magnitude' needs no data"),
        ("sum(" * 400, "a score of 1600 characters is too long"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text, says):
    with pytest.raises(FewerError) as caught:
        find("score", text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_recipe_and_a_run_take_an_expression():
    recipe = parse_recipe('score = "sum(random, magnitude)"\n[score_options]\nweights = [1, 0]\n')
    assert parse_recipe(recipe.resolve().to_toml()) == recipe.resolve()
    model = torch.nn.Sequential(torch.nn.Linear(8, 4))
    mixed = fewer.prune(model, score="sum(magnitude, magnitude(power=2))", keep=0.25)
    alone = fewer.prune(model, score="magnitude", keep=0.25)
    assert torch.equal(mixed.masks["0"], alone.masks["0"])
    assert json.loads(json.dumps(mixed.to_dict()))["recipe"]["score"] == "sum(magnitude, magnitude(power=2))"


def test_the_update_stays_zero_where_a_combination_is_named():
    assert Recipe(score="product(wanda, magnitude)").resolve().update == "zero"
