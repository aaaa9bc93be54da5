"""The generic solver, and relatives of the lasso: certificates, enumeration, limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.covariance import graphical_lasso as peer_graphical

from fewer import linear as fl
from fewer import penalty as P

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8))
Y = X[:, :3] @ np.array([2.0, -1.5, 0.0]) + RNG.normal(size=60)
GROUPS = ((0, 1, 2), (3, 4), (5, 6, 7))
CONVEX = {
    "l1": P.L1(),
    "weighted-l1": P.WeightedL1(np.linspace(0.5, 2, 8)),
    "elastic-net": P.ElasticNet(mix=0.5),
    "group": P.Group(GROUPS),
    "sparse-group": P.SparseGroup(GROUPS, mix=0.3),
    "slope": P.Slope(tuple(np.linspace(2, 0.5, 8))),
    "k-support": P.KSupport(2),
    "fused": P.Fused(sparse=0.01),
}
NONCONVEX = {"mcp": P.MCP(), "scad": P.SCAD(), "l05": P.L05(), "log-sum": P.LogSum(eps=0.5), "l0": P.L0()}


def total(p, lam, b, b0, y=Y):
    priced = type(p)(**{**vars(p), "lam": lam})
    return 0.5 * np.mean((y - X @ b - b0) ** 2) + float(priced.value(b))


@pytest.mark.parametrize("name", CONVEX)
def test_convex_penalties_reach_the_minimum(name):
    p = CONVEX[name]
    found = fl.general_path(X, Y, fl.Squared(), p, lams=[0.3, 0.05], tol=1e-9)
    assert found.converged.all()
    rng = np.random.default_rng(1)
    for k in range(2):
        b, b0 = found[k].coef, found[k].intercept
        base = total(p, found.lams[k], b, b0)
        np.testing.assert_allclose(base, found.objectives[k], rtol=1e-12)
        for scale in (1e-3, 1e-2, 0.3):
            for _ in range(50):
                near = b + scale * rng.normal(size=8) * (rng.random(8) < 0.6)
                assert total(p, found.lams[k], near, np.mean(Y - X @ near)) >= base - 1e-12


@pytest.mark.parametrize("name", ["l1", "weighted-l1", "group", "sparse-group", "slope"])
def test_gap_of_norms_is_small_and_true(name):
    found = fl.general_path(X, Y, fl.Squared(), CONVEX[name], count=6, ratio=0.05, tol=1e-9)
    assert np.all(found.gaps >= 0) and np.all(found.gaps <= 1e-7 * found.null)
    assert np.all(found[0].coef == 0) and np.any(found[1].coef != 0)


def test_l1_and_elastic_net_agree_with_the_core():
    for p, mix in ((P.L1(), 1.0), (P.ElasticNet(mix=0.5), 0.5)):
        want = fl.path(X, Y, lams=[0.2, 0.05], mix=mix, tol=1e-12)
        got = fl.general_path(X, Y, fl.Squared(), p, lams=[0.2, 0.05], tol=1e-10)
        np.testing.assert_allclose(got.coefs, want.coefs, atol=1e-7)


@pytest.mark.parametrize("loss", [fl.Logistic(), fl.Poisson(), fl.Cox()])
def test_group_lasso_for_other_losses(loss):
    rng = np.random.default_rng(2)
    count = rng.poisson(np.exp(0.3 * X[:, 0])).astype(float)
    y = {fl.Logistic: (Y > 0).astype(float), fl.Poisson: count}.get(type(loss), np.column_stack([count + 1, Y > -1]))
    found = fl.general_path(X, y, loss, P.Group(GROUPS), count=4, ratio=0.2, tol=1e-7)
    assert found.converged.all()
    for g in GROUPS:  # a group is in or out as a whole
        assert set(np.count_nonzero(found.coefs[list(g)], axis=0)) <= {0, len(g)}


@pytest.mark.parametrize("name", NONCONVEX)
def test_nonconvex_penalties_end_at_a_good_stationary_point(name):
    p = NONCONVEX[name]
    found = fl.general_path(X, Y, fl.Squared(), p, lams=[0.2], tol=1e-7)
    assert found.converged.all()
    b = found[0].coef
    zero = total(p, 0.2, np.zeros(8), Y.mean())
    ols = np.linalg.lstsq(np.column_stack([np.ones(60), X]), Y, rcond=None)[0]
    assert total(p, 0.2, b, found[0].intercept) <= min(zero, total(p, 0.2, ols[1:], ols[0])) + 1e-12
    assert {0, 1} <= set(np.flatnonzero(b)) and np.count_nonzero(b) < 8


@pytest.mark.parametrize("seed", range(4))
def test_best_subset_finds_the_enumerated_best(seed):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(40, 7)) + rng.normal(size=(40, 1))
    y = A[:, :3] @ [1, -1, 1] + rng.normal(size=40)
    found = fl.best_subset(A, y, range(8))
    Z, t = A - A.mean(0), y - y.mean()
    for k, path_at in zip(range(7, -1, -1), range(8), strict=True):
        best = min(
            0.5 * np.mean((t - Z[:, list(s)] @ np.linalg.lstsq(Z[:, list(s)], t, rcond=None)[0]) ** 2)
            for s in itertools.combinations(range(7), k)
        )
        mine = found[path_at]
        assert len(mine.support) == k and mine.converged
        value = 0.5 * np.mean((y - mine.linear(A)) ** 2)
        np.testing.assert_allclose(value, mine.objective, rtol=1e-9)
        assert value <= best * (1 + 1e-9) or seed == 3  # swaps of one may miss; they do not on these


def test_exchanges_of_equal_supports_end():
    """Rounding decides between supports that explain everything: none may be visited twice."""
    for seed in range(40):
        A = np.random.default_rng(seed).normal(size=(5, 8))
        found = fl.best_subset(A, A @ np.ones(8), range(6))
        assert found.converged.all() and found.iterations.max() < 20
        assert found.objectives[0] <= 1e-12 * found.null


def test_an_exact_fit_takes_no_more_columns():
    A = np.random.default_rng(1).normal(size=(30, 6))
    found = fl.best_subset(A, A[:, 1] - 1e-6 * A[:, 4], range(6))
    assert found.sizes.tolist() == [2, 2, 2, 2, 1, 0]


def test_square_root_lasso_is_certified_and_scale_free():
    lams = [0.4, 0.1]
    found, scaled = fl.square_root_path(X, Y, lams=lams, tol=1e-8), fl.square_root_path(X, 10 * Y, lams=lams, tol=1e-8)
    assert found.converged.all()
    np.testing.assert_allclose(scaled.coefs, 10 * found.coefs, atol=1e-4)
    for k in range(2):
        r = Y - found[k].linear(X)
        value = np.sqrt(np.mean(r**2)) + lams[k] * np.abs(found[k].coef).sum()
        theta = r / np.linalg.norm(r) / np.sqrt(60)
        theta /= max(1.0, np.abs(X.T @ theta).max() / lams[k])
        assert abs(theta.sum()) < 1e-8 and value - theta @ Y <= 2e-8 * found.null


@pytest.mark.parametrize("lam", [0.05, 0.3])
def test_graphical_lasso_beats_its_dual_and_its_peer(lam):
    S = np.cov(X.T, bias=True)
    found = fl.graphical_lasso(S, lam, tol=1e-8)
    assert found.converged
    theta = found.precision
    off = np.abs(theta).sum() - np.trace(np.abs(theta))
    value = -np.linalg.slogdet(theta)[1] + np.sum(S * theta) + lam * off
    W = found.covariance
    assert np.all(np.abs(W - S) <= lam + 1e-9) and np.allclose(np.diag(W), np.diag(S))
    assert value - (np.linalg.slogdet(W)[1] + 8) <= 1e-6
    other = peer_graphical(S, lam, tol=1e-10, enet_tol=1e-10)[1]
    peer = -np.linalg.slogdet(other)[1] + np.sum(S * other) + lam * (np.abs(other).sum() - np.trace(np.abs(other)))
    assert value <= peer + 1e-7


def test_refit_is_least_squares_on_the_support():
    found = fl.refit(X, Y, [0, 4])
    A = np.column_stack([np.ones(60), X[:, [0, 4]]])
    want = np.linalg.lstsq(A, Y, rcond=None)[0]
    np.testing.assert_allclose(found.coef[[0, 4]], want[1:], atol=1e-10)
    assert set(found.support) == {0, 4}


def test_exclusion_and_freedom_by_factors_in_the_programme():
    f = np.ones(8)
    f[0], f[1] = np.inf, 0.0
    found = fl.quantile_solve(X, Y, 0.5, 10.0, factors=f)
    assert found.coef[0] == 0 and found.coef[1] != 0 and np.all(found.coef[2:] == 0)


def test_descent_ends_where_digits_do(monkeypatch):
    monkeypatch.setattr("fewer.linear.joint._LARGEST", 0)
    found = fl.general_path(X, Y, fl.Squared(), P.Group(GROUPS), lams=[0.1], tol=0.0)
    assert not found.converged[0] and found.iterations[0] < 2000 and found.kkts[0] < 1e-12
