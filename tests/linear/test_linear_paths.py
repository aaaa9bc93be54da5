"""The squared-loss core: certificates from scratch, objectives against scikit-learn, equal answers on every road."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from awkward import KINDS, draw
from certify import INF, dual_value, objective
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet

from fewer.linear import batch, cross_paths, gram_path, lambda_max, path, solve
from fewer.method import FewerError


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 30), st.sampled_from(KINDS), st.booleans())
def test_certificate_holds_from_scratch(seed, n, p, kind, intercept):
    X, y, given_ = draw(seed, n, p, kind)
    found = path(X, y, count=6, ratio=0.01, intercept=intercept, tol=1e-8, **given_)
    assert found.converged.all() and len(found) == 6
    for k in range(6):
        value = objective(X, y, found[k].coef, found[k].intercept, found.lams[k], **given_)
        np.testing.assert_allclose(value, found.objectives[k], rtol=1e-9, atol=1e-11 * (1 + y @ y))
        theta = found.duals[k]
        if intercept:
            assert abs(theta.sum()) < 1e-8 * np.abs(theta).sum() + 1e-12 * np.abs(y).max()
        bound = dual_value(X, y, theta, found.lams[k], **given_)
        assert value - bound <= 1.1e-8 * found.null + 1e-12 * float(y @ y)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(3, 60),
    st.integers(1, 50),
    st.sampled_from(("", "sparse", "weights mix", "offset")),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_objective_is_never_worse_than_scikit_learn(seed, n, p, kind):
    X, y, given_ = draw(seed, n, p, kind)
    weights = given_.get("weights")
    lam = lambda_max(X, y, **given_) * 0.05
    assume(lam > 0)
    mine = solve(X, y, lam, tol=1e-11, **given_)
    # scikit-learn divides by the sum of the weights, so its alpha is ours over their mean.
    scale = 1.0 if weights is None else weights.mean()
    theirs = ElasticNet(alpha=lam / scale, l1_ratio=given_.get("mix", 1.0), tol=1e-12, max_iter=200_000)
    theirs.fit(X, y, sample_weight=weights)
    other = objective(X, y, theirs.coef_, theirs.intercept_, lam, **given_)
    value = objective(X, y, mine.coef, mine.intercept, lam, **given_)
    assert value <= other * (1 + 1e-8) + 1e-12


ROADS = {
    "C": lambda X, y, kw: path(np.ascontiguousarray(X), y, **kw),
    "Fortran": lambda X, y, kw: path(np.asfortranarray(X), y, **kw),
    "csc": lambda X, y, kw: path(sp.csc_matrix(X), y, **kw),
    "csr array": lambda X, y, kw: path(sp.csr_array(X), y, **kw),
    "sparse gram": lambda X, y, kw: path(sp.csc_matrix(X), y, regime="gram", **kw),
    "batch": lambda X, y, kw: batch(X, np.column_stack([y[::-1], y, -y]), duals=True, **kw)[1],
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("shape", [(60, 25), (25, 60)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", [False, True])
def test_every_road_gives_the_same_answer(road, shape, kind, standardize):
    X, y, given_ = draw(1, *shape, kind)
    kw = {"count": 8, "ratio": 0.02, "tol": 1e-10, "standardize": standardize, **given_}
    want, got = path(X, y, **kw), ROADS[road](X, y, kw)
    assert got.converged.all()
    np.testing.assert_allclose(got.lams, want.lams, rtol=1e-12)
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-9)
    np.testing.assert_allclose(got.linear(X), want.linear(X), atol=3e-4 * np.abs(y).max())


@pytest.mark.native
@pytest.mark.parametrize("kind", [*KINDS, "box"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("tier", ["portable", "dense"])
def test_portable_tier_equals_the_extension(monkeypatch, kind, sparse, tier):
    X, y, given_ = draw(2, 40, 60, kind)
    if kind == "box":
        given_ = {"lower": 0.0, "upper": 0.7}
    X = sp.csc_matrix(X) if sparse else X
    kw = {"count": 8, "ratio": 0.02, "tol": 1e-10, **given_}
    want = path(X, y, **kw)
    monkeypatch.setenv("FEWER_TIER", tier)
    got = path(X, y, **kw)
    assert got.converged.all()
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-9)
    np.testing.assert_allclose(got.lams, want.lams, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sparse", [False, True])
def test_limits(kind, sparse):
    X, y, given_ = draw(3, 50, 12, kind)
    A = sp.csc_matrix(X) if sparse else X
    top = lambda_max(A, y, **given_)
    free = given_.get("factors", np.ones(12)) == 0
    for lam, zero in ((top, True), (3 * top, True), (top * 0.99, False)):
        coef = solve(A, y, lam, tol=1e-12, **given_).coef
        assert np.all(coef[~free] == 0) == zero


@pytest.mark.parametrize("shape", [(50, 8), (8, 20)])
def test_no_penalty_is_least_squares(shape):
    X, y, _ = draw(4, *shape, "offset")
    found = solve(X, y, 0.0)
    A = np.column_stack([np.ones(len(y)), X])
    best = 0.5 * np.mean((y - A @ np.linalg.lstsq(A, y, rcond=None)[0]) ** 2)
    assert found.objective <= best + 1e-12 * float(y @ y) and found.converged


@pytest.mark.parametrize("sparse", [False, True])
def test_bounds_hold_and_are_optimal(sparse):
    X, y, _ = draw(5, 60, 10, "")
    A = sp.csc_matrix(X) if sparse else X
    found = solve(A, y, 0.01, lower=0.0, upper=np.linspace(0.1, 1, 10), tol=1e-11)
    assert np.all(found.coef >= 0) and np.all(found.coef <= np.linspace(0.1, 1, 10)) and found.converged
    base = objective(X, y, found.coef, found.intercept, 0.01)
    rng = np.random.default_rng(0)
    for _ in range(200):
        near = np.clip(found.coef + rng.normal(size=10) * 0.02, 0, np.linspace(0.1, 1, 10))
        b0 = float(np.mean(y - X @ near))
        assert objective(X, y, near, b0, 0.01) >= base - 1e-11


def test_precomputed_moments_give_the_same_path():
    X, y, _ = draw(6, 80, 15, "offset")
    Z, t = X - X.mean(0), y - y.mean()
    want = path(X, y, count=10, tol=1e-11)
    got = gram_path(Z.T @ Z / 80, Z.T @ t / 80, float(t @ t) / 80, lams=want.lams, tol=1e-11)
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-9)
    assert got.duals is None and got.converged.all()


@pytest.mark.parametrize("axis", ["targets", "weights", "factors"])
@pytest.mark.parametrize("sparse", [False, True])
def test_batch_equals_one_at_a_time(axis, sparse):
    rng = np.random.default_rng(7)
    X, y, _ = draw(7, 40, 70, "offset")
    A = sp.csc_matrix(X) if sparse else X
    Y, W, F = y + rng.normal(size=(3, 40)), rng.uniform(0.2, 2, (40, 3)), rng.uniform(0.5, 2, (70, 3))
    many = {"targets": {}, "weights": {"weights": W}, "factors": {"factors": F}}[axis]
    got = batch(A, Y.T if axis == "targets" else y, count=10, tol=1e-9, **many)
    assert len(got) == 3
    for k, found in enumerate(got):
        one = {name: a[:, k] for name, a in many.items()}
        want = path(A, Y[k] if axis == "targets" else y, count=10, tol=1e-9, **one)
        np.testing.assert_allclose(found.objectives, want.objectives, rtol=1e-7)
        assert found.converged.all()


@pytest.mark.parametrize("shape", [(90, 20), (30, 300)])
@pytest.mark.parametrize("standardize", [False, True])
def test_cross_paths_equal_fits_on_the_training_rows(shape, standardize):
    rng = np.random.default_rng(8)
    X, y, _ = draw(8, *shape, "offset")
    w = rng.uniform(0.5, 2, shape[0])
    F = rng.uniform(0.5, 2, (shape[1], 2))
    F[0], F[1, 1] = 0.0, INF
    folds = np.array_split(rng.permutation(shape[0]), 3)
    got = cross_paths(X, y, folds, factors=F, weights=w, count=8, ratio=0.05, tol=1e-9, standardize=standardize)
    for k in range(2):
        for f, rows in enumerate(folds):
            keep = np.delete(np.arange(shape[0]), rows)
            want = path(
                X[keep],
                y[keep],
                lams=got[k][f].lams,
                factors=F[:, k],
                weights=w[keep],
                tol=1e-9,
                standardize=standardize,
            )
            np.testing.assert_allclose(got[k][f].objectives, want.objectives, rtol=1e-6)
            np.testing.assert_allclose(got[k][f].linear(X), want.linear(X), atol=1e-2)


def test_single_precision_data_is_certified_too():
    X, y, _ = draw(9, 60, 100, "")
    found = path(X.astype(np.float32), y, count=10, tol=1e-5)
    want = path(X.astype(np.float32).astype(np.float64), y, lams=found.lams, tol=1e-9)
    assert found.converged.all()
    np.testing.assert_allclose(found.objectives, want.objectives, rtol=1e-4)


def test_a_path_is_never_cut_short():
    X, y, _ = draw(10, 30, 60, "")
    found = path(X, y, count=20, ratio=1e-4, tol=1e-13, max_iter=1)
    assert len(found) == 20 and not found.converged.all()
    assert np.all(found.gaps[~found.converged] > 1e-13 * found.null)


def test_a_million_columns():
    X = sp.random(50, 1_000_000, 1e-5, random_state=0, format="csc")
    y = np.asarray(X[:, np.diff(X.indptr) > 0][:, :3].sum(axis=1)).ravel()
    found = path(X, y, count=5, ratio=0.3)
    assert found.converged.all() and found.values.shape[0] < 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": np.ones(3)}, "dimensions"),
        ({"X": np.array([["a"]])}, "give numbers"),
        ({"X": np.ones((0, 2))}, "no rows"),
        ({"X": np.full((4, 2), np.nan)}, "column 0 of X"),
        ({"X": np.array([[1, np.inf]] * 4)}, "column 1 of X"),
        ({"y": np.ones(3)}, "X has 4 rows"),
        ({"y": np.array([1, np.nan, 1, 1])}, "row 1"),
        ({"lam": -1.0}, "lam is -1.0; it must be at least 0"),
        ({"mix": 2.0}, "mix is 2.0; it must be at most 1"),
        ({"factors": [1.0, -1.0]}, "in \\[0, inf\\]"),
        ({"weights": np.zeros(4)}, "not all zero"),
        ({"lower": 1.0}, "enclose zero"),
    ],
)
def test_faults_are_one_clear_line(change, words):
    arguments = {"X": np.eye(4)[:, :2], "y": np.ones(4), "lam": 0.1, **change}
    X, y, lam = arguments.pop("X"), arguments.pop("y"), arguments.pop("lam")
    with pytest.raises(FewerError, match=words) as caught:
        solve(X, y, lam, **arguments)
    assert "\n" not in str(caught.value)


def test_import_is_light_and_quick():
    import subprocess
    import sys
    import time

    heavy = "('sklearn', 'torch', 'scipy')"
    code = f"import sys, fewer.linear as l; l.path; l.glm_path; print([m for m in {heavy} if m in sys.modules])"
    started = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr
    assert time.perf_counter() - started < 5  # a guard against gross slowness; the benchmark times it properly
