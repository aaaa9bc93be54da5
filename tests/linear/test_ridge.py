"""Without an L1 price the KKT distance decides, and the answer is the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

from fewer import linear as fl

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(60, 5), (40, 30), (20, 50)])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-12])
def test_ridge_is_the_closed_form(shape, tol):
    n, p = shape
    X = RNG.normal(size=shape) + RNG.normal(size=(n, 1))
    y, Z, f = X[:, 0] + RNG.normal(size=n), X - X.mean(0), RNG.uniform(0.5, 2, p)
    for given in (X, sp.csc_array(X)):
        found = fl.path(given, y, mix=0.0, factors=f, tol=tol, count=6)
        assert found.converged.all() and found.kkts.max() <= max(tol, 1e-13) * np.abs(Z.T @ y / n).max()
        for one in found:
            want = np.linalg.solve(Z.T @ Z / n + one.lam * np.diag(f), Z.T @ y / n)
            assert np.abs(one.coef - want).max() <= max(10 * tol, 1e-11) * np.abs(want).max()


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
def test_ridge_above_zero_and_with_free_columns(tol):
    X = RNG.normal(size=(50, 6))
    y, lam = X @ [1.0, -1, 1, 0, -0.2, 0.3] + RNG.normal(size=50), 3.0
    got = fl.solve(X, y, lam, mix=0.0, lower=0.0, intercept=False, tol=tol)
    want = nnls(np.vstack([X / 50**0.5, lam**0.5 * np.eye(6)]), np.append(y / 50**0.5, np.zeros(6)))[0]
    assert got.converged and np.abs(got.coef - want).max() <= 10 * tol * want.max()
    twin, f = np.column_stack([X, X[:, 0]]), np.array([0.0, 1, 1, 1, 1, 1, 0])
    free = fl.solve(twin, y, lam, mix=0.0, factors=f, intercept=False, tol=tol)
    want = np.linalg.solve(X.T @ X / 50 + lam * np.diag(f[:6]), X.T @ y / 50)
    assert free.converged
    np.testing.assert_allclose(twin @ free.coef, X @ want, atol=20 * tol)


CLASSES, SIGNAL = RNG.integers(0, 3, 70).astype(float), RNG.normal(size=70)
LOSSES = {
    "logistic": (fl.Logistic(), (SIGNAL > 0).astype(float)), "poisson": (fl.Poisson(), np.floor(np.exp(SIGNAL))),
    "gamma": (fl.Gamma(), np.exp(SIGNAL)), "huber": (fl.Huber(1.0), SIGNAL),
    "quantile": (fl.Quantile(0.5, 0.5), SIGNAL),
    "multinomial": (fl.Multinomial(3), CLASSES), "cox": (fl.Cox(), np.column_stack([np.exp(SIGNAL), CLASSES > 0])),
}  # fmt: skip


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("road", ["dense", "sparse", "groups"])
@pytest.mark.parametrize("name", LOSSES)
def test_other_losses_are_as_exact_as_the_tolerance(name, road, tol, monkeypatch):
    """The price bends by lam in every direction, so that coefficients are within gradient / lam of the solution."""
    (loss, y), lam = LOSSES[name], 0.1
    X = SIGNAL[:, None] * [1, -1, 0, 0.5, 0] + RNG.normal(size=(70, 5))
    monkeypatch.setattr("fewer.linear.matrix._SMALL", 0)
    options = {"lams": [lam], "mix": 0.0, "tol": tol}
    if road == "groups":
        found = fl.group_path(X, y, loss, [0, 0, 1, 1, 2], **options)[0]
    else:
        found = fl.glm_path(X if road == "dense" else sp.csc_array(X), y, loss, **options)[0]
    slope = loss.slope(found.linear(X), loss.check(y), np.full(70, 1 / 70))
    assert found.converged
    assert np.linalg.norm(X.T @ slope + lam * found.coef) / lam <= 10 * max(tol, 3e-8) * np.abs(found.coef).max()


def test_a_null_objective_that_is_nothing_by_chance_does_not_tighten_the_tolerance():
    X = np.eye(6)[:, :2]
    y = np.array([2.0, 4.0, 3.0, 2.0, 3.0, 2.0])
    weights = np.full(6, 1.0)
    from fewer.linear import Poisson, glm_path
    from fewer.linear.ends import unit_of

    y *= np.e / y.mean()  # mean - mean log mean is 0 there
    path = glm_path(X, y, Poisson(), weights=weights)
    s = weights / 6
    assert abs(path.null) < 1e-12 < 1e-3 < unit_of(path.null, Poisson(), y, s) and path.converged.all()
