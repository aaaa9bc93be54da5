"""Fields of penalties: another type, or a number out of range, is one line that names the field."""

from __future__ import annotations

import dataclasses
import math

import pytest

from fewer import penalty
from fewer.method import FewerError

MADE = {
    penalty.Fused: {}, penalty.L1: {}, penalty.WeightedL1: {"factors": [1.0]}, penalty.ElasticNet: {},
    penalty.Slope: {"scales": [1.0]}, penalty.KSupport: {}, penalty.NMProjection: {}, penalty.Nuclear: {},
    penalty.Group: {"groups": [[0]]}, penalty.SparseGroup: {"groups": [[0]]}, penalty.L0: {}, penalty.L05: {},
    penalty.LogSum: {}, penalty.MCP: {}, penalty.SCAD: {},
}  # fmt: skip
WRONG = (None, "a", -1.0, math.nan, True, (2.0, 4.0), {"a": 1}, object())


@pytest.mark.parametrize("cls", MADE)
def test_a_wrong_number_is_named(cls):
    for field in dataclasses.fields(cls):
        if field.type not in ("NotNegative", "Share", "Count", "Positive", "float"):
            continue
        for value in WRONG:
            with pytest.raises(FewerError, match=field.name):
                cls(**{**MADE[cls], field.name: value})


@pytest.mark.parametrize("groups", [3, "ab", [0, 1], [[0.5]], None])
@pytest.mark.parametrize("cls", [penalty.Group, penalty.SparseGroup])
def test_groups_are_lists_of_positions(cls, groups):
    with pytest.raises(FewerError, match="groups is"):
        cls(groups)


def test_a_range_of_its_own_stands_before_that_of_the_name():
    assert penalty.LogSum(eps=5.0).eps == 5.0


def test_arrays_become_plain_numbers():
    import numpy as np

    made = penalty.Group([np.array([0, 1])], lam=np.float32(0.5))
    assert made.groups == ((0, 1),) and made.lam == 0.5 and type(made.groups[0][0]) is int
