import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import error, layer, random_mask

from fewer.method import FewerError
from fewer.update import least_squares, zero
from fewer.update._supports import solve_on_supports


def reference(weight, mask, inputs):
    """Row by row, regress the dense responses on the kept inputs."""
    made = np.zeros_like(weight)
    for i, row in enumerate(weight):
        kept = np.flatnonzero(mask[i])
        made[i, kept] = np.linalg.lstsq(inputs[:, kept], inputs @ row, rcond=None)[0]
    return made


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("xp", [np, torch, strict], ids=["numpy", "torch", "strict"])
def test_equals_regression_on_the_inputs(xp, keep):
    weight, inputs, gram = layer()
    mask = random_mask(weight.shape, keep)
    made = least_squares(xp.asarray(weight), xp.asarray(mask), xp.asarray(gram))
    np.testing.assert_allclose(np.asarray(made.weight), reference(weight, mask, inputs), atol=1e-9)


@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_never_worse_than_zeroing(rows, columns, seed):
    weight, _, gram = layer(rows, columns, tokens=1 + seed % 20, seed=seed)
    mask = random_mask(weight.shape, 0.5, seed)
    exact, plain = least_squares(weight, mask, gram), zero(weight, mask)
    assert error(exact.weight, weight, gram) <= error(plain.weight, weight, gram) * (1 + 1e-9) + 1e-12
    assert not exact.weight[~mask].any()


def test_full_rows_are_left_alone_to_the_bit():
    weight, _, gram = layer()
    mask = random_mask(weight.shape)
    mask[2] = True
    np.testing.assert_array_equal(least_squares(weight, mask, gram).weight[2], weight[2])


def test_fewer_tokens_than_inputs_are_damped_and_said():
    weight, _, gram = layer(columns=12, tokens=4)
    made = least_squares(weight, random_mask(weight.shape), gram)
    assert np.isfinite(made.weight).all()
    assert made.notes["damping"] > 0
    assert "damped" in made.notes["singular"]


def test_dead_inputs_do_not_disturb():
    weight, _, gram = layer()
    gram[3, :] = gram[:, 3] = 0.0
    mask = random_mask(weight.shape)
    made = least_squares(weight, mask, gram).weight
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[mask[:, 3], 3], weight[mask[:, 3], 3])


def test_batches_of_supports_equal_single_solves(monkeypatch):
    monkeypatch.setenv("FEWER_TIER", "dense")
    monkeypatch.setattr("fewer.update._supports._BATCH", 40)
    weight, _, gram = layer(rows=9)
    mask = random_mask(weight.shape, 0.4)
    made = solve_on_supports(gram, weight, mask)
    for i, kept in enumerate(mask):
        np.testing.assert_allclose(made[i, kept], np.linalg.solve(gram[np.ix_(kept, kept)], weight[i, kept]))


@pytest.mark.parametrize("gram", [np.ones((2, 3)), np.full((12, 12), np.nan)])
def test_a_bad_gram_matrix_is_one_clear_line(gram):
    weight, _, _ = layer()
    with pytest.raises(FewerError, match="Gram matrix"):
        least_squares(weight, random_mask(weight.shape), gram)
