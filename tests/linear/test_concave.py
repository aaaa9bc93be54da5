"""Concave penalties, compiled: global minima of coordinates, and ends no higher than those of slow solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from fewer import linear as fl
from fewer import penalty as P
from fewer.linear.estimators import SparseRegressor, SparseRegressorCV
from fewer.linear.partly import Partly, strengthened
from fewer.method import FewerError

pytestmark = pytest.mark.native
RNG = np.random.default_rng(0)
N = 50
X = (RNG.normal(size=(N, 6)) + 0.7 * RNG.normal(size=(N, 1))) * [1, 0.3, 3, 1, 1, 0.5] + 2.0
ETA = (X - X.mean(0)) @ [1.0, -2.0, 0.0, 0.5, 0.0, 0.0]
NOISE = RNG.logistic(size=N)
TIMES = np.column_stack([np.ceil(4 * RNG.exponential(np.exp(-ETA))), RNG.random(N) < 0.8])
LOSSES = {
    "squared": (fl.Squared(), ETA + NOISE),
    "logistic": (fl.Logistic(), (ETA + NOISE > 0).astype(float)),
    "poisson": (fl.Poisson(), RNG.poisson(np.exp(ETA / 2)).astype(float)),
    "gamma": (fl.Gamma(), RNG.gamma(2, np.exp(ETA / 2))),
    "huber": (fl.Huber(0.5), ETA + NOISE),
    "quantile": (fl.Quantile(0.3, 0.2), ETA + NOISE),
    "breslow": (fl.Cox(), TIMES),
    "efron": (fl.Cox("efron"), TIMES),
}
PENALTIES = {
    "mcp": P.MCP(),
    "mcp 1.05": P.MCP(gamma=1.05),
    "mcp 0.5": P.MCP(gamma=0.5),
    "scad": P.SCAD(),
    "scad 2.01": P.SCAD(gamma=2.01),
    "mcp inf": P.MCP(gamma=float("inf")),
    "log-sum": P.LogSum(eps=0.2),
    "l05": P.L05(),
    "l0": P.L0(),
}


def descended(y, penalty, lam, s, rounds=60):
    """Coordinate descent in a loop, from zero: every coordinate to the minimum that the penalty's prox finds."""
    priced, b = strengthened(penalty, lam), np.zeros(X.shape[1])
    Z, r = X - s @ X / s.sum(), y - s @ y / s.sum()
    for _ in range(rounds):
        for j in range(len(b)):
            h = s @ Z[:, j] ** 2
            pull = np.zeros(len(b))
            pull[j] = b[j] + s @ (Z[:, j] * r) / h
            new = priced.prox(pull, 1 / h)[j]
            r, b[j] = r - (new - b[j]) * Z[:, j], new
    return 0.5 * s @ r**2 + float(priced.value(b))


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("size", [0.3, 1.0, 4.0])
def test_one_column_goes_to_its_global_minimum(name, size):
    grid, x = np.linspace(-15, 15, 30001), size * np.array([[1.0], [1.0]])
    for target in (0.0, 0.4, -1.1, 1.7, -2.5, 3.2):
        found = fl.general_path(x, [target, target], fl.Squared(), PENALTIES[name], lams=[1.0], intercept=False)[0]
        prices = strengthened(PENALTIES[name], 1.0).each(grid)
        assert found.objective <= np.min(0.5 * (target - size * grid) ** 2 + prices) + 1e-9


@pytest.mark.parametrize("name", PENALTIES)
def test_a_path_is_no_higher_than_descent_in_a_loop(name):
    y, weights = LOSSES["squared"][1], RNG.integers(1, 3, N).astype(float)
    found = fl.general_path(X, y, fl.Squared(), PENALTIES[name], lams=[0.5, 0.1], weights=weights, tol=1e-9)
    assert found.converged.all() and found.engine == "coordinate descent"
    for k in range(2):
        assert found.objectives[k] <= descended(y, PENALTIES[name], found.lams[k], weights / N) + 1e-10


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["mcp", "scad"])
def test_ends_are_stationary_and_no_higher_than_those_of_proximal_gradient(loss, name, monkeypatch):
    kind, y = LOSSES[loss]
    weights = RNG.integers(1, 3, N).astype(float)
    mine = fl.general_path(X, y, kind, PENALTIES[name], count=4, ratio=0.1, weights=weights, tol=1e-8)
    monkeypatch.setattr("fewer.linear.general.concave", lambda *_: None)
    other = fl.general_path(X, y, kind, PENALTIES[name], lams=[mine.lams[2]], weights=weights, max_iter=100)
    assert mine.converged.all() and mine.engine == "coordinate descent" != other.engine
    assert mine.objectives[2] <= other.objectives[0] + 1e-7 * abs(mine.null)
    for one in mine:
        value = kind.value(one.linear(X), y, weights / N) + float(
            strengthened(PENALTIES[name], one.lam).value(one.coef)
        )
        np.testing.assert_allclose(one.objective, value, rtol=1e-9)
        slope = kind.slope(one.linear(X), y, weights / N)
        off = strengthened(PENALTIES[name], one.lam).residual(one.coef, X.T @ slope)
        assert np.max(np.abs(off)) <= 1e-7 * max(mine.lam_max, 1) and abs(slope.sum()) < 1e-7


@pytest.mark.parametrize("loss", ["squared", "logistic", "efron"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csc_matrix])
def test_columns_in_use_grow_to_those_that_matter(loss, form, monkeypatch):
    rng = np.random.default_rng(1)
    A = rng.normal(size=(N, 40)) * (rng.random((N, 40)) < 0.6)
    A[:, :4] += X[:, :4]
    kind, y = LOSSES[loss]
    for penalty in (P.SCAD(), Partly(P.MCP(), tuple(range(1, 40)))):
        whole = fl.general_path(form(A), y, kind, penalty, count=12, ratio=0.4, tol=1e-8)
        monkeypatch.setattr("fewer.linear.concave.WHOLE", 5)
        grown = fl.general_path(form(A), y, kind, penalty, lams=whole.lams, tol=1e-8)
        monkeypatch.undo()
        assert grown.converged.all() and grown.engine == "coordinate descent"
        assert np.all(grown.objectives <= whole.objectives + 0.05 * whole.null)  # minima of their own
        for one in grown:
            pull = A.T @ kind.slope(one.linear(A), y, np.full(N, 1 / N))
            assert np.max(np.abs(strengthened(penalty, one.lam).residual(one.coef, pull))) <= 1e-7


def test_weights_are_repetitions_and_constant_columns_stay_out():
    times = RNG.integers(1, 4, N)
    A = np.column_stack([X, np.full(N, 0.1)])
    for loss in ("squared", "logistic"):
        y, options = LOSSES[loss][1], {"lams": [0.1], "tol": 1e-9}
        one = fl.general_path(A, y, LOSSES[loss][0], P.MCP(), weights=times * (N / times.sum()), **options)[0]
        two = fl.general_path(np.repeat(A, times, 0), np.repeat(y, times), LOSSES[loss][0], P.MCP(), **options)[0]
        np.testing.assert_allclose(one.coef, two.coef, atol=1e-6)
        assert one.coef[6] == 0 and np.isclose(one.objective, two.objective, rtol=1e-9)


def test_an_estimator_frees_and_excludes_columns():
    y = LOSSES["squared"][1]
    model = SparseRegressor(5.0, penalty="scad", penalty_factors=[1, 1, 0, 1, np.inf, 1]).fit(X, y)
    assert model.selected_.tolist() == [2] and model.solution_.engine == "coordinate descent"
    fit = np.polyfit(X[:, 2], y, 1)
    np.testing.assert_allclose([model.coef_[2], model.intercept_], fit, rtol=1e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson", "huber"])
def test_few_rounds_along_a_cross_validated_path(loss):
    model = SparseRegressorCV(loss=LOSSES[loss][0], penalty=P.MCP(), cv=3, n_alphas=40).fit(X, LOSSES[loss][1])
    path = model.path_
    assert path.converged.all() and path.engine == "coordinate descent" and path.iterations.mean() < 20


def test_wrong_concavity_is_refused():
    for made in (lambda: P.MCP(gamma=0.0), lambda: P.SCAD(gamma=1.0), lambda: P.LogSum(eps=float("nan"))):
        with pytest.raises(FewerError, match=r"is .*; it must be (above|a finite)"):
            made()


def test_a_table_of_constants_is_solved():
    for loss in ("squared", "logistic"):
        found = fl.general_path(np.full((N, 3), 0.1), LOSSES[loss][1], LOSSES[loss][0], P.MCP(), lams=[0.1, 0.0])
        assert found.converged.all() and not found.coefs.any()
