import numpy as np
import pytest
import torch
from problems import error, layer, random_mask

from fewer.select import rule
from fewer.update import admm, least_squares, zero


def reference(weight, gram, dropped, steps=20, ramp=15, rho=1.0, damping=0.1):
    """Algorithm 2 of the paper, one entry list at a time."""
    scale = np.sqrt(np.diag(gram))
    matrix = gram / np.outer(scale, scale) + damping * np.eye(len(gram))
    dense = weight * scale
    free, dual = dense.copy(), np.zeros_like(dense)
    for step in range(steps):
        if step < ramp:
            gone = round(dropped * (1 - (1 - (step + 1) / ramp) ** 3))
            order = np.argsort(np.abs(free + dual), axis=None)
            mask = np.ones(dense.size, dtype=bool)
            mask[order[:gone]] = False
            mask = mask.reshape(dense.shape)
        sparse = (free + dual) * mask
        dual = dual + free - sparse
        free = (dense @ matrix + rho * (sparse - dual)) @ np.linalg.inv(matrix + rho * np.eye(len(gram)))
    return (free + dual) * mask / scale, mask


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_equals_the_paper(xp):
    weight, _, gram = layer(rows=8, columns=16, tokens=80)
    made = admm(xp.asarray(weight), xp.asarray(weight != 0), xp.asarray(gram), rule=rule(weight.shape, 0.4))
    expected, mask = reference(weight, gram, weight.size - round(weight.size * 0.4))
    np.testing.assert_array_equal(np.asarray(made.mask), mask)
    np.testing.assert_allclose(np.asarray(made.weight), expected, atol=1e-9)


def test_a_fixed_mask_converges_to_least_squares():
    weight, _, gram = layer(tokens=200)
    mask = random_mask(weight.shape)
    made = admm(weight, mask, gram, damping=0.0, steps=3000)
    np.testing.assert_allclose(made.weight, least_squares(weight, mask, gram).weight, atol=1e-4)


@pytest.mark.parametrize("pattern", ["2:4", "row", "2x2", "column"])
def test_any_pattern_is_met_and_beats_zeroing(pattern):
    weight, _, gram = layer(rows=8, columns=16, tokens=80)
    chosen = rule(weight.shape, 0.5, pattern=pattern)
    made = admm(weight, weight != 0, gram, rule=chosen)
    np.testing.assert_array_equal(chosen.select(made.mask.astype(float)), made.mask)
    assert error(made.weight, weight, gram) < 1.01 * error(zero(weight, made.mask).weight, weight, gram)
