"""Every score against slow loops in float64, written from its paper."""

import math

import numpy as np
import pytest
import torch

from fewer.score import contrast, fisher, gblm, magnitude, obs, product, random, ria, taylor, total, wanda
from fewer.select import select

RNG = np.random.default_rng(7)
W = RNG.standard_normal((5, 6))
X = RNG.standard_normal((40, 6)) * np.linspace(0.2, 3, 6)
NORM = np.sqrt((X**2).mean(axis=0))
GRADS = RNG.standard_normal((8, 5, 6))
GRAM = X.T @ X / len(X)


def loops(rule):
    return np.array([[rule(i, j) for j in range(6)] for i in range(5)])


def masks_equal(scores, reference, **options):
    np.testing.assert_allclose(scores, reference, rtol=1e-12)
    for keep in (0.1, 0.5, 0.9):
        np.testing.assert_array_equal(select(scores, keep, **options), select(reference, keep, **options))


def test_magnitude():
    masks_equal(magnitude(W), loops(lambda i, j: math.fabs(W[i, j])))


def test_wanda_with_the_papers_norm_gives_the_same_mask():
    norm = [math.sqrt(sum(float(x) ** 2 for x in X[:, j])) for j in range(6)]
    reference = loops(lambda i, j: abs(W[i, j]) * norm[j])
    np.testing.assert_allclose(wanda(W, NORM) * math.sqrt(len(X)), reference)
    for keep in (0.2, 0.5):
        np.testing.assert_array_equal(select(wanda(W, NORM), keep, within="row"), select(reference, keep, within="row"))


def test_ria():
    def rule(i, j):
        row, column = sum(abs(W[i, k]) for k in range(6)), sum(abs(W[k, j]) for k in range(5))
        return (abs(W[i, j]) / row + abs(W[i, j]) / column) * NORM[j] ** 0.5

    masks_equal(ria(W, NORM), loops(rule))


def test_taylor_and_fisher():
    masks_equal(taylor(W, GRADS.mean(axis=0)), loops(lambda i, j: abs(W[i, j] * GRADS[:, i, j].mean())))
    masks_equal(
        fisher(W, (GRADS**2).mean(axis=0)),
        loops(lambda i, j: W[i, j] ** 2 / 2 * sum(g**2 for g in GRADS[:, i, j]) / len(GRADS)),
    )


def test_gblm_restores_the_papers_norms():
    def rule(i, j):
        activation = math.sqrt(sum(float(x) ** 2 for x in X[:, j]))
        gradient = math.sqrt(sum((100 * g) ** 2 for g in GRADS[:, i, j]))
        return abs(W[i, j]) * (activation + gradient)

    scores = gblm(W, NORM, (GRADS**2).mean(axis=0), samples=len(GRADS), length=len(X))
    masks_equal(scores, loops(rule), within="row")


def test_obs_is_the_error_after_the_best_repair():
    """Remove one weight, refit the rest of the row by least squares, measure the error of the output."""

    def rule(i, j):
        rest = [k for k in range(6) if k != j]
        target = X @ W[i]
        fitted, *_ = np.linalg.lstsq(X[:, rest], target, rcond=None)
        return ((X[:, rest] @ fitted - target) ** 2).mean()

    np.testing.assert_allclose(obs(W, GRAM, damping=0.0), loops(rule), rtol=1e-8)


def test_obs_gives_inputs_that_never_fire_no_worth():
    gram = GRAM.copy()
    gram[2, :] = gram[:, 2] = 0
    scores = obs(W, gram)
    assert (scores[:, 2] == 0).all()
    assert (np.delete(scores, 2, axis=1) > 0).all()


def test_random_is_uniform_seeded_and_portable():
    ones = np.ones((300, 200))
    scores = random(ones, seed=3)
    np.testing.assert_array_equal(scores, random(torch.ones(300, 200, dtype=torch.float64), seed=3).numpy())
    assert not np.array_equal(scores, random(ones, seed=4))
    counts, _ = np.histogram(scores, bins=20, range=(0, 1))
    # 60,000 draws in 20 bins: 3,000 each, and 6 standard deviations are about 320.
    assert abs(counts - 3000).max() < 320
    assert abs(np.corrcoef(scores[:, :-1].ravel(), scores[:, 1:].ravel())[0, 1]) < 0.02


def test_combinators():
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])
    np.testing.assert_array_equal(total(a, b, weights=(2.0, 1.0)), [[5, 5]])
    np.testing.assert_array_equal(product(a, b), [[3, 2]])
    np.testing.assert_allclose(contrast(a, 10 * a), [[0, 0]], atol=1e-15)
    with pytest.raises(ValueError, match="one weight for each"):
        total(a, b, weights=(1.0,))
