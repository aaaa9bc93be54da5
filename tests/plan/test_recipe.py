from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.method import FewerError
from fewer.recipe import DataSettings, Recipe, Where, load_recipe, parse_recipe

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SHARE = st.floats(0.01, 1.0)
KEEP = st.one_of(SHARE, st.lists(SHARE, min_size=1, max_size=4).map(tuple))
SCALAR = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), TEXT)
OPTIONS = st.dictionaries(TEXT, st.one_of(SCALAR, st.dictionaries(TEXT, SCALAR, min_size=1, max_size=2)), max_size=3)
RECIPES = st.builds(
    Recipe,
    name=TEXT,
    score=TEXT.filter(bool),
    keep=st.one_of(st.none(), KEEP),
    steps=st.integers(1, 9),
    only=st.lists(TEXT, max_size=3).map(tuple),
    score_options=OPTIONS,
    data=st.builds(DataSettings, text=TEXT, samples=st.integers(1, 9)),
    where=st.lists(st.builds(Where, match=TEXT, keep=KEEP), max_size=3).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(RECIPES)
def test_load_print_load_is_the_identity(recipe):
    assert parse_recipe(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('scroe = "wanda"', r"r.toml: unknown key 'scroe'; did you mean 'score'"),
        ("keep = true", "keep: true is not a number"),
        ('keep = "half"', 'keep: "half" is not a number or a list'),
        ("keep = 0", r"keep is 0; the share that stays must be in \(0, 1\]"),
        ("keep = 1.5", "keep is 1.5"),
        ("keep = nan", "keep is nan"),
        ("keep = []", "keep: "),
        ("score = 3", "score: 3 is not text"),
        ("seed = 1.0", "seed: 1.0 is not a whole number"),
        ("steps = 0", "steps is 0"),
        ("only = 'x'", 'only: "x" is not a list of texts'),
        ("only = [1]", r"only\[0\]: 1 is not text"),
        ("order = 'random'", "unknown order 'random'"),
        ("[where]\nmatch = 'x'", "where: .* is not a list of tables"),
        ("[[where]]\nmatch = 'x'\nkep = 0.5", r"where\[0\]: unknown key 'kep'; did you mean 'keep'"),
        ("[[where]]\nkeep = 0.5\n[[where]]\nkeep = 2", r"where\[1\].keep is 2"),
        ("[data]\nsamples = 0", "data.samples is 0"),
        ("[data]\nlenght = 9", "data: unknown key 'lenght'; did you mean 'length'"),
        ("score_options = 3", "score_options: 3 is not a table"),
        ("keep = 0.5\nkeep = 0.6", "not valid TOML"),
    ],
)
def test_faults_name_their_place(text, words):
    with pytest.raises(FewerError, match=words) as caught:
        parse_recipe(text, where="r.toml")
    assert str(caught.value).startswith("r.toml") and "\n" not in str(caught.value)


def test_an_unreadable_file_is_one_line(tmp_path):
    with pytest.raises(FewerError, match=r"cannot read recipe .*absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FewerError, match="cannot read recipe"):
        load_recipe(tmp_path / "binary.toml")


def test_a_list_is_interpolated_over_depth():
    recipe = Recipe(keep=(0.8, 0.5, 0.6))
    found = [recipe.keep_for("x", depth) for depth in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([0.8, 0.65, 0.5, 0.55, 0.6])


def test_the_first_filter_that_matches_wins():
    recipe = Recipe(keep=0.9, where=(Where("*.mlp.*", 0.4), Where("*", (0.2, 0.3))))
    assert recipe.keep_for("model.layers.0.mlp.up_proj", 1.0) == 0.4
    assert recipe.keep_for("model.layers.0.attn.q", 1.0) == pytest.approx(0.3)


def test_every_field_has_help():
    for record in (Recipe, DataSettings, Where):
        assert all(item.metadata.get("help") for item in dataclasses.fields(record))
