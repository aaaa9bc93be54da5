from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewer.evidence import InputSample, InputVarWithin, collect


def test_variance_within_sequences_equals_numpy_however_they_are_merged():
    x = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)) + torch.arange(5.0)[:, None, None]
    parts = [InputVarWithin.zeros((1, 3), torch.float32) for _ in range(2)]
    for held, piece in zip(parts, (x[:2], x[2:]), strict=True):
        held.add(held.part_of(piece.reshape(-1, 3), [7] * len(piece)), 7 * len(piece))
    found = parts[1].merge(parts[0]).finalise()
    np.testing.assert_allclose(found, x.numpy().var(axis=1).mean(axis=0), rtol=1e-5)


def test_the_pass_tells_where_sequences_end():
    x = torch.randn(4, 6, 8) + torch.arange(4.0)[:, None, None] * 10
    model = nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 2))
    found = collect(model, [{"input": x}], ("input_var_within", "input_var"))["0"]
    np.testing.assert_allclose(found["input_var_within"], x.numpy().var(axis=1).mean(axis=0), rtol=1e-4)
    assert (found["input_var"] > 10 * found["input_var_within"]).all()


@pytest.mark.parametrize("count", [0, 3, 512, 2000])
def test_a_sample_holds_rows_that_were_seen_and_no_more_than_its_room(count):
    rows = torch.randn(count, 4)
    held = InputSample.zeros((1, 4), torch.float32)
    for piece in rows.split(100):
        held.update(piece)
    found = held.finalise()
    assert found.shape == (min(count, 512), 4)
    assert {tuple(row) for row in found.tolist()} <= {tuple(row) for row in rows.tolist()}


def test_a_sample_is_spread_over_the_tokens():
    rows = torch.arange(5120.0)[:, None].repeat(1, 3)
    held = InputSample.zeros((1, 3), torch.float32)
    held.update(rows)
    tenths = torch.histc(held.finalise()[:, 0], 10, 0, 5120)
    assert tenths.min() > 20
