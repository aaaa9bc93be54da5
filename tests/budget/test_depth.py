"""Budgets by depth and by spectrum against loops written from the papers."""

import math

import numpy as np
import pytest
import torch

from fewer.budget import arithmetic, spectral
from fewer.budget.depth import tail_exponent
from fewer.method import FewerError

RNG = np.random.default_rng(5)
BLOCKS = {f"l{i}": i // 2 for i in range(8)}


def test_arithmetic_equals_the_papers_progression():
    shapes = {name: (20, 50) for name in BLOCKS}
    first = 0.7 - 0.05 * (4 - 1) / 2
    rates = [first + b * 0.05 for b in range(4)]
    counts = arithmetic(shapes, BLOCKS, 0.3, beta=0.05)
    assert counts == {name: round((1 - rates[BLOCKS[name]]) * 1000) for name in shapes}


def test_arithmetic_leaves_layers_outside_blocks_alone():
    shapes, blocks = {"a": (1, 100), "b": (1, 100), "head": (1, 100)}, {"a": 3, "b": 7, "head": None}
    assert arithmetic(shapes, blocks, 0.5, beta=0.2) == {"a": 60, "b": 40, "head": 50}


def test_a_step_out_of_range_is_named():
    with pytest.raises(FewerError, match=r"may be 0\.1333 at most"):
        arithmetic({name: (2, 2) for name in BLOCKS}, BLOCKS, 0.2, beta=0.2)


def slow_exponent(weight, fit):
    """Eigenvalues upwards; Hill's estimate from each start; the start with the least Kolmogorov-Smirnov distance."""
    values = sorted(float(v) ** 2 for v in np.linalg.svd(weight, compute_uv=False))
    size = len(values)

    def hill(i):
        return 1 + (size - i) / sum(math.log(v / values[i]) for v in values[i:])

    def distance(i):
        alpha, n = hill(i), size - i
        return max(abs(1 - (values[i + k] / values[i]) ** (1 - alpha) - k / n) for k in range(n))

    if fit == "mid":
        return hill(size // 2)
    starts = range(size - 1)
    if fit == "peak":
        logs = [math.log10(v) for v in values]
        counts, edges = np.histogram(logs, bins=100)
        peak = 10 ** edges[np.argmax(counts)]
        starts = [i for i in starts if math.log10(0.95 * peak) <= values[i] <= 1.5 * peak]
    return hill(min(starts, key=distance))


@pytest.mark.parametrize("fit", ["mid", "peak", "best"])
@pytest.mark.parametrize("scale", [0.02, 1.0, 3.0])
def test_tail_exponent_equals_the_slow_one(fit, scale):
    weight = scale * RNG.standard_t(3, size=(24, 40))
    assert tail_exponent(weight, fit) == pytest.approx(slow_exponent(weight, fit), rel=1e-9)
    assert tail_exponent(torch.as_tensor(weight), fit) == pytest.approx(slow_exponent(weight, fit), rel=1e-9)


def test_the_exponent_of_a_power_law_is_recovered():
    """Eigenvalues at the quantiles of a density ~ x^-2.5 have tail exponent 2.5."""
    quantiles = (np.arange(800) + 0.5) / 800
    values = (1 - quantiles) ** (-1 / 1.5)
    assert tail_exponent(np.diag(values**0.5), "best") == pytest.approx(2.5, abs=0.1)


def test_spectral_equals_the_papers_mapping():
    weights = {name: RNG.standard_t(2 + BLOCKS[name], size=(20, 30)) for name in BLOCKS}
    alphas = np.array([slow_exponent(weights[f"l{i}"], "peak") for i in range(8)]).reshape(4, 2).mean(axis=1)
    ratios = (alphas - alphas.min()) / (alphas.max() - alphas.min()) * 0.6 + 0.7
    ratios *= 0.6 / ratios.mean()
    counts = spectral(weights, BLOCKS, 0.4)
    assert sum(counts.values()) == round(0.4 * 4800)
    for name in weights:
        assert abs(counts[name] - (1 - ratios[BLOCKS[name]]) * 600) <= 1


def test_spectral_of_odd_spectra():
    weights = {"zero": np.zeros((3, 4)), "one": np.ones((3, 4)), "eye": np.eye(4)}
    counts = spectral(weights, dict.fromkeys(weights), 0.5)
    assert sum(counts.values()) == 20
    with pytest.raises(FewerError, match="unknown fit"):
        spectral(weights, dict.fromkeys(weights), 0.5, fit="middle")
