"""One problem, many roads: storage, precision, regime and tier must not matter, and no peer does better."""

from __future__ import annotations

import os
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from awkward import KINDS, draw
from certify import INF, objective
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, nnls
from sklearn.linear_model import Lasso

from fewer import linear as fl
from fewer.linear import kernels, portable, progress
from fewer.linear.matrix import Dense, as_matrix
from fewer.linear.result import Residuals
from fewer.linear.terms import Certificate, Terms
from fewer.method import FewerError


def by_numpy(X, y, kw):
    with mock.patch.dict(os.environ, {"FEWER_TIER": "portable"}):
        return fl.path(X, y, **kw)


def by_moments(X, y, kw):
    """From second moments, centred and weighted by hand."""
    kw = dict(kw)
    s = kw.pop("weights", np.ones(len(y))) / len(y)
    centre = kw.pop("intercept")
    Z, t = (X - s @ X / s.sum(), y - s @ y / s.sum()) if centre else (X, y)
    return fl.gram_path((Z.T * s) @ Z, Z.T @ (s * t), float(s @ t**2), **kw)


ROADS = {
    "Fortran": lambda X, y, kw: fl.path(np.asfortranarray(X), y, **kw),
    "strided": lambda X, y, kw: fl.path(np.repeat(X, 2, axis=1)[:, ::2], y, **kw),
    "dense residual": lambda X, y, kw: fl.path(np.asfortranarray(X), y, regime="residual", **kw),
    "csc": lambda X, y, kw: fl.path(sp.csc_matrix(X), y, regime="residual", **kw),
    "sparse gram": lambda X, y, kw: fl.path(sp.csr_array(X), y, regime="gram", **kw),
    "moments": by_moments,
    "batch": lambda X, y, kw: fl.batch(X, np.column_stack([-y, y]), **kw)[1],
    "numpy": by_numpy,
    "sparse numpy": lambda X, y, kw: by_numpy(sp.csc_matrix(X), y, kw),
}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(2, 50), st.integers(1, 40), st.sampled_from(KINDS),
    st.sampled_from(sorted(ROADS)), st.booleans(),
)  # fmt: skip
def test_any_road_reaches_the_same_objectives(seed, n, p, kind, road, intercept):
    X, y, more = draw(seed, n, p, kind)
    want = fl.path(np.ascontiguousarray(X), y, count=5, ratio=0.03, tol=1e-10, intercept=intercept, **more)
    got = ROADS[road](X, y, {"lams": want.lams, "tol": 1e-10, "intercept": intercept, **more})
    assert got.converged.all() and len(got) == 5
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-8, atol=1e-12 * (y @ y))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 50), st.integers(1, 4), st.sampled_from(sorted(ROADS)))
def test_free_columns_inside_bounds_are_fitted_to_their_bounds(seed, n, free, road):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, 8)), rng.normal(size=n) * 3
    low, high = rng.choice([-INF, -0.3, 0.0], 8), rng.choice([0.0, 0.3, INF], 8) + 1e-3
    factors = np.where(np.arange(8) < free, 0.0, 1.0)
    kw = {"lams": [1e3], "tol": 1e-10, "factors": factors, "lower": low, "upper": high, "intercept": True}
    got = ROADS[road](X, y, kw)
    Z = X[:, :free] - X[:, :free].mean(axis=0)
    want = lsq_linear(Z, y - y.mean(), bounds=(low[:free], high[:free]), tol=1e-14, method="bvls")
    assert got.converged.all() and got.sizes[0] <= free
    np.testing.assert_allclose(got.objectives[0], want.cost / n, rtol=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 60), st.integers(1, 60), st.sampled_from("CF"))
def test_single_precision_storage_is_certified_to_its_own_level(seed, n, p, order):
    X, y, _ = draw(seed, n, p, "offset")
    X = np.array(X, dtype=np.float32, order=order)
    want = fl.path(X.astype(np.float64), y, count=4, ratio=0.1, tol=1e-9)
    got = fl.path(Dense(X), y, lams=want.lams, tol=1e-4)
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-3, atol=1e-6 * (y @ y) / n)


def eliminate(X, y, factors, weights):
    """The problem that scikit-learn can solve: excluded columns gone, free ones and the constant projected out."""
    root = np.sqrt(weights)
    free = np.column_stack([np.ones(len(y)), X[:, factors == 0]]) * root[:, None]
    basis = np.linalg.svd(free, full_matrices=False)
    Q = basis[0][:, basis[1] > 1e-10 * basis[1][0]]
    paid = (factors > 0) & np.isfinite(factors)
    Z, t = X[:, paid] * root[:, None], y * root
    return (Z - Q @ (Q.T @ Z)) / factors[paid], t - Q @ (Q.T @ t), paid


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 50), st.integers(5, 40), st.booleans())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_not_worse_than_scikit_learn_with_zero_and_infinite_factors(seed, n, p, sparse):
    X, y, more = draw(seed, n, p, "weights factors free" + (" sparse" if sparse else ""))
    f, w = more["factors"], more["weights"]
    lam = fl.lambda_max(X, y, **more) * 0.1
    assume(lam > 1e-8)
    mine = fl.solve(sp.csc_matrix(X) if sparse else X, y, lam, tol=1e-11, **more)
    Z, t, _ = eliminate(X, y, f, w)
    theirs = Lasso(alpha=lam, fit_intercept=False, tol=1e-12, max_iter=200_000).fit(Z, t).coef_
    other = 0.5 * np.mean((t - Z @ theirs) ** 2) + lam * np.abs(theirs).sum()
    value = objective(X, y, mine.coef, mine.intercept, lam, **more)
    assert value <= other * (1 + 1e-8) + 1e-12 * (y @ y) and np.all(mine.coef[f == INF] == 0)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(5, 50), st.sampled_from(("", "sparse")))
def test_not_worse_than_skglm(seed, n, p, kind):
    skglm = pytest.importorskip("skglm")
    X, y, _ = draw(seed, n, p, kind)
    f = np.random.default_rng(seed).choice([0.5, 1.0, 2.0], p)
    lam = fl.lambda_max(X, y, factors=f) * 0.1
    assume(lam > 0)
    theirs = skglm.WeightedLasso(alpha=lam, weights=f, tol=1e-10, max_iter=500).fit(X, y)
    mine = fl.solve(X, y, lam, factors=f, tol=1e-11)
    other = objective(X, y, theirs.coef_, theirs.intercept_, lam, factors=f)
    assert mine.objective <= other * (1 + 1e-8) + 1e-12


def test_centring_and_scaling_never_fill_a_sparse_matrix(monkeypatch):
    X = sp.random(60, 3000, 0.01, random_state=0, format="csc")
    y = np.asarray(X[:, :40].sum(axis=1)).ravel() + np.arange(60) / 30
    monkeypatch.setattr(sp.csc_matrix, "toarray", lambda *_: pytest.fail("filled"))
    found = fl.path(X, y, count=8, ratio=0.1, intercept=True, standardize=True)
    assert found.converged.all() and found.sizes[-1] > 5


def test_a_batch_reads_the_matrix_as_often_as_its_longest_member(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 900)), rng.normal(size=(60, 5))
    reads = []
    product = Dense.tdot
    monkeypatch.setattr(Dense, "tdot", lambda self, V: reads.append(V.shape[1]) or product(self, V))
    alone = []
    for k in range(5):
        reads.clear()
        fl.batch(X, Y[:, [k]], count=12, ratio=0.1)
        alone.append(len(reads))
    reads.clear()
    fl.batch(X, Y, count=12, ratio=0.1)
    assert len(reads) <= max(alone) + 1 and max(reads) > 5


@pytest.mark.native
def test_the_gap_never_grows_with_more_rounds():
    """The best dual point seen stays a bound, and descent lowers the objective."""
    X, y, _ = draw(3, 40, 60, "")
    X, s, zero = np.asfortranarray(X), np.full(40, 1 / 40), np.zeros(60)
    data = kernels.Data(X, None, None, None, None, True)
    columns = kernels.Columns(np.arange(60), zero, zero, (X**2).sum(axis=0) / 40)
    lam = np.array([0.02 * np.abs(X.T @ y).max() / 40])

    def gap(most):
        warm, terms = kernels.Warm(zero, zero), Terms(np.ones(60), zero)
        return kernels.residual_path(data, s, y, columns, terms, warm, y.copy(), 0.0, lam, 1e-14, most)[3][0, 0]

    gaps = [gap(most) for most in range(1, 60)]
    assert np.all(np.diff(gaps) <= 1e-12 * (y @ y)) and gaps[-1] < 1e-2 * gaps[0]


def plain_rounds(X, y, lam, value):
    """Rounds of textbook coordinate descent until the objective is as low as `value`."""
    b, r, norms = np.zeros(X.shape[1]), y.copy(), (X**2).sum(axis=0)
    for rounds in range(1, 5001):
        for j in range(X.shape[1]):
            u = X[:, j] @ r + norms[j] * b[j]
            z = np.sign(u) * max(abs(u) - lam * len(y), 0) / norms[j]
            r += X[:, j] * (b[j] - z)
            b[j] = z
        if 0.5 * np.mean(r**2) + lam * np.abs(b).sum() <= value:
            return rounds
    return rounds


@pytest.mark.native
def test_acceleration_saves_rounds_where_columns_are_alike():
    rng = np.random.default_rng(0)
    X = np.asfortranarray(np.cumsum(rng.normal(size=(80, 20)), axis=1) + 3 * rng.normal(size=(80, 1)))
    y = X @ rng.normal(size=20) + rng.normal(size=80)
    lam = 1e-3 * np.abs(X.T @ y).max() / 80
    mine = fl.solve(X, y, lam, intercept=False, regime="residual", tol=1e-9)
    assert mine.engine == "dense residual" and mine.converged
    assert mine.iterations < 0.5 * plain_rounds(X, y, lam, mine.objective + 1e-9 * mine.null)


@pytest.mark.parametrize("shape", [(60, 30), (25, 80)])
@pytest.mark.parametrize("kind", ["", "offset weights"])
def test_homotopy_finds_every_knot(shape, kind):
    X, y, more = draw(11, *shape, kind)
    found = fl.homotopy_path(X, y, ratio=0.05, tol=1e-8, **more)
    assert found.converged.all() and found.lams[-1] == pytest.approx(0.05 * found.lam_max)
    middle = 0.5 * (found.lams[:-1] + found.lams[1:])
    want = fl.path(X, y, lams=middle, tol=1e-12, **more)
    line = 0.5 * (found.linear(X)[:, :-1] + found.linear(X)[:, 1:])  # between knots the path is a straight line
    np.testing.assert_allclose(line, want.linear(X), atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize("order", [0, 1, 2])
def test_trend_is_certified_in_its_own_terms(order):
    rng = np.random.default_rng(order)
    X = rng.normal(size=(50, 12))
    y = X @ np.repeat([1.0, -1.0, 2.0], 4) + rng.normal(size=50)
    found = fl.trend_path(X, y, order=order, lams=[0.3, 0.05], tol=1e-9)
    D = np.diff(np.eye(12), n=order + 1, axis=0)
    for k, lam in enumerate(found.lams):
        fit = found[k]
        value = 0.5 * np.mean((y - fit.linear(X)) ** 2) + lam * np.abs(D @ fit.coef).sum()
        # Dual: X' theta must be D' u with |u| <= lam, and theta is orthogonal to the constant.
        u, rest = np.linalg.lstsq(D.T, X.T @ fit.dual, rcond=None)[0], abs(fit.dual.sum())
        assert np.abs(D.T @ u - X.T @ fit.dual).max() < 1e-7 and np.abs(u).max() <= lam * (1 + 1e-6) and rest < 1e-9
        bound = fit.dual @ y - 25 * fit.dual @ fit.dual
        assert value - bound <= 1e-7 * found.null


def test_trend_refuses_an_order_that_does_not_fit():
    with pytest.raises(FewerError, match="order is 3"):
        fl.trend_path(None, np.arange(4.0), order=3)


@pytest.mark.native
def test_a_loose_gap_does_not_leave_the_objective_while_it_still_falls():
    """A gap errs in first order of what is still to move, so the first one below a loose tolerance may come by luck."""
    X = sp.random(300, 500, 0.05, random_state=1, format="csc")
    y = X @ np.where(np.arange(500) < 40, 1.0, 0.0) + 0.1 * np.random.default_rng(1).normal(size=300)
    loose = fl.path(X, y, count=20, tol=1e-2, intercept=False)
    best = fl.path(X, y, lams=loose.lams, tol=1e-10, intercept=False).objectives
    assert np.max(loose.objectives - best) < 0.5 * 1e-2**2 * loose.null


@pytest.mark.native
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 70), st.integers(1, 20), st.sampled_from("CF"))
def test_extremes_are_those_of_numpy(seed, p, m, order):
    rng = np.random.default_rng(seed)
    g, l1 = rng.normal(size=(p, m)), rng.choice([0.0, 0.5, 1.0, INF], p)
    lams = rng.uniform(0.1, 1, m)
    for got, want in zip(
        kernels.extremes(np.array(g, order=order), l1, lams), portable.extremes(g, l1, lams), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_a_gap_at_the_same_strength_never_grows(seen):
    """Whatever solutions come, the bound is the best of their dual points, and its owner is remembered."""
    log, bound = progress.Log(None, ""), -INF
    for t, (objective_, gap) in enumerate(seen):
        mine = [Certificate(objective_, gap, 0.0, 1.0 / (t + 1))]
        got = log.best(np.ones(1), np.arange(2), np.array([[0.0, t + 1.0]]), mine)[0]
        owner = got.witness[1][0] if got.witness else t + 1.0
        bound = max(bound, objective_ - gap)
        assert got.gap == max(objective_ - bound, 0.0) or got.gap == gap
        assert got.objective - got.gap <= bound + 1e-15 and got.scale == 1.0 / owner


def test_a_dual_point_is_made_of_the_solution_that_proved_it():
    rng = np.random.default_rng(0)
    X, y, s = rng.normal(size=(7, 4)), rng.normal(size=7), np.full(7, 1 / 7)
    columns, values, constants = np.array([1, 3]), rng.normal(size=(2, 3)), rng.normal(size=3)
    witness = (np.array([2]), np.array([0.5]), 0.25)
    held = Residuals(as_matrix(X), y, s, np.array([1.0, 0.5, 0.8]), {1: witness})
    want = (y - X[:, columns] @ values[:, 2] - constants[2]) * 0.8 / 7
    other = (y - 0.5 * X[:, 2] - 0.25) * 0.5 / 7
    every = held.every(columns, values, constants)
    np.testing.assert_allclose(every[1:], [other, want], atol=1e-14)
    np.testing.assert_allclose(held.one(1, columns, values[:, 1], constants[1]), other, atol=1e-14)


@pytest.mark.native
def test_rounding_in_a_gap_screens_nothing_away():
    """With a gap below zero by rounding, the ball of possible dual points had no radius, and columns left for good."""
    X, y, _ = draw(141, 30, 41, "offset")
    found = fl.path(np.asfortranarray(X), y, count=6, ratio=1e-3, tol=1e-16, regime="residual")
    assert np.all(found.gaps < 1e-11 * found.null)


@pytest.mark.parametrize("road", ["batch", "csc", "dense residual", "numpy", "sparse gram"])
@pytest.mark.parametrize("spread", [1e-3, 1e-5])
def test_full_columns_far_from_zero_keep_their_digits(road, spread):
    """Their centring cancels, so they are centred before anything is multiplied, sparse or not."""
    X, y, _ = draw(5, 20, 6, "")
    X = X.copy()
    X[:, 4] = 100 + spread * X[:, 4]
    f = np.array([1, 1, 1, 1, spread, 1])
    want = fl.path(X - X.mean(axis=0), y - y.mean(), count=4, ratio=0.03, tol=1e-9, intercept=False, factors=f)
    got = ROADS[road](X, y, {"lams": want.lams, "tol": 1e-9, "intercept": True, "factors": f})
    assert got.converged.all()
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-8)


def test_free_columns_inside_bounds_are_not_certified_before_they_fit():
    """Alone each could gain next to nothing, together a seventh of the objective."""
    rng = np.random.default_rng(0)
    X = 100 + rng.normal(size=(4, 4))
    y = X @ np.array([0.0, 1.0, 2.0, 0.5]) + rng.normal(size=4)
    want = nnls(X, y)[1] ** 2 / 8
    got = fl.solve(X, y, 1e9, factors=np.zeros(4), lower=0.0, intercept=False, tol=1e-8)
    assert got.objective - want <= got.gap + 1e-9 and got.gap <= 1e-8 * got.null + 1e-8


@pytest.mark.native
def test_a_loose_gap_at_zero_is_no_solution():
    """Just below lam_max zero has a small gap already; one round over the columns that want to enter costs nothing."""
    X = sp.random(300, 500, 0.05, random_state=1, format="csc")
    y = np.asarray(X[:, :40].sum(axis=1)).ravel()
    top = fl.lambda_max(X, y, intercept=False)
    found = fl.path(X, y, lams=[0.99 * top, 0.95 * top], tol=1e-2, intercept=False)
    assert found.sizes.min() > 0


@pytest.mark.parametrize("road", ["batch", "csc", "numpy"])
def test_a_priced_copy_of_a_large_free_column_gives_way_to_it(road):
    rng = np.random.default_rng(0)
    X = 1000 + rng.normal(size=(8, 4))
    X[:, 1] = 2 * X[:, 0]
    y = X[:, :3].sum(axis=1) + rng.normal(size=8)
    f = np.array([0.5, 0.0, 0.5, 0.5])
    kw = {"intercept": False, "tol": 1e-9}
    want = fl.path(X[:, 1:], y, count=4, ratio=0.03, factors=f[1:], **kw)
    got = ROADS[road](X, y, {"lams": want.lams, "factors": f, **kw})
    assert got.converged.all()
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-6)
