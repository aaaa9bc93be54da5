import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import error, layer, random_mask

from fewer.method import FewerError
from fewer.select import rule
from fewer.update import least_squares, sweep


def factor(gram, damping=0.01):
    ridge = gram + damping * np.mean(np.diag(gram)) * np.eye(len(gram))
    return np.linalg.cholesky(np.linalg.inv(ridge)).T


def fixed(weight, mask, gram):
    """Column by column, as algorithm 1 of the paper without its mask selection."""
    weight, upper = weight.copy(), factor(gram)
    for j in range(weight.shape[1]):
        lost = np.where(mask[:, j], 0.0, weight[:, j] / upper[j, j])
        weight[:, j + 1 :] -= np.outer(lost, upper[j, j + 1 :])
    return np.where(mask, weight, 0.0)


def adaptive(weight, gram, share, block, groups=None):
    """Algorithm 1 with its mask selection: per block, or per group of m (drop n)."""
    weight, upper = weight.copy(), factor(gram)
    mask = np.ones(weight.shape, dtype=bool)
    for j in range(weight.shape[1]):
        width = groups[1] if groups else block
        if j % width == 0:
            worth = weight[:, j : j + width] ** 2 / np.diag(upper)[j : j + width] ** 2
            drop = np.argsort(worth, axis=1)[:, : groups[0]] if groups else np.argsort(worth, axis=None)
            chosen = np.ones(worth.shape, dtype=bool)
            if groups:
                np.put_along_axis(chosen, drop, False, axis=1)
            else:
                chosen.reshape(-1)[drop[: round(worth.size * share)]] = False
            mask[:, j : j + width] = chosen
        lost = np.where(mask[:, j], 0.0, weight[:, j] / upper[j, j])
        weight[:, j + 1 :] -= np.outer(lost, upper[j, j + 1 :])
    return np.where(mask, weight, 0.0), mask


@pytest.mark.parametrize("xp", [np, torch, strict], ids=["numpy", "torch", "strict"])
@pytest.mark.parametrize(("columns", "block"), [(12, 128), (13, 5), (1, 4), (40, 8)])
def test_equals_the_column_loop_on_a_fixed_mask(xp, columns, block):
    weight, _, gram = layer(columns=columns, tokens=200)
    mask = random_mask(weight.shape)
    made = sweep(xp.asarray(weight), xp.asarray(mask), xp.asarray(gram), block=block)
    np.testing.assert_allclose(np.asarray(made.weight), fixed(weight, mask, gram), atol=1e-9)


@pytest.mark.parametrize("xp", [np, torch, strict], ids=["numpy", "torch", "strict"])
def test_equals_the_paper_where_the_mask_adapts_by_block(xp):
    weight, _, gram = layer(rows=6, columns=24, tokens=100)
    chosen = rule(weight.shape, 0.5)
    made = sweep(xp.asarray(weight), xp.asarray(weight != 0), xp.asarray(gram), rule=chosen, block=8)
    expected, mask = adaptive(weight, gram, 0.5, 8)
    np.testing.assert_array_equal(np.asarray(made.mask), mask)
    np.testing.assert_allclose(np.asarray(made.weight), expected, atol=1e-9)


@pytest.mark.parametrize(("text", "groups"), [("2:4", (2, 4)), ("4:8", (4, 8)), ("1:3", (2, 3)), ("2:6", (4, 6))])
def test_equals_the_paper_for_groups(text, groups):
    weight, _, gram = layer(rows=6, columns=24, tokens=100)
    made = sweep(weight, weight != 0, gram, rule=rule(weight.shape, (groups[1] - groups[0]) / groups[1], pattern=text))
    expected, mask = adaptive(weight, gram, 0, 0, groups)
    np.testing.assert_array_equal(made.mask, mask)
    np.testing.assert_allclose(made.weight, expected, atol=1e-9)


@pytest.mark.parametrize("pattern", ["row", "2x3", "1x4", "column", "unstructured"])
@given(st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_any_pattern_is_met_to_the_unit(pattern, seed):
    weight, _, gram = layer(rows=6, columns=12, seed=seed)
    chosen = rule(weight.shape, 0.5, pattern=pattern)
    made = sweep(weight, weight != 0, gram, rule=chosen, block=6)
    assert made.mask.sum() == weight.size // 2
    np.testing.assert_array_equal(chosen.select(made.mask.astype(float)), made.mask)


def test_the_exact_solution_on_its_mask_is_no_worse():
    weight, _, gram = layer(columns=24)
    made = sweep(weight, weight != 0, gram, rule=rule(weight.shape, 0.5))
    exact = least_squares(weight, made.mask, gram).weight
    assert error(exact, weight, gram) < error(made.weight, weight, gram)


def test_inputs_that_never_fire_go_first_and_disturb_nothing():
    weight, _, gram = layer(columns=12)
    gram[[3, 7], :] = gram[:, [3, 7]] = 0.0
    made = sweep(weight, weight != 0, gram, rule=rule(weight.shape, 0.8))
    assert not made.mask[:, [3, 7]].any()
    assert np.isfinite(made.weight).all()


def test_a_singular_matrix_is_damped_and_said():
    weight, _, gram = layer(columns=12, tokens=3)
    made = sweep(weight, random_mask(weight.shape), gram, damping=0.0)
    assert np.isfinite(made.weight).all()
    assert "damping" in made.notes["singular"]


def test_half_precision_weights_come_back_as_they_went():
    weight, _, gram = layer()
    made = sweep(torch.tensor(weight, dtype=torch.bfloat16), torch.tensor(weight > 0), torch.tensor(gram).float())
    assert made.weight.dtype == torch.bfloat16


def test_a_gram_matrix_of_another_size_is_refused():
    weight, _, _ = layer()
    with pytest.raises(FewerError, match="12 inputs"):
        sweep(weight, weight > 0, np.eye(5))
