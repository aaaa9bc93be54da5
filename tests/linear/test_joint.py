"""Newton on all parameters at once: the general solvers' answers, in few steps from the penalty before."""

from __future__ import annotations

import numpy as np
import pytest

from fewer import linear as fl

pytestmark = pytest.mark.native
RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 5)) + 0.5 * RNG.normal(size=(N, 1)) + 4.0
ETA = X[:, 0] - 0.7 * X[:, 1] - 1.2
NOISE = RNG.logistic(size=N)
TIMES = np.column_stack([np.ceil(4 * RNG.exponential(np.exp(-ETA))), RNG.random(N) < 0.8])
LEVELS = np.digitize(ETA + NOISE, [-1.0, 0.5, 1.5]).astype(float)
CASES = {
    "squared": (fl.Squared(), ETA + NOISE),
    "logistic": (fl.Logistic(), (ETA + NOISE > 0).astype(float)),
    "poisson": (fl.Poisson(), RNG.poisson(np.exp(ETA / 2)).astype(float)),
    "gamma": (fl.Gamma(), RNG.gamma(2, np.exp(ETA / 2))),
    "huber": (fl.Huber(0.3), ETA + NOISE),
    "quantile": (fl.Quantile(0.3, 0.1), ETA + NOISE),
    "multinomial": (fl.Multinomial(4), LEVELS),
    "ordinal": (fl.Ordinal(4), LEVELS),
    "breslow": (fl.Cox(), TIMES),
    "efron": (fl.Cox("efron"), TIMES),
}
GROUPS = [0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"share": 0.4, "mix": 0.6, "standardize": True}])
def test_groups_equal_the_general_solver(name, options, monkeypatch):
    loss, y = CASES[name]
    weights = RNG.integers(1, 3, N).astype(float)
    options = {"weights": weights, "tol": 1e-8, "factors": np.repeat([1.0, 0.5], [2, 3]), **options}
    mine = fl.group_path(X, y, loss, GROUPS, count=4, ratio=0.05, **options)
    monkeypatch.setattr("fewer.linear.joint._LARGEST", 0)
    other = fl.group_path(X, y, loss, GROUPS, lams=mine.lams, **options)
    assert mine.engine == "joint newton" != other.engine and mine.converged.all()
    np.testing.assert_allclose([mine.null, mine.lam_max], [other.null, other.lam_max], rtol=1e-7)
    assert np.all(np.abs(mine.objectives - other.objectives) <= 2e-8 * abs(mine.null))


@pytest.mark.parametrize("name", ["multinomial", "ordinal", "breslow", "efron"])
def test_columns_equal_the_general_solver(name, monkeypatch):
    loss, y = CASES[name]
    options = {"tol": 1e-8, "factors": [0.0, 1.0, 2.0, 1.0, np.inf], "mix": 0.8}
    mine = fl.glm_path(X, y, loss, count=4, ratio=0.05, **options)
    monkeypatch.setenv("FEWER_TIER", "portable")
    other = fl.glm_path(X, y, loss, lams=mine.lams, **options)
    assert mine.converged.all() and not mine.coefs[4].any() and mine.duals.shape == other.duals.shape
    assert np.all(np.abs(mine.objectives - other.objectives) <= 2e-8 * abs(mine.null))


@pytest.mark.parametrize("name", CASES)
def test_a_warm_start_is_warm(name):
    loss, y = CASES[name]
    for groups in (GROUPS, None):
        found = fl.group_path(X, y, loss, groups, count=100)
        assert found.converged.all() and found.iterations.mean() < 2.5


def test_dual_points_prove_the_gap():
    loss, y = CASES["multinomial"]
    found = fl.glm_path(X, y, loss, lams=[0.03], tol=1e-9)
    theta = found.duals[0]
    g = X.T @ theta
    assert np.abs(g).max() <= 0.03 * (1 + 1e-9) and np.abs(theta.sum(axis=0)).max() < 1e-12
    bound = -loss.conjugate(-theta, y, np.full(N, 1 / N))
    assert 0 <= found.objectives[0] - bound <= 1e-9 * found.null


def test_free_columns_of_classes_sum_to_zero():
    loss, y = CASES["multinomial"]
    factors = [1.0, 1.0, 0.0, 0.0, 0.0]
    found = fl.group_path(X, y, loss, GROUPS, lams=[0.1, 0.05, 0.0], factors=factors, tol=1e-8)
    assert found.converged.all() and np.abs(found.coefs[2:].sum(axis=2)).max() < 1e-12
    eta = found[1].linear(X)
    value = loss.value(eta, y, np.full(N, 1 / N)) + 0.05 * 2**0.5 * np.linalg.norm(found[1].coef[:2])
    np.testing.assert_allclose(value, found.objectives[1], rtol=1e-12)
