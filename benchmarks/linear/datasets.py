"""The problems: name -> (X, y, family, penalties relative to lam_max); generated, or shipped with scikit-learn."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def _correlated(n, p, support, seed=0):
    """Rows of a first-order autoregression at 0.5, signal-to-noise 3."""
    rng = np.random.default_rng(seed)
    X = np.empty((n, p), order="F")
    X[:, 0] = rng.normal(size=n)
    for j in range(1, p):
        X[:, j] = 0.5 * X[:, j - 1] + 0.75**0.5 * rng.normal(size=n)
    b = np.zeros(p)
    b[rng.choice(p, support, replace=False)] = rng.normal(size=support)
    z = X @ b
    return X, z + rng.normal(size=n) * z.std() / 3**0.5, "gaussian"


def _text(seed=0, n=20_000, p=100_000):
    """Bag of words: Zipf columns, log counts times inverse document frequency, unit rows."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, p + 1) ** 0.8
    total = int(1.3e-3 * n * p)
    columns = rng.choice(p, size=total, p=share / share.sum())
    X = sp.csc_matrix((np.ones(total), (rng.integers(0, n, total), columns)), shape=(n, p))
    X.sum_duplicates()
    found = np.maximum(np.diff(X.indptr), 1)
    X.data = np.log1p(X.data)
    X = X @ sp.diags(np.log(n / found) + 1)
    size = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X = (sp.diags(1 / np.where(size > 0, size, 1)) @ X).tocsc()
    X.sort_indices()
    b = np.zeros(p)
    b[rng.choice(20_000, 500, replace=False)] = rng.normal(size=500)
    z = X @ b
    return X, z + rng.normal(size=n) * z.std() / 2**0.5, "gaussian"


def _diabetes():
    """Cubic features of the diabetes data: small and badly conditioned."""
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import PolynomialFeatures

    X, y = load_diabetes(return_X_y=True)
    return _scaled(PolynomialFeatures(3, include_bias=False).fit_transform(X)), y - y.mean(), "gaussian"


def _cancer(degree):
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import PolynomialFeatures

    X, y = load_breast_cancer(return_X_y=True)
    X = PolynomialFeatures(degree, include_bias=False).fit_transform(_scaled(X))
    return _scaled(X), y.astype(float), "logistic"


def _scaled(X):
    X = X - X.mean(axis=0)
    size = X.std(axis=0)
    return np.asfortranarray(X[:, size > 1e-12] / size[size > 1e-12])


DATA = {
    "a": lambda: _correlated(1000, 10_000, 100),
    "b": lambda: _correlated(10_000, 1000, 100),
    "c": _text,
    "d1": _diabetes,
    "d2": lambda: _cancer(1),
    "d3": lambda: _cancer(2),
}

SINGLE = {"single-20": [1 / 20], "single-100": [1 / 100]}
PATH = {"path-1e-2": list(10 ** (-2 * np.arange(100) / 99))}
LONG = {"path-1e-3": list(10 ** (-3 * np.arange(100) / 99))}
GRIDS = {
    "a": SINGLE | PATH,
    "b": SINGLE | PATH | LONG,
    "c": SINGLE | PATH,
    "d1": SINGLE | PATH | LONG,
    "d2": SINGLE | PATH,
    "d3": SINGLE | PATH,
}
