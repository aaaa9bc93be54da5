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
from fewer.method import FewerError, catalogue, find, method
from fewer.types import EVIDENCE

ENTRIES = catalogue()
SCORES = catalogue("score")
ROWS, COLUMNS = 6, 8


def label(entry):
    return f"{entry.kind}:{entry.name}"


def evidence(needs, seed=0):
    """Valid evidence of every kind for a layer of 6 rows and 8 columns."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, COLUMNS)) * np.linspace(0.5, 2, COLUMNS)
    grads = rng.standard_normal((5, ROWS, COLUMNS))
    known = {
        "weight": rng.standard_normal((ROWS, COLUMNS)),
        "input_norm": np.sqrt((x**2).mean(axis=0)),
        "input_gram": x.T @ x / len(x),
        "input_mean": x.mean(axis=0),
        "input_var": x.var(axis=0),
        "grad": grads.mean(axis=0),
        "grad_abs": np.abs(grads).mean(axis=0),
        "grad_sq": (grads**2).mean(axis=0),
        "output_grad_norm": rng.random(ROWS) + 0.1,
        "block_similarity": np.asarray(0.9),
    }
    for name in needs:
        if name not in known and name in EVIDENCE:
            known[name] = rng.standard_normal((ROWS, COLUMNS))
    return [known[name] for name in needs]


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
    room = sys.modules[".".join(entry.target.__module__.split(".")[:2])]
    assert entry.target.__name__ in room.__all__


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


@pytest.mark.parametrize("entry", [s for s in SCORES if s.papers], ids=label)
def test_permuting_rows_permutes_scores(entry):
    order = np.random.default_rng(1).permutation(ROWS)
    given = evidence(entry.needs)
    moved = [a[order] if a.ndim and a.shape[0] == ROWS else a for a in given]
    np.testing.assert_allclose(entry.target(*moved), entry.target(*given)[order], rtol=1e-9, atol=1e-12)


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
