"""Certificates computed from scratch: objectives and dual bounds that share no code with the solvers."""

from __future__ import annotations

import numpy as np

INF = float("inf")


def loss_value(name, eta, y, shape=(0, 0)):
    if name == "squared":
        return 0.5 * (y - eta) ** 2
    if name == "logistic":
        return np.logaddexp(0, eta) - y * eta
    if name == "poisson":
        return np.exp(eta) - y * eta
    if name == "gamma":
        return eta + y * np.exp(-eta)
    if name == "huber":
        r = np.abs(y - eta)
        return np.where(r <= shape[0], r**2 / 2, shape[0] * (r - shape[0] / 2))
    raise AssertionError(name)


def objective(X, y, b, b0, lam, *, mix=1.0, factors=None, weights=None, name="squared", shape=(0, 0)):
    """1/n sum s loss + lam sum f (mix |b| + (1-mix)/2 b^2), term by term."""
    n, p = X.shape
    s = np.ones(n) if weights is None else weights
    f = np.ones(p) if factors is None else factors
    total = float(np.sum(s * loss_value(name, np.asarray(X @ b).ravel() + b0, y, shape))) / n
    for j in np.flatnonzero(b):
        total += lam * f[j] * (mix * abs(b[j]) + (1 - mix) / 2 * b[j] ** 2)
    return total


def dual_value(X, y, theta, lam, *, mix=1.0, factors=None, weights=None, name="squared", shape=(0, 0), tol=1e-9):
    """The dual function at theta, after checking that theta is feasible: a lower bound on every objective.

    theta_i = -s_i loss'(eta_i) / n at the solution. Rows whose weight is zero must have theta = 0.
    """
    n, p = X.shape
    s = (np.ones(n) if weights is None else weights) / n
    f = np.ones(p) if factors is None else factors
    g = np.asarray(X.T @ theta).ravel()
    size = float(np.abs(theta).sum()) * (1 + float(np.max(np.abs(X), initial=0.0)))
    price = 0.0
    for j in range(p):
        if f[j] == INF:
            continue
        l1, l2 = lam * f[j] * mix, lam * f[j] * (1 - mix)
        over = abs(g[j]) - l1
        if l2 > 0:
            price += max(over, 0.0) ** 2 / (2 * l2)
        else:
            assert over <= tol * size + 1e-13, (j, over)
    on = s > 0
    assert np.all(theta[~on] == 0)
    v, t = -theta[on] / s[on], y[on]
    if name in ("squared", "huber"):
        assert name == "squared" or np.all(np.abs(v) <= shape[0] * (1 + 1e-9))
        conj = v**2 / 2 + v * t
    elif name == "logistic":
        u = np.clip(v + t, 0, 1)
        conj = np.where(u > 0, u * np.log(np.where(u > 0, u, 1)), 0) + np.where(
            u < 1, (1 - u) * np.log(np.where(u < 1, 1 - u, 1)), 0
        )
    elif name == "poisson":
        u = np.maximum(v + t, 0)
        conj = np.where(u > 0, u * np.log(np.where(u > 0, u, 1)), 0) - u
    elif name == "gamma":
        u = 1 - v
        conj = u * np.log(u / t) - u
    return -float(s[on] @ conj) - price


def intercept_slack(theta):
    """With a constant in the model the dual point must be orthogonal to ones."""
    return abs(float(theta.sum())) / max(float(np.abs(theta).sum()), 1e-300)
