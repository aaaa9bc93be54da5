"""Budgets on stored curves against exhaustive search and theory."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.budget import affordable, balanced, essential, evolution, sensitivity, tolerance, uniform
from fewer.method import FewerError

SHAPES = {"a": (2, 5), "b": (1, 10), "c": (5, 2)}
convex = st.lists(st.integers(0, 9), min_size=10, max_size=10).map(lambda falls: sorted(falls, reverse=True))


def curve_of(falls):
    """Loss at k of ten units from what each further unit saves, dearest first."""
    return {k / 10: float(sum(falls[k:])) for k in range(11)}


def cost(curve, counts):
    return sum(curve[name][counts[name] / 10] for name in counts)


@settings(max_examples=40, deadline=None)
@given(convex, convex, convex, st.integers(0, 30))
def test_sensitivity_is_optimal_on_convex_curves(a, b, c, total):
    curve = {name: curve_of(falls) for name, falls in zip(SHAPES, (a, b, c), strict=True)}
    counts = sensitivity(SHAPES, curve, total / 30)
    splits = [s for s in product(range(11), repeat=3) if sum(s) == total]
    best = min(cost(curve, dict(zip(SHAPES, split, strict=True))) for split in splits)
    assert sum(counts.values()) == total
    assert cost(curve, counts) == pytest.approx(best)


def test_sensitivity_names_what_the_curve_lacks():
    curve = {name: {0.5: 1.0} for name in SHAPES}
    with pytest.raises(FewerError, match=r"lowest levels of the curve keep 0\.5"):
        sensitivity(SHAPES, curve, 0.3)
    with pytest.raises(FewerError, match="no level of layer 'c'"):
        sensitivity(SHAPES, {"a": {0.5: 1.0}, "b": {0.5: 1.0}}, 0.7)
    with pytest.raises(FewerError, match="outside 0 to 1"):
        sensitivity({"a": (1, 4)}, {"a": {1.5: 0.0}}, 0.7)


@settings(max_examples=15, deadline=None)
@given(convex, convex, convex, convex, st.integers(3, 18), st.floats(0.0, 5.0))
def test_balanced_meets_its_constraint_and_never_beats_the_unconstrained(a, b, c, d, total, eps):
    shapes = {"a": (1, 10), "b": (1, 10)}
    slices = {"x": {"a": curve_of(a), "b": curve_of(b)}, "y": {"a": curve_of(c), "b": curve_of(d)}}
    mean = {n: {k: (slices["x"][n][k] + slices["y"][n][k]) / 2 for k in slices["x"][n]} for n in shapes}
    try:
        counts = balanced(shapes, slices, total / 20, eps=eps)
    except FewerError:
        # What one unit more or less can change is all that may have been missed.
        gaps = [abs(cost(slices["x"], s) - cost(slices["y"], s)) / 2 for s in splits_of(total)]
        assert min(gaps) > eps - max(a + b + c + d)
        return
    assert sum(counts.values()) == total
    assert max(cost(curve, counts) for curve in slices.values()) <= cost(mean, counts) + eps + 1e-9
    assert cost(mean, counts) >= cost(mean, sensitivity(shapes, mean, total / 20)) - 1e-9


def splits_of(total):
    return [{"a": i, "b": total - i} for i in range(max(0, total - 10), min(10, total) + 1)]


@settings(max_examples=25, deadline=None)
@given(convex, convex, st.integers(3, 17))
def test_balanced_of_two_opposed_slices_is_the_fair_optimum(a, b, total):
    """One slice suffers from layer a alone, the other from b alone: the least mean among fair splits is found."""
    shapes, zero = {"a": (1, 10), "b": (1, 10)}, dict.fromkeys(curve_of(a), 0.0)
    slices = {"x": {"a": curve_of(a), "b": zero}, "y": {"a": zero, "b": curve_of(b)}}
    losses = {i: (cost(slices["x"], s), cost(slices["y"], s)) for i, s in enumerate(splits_of(total))}
    eps = min(abs(x - y) / 2 for x, y in losses.values()) + 0.5
    best = min((x + y) / 2 for x, y in losses.values() if abs(x - y) / 2 <= eps + 1e-9)
    counts = balanced(shapes, slices, total / 20, eps=eps)
    found = (cost(slices["x"], counts) + cost(slices["y"], counts)) / 2
    assert abs(cost(slices["x"], counts) - cost(slices["y"], counts)) / 2 <= eps + 1e-9
    assert found == pytest.approx(best)


def test_balanced_says_how_near_it_came():
    slices = {"x": {"a": {0.5: 0.0}}, "y": {"a": {0.5: 4.0}}}
    with pytest.raises(FewerError, match=r"nearest has one 2 above"):
        balanced({"a": (1, 10)}, slices, 0.5, eps=0.1)
    with pytest.raises(FewerError, match="at least one slice"):
        balanced({"a": (1, 10)}, {}, 0.5)


@settings(max_examples=30, deadline=None)
@given(convex, st.floats(0.0, 40.0))
def test_tolerance_is_the_least_that_is_tolerable(falls, rise):
    curve = {"a": curve_of(falls), "b": curve_of([9] * 10)}
    shapes = {"a": (1, 10), "b": (1, 10)}
    least = {name: min(k for k in range(11) if curve[name][k / 10] <= rise) for name in shapes}
    if min(least.values()) == 10:
        with pytest.raises(FewerError, match="no cut"):
            tolerance(shapes, curve, rise=rise, resolution=0.1)
    else:
        assert tolerance(shapes, curve, rise=rise, resolution=0.1) == least


def test_affordable_bisects_a_measured_loss():
    asked = []

    def measure(counts):
        asked.append(dict(counts))
        return (30 - sum(counts.values())) ** 2 / 900

    counts = affordable(SHAPES, measure, rise=math.log(1.10), resolution=0.01)
    keep = next(k / 100 for k in range(1, 101) if measure(uniform(SHAPES, k / 100)) <= math.log(1.10))
    assert counts == uniform(SHAPES, keep)
    assert len(asked) < 8 + 100


def test_affordable_refuses_what_it_cannot_do():
    with pytest.raises(FewerError, match="no cut raises the loss"):
        affordable(SHAPES, lambda counts: float(sum(counts.values()) < 30), rise=0.5)
    with pytest.raises(FewerError, match="needs scores, keep"):
        affordable(SHAPES, {}, budget="global")


def test_evolution_reaches_the_optimum_and_is_repeatable():
    curve = {"a": curve_of([9] * 3 + [0] * 7), "b": curve_of([5] * 8 + [0] * 2), "c": curve_of([1] * 10)}
    counts = evolution(SHAPES, curve, 0.4, step=0.1, largest=0.5, seed=3)
    assert counts == evolution(SHAPES, curve, 0.4, step=0.1, largest=0.5, seed=3)
    assert sum(counts.values()) == 12
    assert cost(curve, counts) == pytest.approx(cost(curve, sensitivity(SHAPES, curve, 0.4)))


@settings(max_examples=15, deadline=None)
@given(convex, convex, convex, st.integers(3, 27), st.integers(0, 99))
def test_evolution_never_loses_to_uniform(a, b, c, total, seed):
    curve = {name: curve_of(falls) for name, falls in zip(SHAPES, (a, b, c), strict=True)}
    counts = evolution(SHAPES, curve, total / 30, generations=4, offspring=6, seed=seed, step=0.1)
    assert sum(counts.values()) == total
    assert all(abs(counts[n] / 10 - total / 30) <= 0.3 + 1 / 10 for n in SHAPES)
    assert cost(curve, counts) <= cost(curve, uniform(SHAPES, total / 30))


def test_evolution_needs_levels_down_to_keep():
    with pytest.raises(FewerError, match="no level at or below keep"):
        evolution(SHAPES, {name: {0.8: 1.0} for name in SHAPES}, 0.5)


def test_the_knee_of_a_hinge_is_its_corner():
    assert essential({k / 10: max(0.0, 0.4 - k / 10) for k in range(1, 11)}) == 0.4
    with pytest.raises(FewerError, match="three levels"):
        essential({1.0: 0.0, 0.5: 1.0})


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_never_ranked(lost):
    curve = {name: {0.2: 1.0, 0.6: 0.1} for name in SHAPES}
    holed = {**curve, "b": {0.2: 1.0, 0.6: lost}}
    for call in (lambda: sensitivity(SHAPES, holed, 0.5), lambda: balanced(SHAPES, {"s": holed}, 0.5)):
        with pytest.raises(FewerError, match="curve of layer 'b' has a loss that is not finite at share"):
            call()
    with pytest.raises(FewerError, match="is not finite; a knee"):
        essential({1.0: 0.0, 0.5: lost, 0.2: 1.0})
    shapes = {"a": (1, 10), "b": (1, 10)}
    found = evolution(shapes, lambda counts: lost if counts["a"] == 5 else float(counts["a"]), 0.5, step=0.1)
    assert found["a"] < 5
    with pytest.raises(FewerError, match="has a finite loss; there is nothing"):
        evolution(shapes, lambda _: lost, 0.5, step=0.1, generations=2)
