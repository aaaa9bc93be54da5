"""Penalties that the compiled solver knows: the answers of literal descents, whatever the loss, weights and columns."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from test_joint import CASES, N, X

from fewer import linear as fl
from fewer import penalty as P
from fewer.linear.chain import Chain
from fewer.linear.partly import Partly, strengthened

pytestmark = pytest.mark.native
GROUPS = ((3, 0), (1, 2))
PENALTIES = {
    "l1": P.L1(),
    "weighted-l1": P.WeightedL1([1.0, 0.0, 2.0, np.inf, 0.5]),
    "elastic-net": P.ElasticNet(mix=0.4),
    "group": P.Group(GROUPS),
    "sparse-group": P.SparseGroup(GROUPS, mix=0.3, weights=(1.0, 0.5)),
    "slope": P.Slope((2.0, 1.5, 1.5, 0.5, 0.0)),
    "k-support": P.KSupport(2),
    "fused": P.Fused(sparse=0.02),
    "chain": Chain(0.4),
    "slope, partly": Partly(P.Slope((2.0, 1.5, 1.5, 0.5, 0.0)), (0, 2, 4)),
    "chain, partly": Partly(Chain(0.4), (0, 2, 3, 4)),
    "group, partly": Partly(P.Group(GROUPS), (0, 2, 4)),
    "k-support, partly": Partly(P.KSupport(2), (1, 2, 3)),
}
LOSSES = [name for name in CASES if name not in ("multinomial", "ordinal")]
WEIGHTS = np.random.default_rng(3).integers(0, 3, N).astype(float)


def residual(A, y, loss, penalty, lam, b, b0, s):
    """Largest distance from a stationary point, and the objective, row by row from the definitions."""
    eta = A @ b + b0
    slope = loss.slope(eta, y, s)
    priced = strengthened(penalty, lam)
    off = np.abs(np.atleast_1d(priced.residual(b, A.T @ slope))).max()
    return max(off, abs(slope.sum()) if loss.intercept else 0.0), loss.value(eta, y, s) + float(priced.value(b))


def certified(A, y, loss, penalty, found, s, near):
    for k, lam in enumerate(found.lams):
        off, value = residual(A, y, loss, penalty, lam, found[k].coef, found[k].intercept, s)
        assert off <= near
        np.testing.assert_allclose(value, found.objectives[k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PENALTIES)
def test_every_loss_ends_at_its_minimum(name):
    for loss_name in LOSSES:
        loss, y = CASES[loss_name]
        found = fl.general_path(X, y, loss, PENALTIES[name], lams=[0.2, 0.05, 0.01], weights=WEIGHTS, tol=1e-8)
        assert found.engine == "joint newton" and found.converged.all(), loss_name
        certified(X, y, loss, PENALTIES[name], found, WEIGHTS / N, 1e-6)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("loss_name", ["squared", "logistic"])
def test_a_literal_descent_agrees(name, loss_name, monkeypatch):
    loss, y = CASES[loss_name]
    options = {"lams": [0.1, 0.03], "weights": WEIGHTS, "tol": 1e-7}
    mine = fl.general_path(X - 4, y, loss, PENALTIES[name], **options)
    monkeypatch.setenv("FEWER_TIER", "portable")
    other = fl.general_path(X - 4, y, loss, PENALTIES[name], **options)
    assert mine.engine != other.engine == "proximal gradient"
    np.testing.assert_allclose(mine.coefs, other.coefs, atol=2e-5)
    np.testing.assert_allclose([mine.null, mine.lam_max], [other.null, other.lam_max])
    assert np.all(np.abs(mine.objectives - other.objectives) <= 1e-9 * mine.null)
    assert not np.any(mine.gaps > 1e-5 * mine.null)  # nan where there is none


@pytest.mark.parametrize("name", ["slope", "k-support", "fused", "chain"])
@pytest.mark.parametrize("seed", range(3))
def test_awkward_columns(name, seed):
    """More columns than rows, repeated, collinear and constant ones, sizes far apart, offsets."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(12, 20)) * 10.0 ** rng.uniform(-1, 1, 20) + 3.0 * (seed == 1)
    A[:, 1], A[:, 2], A[:, 3] = A[:, 0], 7.0, A[:, 0] - 2 * A[:, 4]
    y = A[:, :6].sum(axis=1) + rng.normal(size=12)
    penalty = P.Slope(tuple(np.linspace(2, 0, 20))) if name == "slope" else PENALTIES[name]
    found = fl.general_path(A, y, fl.Squared(), penalty, lams=[3.0, 0.3, 0.03, 0.0], tol=1e-9)
    assert found.converged.all() and found.iterations.max() < 10
    scale = np.abs(A.T @ (y - y.mean())).max() / 12
    certified(A, y, fl.Squared(), penalty, found, np.full(12, 1 / 12), 1e-7 * scale)


def test_ties_are_exact_and_zeros_are_zero():
    A = np.eye(6)
    y = np.array([3.0, 2.9, 0.1, -2.95, 0.0, 1.0])
    found = fl.general_path(A, y, fl.Squared(), P.Slope((1.0, 0.8, 0.6, 0.4, 0.4, 0.4)), lams=[1 / 6], intercept=False)
    b = found[0].coef
    assert b[0] == b[1] == -b[3] and not b[[2, 4]].any()  # the mean of what the three largest keep
    np.testing.assert_allclose(b[[0, 5]], [(3.0 + 2.9 + 2.95 - 2.4) / 3, 0.6])
    steps = fl.general_path(A, np.array([0, 0, 0, 5, 5, 5.0]), fl.Squared(), Chain(0.2), lams=[0.05], intercept=False)
    np.testing.assert_allclose(steps[0].coef, [0.04, 0.04, 0.04, 4.84, 4.84, 4.84])
    assert steps[0].coef[3] == steps[0].coef[5]


@pytest.mark.parametrize("name", PENALTIES)
def test_a_path_of_any_penalty_is_warm(name):
    for loss_name in LOSSES:
        loss, y = CASES[loss_name]
        found = fl.general_path(X, y, loss, PENALTIES[name], lams=np.geomspace(0.3, 0.003, 60))
        assert found.converged.all() and found.iterations.mean() < 3


@pytest.mark.parametrize("name", LOSSES)
def test_small_sparse_tables_are_solved_as_dense_ones(name):
    loss, y = CASES[name]
    thin = sp.csr_array(np.where(np.abs(X - 4) > 1, X - 4, 0.0))
    for solve in (
        lambda A: fl.group_path(A, y, loss, [0, 0, 1, 1, 1], count=5, standardize=True),
        lambda A: fl.glm_path(A, y, loss, lams=[0.1, 0.02], factors=[0.0, 1.0, 2.0, 1.0, np.inf]),
        lambda A: fl.general_path(A, y, loss, P.Slope((2.0, 1.5, 1.5, 0.5, 0.0)), count=5),
    ):
        mine, other = solve(thin), solve(thin.toarray())
        np.testing.assert_allclose(mine.coefs, other.coefs, atol=2e-4)
        np.testing.assert_allclose(mine.lams, other.lams, rtol=1e-10)
        assert name == "squared" or mine.engine == other.engine


def test_slope_is_proven_by_its_dual_norm():
    loss, y = CASES["logistic"]
    found = fl.general_path(X, y, loss, PENALTIES["slope"], count=5, tol=1e-10)
    for k, lam in enumerate(found.lams):
        slope = loss.slope(found[k].linear(X), y, np.full(N, 1 / N))
        pull = np.cumsum(np.sort(np.abs(X.T @ slope))[::-1]) / np.cumsum(PENALTIES["slope"].scales)
        scale = min(1.0, lam / pull.max())
        bound = -loss.conjugate(scale * slope, y, np.full(N, 1 / N))
        np.testing.assert_allclose(found.objectives[k] - bound, found.gaps[k], atol=1e-12)
        assert found.gaps[k] <= 1e-8


@pytest.mark.parametrize("name", ["slope", "k-support", "chain", "group"])
def test_newton_ends_where_digits_do(name):
    loss, y = CASES["logistic"]
    found = fl.general_path(X, y, loss, PENALTIES[name], lams=[0.05], tol=0.0)
    assert found.iterations[0] < 40 and found.kkts[0] < 1e-12


@pytest.mark.parametrize("name", ["huber", "efron", "multinomial"])
def test_a_constant_column_without_a_price_is_no_rounding(name):
    """What centring leaves of it was a direction of its own: coefficients of 1e14, and a certificate."""
    A = X.copy()
    A[:, 2] = 7.0
    loss, y = CASES[name]
    options = {"lams": [0.05], "weights": WEIGHTS + 0.1}
    found = fl.group_path(A, y, loss, None, factors=[1.0, 1.0, 0.0, 1.0, 1.0], **options)
    without = fl.group_path(A, y, loss, None, factors=[1.0, 1.0, np.inf, 1.0, 1.0], **options)
    assert found.converged.all() and not found[0].coef[2].any()
    np.testing.assert_allclose(found.objectives, without.objectives)
