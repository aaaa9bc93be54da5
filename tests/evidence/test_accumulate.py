from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.evidence import KINDS

SHAPE = (3, 4)


def rows_for(name: str, count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    width = {"output-gradient": (3,), "input": (4,), "block": (8,)}.get(KINDS[name].source, SHAPE)
    return torch.randn(count, *width, generator=draw) * 3 + 100


# A variance within sequences is of whole sequences: cutting one makes two.
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"input_var_within"}))
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 17), max_size=4), seed=st.integers(0, 99))
def test_any_split_merged_in_any_order_equals_one_pass(name, cuts, seed):
    rows = rows_for(name, 17, seed)
    make = lambda: KINDS[name].zeros(SHAPE, torch.float64)  # noqa: E731
    whole = make()
    whole.update(rows)
    edges = [0, *sorted(cuts), 17]
    parts = []
    for start, stop in pairwise(edges):
        part = make()
        part.update(rows[start:stop])
        parts.append(part)
    joined = make()
    for part in reversed(parts):
        joined = joined.merge(part)
    assert joined.count == whole.count == 17
    torch.testing.assert_close(joined.finalise(), whole.finalise(), rtol=1e-6, atol=1e-9)


# Factors that are drawn are there before anything is seen.
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"lora_a", "pst_a"}))
def test_nothing_seen_is_zero(name):
    empty = KINDS[name].zeros(SHAPE, torch.float32)
    empty.update(rows_for(name, 0, 0))
    assert torch.count_nonzero(empty.finalise()) == 0


def test_variance_does_not_cancel():
    """A sum of squares minus a squared mean would lose every digit here."""
    held = KINDS["input_var"].zeros((1, 1), torch.float32)
    for value in (1e8, 1e8 + 1, 1e8 + 2):
        held.update(torch.tensor([[value]], dtype=torch.float64))
    assert float(held.finalise()) == pytest.approx(2 / 3)


def test_bfloat16_is_squared_in_float32():
    x = torch.full((300, 4), 1.0078125, dtype=torch.bfloat16)
    held = KINDS["input_norm"].zeros(SHAPE, torch.float32)
    held.update(x)
    assert held.finalise().tolist() == [1.0078125] * 4
