"""Penalties against literal forms from their papers, limits and faults."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewer import penalty as P
from fewer.method import FewerError
from fewer.penalty.sorted import _decreasing

small = arrays(np.float64, st.integers(1, 9), elements=st.integers(-3, 3).map(float))


def ksupport_norm(w: np.ndarray, k: int) -> float:
    """Argyriou et al., proposition 2.1, by the literal search over r."""
    z = np.sort(np.abs(w))[::-1]
    for r in range(k):
        tail = z[k - r - 1 :].sum() / (r + 1)
        if (k - r - 2 < 0 or z[k - r - 2] > tail - 1e-12) and tail >= z[k - r - 1] - 1e-12:
            return float(np.sqrt((z[: k - r - 1] ** 2).sum() + (r + 1) * tail**2))
    raise AssertionError


@settings(max_examples=50, deadline=None)
@given(small, st.integers(1, 9))
def test_k_support_norm_is_the_papers(w, k):
    k = min(k, w.size)
    np.testing.assert_allclose(float(P.KSupport(k, lam=2.0).value(w)), ksupport_norm(w, k) ** 2, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(small)
def test_k_support_limits(w):
    np.testing.assert_allclose(P.KSupport(w.size).prox(w, 1.0), w / 2, atol=1e-12)
    np.testing.assert_allclose(float(P.KSupport(1).value(w)), 0.5 * np.abs(w).sum() ** 2, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(small)
def test_isotonic_is_the_min_max_formula(v):
    n = v.size
    means = {(a, b): v[a : b + 1].mean() for a in range(n) for b in range(a, n)}
    want = [max(min(means[a, b] for a in range(i + 1)) for b in range(i, n)) for i in range(n)]
    np.testing.assert_allclose(_decreasing(v), want, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(small, st.floats(0.1, 3))
def test_total_variation_prox_has_a_dual_certificate(y, lam):
    z = P.Fused(lam).prox(y, 1.0)
    u = np.cumsum(y - z)  # y - z = D'u up to sign: |u| <= lam, touching lam where z jumps, 0 at the end
    assert abs(u[-1]) < 1e-9 and np.all(np.abs(u) <= lam + 1e-9)
    np.testing.assert_allclose(u[:-1] * np.diff(z), -lam * np.abs(np.diff(z)), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, 4, elements=st.floats(-3, 3)))
def test_slope_value_is_the_largest_over_orders(w):
    s = (2.0, 1.0, 0.5, 0.0)
    want = max(sum(c * abs(w[i]) for c, i in zip(s, order, strict=True)) for order in itertools.permutations(range(4)))
    np.testing.assert_allclose(float(P.Slope(s).value(w)), want, atol=1e-12)


def test_limits_between_penalties():
    w = np.random.default_rng(0).normal(size=9) * 2
    l1 = P.L1(0.5).prox(w, 0.7)
    alone = tuple((j,) for j in range(9))
    for other in (
        P.WeightedL1(np.ones(9), 0.5), P.ElasticNet(0.5, mix=1.0), P.Slope((1.0,) * 9, 0.5), P.MCP(0.5, gamma=np.inf),
        P.SCAD(0.5, gamma=1e9), P.Group(alone, lam=0.5), P.SparseGroup(alone, lam=0.5, mix=0.3),
        P.Fused(0.0, sparse=0.5),
    ):  # fmt: skip
        np.testing.assert_allclose(other.prox(w, 0.7), l1, atol=1e-8, err_msg=str(other))


def test_a_jump_without_a_price_still_parts_two_stretches():
    w, grad = np.array([2.0, -1.0, 0.0]), np.array([-0.5, 0.5, 0.2])
    assert float(P.Fused(0.0, sparse=0.5).residual(w, grad)) == 0
    np.testing.assert_allclose(float(P.Fused(0.0, sparse=0.5).residual(w, -grad)), 2**0.5)


def test_nuclear_of_a_diagonal_is_l1():
    w = np.array([3.0, -1.0, 0.2])
    np.testing.assert_allclose(np.diag(P.Nuclear(0.5).prox(np.diag(w), 1.0)), P.L1(0.5).prox(w, 1.0), atol=1e-12)


def test_ties_go_to_the_lower_index():
    np.testing.assert_array_equal(P.NMProjection(2, 4).prox(np.ones(8), 1.0), [1, 1, 0, 0] * 2)


def test_zero_and_infinite_factors():
    p = P.WeightedL1([0.0, np.inf, 1.0])
    np.testing.assert_array_equal(p.prox(np.array([2.0, 2.0, 2.0]), 0.0), [2, 0, 2])
    assert float(p.value(np.array([5.0, 0.0, 1.0]))) == 1.0
    assert np.isinf(p.value(np.array([5.0, 1e-9, 1.0])))
    np.testing.assert_array_equal(p.residual(np.zeros(3), np.array([2.0, 9.0, 1.5])), [2, 0, 0.5])


def test_coordinates_outside_every_group_are_free():
    p = P.Group(((1, 2),), lam=10.0)
    np.testing.assert_array_equal(p.prox(np.array([1.0, 1.0, 1.0]), 1.0), [1, 0, 0])
    np.testing.assert_array_equal(p.residual(np.zeros(3), np.array([0.5, 1.0, 1.0])), [0, 0.5])


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("p", [P.L1(), P.MCP(), P.L0(), P.Fused(), P.ElasticNet(), P.LogSum(), P.L05(), P.SCAD()])
def test_tiny_sizes(p, size):
    w = np.full(size, 3.0)
    assert p.prox(w, 0.1).shape == (size,) and p.value(0 * w) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: P.Group(((0, 1), (1,))), "overlap"),
        (lambda: P.SparseGroup(((0,), ())), "empty"),
        (lambda: P.Group(((0,),), weights=(1, 2)), "one per group"),
        (lambda: P.WeightedL1([-1.0]).prox(np.ones(1), 1), "negative"),
        (lambda: P.Slope((1.0, 2.0)).value(np.ones(2)), "non-increasing"),
        (lambda: P.Slope((1.0,)).value(np.ones(2)), "one per coordinate"),
        (lambda: P.NMProjection(2, 4).prox(np.ones(6), 1), "do not divide"),
    ],
)
def test_faults_are_one_clear_line(make, words):
    with pytest.raises(FewerError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_no_array_library_is_loaded_by_the_room():
    import subprocess
    import sys

    code = "import sys, fewer.penalty; print([m for m in ('numpy','torch','scipy','sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_sorted_prices_of_nan_end():
    assert np.isnan(P.Slope((2.0, 1.0)).residual(np.array([1.0, np.nan]), np.zeros(2)))
