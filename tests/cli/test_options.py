from __future__ import annotations

import dataclasses

import pytest

from fewer.cli.options import DATA_FIELDS, FIELDS, KINDS, recipe_from
from fewer.method import FewerError
from fewer.recipe import DataSettings, Recipe, Where


def test_every_field_of_a_recipe_can_be_set_from_the_command_line(fewer):
    assert {"score", "keep", "pattern", "within", "unit", "budget", "update", "only", "skip", "seed"} <= set(FIELDS)
    assert {f.name for f in dataclasses.fields(DataSettings)} == set(DATA_FIELDS)
    text = fewer("prune", "--help").out
    assert all(f"  --{name.replace('_', '-')} " in text for name in (*FIELDS, *DATA_FIELDS.values(), "where", "set"))
    assert {f"{kind}_options" for kind in KINDS} <= {f.name for f in dataclasses.fields(Recipe)}


def test_no_options_are_the_default_recipe():
    assert recipe_from({}) == Recipe()


def test_options_become_fields():
    given = {"score": "magnitude", "keep": "0.25", "steps": 3, "only": ("*.mlp.*",), "data": "demo", "samples": 4}
    wanted = Recipe(score="magnitude", keep=0.25, steps=3, only=("*.mlp.*",), data=DataSettings(text="demo", samples=4))
    assert recipe_from(given) == wanted


def test_the_seed_is_also_that_of_the_windows_unless_they_have_their_own():
    assert recipe_from({"seed": 7}).data.seed == 7
    both = recipe_from({"seed": 7, "data_seed": 1})
    assert (both.seed, both.data.seed) == (7, 1)


def test_several_shares_are_interpolated_over_depth():
    assert recipe_from({"keep": "0.8,0.5"}).keep == (0.8, 0.5)


def test_where_gives_layers_their_own_share():
    assert recipe_from({"where": ("*.a=b=0.4", "*=0.2,0.3")}).where == (Where("*.a=b", 0.4), Where("*", (0.2, 0.3)))


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("0.5", 0.5), ("true", True), ('"2"', "2"), ("word", "word"), ("[1, 2]", [1, 2])]
)
def test_knobs_have_types(text, value):
    found = recipe_from({"knobs": (f"score.power={text}",)}).score_options["power"]
    assert (found, type(found)) == (value, type(value))


def test_options_win_over_the_recipe_that_they_stand_beside(tmp_path):
    base = tmp_path / "base.toml"
    base.write_text('score = "ria"\nkeep = 0.7\n[score_options]\na = 1\nb = 2\n[data]\nsamples = 9\nlength = 32\n')
    found = recipe_from({"base": str(base), "keep": "0.3", "samples": 5, "knobs": ("score.b=3",)})
    assert (found.score, found.keep, found.score_options) == ("ria", 0.3, {"a": 1, "b": 3})
    assert (found.data.samples, found.data.length) == (5, 32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": "half"}, "--keep is 'half'; it must be a share in (0, 1], or several with commas"),
        ({"keep": ""}, "--keep is ''; it must be a share in (0, 1], or several with commas"),
        ({"keep": "0"}, "keep is 0; the share that stays must be in (0, 1]"),
        ({"keep": "nan"}, "keep is nan; the share that stays must be in (0, 1]"),
        ({"where": ("0.4",)}, "--where '0.4' must look like GLOB=KEEP, for example '*.mlp.*=0.4'"),
        ({"where": ("*=x",)}, "--where '*=x': the share is 'x'; it must be a share in (0, 1], or several with commas"),
        ({"knobs": ("power=2",)}, "--set 'power=2' must look like KIND.KNOB=VALUE, for example score.power=2"),
        ({"knobs": ("score.power",)}, "--set 'score.power' must look like KIND.KNOB=VALUE, for example score.power=2"),
        (
            {"knobs": ("scor.power=2",)},
            "--set 'scor.power=2': unknown kind 'scor'; did you mean 'score'?; known: score, budget, update, schedule",
        ),
    ],
)
def test_wrong_options_are_one_line(given, message):
    with pytest.raises(FewerError) as caught:
        recipe_from(given)
    assert str(caught.value) == message


def test_the_reference_is_cut_like_the_data_unless_the_recipe_says_otherwise(fewer, tmp_path):
    found = recipe_from({"data": "a.txt", "reference": "b.txt", "samples": 4})
    assert found.reference == DataSettings(text="b.txt", samples=4)
    base = tmp_path / "base.toml"
    base.write_text('[reference]\ntext = "c.txt"\nlength = 32\n')
    assert recipe_from({"base": str(base)}).reference == DataSettings(text="c.txt", length=32)
    assert "  --reference TEXT " in fewer("prune", "--help").out
