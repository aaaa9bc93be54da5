"""Laws that hold for every penalty of the catalogue."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
import torch
from penalty_cases import ALL, CONVEX, SEPARABLE, draw, shape

from fewer.method import catalogue

STEPS = (0.3, 1.0, 4.0)


def test_every_registered_penalty_is_here():
    assert {m.name for m in catalogue("penalty")} == set(ALL)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step", STEPS)
def test_prox_is_no_worse_than_any_candidate(name, step):
    p, rng = ALL[name], np.random.default_rng(0)
    for seed in range(8):
        w = draw(name, seed)
        best = p.prox(w, step)
        cost = lambda z, w=w: 0.5 * np.sum((z - w) ** 2) + step * float(p.value(z))  # noqa: E731
        floor = cost(best)
        assert np.isfinite(floor)
        near = [best + scale * rng.normal(size=w.shape) for scale in (1e-3, 1e-2, 0.1, 1) for _ in range(30)]
        legal = [p.prox(z, 1e-12) for z in (*near, w, 0 * w)]  # for indicators: candidates that are not all inf
        masked = [best * (rng.random(w.shape) < 0.7) for _ in range(20)]
        assert floor <= min(cost(z) for z in (*near, *legal, *masked, w, 0 * w)) + 1e-9


@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("step", STEPS)
def test_separable_prox_beats_a_grid(name, step):
    p, grid = SEPARABLE[name], np.arange(-4, 4, 0.002)
    w = draw(name, 3)
    got = p.prox(w, step)
    for j in range(w.size):
        if name == "weighted-l1":
            value = np.where(grid == 0, 0, p.factors[j] * p.lam * np.abs(grid))
        else:
            value = np.array([float(p.value(np.array([z]))) for z in grid])
        floor = np.min(0.5 * (grid - w[j]) ** 2 + step * value)
        alone = np.zeros_like(w)
        alone[j] = got[j]
        assert 0.5 * (got[j] - w[j]) ** 2 + step * float(p.value(alone)) <= floor + 1e-9


@pytest.mark.parametrize("name", ALL)
def test_prox_at_step_zero_is_the_identity_or_the_projection(name):
    p, w = ALL[name], draw(name, 1)
    z = p.prox(w, 0.0)
    np.testing.assert_allclose(p.prox(z, 0.0), z, atol=1e-12)
    if np.isfinite(p.value(w)):
        np.testing.assert_allclose(z, w, atol=1e-12)
    else:
        assert np.isfinite(p.value(z))


@pytest.mark.parametrize("name", CONVEX)
def test_convex_prox_is_firmly_non_expansive(name):
    p = CONVEX[name]
    for seed in range(30):
        a, b = draw(name, seed), draw(name, 100 + seed)
        u, v = p.prox(a, 0.8), p.prox(b, 0.8)
        assert np.sum((u - v) ** 2) <= np.sum((u - v) * (a - b)) + 1e-12


@pytest.mark.parametrize("name", ALL)
def test_residual_is_zero_at_the_prox_and_not_elsewhere(name):
    """prox(v, 1) solves min 0.5 ||z - v||^2 + value(z), whose smooth gradient is z - v."""
    p = ALL[name]
    for seed in range(20):
        v = draw(name, seed)
        z = p.prox(v, 1.0)
        np.testing.assert_allclose(p.residual(z, z - v), 0, atol=1e-9)
        off = z + 0.05 * (z != 0)  # leaves zeros alone, moves the rest off the solution
        if np.any(z != 0) and np.isfinite(p.value(off)):
            assert np.max(p.residual(off, off - v)) > 1e-3


@pytest.mark.parametrize("name", CONVEX)
def test_residual_is_the_distance_to_the_subdifferential(name):
    """prox gives one subgradient s; the distance of s + shift to the whole set is at most |shift|."""
    p = CONVEX[name]
    for seed in range(10):
        v = draw(name, seed)
        w = p.prox(v, 1.0)
        s = v - w
        for probe in range(10):
            shift = 0.3 * draw(name, 50 + probe)
            total = float(np.linalg.norm(np.asarray(p.residual(w, -(s + shift)))))
            assert total <= np.linalg.norm(shift) + 1e-9


@pytest.mark.parametrize("name", [n for n in ALL if hasattr(ALL[n], "lam_max")])
def test_lam_max_is_where_zero_stops_being_stationary(name):
    p, grad = ALL[name], draw(name, 5)
    free = {"weighted-l1": 0, "group": 5, "sparse-group": 5}
    if name in free:
        grad[free[name]] = 0.0  # the free coordinate is fitted
    top = float(p.lam_max(grad))
    at = lambda lam: float(np.max(type(p)(**{**vars(p), "lam": lam}).residual(0 * grad, grad)))  # noqa: E731
    assert at(top * (1 + 1e-9)) <= 1e-8
    assert at(top * 0.99) > 1e-4


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_torch_and_strict_agree(name, dtype):
    p, w, g = ALL[name], draw(name, 7).astype(dtype), draw(name, 8).astype(dtype)
    rtol = 1e-12 if dtype == "float64" else 2e-5
    for xp in (torch, strict):
        z = p.prox(xp.asarray(w), 0.9)
        assert str(z.dtype).endswith(dtype) and tuple(z.shape) == shape(name)
        np.testing.assert_allclose(np.asarray(z), p.prox(w, 0.9), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(float(p.value(z)), float(p.value(p.prox(w, 0.9))), rtol=rtol, atol=rtol)
        other = np.asarray(p.residual(z, xp.asarray(g)))
        np.testing.assert_allclose(other, np.asarray(p.residual(p.prox(w, 0.9), g)), rtol=1e2 * rtol, atol=1e2 * rtol)


@pytest.mark.parametrize("name", ALL)
def test_inputs_are_left_alone_and_dtype_kept(name):
    p, w = ALL[name], draw(name, 2).astype(np.float32)
    before = w.copy()
    assert p.prox(w, 0.5).dtype == np.float32
    p.value(w), p.residual(w, w)
    np.testing.assert_array_equal(w, before)
