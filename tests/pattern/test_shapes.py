"""Grids of units: pooling and spreading are each other's transposes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.method import FewerError
from fewer.pattern import NM, Block, parse

TEXTS = ["unstructured", "2:4", "1:4", "2x3", "16x1", "row", "column", "layer"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(text):
    assert str(parse(text)) == text
    assert parse(parse(text)) == parse(text)


@pytest.mark.parametrize("text", ["2:0", "5:4", "0x1", "2:4:8", "", "2/4"])
def test_no_pattern(text):
    with pytest.raises(FewerError):
        parse(text)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_a_unit_scores_the_sum_of_its_weights(h, w, rows, columns, seed):
    pattern, shape = Block(h, w), (h * rows, w * columns)
    scores = np.random.default_rng(seed).random(shape)
    pooled = pattern.pool(scores)
    assert pooled.shape == pattern.grid(shape) == (rows, columns)
    for i in range(rows):
        for j in range(columns):
            assert np.isclose(pooled[i, j], scores[i * h : i * h + h, j * w : j * w + w].sum())


@pytest.mark.parametrize("text", ["unstructured", "2x3", "row", "column", "layer"])
def test_spread_keeps_whole_units(text):
    pattern, shape = parse(text), (4, 6)
    units = np.random.default_rng(0).random(pattern.grid(shape)) > 0.5
    mask = pattern.spread(units, shape)
    assert mask.shape == shape
    np.testing.assert_array_equal(pattern.pool(mask.astype(float)) > 0, units)
    np.testing.assert_array_equal(pattern.spread(torch.as_tensor(units), shape).numpy(), mask)


def test_nm_fixes_the_share():
    assert NM(1, 4).keep == 0.25
    assert parse("row").keep is None
