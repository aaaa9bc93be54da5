"""Losses and proximal Newton: derivatives, duals from scratch, scikit-learn and statsmodels-free literal references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from certify import dual_value, intercept_slack, objective
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor

from fewer import linear as fl
from fewer.method import FewerError

SCALAR = {"logistic": fl.Logistic(), "poisson": fl.Poisson(), "gamma": fl.Gamma(), "huber": fl.Huber(0.8)}
ALL = {
    **SCALAR,
    "squared": fl.Squared(),
    "quantile": fl.Quantile(0.3, 0.3),
    "multinomial": fl.Multinomial(3),
    "ordinal": fl.Ordinal(4, cuts=(-1.0, 0.2, 1.0)),
    "breslow": fl.Cox("breslow"),
    "efron": fl.Cox("efron"),
}


def target(name, eta, rng):
    n = len(eta)
    if name == "logistic":
        return (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    if name == "poisson":
        return rng.poisson(np.exp(np.clip(eta, -3, 3))).astype(float) + (np.arange(n) == 0)
    if name == "gamma":
        return rng.gamma(2, np.exp(np.clip(eta, -3, 3)) / 2) + 1e-3
    if name == "multinomial":
        return np.concatenate([[0, 1, 2], rng.integers(0, 3, n - 3)]).astype(float)
    if name == "ordinal":
        return np.concatenate([[0, 1, 2, 3], np.digitize(eta + rng.logistic(size=n), [-1, 0.2, 1])[4:]]).astype(float)
    if name in ("breslow", "efron"):
        time = np.ceil(rng.exponential(np.exp(-np.clip(eta, -3, 3))) * 4)
        return np.column_stack([time, (rng.random(n) < 0.7) | (np.arange(n) == 0)]).astype(float)
    return eta + rng.standard_t(3, n)


def problem(name, seed=0, n=60, p=12):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, target(name, X[:, :3] @ np.array([0.8, -0.8, 0.5]), rng), rng.uniform(0.3, 2, n)


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_derivative(name):
    loss, rng = ALL[name], np.random.default_rng(1)
    _, y, s = problem(name)
    eta = rng.normal(size=(60, loss.width)).squeeze()
    slope = loss.slope(eta, y, s)
    for _ in range(12):
        move = rng.normal(size=eta.shape)
        numeric = (loss.value(eta + 1e-5 * move, y, s) - loss.value(eta - 1e-5 * move, y, s)) / 2e-5
        np.testing.assert_allclose(np.sum(slope * move), numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "poisson", "gamma", "ordinal", "multinomial", "breslow", "efron"])
def test_bend_is_the_diagonal_of_the_second_derivative(name):
    loss, rng = ALL[name], np.random.default_rng(2)
    _, y, s = problem(name)
    eta = rng.normal(size=(60, loss.width)).squeeze()
    bend = loss.bend(eta, y, s)
    for at in list(np.ndindex(eta.shape))[:20]:
        move = np.zeros(eta.shape)
        move[at] = 1e-5
        numeric = (loss.slope(eta + move, y, s)[at] - loss.slope(eta - move, y, s)[at]) / 2e-5
        np.testing.assert_allclose(bend[at], numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["huber", "quantile"])
def test_bend_of_robust_losses_lies_above(name):
    loss, rng = ALL[name], np.random.default_rng(3)
    _, y, s = problem(name)
    eta = rng.normal(size=60)
    for scale in (0.1, 1, 10):
        move = rng.normal(size=60) * scale
        quadratic = loss.slope(eta, y, s) @ move + 0.5 * loss.bend(eta, y, s) @ move**2
        assert loss.value(eta + move, y, s) <= loss.value(eta, y, s) + quadratic + 1e-9


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("ordinal", "breslow", "efron")])
def test_conjugate_obeys_fenchel(name):
    loss, rng = ALL[name], np.random.default_rng(4)
    _, y, s = problem(name)
    at, other = rng.normal(size=(2, 60, loss.width)).squeeze()
    v = loss.slope(at, y, s)
    conj = loss.conjugate(v, y, s)
    np.testing.assert_allclose(conj, np.sum(v * at) - loss.value(at, y, s), rtol=1e-8, atol=1e-8)
    assert conj >= np.sum(v * other) - loss.value(other, y, s) - 1e-9


def cox_literal(eta, y, s, ties):
    """Partial likelihood as printed, loops over events; weights as in the docstring."""
    total, w = 0.0, s / s.mean()
    for time in np.unique(y[y[:, 1] == 1, 0]):
        dead = np.flatnonzero((y[:, 0] == time) & (y[:, 1] == 1))
        risk = sum(w[j] * np.exp(eta[j]) for j in range(len(eta)) if y[j, 0] >= time)
        own = sum(w[j] * np.exp(eta[j]) for j in dead)
        for place, i in enumerate(dead):
            share = place / len(dead) if ties == "efron" else 0.0
            total += s[dead].mean() * np.log(risk - share * own) - s[i] * eta[i]
    return total


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_cox_value_and_gram_are_the_literal_ones(ties):
    X, y, s = problem(ties)
    eta, loss = X[:, 0] * 0.7, fl.Cox(ties)
    np.testing.assert_allclose(loss.value(eta, y, s), cox_literal(eta, y, s, ties), rtol=1e-12)
    G, e = loss.gram(eta, y, s, X), 1e-5
    for j in range(4):
        change = (loss.slope(eta + e * X[:, j], y, s) - loss.slope(eta - e * X[:, j], y, s)) / (2 * e)
        np.testing.assert_allclose(G[j], X.T @ change, rtol=1e-5, atol=1e-6)
    best = min(cox_literal(np.random.default_rng(k).normal(size=60) * 20, y, s, ties) for k in range(20))
    assert loss.floor(y, s) <= best


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SCALAR)), st.integers(0, 10**6), st.integers(8, 50), st.integers(3, 30), st.booleans())
def test_certificate_holds_from_scratch(name, seed, n, p, intercept):
    loss = SCALAR[name]
    X, y, w = problem(name, seed, n, p)
    y = np.where(np.arange(n) == 0, 1 - y[1], y) if name == "logistic" else y
    found = fl.glm_path(X, y, loss, count=5, ratio=0.05, weights=w, intercept=intercept, tol=1e-7)
    assert found.converged.all()
    for k in range(5):
        kw = {"weights": w, "name": name, "shape": (0.8, 0)}
        value = objective(X, y, found[k].coef, found[k].intercept, found.lams[k], **kw)
        np.testing.assert_allclose(value, found.objectives[k], rtol=1e-9)
        assert not intercept or intercept_slack(found.duals[k]) < 1e-7
        bound = dual_value(X, y, found.duals[k], found.lams[k], **kw)
        assert value - bound <= 1.5e-7 * abs(found.null)


def fit_kkt(name, X, y, w, found, k, loss, f):
    """Largest breach of optimality at the k-th solution, from the loss's slope alone."""
    coef, b0, lam = found[k].coef, found[k].intercept, found.lams[k]
    if name == "ordinal":
        loss, b0 = replace(loss, cuts=tuple(b0)), 0.0
    g = -np.asarray(X.T @ loss.slope(np.asarray(X @ coef) + b0, y, w / len(w)))
    f = f if coef.ndim == 1 else f[:, None]
    off = np.abs(g - lam * f * np.sign(coef))
    return float(np.max(np.where(coef != 0, off, np.maximum(np.abs(g) - lam * f, 0))))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sparse", [False, True])
def test_every_loss_reaches_stationarity(name, sparse, monkeypatch):
    monkeypatch.setattr("fewer.linear.matrix._SMALL", 0)
    X, y, w = problem(name, n=80)
    f = np.linspace(0.5, 2, 12)
    f[2] = 0.0
    A = sp.csc_matrix(X) if sparse else X
    found = fl.glm_path(A, y, ALL[name], count=5, ratio=0.05, weights=w, factors=f, tol=1e-9)
    assert found.converged.all() and len(found) == 5
    assert max(fit_kkt(name, X, y, w, found, k, ALL[name], f) for k in range(5)) < 2e-4
    fixed = found[0].coef[2]
    assert np.all(np.delete(found[0].coef, 2, axis=0) == 0) and np.any(fixed != 0)


@pytest.mark.native
@pytest.mark.parametrize("name", [*SCALAR, "quantile"])
@pytest.mark.parametrize("kind", ["plain", "box", "net"])
def test_portable_tier_equals_the_extension(monkeypatch, name, kind):
    X, y, w = problem(name)
    kw = {"box": {"lower": -0.2, "upper": 0.3}, "net": {"mix": 0.5, "standardize": True}, "plain": {}}[kind]
    kw = {"count": 6, "ratio": 0.05, "weights": w, "tol": 1e-8, **kw}
    want = fl.glm_path(X, y, ALL[name], **kw)
    monkeypatch.setenv("FEWER_TIER", "portable")
    got = fl.glm_path(X, y, ALL[name], **kw)
    assert got.converged.all() and want.converged.all() and want.engine != got.engine
    np.testing.assert_allclose(got.objectives, want.objectives, rtol=1e-7)


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_not_worse_than_scikit_learn_logistic(name):
    X, y, _ = problem(name, n=120)
    loss = ALL[name]
    lam = 0.02
    mine = fl.glm_solve(X, y, loss, lam, tol=1e-10)
    theirs = LogisticRegression(l1_ratio=1.0, C=1 / (lam * 120), solver="saga", tol=1e-10, max_iter=100_000).fit(X, y)
    coef, b0 = (theirs.coef_[0], theirs.intercept_[0]) if name == "logistic" else (theirs.coef_.T, theirs.intercept_)
    other = loss.value(X @ coef + b0, y, np.full(120, 1 / 120)) + lam * np.abs(coef).sum()
    assert mine.objective <= other * (1 + 1e-8)


@pytest.mark.parametrize("options", [{}, {"mix": 0.6}, {"lower": -0.2, "upper": 0.3}, {"intercept": False}])
@pytest.mark.parametrize("make", [np.asarray, sp.csc_array])
def test_classes_together_reach_the_optimum_of_class_by_class(options, make, monkeypatch):
    X, y, s = problem("multinomial")
    factors = np.ones(12)
    factors[[0, 5]] = 0.0, np.inf
    options = {"factors": factors, "weights": s, "count": 8, "ratio": 0.02, "tol": 1e-8, **options}
    monkeypatch.setattr("fewer.linear.joint._LARGEST", 0)
    monkeypatch.setattr("fewer.linear.matrix._SMALL", 0)
    together = fl.glm_path(make(X), y, fl.Multinomial(3), **options)
    monkeypatch.setattr("fewer.linear.newton._LARGEST", -1)
    alone = fl.glm_path(make(X), y, fl.Multinomial(3), **options)
    assert together.converged.all() and alone.converged.all()
    assert together.iterations.sum() < 0.7 * alone.iterations.sum()
    np.testing.assert_allclose(together.objectives, alone.objectives, rtol=1e-7)


@pytest.mark.parametrize("make", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("name", ["logistic", "poisson", "huber", "efron", "multinomial"])
def test_free_columns_inside_bounds_are_fitted_to_their_bounds(name, make, monkeypatch):
    monkeypatch.setattr("fewer.linear.matrix._SMALL", 0)
    X, y, _ = problem(name)
    loss, factors = ALL[name], np.where(np.arange(12) < 4, 0.0, 1.0)
    lower = np.array([0.0, -np.inf, -0.1, -0.4, *[-np.inf] * 8])
    got = fl.glm_path(make(X), y, loss, lams=[1e3], factors=factors, lower=lower, upper=1.5, tol=1e-9)
    K, free = loss.width, np.tile(np.arange(12) < 4, loss.width)

    def value(v):
        eta = (X @ v[:-K].reshape(K, -1).T + loss.intercept * v[-K:]).squeeze()
        return loss.value(eta, y, np.full(60, 1 / 60))

    box = [(low, 1.5) if use else (0, 0) for low, use in zip(np.tile(lower, K), free, strict=True)]
    want = minimize(value, np.zeros(13 * K), bounds=[*box, *[(-9, 9)] * K], options={"ftol": 1e-15, "maxfun": 10**6})
    assert got.converged.all() and got.sizes[0] <= 4
    np.testing.assert_allclose(got.objectives[0], want.fun, rtol=1e-6)


@pytest.mark.parametrize(("name", "peer"), [("poisson", PoissonRegressor), ("gamma", GammaRegressor)])
def test_ridge_only_equals_scikit_learn(name, peer):
    X, y, _ = problem(name, n=100)
    mine = fl.glm_solve(X, y, ALL[name], 0.1, mix=0.0, tol=1e-12)
    theirs = peer(alpha=0.1, tol=1e-12, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(mine.coef, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(mine.intercept, theirs.intercept_, atol=1e-5)


def test_smoothed_quantile_approaches_the_programme():
    X, y, _ = problem("quantile", n=80)
    exact = fl.quantile_solve(X, y, 0.3, 0.05)
    assert exact.converged and exact.gap <= 1e-9
    for smooth in (0.1, 0.01):
        near = fl.glm_solve(X, y, fl.Quantile(0.3, smooth), 0.05, tol=1e-7)
        r = y - near.linear(X)
        value = np.mean(np.maximum(0.3 * r, -0.7 * r)) + 0.05 * np.abs(near.coef).sum()
        assert exact.objective - 1e-9 <= value <= exact.objective + smooth / 8 + 1e-6


def test_ordinal_probabilities_sum_to_one_and_cuts_increase():
    X, y, _ = problem("ordinal", n=100)
    found = fl.glm_solve(X, y, fl.Ordinal(4), 0.01)
    fitted = replace(fl.Ordinal(4), cuts=tuple(found.intercept))
    p = fitted.mean(X @ found.coef)
    assert np.all(np.diff(found.intercept) > 0) and np.all(p > 0)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    moved = replace(fitted, cuts=tuple(found.intercept + 1e-3))
    at, near = (loss.value(X @ found.coef, y, np.full(100, 0.01)) for loss in (fitted, moved))
    assert at <= near


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        (fl.Logistic(), [0, 0, 0], "two classes"),
        (fl.Logistic(), [0, 2, 0], "row 1"),
        (fl.Poisson(), [-1, 2, 0], "row 0"),
        (fl.Gamma(), [1, 2, 0], "row 2"),
        (fl.Multinomial(3), [0, 1, 3], "row 2"),
        (fl.Multinomial(3), [1, 1, 1], "one class"),
        (fl.Ordinal(3), [0, 1, 1], "never occur"),
        (fl.Cox(), [1, 2, 3], "time, event"),
        (fl.Cox(), [[1, 0], [2, 0], [1, 0]], "at least one"),
        (fl.Logistic(), [0, 1], "X has 3"),
    ],
)
def test_impossible_targets_are_refused(loss, y, words):
    with pytest.raises(FewerError, match=words):
        fl.glm_path(np.eye(3), y, loss)
