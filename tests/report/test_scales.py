from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.report.curves import spread
from fewer.report.scale import Linear, Log, linear, log

POSITIVE = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=8)
FINITE = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(POSITIVE)
def test_a_log_scale_holds_its_values_and_labels_them(values):
    scale = log(values, 0, 100)
    assert all(scale.holds(v) and 0 <= scale(v) <= 100 for v in values)
    ticks = scale.ticks()
    assert len(ticks) >= 2
    assert ticks == sorted(set(ticks)) and all(scale.low * 0.99 <= t <= scale.high * 1.01 for t in ticks)


@settings(max_examples=50, deadline=None)
@given(FINITE)
def test_a_linear_scale_holds_its_values_and_labels_them(values):
    scale = linear(values, 50, 0)
    assert all(scale.holds(v) and 0 <= scale(v) <= 50 for v in values)
    assert 2 <= len(scale.ticks()) <= 11


def test_equal_ratios_are_equal_steps():
    scale = Log(0.01, 100.0, 0.0, 400.0)
    assert [scale(v) for v in (0.01, 0.1, 1.0, 100.0)] == pytest.approx([0, 100, 200, 400])


def test_what_is_off_the_paper_stands_at_its_edge():
    assert [Linear(0, 1, 10, 20)(v) for v in (-5.0, 0.5, 7.0)] == [10, 15, 20]
    assert Log(1, 10, 5, 9)(0.0) == 5


def test_values_that_are_not_finite_do_not_set_the_scale():
    assert log([1.0, 3.0, math.inf], 0, 1).high < 4
    assert linear([math.nan, 1.0, 2.0], 0, 1).high < 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 200), max_size=10))
def test_spread_labels_never_overlap_and_keep_their_order(places):
    moved = spread(places, 13, 0, 200)
    order = sorted(range(len(places)), key=places.__getitem__)
    gaps = [moved[b] - moved[a] for a, b in pairwise(order)]
    assert all(gap >= 13 - 1e-9 for gap in gaps)
    assert all(-1e-9 <= place <= 200 for place in moved)
