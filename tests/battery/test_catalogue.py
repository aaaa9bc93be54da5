"""Laws over the whole catalogue: being registered means being tested."""

import inspect
import pickle
import re
import subprocess
import sys

import array_api_strict as strict
import numpy as np
import pytest
import torch

import fewer
from fewer.listing import listing
from fewer.method import ROOMS, FewerError, catalogue, find, method
from fewer.types import EVIDENCE

ENTRIES = catalogue()
SCORES = catalogue("score")
ROWS, COLUMNS = 6, 8


def label(entry):
    return f"{entry.kind}:{entry.name}"


def evidence(needs, seed=0, shape=(ROWS, COLUMNS)):
    """Valid evidence of every kind for one layer; shapes of the rarer kinds are read off the vocabulary."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    x = rng.standard_normal((50, columns)) * np.linspace(0.5, 2, columns)
    grads = rng.standard_normal((5, rows, columns))
    known = {
        "weight": rng.standard_normal((rows, columns)),
        "input_norm": np.sqrt((x**2).mean(axis=0)),
        "input_gram": x.T @ x / len(x),
        "input_mean": x.mean(axis=0),
        "input_var": x.var(axis=0),
        "grad": grads.mean(axis=0),
        "grad_abs": np.abs(grads).mean(axis=0),
        "grad_sq": (grads**2).mean(axis=0),
        "output_grad_norm": rng.random(rows) + 0.1,
        "block_similarity": np.asarray(0.9),
    }
    size = {"out": rows, "in": columns, "rank": 3, "tokens": 12}
    for name in [n for n in needs if n not in known]:
        sides = re.match(r"\(([a-z, ]*)\)", EVIDENCE[name])[1].replace(" ", "").split(",")
        drawn = rng.standard_normal([size[side] for side in sides if side])
        known[name] = drawn**2 if name.endswith("_sq") else drawn
    return [known[name] for name in needs]


def test_the_listing_read_from_the_source_is_the_catalogue():
    facts = ("kind", "name", "family", "status", "formula", "summary")
    listed, entered = ([[getattr(x, fact) for fact in facts] for x in found] for found in (listing(), ENTRIES))
    assert listed == entered
    assert all(entry.method() is found for entry, found in zip(listing(), ENTRIES, strict=True))


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_every_method_is_documented(entry):
    text = inspect.getdoc(entry.target) or ""
    assert entry.summary.endswith((".", ":")), "the first line is a sentence"
    assert ">>>" in text, "a runnable example"
    assert entry.formula or entry.kind in ("verb", "evidence"), "the rule in one line"
    if entry.kind not in ("evidence", "penalty"):  # definitions of mathematics have no paper
        assert entry.papers or entry.status == "ours", "a source, or ours"
    if entry.papers:
        assert all(1900 < paper.year <= 2026 for paper in entry.papers)


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_every_method_pickles_as_itself_and_is_exported(entry):
    assert pickle.loads(pickle.dumps(entry.target)) is entry.target
    rooms = [f"fewer.{room}" for room in ROOMS if entry.target.__module__.startswith(f"fewer.{room}")]
    assert any(entry.target.__name__ in sys.modules[room].__all__ for room in rooms)


@pytest.mark.parametrize("entry", SCORES, ids=label)
def test_a_score_has_the_shape_and_is_finite_and_repeatable(entry):
    given = evidence(entry.needs)
    scores = entry.target(*given)
    assert scores.shape == (ROWS, COLUMNS)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, entry.target(*evidence(entry.needs)))
    for array, fresh in zip(given, evidence(entry.needs), strict=True):
        np.testing.assert_array_equal(array, fresh, err_msg="evidence must not be written to")


@pytest.mark.parametrize("entry", SCORES, ids=label)
@pytest.mark.parametrize("library", [torch.as_tensor, strict.asarray], ids=["torch", "strict"])
def test_a_score_is_the_same_on_every_library(entry, library):
    given = evidence(entry.needs)
    scores = entry.target(*[library(array) for array in given])
    np.testing.assert_allclose(np.asarray(scores), entry.target(*given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entry", SCORES, ids=label)
def test_a_score_keeps_the_dtype(entry):
    given = [torch.as_tensor(a, dtype=torch.float32) for a in evidence(entry.needs)]
    assert entry.target(*given).dtype == torch.float32


#: A draw goes by position; so does a mean over neighbours, which can be switched off.
DRAWN = [s for s in SCORES if "seed" in s.knobs]


@pytest.mark.parametrize("entry", [s for s in SCORES if s not in DRAWN], ids=label)
@pytest.mark.parametrize("side", ["out", "in"])
def test_permuting_units_permutes_scores(entry, side):
    size, axis = (ROWS, 0) if side == "out" else (COLUMNS, 1)
    order = np.random.default_rng(1).permutation(size)
    options = {"neighbourhood": 1} if "neighbourhood" in entry.knobs else {}
    given, moved = evidence(entry.needs), []
    for array in given:
        for dimension in range(array.ndim):
            array = np.take(array, order, dimension) if array.shape[dimension] == size else array
        moved.append(array)
    expected = np.take(entry.target(*given, **options), order, axis)
    np.testing.assert_allclose(entry.target(*moved, **options), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entry", DRAWN, ids=label)
def test_a_draw_changes_with_its_seed_alone(entry):
    given = evidence(entry.needs)
    np.testing.assert_array_equal(entry.target(*given, seed=5), entry.target(*given, seed=5))
    assert not np.array_equal(entry.target(*given, seed=5), entry.target(*given, seed=6))


@pytest.mark.parametrize("entry", SCORES, ids=label)
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (1, 1), (1, 5), (3, 1)], ids=str)
def test_a_score_of_a_tiny_layer(entry, shape):
    if 0 in shape and "input_gram" in entry.needs:
        pytest.skip("no second moment without inputs")
    scores = entry.target(*evidence(entry.needs, shape=shape))
    assert scores.shape == shape
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("entry", catalogue("update"), ids=label)
def test_an_update_respects_its_mask_and_leaves_a_full_one_alone(entry):
    names = [n for n in entry.needs if n != "mask"]
    supply = dict(zip(names, (torch.as_tensor(a) for a in evidence(names)), strict=True))
    mask = torch.as_tensor(np.random.default_rng(2).random((ROWS, COLUMNS)) > 0.5)
    made = entry.target(*[mask if n == "mask" else supply[n] for n in entry.needs])
    assert made.weight.shape == (ROWS, COLUMNS)
    assert (made.weight[~made.mask] == 0).all()
    assert int(made.mask.sum()) == int(mask.sum())
    full = torch.ones_like(mask)
    same = entry.target(*[full if n == "mask" else supply[n] for n in entry.needs])
    np.testing.assert_allclose(same.weight, supply["weight"], rtol=1e-7, atol=1e-9)


def test_the_decorator_returns_the_function_and_refuses_a_second_one():
    def mine(weight, /, *, power=1.0):
        return weight

    assert method("score", "battery-only", formula="w", status="ours")(mine) is mine
    with pytest.raises(FewerError, match="registered twice"):

        @method("score", "battery-only", formula="w", status="ours")
        def other(weight, /):
            return weight

    with pytest.raises(FewerError, match="lower-case"):
        method("score", "Not This")(mine)
    from fewer import method as home

    del home._entries["score", "battery-only"]


def test_unknown_names_and_knobs_suggest_the_nearest():
    with pytest.raises(FewerError, match="did you mean 'wanda'"):
        find("score", "wnada")
    with pytest.raises(FewerError, match="no option 'powr'; did you mean 'power'"):
        find("score", "wanda").check_knobs({"powr": 2})


def test_public_names_exist():
    for name in fewer.__all__:
        assert getattr(fewer, name) is not None


@pytest.mark.parametrize("room", ["pattern", "score", "budget", "penalty", "update", "select"])
def test_a_pure_room_imports_no_array_library(room):
    code = f"import sys, fewer.{room}; print([m for m in ('numpy', 'torch', 'scipy', 'sklearn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_arxiv_numbers_look_like_one(entry):
    assert all(re.fullmatch(r"(\d{4}\.\d{4,5})?", paper.arxiv) for paper in entry.papers)
