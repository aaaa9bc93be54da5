"""Exact counts, ties to the lowest index, nested masks, on every array library."""

from itertools import pairwise

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.method import FewerError
from fewer.select import rule, select, spread_over_rows, top, top_in_rows

LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": strict.asarray}
shapes = st.tuples(st.integers(1, 9), st.integers(1, 13))


def slow_top(scores, count):
    """Largest first, ties by index: a sort of pairs."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    mask = np.zeros(len(scores), bool)
    mask[order[:count]] = True
    return mask


@pytest.mark.parametrize("library", LIBRARIES)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), st.data())
def test_top_equals_a_sort_of_pairs(library, values, data):
    count = data.draw(st.integers(0, len(values)))
    scores = np.asarray(values, dtype=np.float64)
    mask = top(LIBRARIES[library](scores), count)
    np.testing.assert_array_equal(np.asarray(mask), slow_top(scores, count))


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from(["layer", "row", "column"]))
def test_counts_are_exact_and_masks_nest(shape, seed, within):
    scores = np.random.default_rng(seed).integers(0, 4, shape).astype(float)
    before = np.zeros(shape, bool)
    for count in range(shape[0] * shape[1] + 1):
        mask = select(scores, count=count, within=within)
        assert mask.sum() == count
        assert (mask | ~before).all()
        before = mask


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.data())
def test_rows_differ_by_at_most_one(shape, seed, data):
    count = data.draw(st.integers(0, shape[0] * shape[1]))
    mask = spread_over_rows(np.random.default_rng(seed).random(shape), count)
    kept = mask.sum(axis=1)
    assert kept.max() - kept.min() <= 1
    assert (np.diff(kept) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from(["layer", "row"]), st.data())
def test_parts_of_a_rule_add_up(shape, seed, within, data):
    whole = rule(shape, count=data.draw(st.integers(0, shape[0] * shape[1])), within=within)
    cuts = sorted({0, shape[1], *data.draw(st.lists(st.integers(0, shape[1]), max_size=3))})
    scores = np.random.default_rng(seed).random(shape)
    masks = [whole.part(a, b).select(scores[:, a:b]) for a, b in pairwise(cuts)]
    joined = np.concatenate(masks, axis=1)
    assert joined.sum() == whole.count
    if within == "row":
        assert np.ptp(joined.sum(axis=1)) <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_selects_as_double(dtype):
    scores = torch.randn(7, 31, generator=torch.Generator().manual_seed(0)).to(dtype)
    for within in ("layer", "row"):
        mask = select(scores, 0.4, within=within)
        np.testing.assert_array_equal(mask.numpy(), select(scores.double().numpy(), 0.4, within=within))


def test_golden_two_of_four_with_ties():
    scores = np.array([[1.0, 1, 1, 1, 0, 3, 2, 2]])
    assert select(scores, 0.5, pattern="2:4").astype(int).tolist() == [[1, 1, 0, 0, 0, 1, 1, 0]]


def test_golden_blocks_rows_columns_layer():
    scores = np.array([[1.0, 1, 5, 0], [1, 1, 0, 0], [9, 0, 1, 1], [0, 0, 1, 1]])
    assert select(scores, 0.5, pattern="2x2").astype(int).tolist() == [[0, 0, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2
    assert select(scores, 0.5, pattern="row").any(axis=1).tolist() == [True, False, True, False]
    assert select(scores, 0.25, pattern="column").any(axis=0).tolist() == [True, False, False, False]
    assert select(scores, count=1, pattern="layer").all()
    assert not select(scores, count=0, pattern="layer").any()


def test_authors_rounding_of_rows_and_layer():
    scores = np.arange(10.0).reshape(2, 5)
    assert select(scores, 0.5, within="row", compat="wanda").sum(axis=1).tolist() == [3, 3]
    assert select(scores, 0.5, compat="wanda").sum() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, r"\(0, 1\]"),
        ({"keep": 1.5}, r"\(0, 1\]"),
        ({"count": 99}, "there are 12"),
        ({"keep": 0.5, "pattern": "2:4", "within": "row"}, "'group'"),
        ({"keep": 0.3, "pattern": "2:4"}, "keeps 0.5, not 0.3"),
        ({"keep": 0.5, "pattern": "2:5"}, "does not divide the 4 inputs of x, shape"),
        ({"keep": 0.5, "pattern": "2x3"}, "does not divide the shape"),
        ({"keep": 0.5, "pattern": "colum"}, "did you mean 'column'"),
        ({"keep": 0.5, "within": "rows"}, "did you mean 'row'"),
        ({"keep": 0.5, "compat": "wnda"}, "did you mean 'wanda'"),
    ],
)
def test_faults_are_named(options, message):
    with pytest.raises(FewerError, match=message):
        rule((3, 4), where="x", **options)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(FewerError, match="not finite"):
        select(np.array([[1.0, np.nan]]), 0.5)


def test_top_in_rows_of_nothing_and_everything():
    scores = np.ones((2, 3))
    assert not top_in_rows(scores, 0).any()
    assert top_in_rows(scores, 3).all()
    assert top(np.ones(0), 0).shape == (0,)
