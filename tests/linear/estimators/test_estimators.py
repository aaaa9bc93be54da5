"""Estimators: scikit-learn's conventions, its objective at least, and what is promised about names and weights."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import linear_model as peer
from sklearn.utils.estimator_checks import parametrize_with_checks

import fewer.linear.estimators as estimators
from fewer.linear.factors import Adaptive, Manual, Prior
from fewer.method import FewerError, catalogue

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 12))
Y = X[:, 3] - 2 * X[:, 7] + 0.3 * RNG.standard_normal(60)


# A few rows in five folds: no column enters in a fold, and the curve is rightly called flat.
@pytest.mark.filterwarnings("ignore:.*the held-out loss is the same at every penalty:UserWarning")
@pytest.mark.slow
@parametrize_with_checks([getattr(estimators, name)() for name in estimators.__all__])
def test_conventions_of_scikit_learn(estimator, check):
    """All, as they come; scikit-learn itself skips its check of array-API input where SCIPY_ARRAY_API is not set."""
    check(estimator)


def objective(model, X, y, alpha, mix, factors, weights=None):
    """The lasso's objective, written out."""
    weights = np.ones(len(y)) if weights is None else weights * len(y) / weights.sum()
    residual = y - X @ model.coef_ - model.intercept_
    price = np.where(model.coef_ != 0, factors, 0.0) @ (mix * np.abs(model.coef_) + (1 - mix) / 2 * model.coef_**2)
    return (weights * residual**2).sum() / (2 * len(y)) + alpha * price


@pytest.mark.parametrize("mix", [1.0, 0.6])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.001])
def test_objective_is_never_worse_than_the_peers(mix, weighted, alpha):
    weights = RNG.random(60) if weighted else None
    ours = estimators.ElasticNet(alpha, l1_ratio=mix, tol=1e-10).fit(X, Y, sample_weight=weights)
    theirs = peer.ElasticNet(alpha=alpha, l1_ratio=mix, tol=1e-10, max_iter=100_000).fit(X, Y, sample_weight=weights)
    ones = np.ones(12)
    mine, other = (objective(m, X, Y, alpha, mix, ones, weights) for m in (ours, theirs))
    assert mine <= other * (1 + 1e-8)
    assert ours.dual_gap_ <= 1e-10 * ours.solution_.null * (1 + 1e-6)


def test_free_and_excluded_columns():
    factors = np.ones(12)
    factors[0], factors[7] = 0.0, np.inf
    model = estimators.Lasso(10.0, penalty_factors=factors).fit(X, Y)
    assert model.coef_[7] == 0
    free = np.column_stack([X[:, 0], np.ones(60)])
    np.testing.assert_allclose(model.coef_[0], np.linalg.lstsq(free, Y, rcond=None)[0][0], rtol=1e-6)
    assert model.selected_.tolist() == [0]


def test_sparse_and_dense_agree():
    thin = np.where(RNG.random(X.shape) < 0.6, 0.0, X)
    for options in ({}, {"standardize": True}, {"fit_intercept": False}):
        a = estimators.Lasso(0.02, tol=1e-12, **options).fit(thin, Y)
        b = estimators.Lasso(0.02, tol=1e-12, **options).fit(sp.csc_array(thin), Y)
        np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-6)
        np.testing.assert_allclose(a.predict(thin), b.predict(sp.csr_array(thin)), atol=1e-6)


def test_names_of_a_data_frame_come_out():
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(12)])
    model = estimators.Lasso(0.2).fit(frame, Y)
    assert model.selected_.tolist() == ["c3", "c7"]
    named = estimators.Lasso(0.2, penalty_factors={"c7": np.inf}).fit(frame, Y)
    assert "c7" not in named.selected_
    with pytest.raises(FewerError, match="did you mean 'c7'"):
        estimators.Lasso(penalty_factors={"c77": 1.0}).fit(frame, Y)


def test_weights_equal_repetition():
    counts = RNG.integers(0, 4, 60)
    a = estimators.Lasso(0.05, tol=1e-12).fit(X, Y, sample_weight=counts)
    b = estimators.Lasso(0.05, tol=1e-12).fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-7)


def test_cross_validation_equals_a_loop_written_out():
    from sklearn.model_selection import KFold

    alphas = np.array([0.5, 0.1, 0.02])
    model = estimators.LassoCV(alphas=alphas, cv=KFold(4), tol=1e-10).fit(X, Y)
    losses = []
    for train, test in KFold(4).split(X):
        fits = [peer.Lasso(a, tol=1e-12, max_iter=100_000).fit(X[train], Y[train]) for a in alphas]
        losses.append([((Y[test] - f.predict(X[test])) ** 2).mean() / 2 for f in fits])
    np.testing.assert_allclose(model.cv_mean_, np.mean(losses, axis=0), rtol=1e-5)
    assert model.alpha_ == alphas[np.argmin(np.mean(losses, axis=0))]


def test_the_one_standard_error_rule_is_never_denser():
    best = estimators.LassoCV(cv=4).fit(X, Y)
    sparse = estimators.LassoCV(cv=4, rule="1se").fit(X, Y)
    assert sparse.alpha_ >= best.alpha_
    limit = best.cv_mean_.min() + best.cv_error_[np.argmin(best.cv_mean_)]
    assert best.cv_mean_[np.flatnonzero(best.alphas_ == sparse.alpha_)[0]] <= limit


def test_adaptive_factors_are_the_papers():
    made = Adaptive(gamma=2.0).candidates(X, Y, None, [str(j) for j in range(12)], None)[0].factors
    from fewer.linear import lambda_max, path

    pilot = path(X, Y, lams=[1e-2 * lambda_max(X, Y)], mix=0.0)[0].coef
    np.testing.assert_allclose(made, [abs(b) ** -2.0 for b in pilot])


def test_bad_advice_costs_nothing_and_good_advice_is_taken():
    names = [f"c{j}" for j in range(40)]
    wide = pd.DataFrame(np.random.default_rng(1).standard_normal((50, 40)), columns=names)
    y = wide["c3"] - wide["c7"] + 1.5 * np.random.default_rng(2).standard_normal(50)
    good = Prior({name: 1.0 if name in ("c3", "c7") else 6.0 for name in names})
    bad = Prior({name: 6.0 if name in ("c3", "c7") else 1.0 for name in names}, trust=(1.0, 3.0))
    plain, told, misled = (estimators.LassoCV(cv=5, penalty_factors=f).fit(wide, y) for f in (None, good, bad))
    assert told.cv_mean_.min() < plain.cv_mean_.min()
    assert misled.cv_mean_.min() <= plain.cv_mean_.min() * (1 + 1e-9)
    with pytest.raises(FewerError, match="use LassoCV"):
        estimators.Lasso(penalty_factors=good).fit(wide, y)


@pytest.mark.parametrize("factors", [[1.0], np.full(12, np.nan), np.full(12, -1.0)])
def test_impossible_factors_are_refused(factors):
    with pytest.raises(FewerError, match="penalty_factors"):
        estimators.Lasso(penalty_factors=Manual(factors)).fit(X, Y)


def test_relaxed_lasso_is_least_squares_on_its_support():
    model = estimators.RelaxedLasso(0.3).fit(X, Y)
    exact = peer.LinearRegression().fit(X[:, model.selected_], Y)
    np.testing.assert_allclose(model.coef_[model.selected_], exact.coef_, rtol=1e-8)
    np.testing.assert_allclose(
        estimators.RelaxedLasso(0.3, phi=1.0).fit(X, Y).coef_, estimators.Lasso(0.3).fit(X, Y).coef_
    )


def test_folds_run_under_any_joblib_backend():
    import joblib

    together = estimators.LassoCV(cv=4, tol=1e-10).fit(X, Y)
    with joblib.parallel_config("threading"):
        threaded = estimators.LassoCV(cv=4, tol=1e-10, n_jobs=2).fit(X, Y)
    np.testing.assert_allclose(threaded.cv_mean_, together.cv_mean_, rtol=1e-6)


def test_every_exported_estimator_is_in_the_catalogue():
    registered = {entry.target.__name__ for entry in catalogue("estimator")}
    assert registered == set(estimators.__all__)


def test_a_million_sparse_columns():
    wide = sp.random_array((50, 1_000_000), density=1e-6, rng=np.random.default_rng(0), format="csc")
    wide = sp.hstack([sp.csc_array(X[:50]), wide], format="csc")
    model = estimators.Lasso(0.3).fit(wide, Y[:50])
    assert {3, 7} <= set(model.selected_.tolist())
    assert model.dual_gap_ <= 1e-6 * model.solution_.null
