"""Columns far from one: solved as after a change of units, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from fewer.linear import estimators
from fewer.method import FewerError

RNG = np.random.default_rng(0)
U = RNG.normal(size=(40, 3))
ETA = U[:, 0] - U[:, 1]
CLASSES = np.digitize(ETA, [-0.5, 0.5])
TARGETS = {
    "Lasso": ETA,
    "GroupLasso": ETA,
    "SparseHuber": ETA,
    "SquareRootLasso": ETA,
    "BestSubset": ETA,
    "FusedLasso": ETA,
    "SparseRegressor": ETA,
    "SparseLogistic": CLASSES > 0,
    "SparseMultinomial": CLASSES,
    "OrdinalLogit": CLASSES,
    "SparsePoisson": CLASSES.astype(float),
    "SparseCox": np.column_stack([np.exp(-ETA), np.ones(40)]),
    "LassoCV": ETA,
    "SparseCoxCV": np.column_stack([np.exp(-ETA), np.ones(40)]),
}


def model(name):
    return estimators.__dict__[name](**({"groups": [0, 0, 1]} if name == "GroupLasso" else {}))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("size", [1e100, 1e-100])
def test_numbers_without_squares_are_refused(name, size):
    with pytest.raises(FewerError, match=r"column '2' of X holds .*; rescale it"):
        model(name).fit(U * [1.0, 1.0, size], TARGETS[name])


def test_targets_and_sparse_columns_too():
    with pytest.raises(FewerError, match=r"the target holds .* in row .*; rescale it"):
        estimators.Lasso().fit(U, ETA * 1e155)
    with pytest.raises(FewerError, match=r"column '0' of X holds 4e\+155 in row 3"):
        estimators.Lasso(alpha=1.0).fit(sp.csc_array([[1e155], [2e155], [4e155]]), [1.0, 2.0, 3.0])
    with pytest.raises(FewerError, match="column '1' of X holds nothing larger than 1e-200"):
        estimators.SparsePrecision().fit(np.column_stack([U[:, 0], np.full(40, 1e-200)]))


@pytest.mark.parametrize("size", [2.0**-190, 2.0**190])
def test_units_within_range_change_nothing(size):
    for name in ("Lasso", "BestSubset"):
        known = {"alpha": 0.1} if name == "Lasso" else {"size": 2}
        there = {"alpha": 0.1 * size} if name == "Lasso" else known
        one = estimators.__dict__[name](**known).fit(U, ETA + U[:, 2] / 3)
        far = estimators.__dict__[name](**there).fit(U * size, ETA + U[:, 2] / 3)
        np.testing.assert_allclose(far.coef_ * size, one.coef_, rtol=1e-6)


def test_single_precision_is_measured_in_double():
    narrow, exact = (estimators.Lasso(0.1).fit(U.astype(kind), ETA) for kind in (np.float32, np.float64))
    np.testing.assert_allclose(narrow.coef_, exact.coef_, atol=1e-5)
