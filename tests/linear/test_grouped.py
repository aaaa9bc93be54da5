"""Groups of columns for every loss: minima, certificates, limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from fewer import linear as fl
from fewer import penalty as P
from fewer.method import FewerError

RNG = np.random.default_rng(3)
N = 90
GROUPS = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4])
MEMBERS = [np.flatnonzero(g == GROUPS).tolist() for g in range(5)]
X = RNG.normal(size=(N, 9)) + np.array([0, 3, 0, 0, 0, 1, 0, 0, 0])
X[:, 6:8] = np.eye(2)[RNG.integers(0, 2, N)]  # a category with every level: collinear with the constant
ETA = X[:, 0] - X[:, 3] + X[:, 6]
NOISE = RNG.logistic(size=N)
Y = {
    "squared": (fl.Squared(), ETA + NOISE),
    "logistic": (fl.Logistic(), (ETA + NOISE > 0).astype(float)),
    "poisson": (fl.Poisson(), RNG.poisson(np.exp(ETA / 2)).astype(float)),
    "gamma": (fl.Gamma(), RNG.gamma(2, np.exp(ETA / 2))),
    "huber": (fl.Huber(1.0), ETA + NOISE),
    "quantile": (fl.Quantile(0.3, 0.2), ETA + NOISE),
    "breslow": (fl.Cox(), np.column_stack([np.ceil(4 * RNG.exponential(np.exp(-ETA))), RNG.random(N) < 0.7])),
    "efron": (fl.Cox("efron"), np.column_stack([np.ceil(4 * RNG.exponential(np.exp(-ETA))), RNG.random(N) < 0.7])),
    "multinomial": (fl.Multinomial(3), np.digitize(ETA + NOISE, [-1, 1]).astype(float)),
    "ordinal": (fl.Ordinal(3), np.digitize(ETA + NOISE, [-1, 1]).astype(float)),
}
NAMES = list(Y)


def total(name, coef, constant, lam, share=0.0):
    """The objective, term by term."""
    loss, y = Y[name]
    eta = X @ coef + (0.0 if name == "ordinal" else constant)
    if name == "ordinal":
        loss = fl.Ordinal(3, tuple(constant))
    price = sum((1 - share) * len(m) ** 0.5 * np.linalg.norm(coef[m]) for m in MEMBERS) + share * np.abs(coef).sum()
    return loss.value(eta, y, np.full(N, 1 / N)) + lam * price


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_no_point_nearby_is_better(name, share):
    loss, y = Y[name]
    found = fl.group_path(X, y, loss, GROUPS, count=3, ratio=0.1, share=share, tol=1e-9)
    assert found.converged.all() and not found[0].coef.any() and found[1].coef.any()
    b, b0 = found[2].coef, found[2].intercept
    base = total(name, b, b0, found.lams[2], share)
    np.testing.assert_allclose(base, found.objectives[2], rtol=1e-10)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2, 0.1):
        for _ in range(40):
            mask = rng.random(9) < 0.5
            near = b + size * rng.normal(size=b.shape) * (mask if b.ndim == 1 else mask[:, None])
            assert total(name, near, b0 + size * rng.normal(size=np.shape(b0)), found.lams[2], share) >= base - 1e-9


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("multinomial", "ordinal")])
def test_the_plain_proximal_gradient_agrees(name, monkeypatch):
    loss, y = Y[name]
    found = fl.group_path(X, y, loss, GROUPS, count=4, ratio=0.1, tol=1e-9)
    monkeypatch.setattr("fewer.linear.joint._LARGEST", 0)
    other = fl.general_path(X, y, loss, P.Group(MEMBERS), lams=found.lams, tol=1e-9)
    np.testing.assert_allclose(found.objectives, other.objectives, rtol=1e-8)
    np.testing.assert_allclose(found.lam_max, other.lam_max, rtol=1e-6)
    assert other.engine == "proximal gradient"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "multinomial"])
def test_groups_of_one_are_the_lasso(name):
    loss, y = Y[name]
    found = fl.group_path(X, y, loss, None, lams=[0.1, 0.02], tol=1e-9)
    lasso = fl.glm_path(X, y, loss, lams=[0.1, 0.02], tol=1e-9, max_iter=20_000)
    np.testing.assert_allclose(found.objectives, lasso.objectives, rtol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_weights_and_repetition_agree(name, monkeypatch):
    monkeypatch.setattr("fewer.linear.matrix._SMALL", 0)
    loss, y = Y[name]
    counts = np.r_[2, np.ones(N - 2), 3]
    twice = np.repeat(np.arange(N), counts.astype(int))
    if name == "efron":
        pytest.skip("Efron's ties weigh repeated events unlike heavier ones, by definition")
    options = {"lams": [0.05], "tol": 1e-10, "standardize": True}
    dense = fl.group_path(X, y, loss, GROUPS, weights=counts * N / counts.sum(), **options)[0].coef
    thin = fl.group_path(sp.csc_array(X), y, loss, GROUPS, weights=counts * N / counts.sum(), **options)[0].coef
    again = fl.group_path(X[twice], y[twice], loss, GROUPS, **options)[0].coef
    np.testing.assert_allclose(thin, dense, atol=1e-6)
    np.testing.assert_allclose(again, dense, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_free_and_excluded_groups(name):
    loss, y = Y[name]
    factors = np.choose(GROUPS, [1.0, 0.0, 1.0, 1.0, np.inf])
    found = fl.group_path(X, y, loss, GROUPS, count=3, factors=factors, tol=1e-8)
    assert found.converged.all() and found.sizes[0] == 2  # at lam_max the free group alone
    alone = fl.group_path(X[:, 3:5], y, loss, [0, 0], lams=[0.0], tol=1e-10)[0].coef
    np.testing.assert_allclose(found[0].coef[3:5], alone, atol=1e-4)
    assert not found.coefs[8].any()


@pytest.mark.parametrize("name", ["squared", "logistic", "multinomial"])
def test_a_ridge_part_keeps_its_certificate(name):
    loss, y = Y[name]
    found = fl.group_path(X, y, loss, GROUPS, mix=0.5, share=0.2, count=5, tol=1e-9)
    assert found.converged.all() and np.all(found.gaps >= 0)


def test_order_of_columns_does_not_matter():
    loss, y = Y["logistic"]
    mixed = RNG.permutation(9)
    a = fl.group_path(X, y, loss, GROUPS, count=4, tol=1e-10)
    b = fl.group_path(X[:, mixed], y, loss, GROUPS[mixed], count=4, tol=1e-10)
    np.testing.assert_allclose(b.coefs, a.coefs[mixed], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": np.arange(9.0)}, "differ inside a group"),
        ({"factors": np.ones(3)}, "give 9 numbers"),
        ({"share": 1.5}, r"share is 1.5"),
        ({"mix": -1}, "mix is -1"),
    ],
)
def test_impossible_requests_are_one_line(options, message):
    with pytest.raises(FewerError, match=message):
        fl.group_path(X, Y["squared"][1], fl.Squared(), GROUPS, **options)
    with pytest.raises(FewerError, match=r"groups have shape \(2,\); give one group number for each of 9 columns"):
        fl.group_path(X, Y["squared"][1], fl.Squared(), [0, 1])
