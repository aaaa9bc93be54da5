"""What estimators choose by cross-validation: size, share, exponent, trust; under which backends; from which frames."""

import importlib.util

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.model_selection import KFold

import fewer.linear.estimators as estimators
from fewer.linear.beliefs import Ask, read_beliefs
from fewer.linear.factors import Prior
from fewer.method import FewerError

RNG = np.random.default_rng(11)
X = RNG.standard_normal((80, 10))
Y = X[:, 2] - 2 * X[:, 6] + 0.5 * RNG.standard_normal(80)
CLASSES = np.digitize(Y, [-1, 1])
TIMES = np.column_stack([RNG.exponential(np.exp(-X[:, 2])) + 0.01, RNG.random(80) < 0.8])
FAMILIES = {
    "SparseLogistic": Y > 0, "SparseMultinomial": CLASSES, "OrdinalLogit": CLASSES, "SparsePoisson": CLASSES,
    "SparseCox": TIMES, "SparseHuber": Y,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_factors_and_weights_in_every_family(name):
    groups, y = np.repeat(np.arange(5), 2), FAMILIES[name]
    factors = np.repeat([1.0, 1.0, np.inf, 0.0, 1.0], 2)
    model = getattr(estimators, name)(0.05, groups=groups, penalty_factors=factors, tol=1e-8)
    weights = RNG.integers(1, 3, 80)
    model.fit(X, y, sample_weight=weights)
    used = np.any(np.atleast_2d(model.coef_) != 0, axis=0)
    assert used[6:8].all() and not used[4:6].any()
    assert all(used[groups == g].all() or not used[groups == g].any() for g in range(5))
    again = getattr(estimators, name)(0.05, groups=groups, penalty_factors=factors, tol=1e-8)
    again.fit(np.repeat(X, weights, axis=0), np.repeat(y, weights, axis=0))
    np.testing.assert_allclose(again.coef_, model.coef_, atol=1e-4)


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("kind", ["LassoCV", "SparseLogisticCV", "AdaptiveLassoCV"])
def test_folds_run_under_the_backends_of_joblib(backend, kind):
    y = Y > 0 if "Logistic" in kind else Y
    options = {"cv": 3, "n_alphas": 5, "eps": 0.1, "tol": 1e-9}
    alone = getattr(estimators, kind)(**options).fit(X, y)
    with joblib.parallel_config(backend):
        spread = getattr(estimators, kind)(**options, n_jobs=2).fit(X, y)
    np.testing.assert_allclose(spread.cv_mean_, alone.cv_mean_, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="dask.distributed is not installed")
def test_folds_run_on_a_dask_cluster():
    from dask.distributed import Client, LocalCluster

    alone = estimators.LassoCV(cv=4, tol=1e-9).fit(X, Y)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        spread = estimators.LassoCV(cv=4, tol=1e-9, n_jobs=2).fit(X, Y)
    np.testing.assert_allclose(spread.cv_mean_, alone.cv_mean_, rtol=1e-6)


def test_adaptive_folds_never_see_the_rows_they_are_judged_on():
    alphas, folds = np.array([0.3, 0.05]), KFold(4)
    model = estimators.AdaptiveLassoCV(alphas=alphas, cv=folds, gamma=[0.5, 2.0], tol=1e-10).fit(X, Y)
    for tried, gamma in zip(model.tried_, (0.5, 2.0), strict=True):
        losses = []
        for train, test in folds.split(X):
            fits = [estimators.AdaptiveLasso(a, gamma=gamma, tol=1e-10).fit(X[train], Y[train]) for a in alphas]
            losses.append([((Y[test] - fit.predict(X[test])) ** 2).mean() / 2 for fit in fits])
        np.testing.assert_allclose(tried.mean, np.mean(losses, axis=0), rtol=1e-5)


def test_adaptive_factors_do_not_depend_on_units_when_standardised():
    a = estimators.AdaptiveLasso(0.1, standardize=True, tol=1e-10).fit(X, Y)
    b = estimators.AdaptiveLasso(0.1, standardize=True, tol=1e-10).fit(X * np.logspace(-3, 3, 10), Y)
    np.testing.assert_allclose(b.coef_ * np.logspace(-3, 3, 10), a.coef_, atol=1e-5)


def test_relaxed_cross_validation_is_the_loop_written_out():
    alphas, folds = np.array([0.5, 0.1]), KFold(4)
    model = estimators.RelaxedLassoCV(phi=[0.0, 0.5], alphas=alphas, cv=folds, tol=1e-10).fit(X, Y)
    for tried, phi in zip(model.tried_, (0.0, 0.5), strict=True):
        losses = []
        for train, test in folds.split(X):
            fits = [estimators.RelaxedLasso(a, phi=phi, tol=1e-10).fit(X[train], Y[train]) for a in alphas]
            losses.append([((Y[test] - fit.predict(X[test])) ** 2).mean() / 2 for fit in fits])
        np.testing.assert_allclose(tried.mean, np.mean(losses, axis=0), rtol=1e-6)
    assert model.phi_ in (0.0, 0.5)


@pytest.mark.parametrize("make", [np.asarray, sp.csc_array])
def test_refits_on_any_support_are_least_squares(make):
    wide = np.hstack([X, X[:, :3], np.full((80, 1), 2.0)]) * np.logspace(-3, 3, 14) + 1
    weights = RNG.integers(0, 3, 80)
    model = estimators.RelaxedLasso(0.02, standardize=True).fit(make(wide), Y, sample_weight=weights)
    design = np.column_stack([wide[:, model.selected_], np.ones(80)]) * np.sqrt(weights)[:, None]
    exact = np.linalg.lstsq(design, Y * np.sqrt(weights), rcond=None)[0]
    on = weights > 0
    np.testing.assert_allclose(model.predict(wide)[on], (design @ exact)[on] / np.sqrt(weights[on]), atol=1e-7)


def test_relaxed_groups_enter_as_a_whole():
    groups = np.repeat(np.arange(5), 2)
    model = estimators.RelaxedLassoCV(groups=groups, cv=4, n_alphas=20, rule="1se").fit(X, Y)
    assert model.selected_.tolist() == [2, 3, 6, 7] and model.phi_ == 0.0
    exact = np.linalg.lstsq(np.column_stack([X[:, [2, 3, 6, 7]], np.ones(80)]), Y, rcond=None)[0]
    np.testing.assert_allclose(model.coef_[[2, 3, 6, 7]], exact[:-1], rtol=1e-9)


def test_size_is_chosen_and_one_standard_error_is_never_larger():
    best = estimators.BestSubsetCV(cv=5).fit(X, Y)
    few = estimators.BestSubsetCV(cv=5, rule="1se").fit(X, Y)
    assert few.size_ <= best.size_ and {2, 6} <= set(few.selected_.tolist())
    exact = np.linalg.lstsq(np.column_stack([X[:, few.selected_], np.ones(80)]), Y, rcond=None)[0]
    np.testing.assert_allclose(few.coef_[few.selected_], exact[:-1], rtol=1e-10)


def test_mix_trust_and_strength_are_chosen_together():
    names = [f"c{j}" for j in range(10)]
    frame = pd.DataFrame(X, columns=names)
    beliefs = Prior({name: 1.0 if name in ("c2", "c6") else 5.0 for name in names})
    model = estimators.ElasticNetCV(l1_ratio=[0.5, 1.0], penalty_factors=beliefs, cv=4, n_alphas=20).fit(frame, Y)
    assert len(model.tried_) == 2 * 4
    best = min(model.tried_, key=lambda tried: tried.mean.min())
    assert (best.label, best.l1_ratio) == (model.factors_, model.l1_ratio_)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_beliefs_never_raise_the_cross_validated_loss(seed):
    beliefs = Prior(np.random.default_rng(seed).uniform(1, 6, 10), trust=(1.0, 2.0))
    plain, told = (estimators.LassoCV(cv=4, n_alphas=20, penalty_factors=f).fit(X, Y) for f in (None, beliefs))
    assert told.cv_mean_.min() <= plain.cv_mean_.min() * (1 + 1e-9)


def test_questions_are_asked_in_batches_and_answers_read_strictly():
    seen = []

    def answer(prompt):
        seen.append(prompt)
        return "Sure!\n" + "\n".join(f"- {line}: 3" for line in prompt.splitlines() if line.startswith("c"))

    assert Ask(answer, "price", batch=2)(["c1", "c2", "c3"]) == {"c1": 3.0, "c2": 3.0, "c3": 3.0}
    assert len(seen) == 2 and "price" in seen[0]
    with pytest.raises(FewerError, match="says nothing about column 'd'"):
        Ask(answer, "price")(["c1", "d"])
    with pytest.raises(FewerError, match="answer for 'c' is 9"):
        Ask(lambda _: "c: 9", "price")(["c"])


@pytest.mark.parametrize("text", ["a\n", "a,b\n", "a,-1\n", "a,1\na,2\n", "column,belief\na,inf\n"])
def test_broken_tables_of_beliefs_are_refused(tmp_path, text):
    path = tmp_path / "b.csv"
    path.write_text(text)
    with pytest.raises(FewerError, match=r"b\.csv"):
        read_beliefs(path)


def test_tables_of_other_libraries_keep_their_names():
    names = [f"c{j}" for j in range(10)]
    table = pa.table({name: X[:, j] for j, name in enumerate(names)})
    model = estimators.Lasso(0.3).fit(table, Y)
    assert model.selected_.tolist() == ["c2", "c6"] and list(model.feature_names_in_) == names
    np.testing.assert_allclose(model.predict(table), model.predict(pd.DataFrame(X, columns=names)))


@pytest.mark.parametrize("penalty", ["l1", "mcp", "scad"])
def test_composed_penalties_take_factors(penalty):
    factors = np.ones(10)
    factors[[0, 6]], factors[2] = 0.0, np.inf
    for data in (X, sp.csc_array(X)):
        model = estimators.SparseRegressor(5.0, penalty=penalty, penalty_factors=factors, tol=1e-8).fit(data, Y)
        assert model.selected_.tolist() == [0, 6]
        free = np.linalg.lstsq(np.column_stack([X[:, [0, 6]], np.ones(80)]), Y, rcond=None)[0]
        np.testing.assert_allclose(model.coef_[[0, 6]], free[:2], atol=1e-5)


def test_composed_factors_scale_the_price():
    factors = np.linspace(0.5, 2, 10)
    ours = estimators.SparseRegressor(0.2, penalty="l1", penalty_factors=factors, tol=1e-9).fit(X, Y)
    lasso = estimators.Lasso(0.2, penalty_factors=factors, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, lasso.coef_, atol=1e-6)


def test_times_alone_are_events_and_order_is_scored():
    model = estimators.SparseCox(0.05).fit(X, TIMES[:, 0])
    full = estimators.SparseCox(0.05).fit(X, np.column_stack([TIMES[:, 0], np.ones(80)]))
    np.testing.assert_array_equal(model.coef_, full.coef_)
    assert model.score(X, TIMES) > 0.6 > 0.4 > estimators.SparseCox(0.05).fit(-X, TIMES).score(X, TIMES)
