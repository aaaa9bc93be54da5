import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.select import rule
from fewer.update import dsnot


def problem(seed, rows=5, columns=16):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, columns))
    norm, mean, var = rng.random(columns) + 0.1, rng.standard_normal(columns), rng.random(columns) + 0.1
    return weight, norm, mean, var


def reference(weight, mask, norm, mean, var, groups=0, cycles=50, threshold=0.1):
    """Row by row with lists, as the paper tells it."""
    mask = mask.copy()
    for i, row in enumerate(weight):
        value, price = row * mean, np.abs(row) * norm
        error = value[~mask[i]].sum()
        first = np.sign(error)
        dropped = sorted(np.flatnonzero(~mask[i]), key=lambda j: value[j] / var[j])
        cheap = sorted(np.flatnonzero(mask[i]), key=lambda j: price[j])
        for _ in range(cycles):
            if abs(error) <= threshold:
                break
            grow = [j for j in dropped if value[j] * error > 0]
            if not grow:
                break
            best = grow[-1] if error > 0 else grow[0]
            drop = (
                [j for j in cheap if j // groups == best // groups]
                if groups
                else [j for j in cheap if value[j] * error < 0]
            )
            if not drop:
                break
            after = error + value[drop[0]] - value[best]
            if groups and np.sign(after) != first:
                break
            mask[i, best], mask[i, drop[0]] = True, False
            dropped.remove(best)
            cheap.remove(drop[0])
            error = after
    return mask


@pytest.mark.parametrize("xp", [np, torch, strict], ids=["numpy", "torch", "strict"])
@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_masks_equal_the_loop(xp, seed):
    weight, norm, mean, var = problem(seed)
    mask = rule(weight.shape, 0.5, within="row").select(np.abs(weight) * norm)
    made = dsnot(*(xp.asarray(a) for a in (weight, mask, norm, mean, var)), length=1.0)
    np.testing.assert_array_equal(np.asarray(made.mask), reference(weight, mask, norm, mean, var))


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_masks_of_groups_equal_the_loop_and_stay_in_their_pattern(seed):
    weight, norm, mean, var = problem(seed)
    chosen = rule(weight.shape, 0.5, pattern="2:4")
    mask = chosen.select(np.abs(weight) * norm)
    made = dsnot(weight, mask, norm, mean, var, limits=chosen, length=1.0)
    np.testing.assert_array_equal(made.mask, reference(weight, mask, norm, mean, var, groups=4))
    np.testing.assert_array_equal(chosen.select(made.mask.astype(float)), made.mask)


def test_the_mean_error_falls_and_no_weight_changes():
    weight, norm, mean, var = problem(3, rows=40, columns=64)
    mask = rule(weight.shape, 0.5, within="row").select(np.abs(weight) * norm)
    made = dsnot(weight, mask, norm, mean, var, length=1.0)
    lost = [np.abs(np.where(m, 0.0, weight) @ mean).sum() for m in (mask, made.mask)]
    assert lost[1] < 0.5 * lost[0]
    np.testing.assert_array_equal(made.weight[made.mask], weight[made.mask])
    np.testing.assert_array_equal(made.mask.sum(axis=1), mask.sum(axis=1))


def test_inputs_that_never_fire_are_survived():
    weight, norm, mean, var = problem(4)
    norm[2], mean[2], var[2] = 0.0, 0.0, 0.0
    mask = rule(weight.shape, 0.5, within="row").select(np.abs(weight) * norm)
    assert dsnot(weight, mask, norm, mean, var).mask.sum() == mask.sum()


def test_rounding_of_a_lost_sum_exchanges_nothing():
    weight, one = np.array([[0.1, 0.2, -0.3, 0.4, -0.4]]), np.ones(5)
    mask = np.array([[False, False, False, True, True]])
    made = dsnot(weight, mask, one, one, one, length=1.0, threshold=0.0)
    assert made.notes["exchanges"] == 0 and np.array_equal(made.mask, mask)
