"""The scores of adapters, spectra, two data sets and untrained networks against loops and theory."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from fewer.method import FewerError, find
from fewer.score import (
    d_pruner,
    gaprune,
    gblm,
    gblm_l1,
    grasp,
    lift,
    lora_prune,
    magnitude,
    pst,
    spectrum,
    synflow,
    taylor,
    taylor_second,
)
from fewer.score.gradient import _to_half
from fewer.select import select

RNG = np.random.default_rng(11)
ROWS, COLUMNS, RANK = 4, 5, 2
W = RNG.standard_normal((ROWS, COLUMNS))
DOMAIN, OPEN = RNG.standard_normal((2, 6, ROWS, COLUMNS))
A, GA = RNG.standard_normal((2, RANK, COLUMNS))
B, GB = RNG.standard_normal((2, ROWS, RANK))


def loops(rule):
    return np.array([[rule(i, j) for j in range(COLUMNS)] for i in range(ROWS)])


def masks_equal(scores, reference, **options):
    np.testing.assert_allclose(scores, reference, rtol=1e-12)
    for keep in (0.1, 0.5, 0.9):
        np.testing.assert_array_equal(select(scores, keep, **options), select(reference, keep, **options))


def test_snip_is_taylor_under_another_name():
    assert find("score", "snip").target is taylor


def second_order(grads, i, j):
    g = sum(grads[:, i, j]) / len(grads)
    f = sum(x**2 for x in grads[:, i, j]) / len(grads)
    return abs(W[i, j] * g - W[i, j] ** 2 * f / 2)


def test_taylor_second_is_the_exact_change_of_a_quadratic():
    """On L(w) = g w + F w^2 / 2 around the weight, removal changes the loss by -w g + w^2 F / 2."""
    masks_equal(
        taylor_second(W, DOMAIN.mean(axis=0), (DOMAIN**2).mean(axis=0)), loops(lambda i, j: second_order(DOMAIN, i, j))
    )


def test_d_pruner():
    scores = d_pruner(W, *(m for g in (DOMAIN, OPEN) for m in (g.mean(axis=0), (g**2).mean(axis=0))), lam=0.3)
    masks_equal(scores, loops(lambda i, j: second_order(DOMAIN, i, j) + 0.3 * second_order(OPEN, i, j) * W[i, j] ** 2))


def test_gaprune():
    domain, general = DOMAIN.mean(axis=0), OPEN.mean(axis=0)
    aligned = domain / np.linalg.norm(domain) * general / np.linalg.norm(general)

    def rule(i, j):
        around = [(a, b) for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1)]
        a = sum(aligned[p] for p in around if 0 <= p[0] < ROWS and 0 <= p[1] < COLUMNS) / 9
        fd, fg = (DOMAIN[:, i, j] ** 2).mean(), (OPEN[:, i, j] ** 2).mean()
        factor = min(max(1 + 0.2 * a, 0.8), 1.2)
        return (abs(W[i, j]) * fd - abs(W[i, j]) * fg) * factor + 0.5 * math.sqrt(abs(W[i, j]) + 1e-8)

    scores = gaprune(W, domain, (DOMAIN**2).mean(axis=0), general, (OPEN**2).mean(axis=0))
    np.testing.assert_allclose(scores, loops(rule), rtol=1e-6)
    with pytest.raises(FewerError, match="neighbourhood"):
        gaprune(W, domain, W, general, W, neighbourhood=2)


def test_gblm_with_the_one_norm():
    x = RNG.standard_normal((30, COLUMNS))

    def rule(i, j):
        return abs(W[i, j]) * (math.sqrt(sum(v**2 for v in x[:, j])) + 100 * sum(abs(g) for g in DOMAIN[:, i, j]))

    scores = gblm_l1(W, np.sqrt((x**2).mean(axis=0)), np.abs(DOMAIN).mean(axis=0), samples=6, length=30)
    masks_equal(scores, loops(rule), within="row")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_to_half_precision(dtype):
    edges = [0.0, 2.0**-14, 2.0**-24, 1.0, 1 + 2.0**-11]
    values = np.concatenate([10.0 ** RNG.uniform(-9, 4, 5000), edges]).astype(dtype)
    np.testing.assert_array_equal(_to_half(values), values.astype(np.float16).astype(dtype))


def test_gblm_compat_is_named():
    with pytest.raises(FewerError, match="unknown compat 'wanda'"):
        gblm(W, W[0], W**2, compat="wanda")


def test_lora_prune():
    def rule(i, j):
        g = sum(GB[i, k] * A[k, j] + B[i, k] * GA[k, j] - GB[i, k] * GA[k, j] for k in range(RANK))
        return (g * (W[i, j] + 1.5 * sum(B[i, k] * A[k, j] for k in range(RANK)))) ** 2

    masks_equal(lora_prune(W, A, B, GA, GB, scaling=1.5), loops(rule))
    np.testing.assert_array_equal(lora_prune(W, A, B, GA, GB, power=1.0) ** 2, lora_prune(W, A, B, GA, GB))


def test_the_estimate_of_lora_prune_is_a_step_of_the_product():
    """With steps of size one, (B - gB)(A - gA) - B A is minus the gradient that the score assumes."""
    ghat = lora_prune(np.ones((ROWS, COLUMNS)) - B @ A, A, B, GA, GB, power=1.0)
    np.testing.assert_allclose(ghat, np.abs((B - GB) @ (A - GA) - B @ A), rtol=1e-12)


def test_pst():
    r, c = RNG.standard_normal(ROWS), RNG.standard_normal(COLUMNS)

    def rule(i, j):
        return abs(W[i, j]) + 2 * sum(B[i, k] * A[k, j] for k in range(RANK)) + 3 * (r[i] + c[j])

    masks_equal(pst(W, B, A, r, c, alpha1=2.0, alpha2=3.0), loops(rule))


def test_lift_is_the_best_approximation():
    scores = lift(W, rank=2)
    values = np.linalg.svd(W, compute_uv=False)
    left, _, right = np.linalg.svd(W)
    slow = sum(values[k] * np.outer(left[:, k], right[k]) for k in range(2))
    np.testing.assert_allclose(scores, np.abs(slow), rtol=1e-10)
    assert np.linalg.norm(W - slow, 2) == pytest.approx(values[2])
    np.testing.assert_array_equal(lift(W, rank=4), magnitude(W))
    with pytest.raises(FewerError, match="at least 1"):
        lift(W, rank=0)


def test_spectrum_keeps_large_weights_and_samples_small_ones_without_bias():
    """Priority sampling: max(energy, first score dropped) of what is kept has the energy itself for its mean."""
    weight = np.array([[10.0, 2.0, 1.5, 1.0, 1.0, 1.0, 0.5, 0.5]])
    kept, estimates = np.zeros(8), np.zeros((3000, 8))
    for seed in range(3000):
        scores = spectrum(weight, seed=seed)
        mask = select(scores, count=4)[0]
        kept += mask / 3000
        estimates[seed] = mask * np.maximum(weight[0] ** 2, scores[0][~mask].max())
    assert kept[0] > 0.99
    assert (np.diff(kept[[0, 1, 3, 7]]) < -0.03).all()
    error = np.abs(estimates.mean(axis=0) - weight[0] ** 2)
    assert (error <= 4 * estimates.std(axis=0) / 3000**0.5 + 1e-12).all()


def test_spectrum_loses_less_of_the_spectrum_than_magnitude_where_magnitude_is_systematic():
    """All-positive small weights that magnitude drops add up to one large singular value; a sample of them does not."""
    weight = np.full((60, 60), 0.1)
    weight[:30] = 0.101
    by_size = weight * (1 - select(magnitude(weight), 0.5))
    by_chance = weight * (1 - select(spectrum(weight), 0.5))
    flat = [np.linalg.svd(w, compute_uv=False)[0] / np.linalg.norm(w) for w in (by_size, by_chance)]
    assert flat[0] == pytest.approx(1.0)
    assert flat[1] < 0.8


def test_grasp_predicts_the_change_of_the_gradient_norm():
    """On a quadratic loss g = H w; without weight k, |g|^2 changes by -2 s_k plus the square of what k adds."""
    w = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    h = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h = h @ h.T
    (g,) = torch.autograd.grad(0.5 * w @ h @ w, w, create_graph=True)
    (hg,) = torch.autograd.grad(0.5 * g @ g, w)
    scores = grasp(w.detach()[None], hg[None])[0]
    for k in range(6):
        without = w.detach().clone()
        without[k] = 0
        change = (h @ without).square().sum() - g.detach().square().sum()
        exact = -2 * scores[k] + (h[:, k] * w[k].detach()).square().sum()
        assert float(change) == pytest.approx(float(exact))


def test_synflow_conserves_flow():
    """What enters a hidden unit leaves it, and every layer carries the whole of R (bias-free linear network)."""
    torch.manual_seed(0)
    layers = [torch.randn(7, 4).double(), torch.randn(5, 7).double(), torch.randn(3, 5).double()]
    sizes = [w.abs().requires_grad_() for w in layers]
    flow = torch.ones(4, dtype=torch.float64)
    for size in sizes:
        flow = torch.relu(size @ flow)
    flow.sum().backward()
    scores = [synflow(w, size.grad) for w, size in zip(layers, sizes, strict=True)]
    for before, after in pairwise(scores):
        torch.testing.assert_close(before.sum(dim=1), after.sum(dim=0))
    for score in scores:
        torch.testing.assert_close(score.sum(), flow.sum().detach())
