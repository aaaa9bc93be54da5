"""Schedules: end points, monotone, values by hand."""

from itertools import pairwise

import pytest

from fewer.budget import constant, cosine, cubic, linear
from fewer.method import FewerError, catalogue


@pytest.mark.parametrize("entry", catalogue("schedule"), ids=lambda m: m.name)
def test_every_schedule_ends_where_it_should_and_never_grows(entry):
    values = [entry.target(i / 20, start=1.0, end=0.3) for i in range(21)]
    assert values[-1] == pytest.approx(0.3)
    assert all(a >= b - 1e-12 for a, b in pairwise(values))


@pytest.mark.parametrize("schedule", [linear, cosine, cubic])
def test_begin_and_finish(schedule):
    assert schedule(0.1, end=0.5, begin=0.2, finish=0.8) == 1.0
    assert schedule(0.9, end=0.5, begin=0.2, finish=0.8) == pytest.approx(0.5)
    with pytest.raises(FewerError, match="begin"):
        schedule(0.5, end=0.5, begin=0.8, finish=0.2)


def test_values_by_hand():
    assert linear(0.25, end=0.0) == 0.75
    assert cubic(0.5, end=0.0) == 0.125
    assert cosine(1 / 3, end=0.0) == pytest.approx(0.75)
    assert constant(0.0, end=0.2) == 0.2
