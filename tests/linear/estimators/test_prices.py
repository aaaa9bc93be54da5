"""Row weights and penalty factors in every estimator; factors that are learnt; beliefs that mislead."""

import inspect
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.model_selection import KFold

import fewer.linear.estimators as estimators
from fewer.linear.factors import Adaptive, Prior
from fewer.method import FewerError

RNG = np.random.default_rng(3)
X = RNG.standard_normal((70, 7))
Y = X[:, 2] - X[:, 5] + 0.3 * RNG.standard_normal(70)
TIMES = np.column_stack([np.exp(-Y) + 0.01, RNG.random(70) < 0.8])
TARGETS = {
    "SparseLogistic": Y > 0, "SparseMultinomial": np.digitize(Y, [-1, 1]), "OrdinalLogit": np.digitize(Y, [-1, 1]),
    "SparsePoisson": np.floor(np.exp(Y)), "SparseCox": TIMES,
}  # fmt: skip
NAMES = [name for name in estimators.__all__ if name != "SparsePrecision"]
FACTORS = np.array([0.0, 1, np.inf, 1, 1, 1, 1])


def made(name, **more):
    """The estimator with a grid or strength that leaves out most columns, and a target for it."""
    kind = getattr(estimators, name)
    known = inspect.signature(kind).parameters
    options = {"alpha": 0.6, "size": 1, "cv": 2, "n_alphas": 4, "eps": 0.2, "max_size": 2, "tol": 1e-9, **more}
    return kind(**{key: v for key, v in options.items() if key in known}), TARGETS.get(name.removesuffix("CV"), Y)


@pytest.mark.filterwarnings("ignore:.*fits of the paths:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_free_columns_stay_and_excluded_ones_never_enter(name):
    model, y = made(name, penalty_factors=FACTORS)
    used = set(model.fit(X, y).selected_.tolist())
    assert 0 in used and 2 not in used


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("CV")])
def test_a_weight_is_a_repetition(name):
    counts = RNG.integers(1, 3, 70)
    (once, y), (twice, _) = made(name, penalty_factors=FACTORS), made(name, penalty_factors=FACTORS)
    once.fit(X, y, sample_weight=counts)
    twice.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    np.testing.assert_allclose(once.coef_, twice.coef_, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_best_subset_counts_what_is_priced(size):
    model = estimators.BestSubset(size, penalty_factors=FACTORS).fit(X, Y)
    others = [j for j in range(7) if FACTORS[j] == 1]
    designs = (np.column_stack([X[:, [0, *some]], np.ones(70)]) for some in itertools.combinations(others, size))
    best = min(np.linalg.lstsq(design, Y, rcond=None)[1][0] for design in designs)
    assert len(model.selected_) == size + 1
    np.testing.assert_allclose(((Y - model.predict(X)) ** 2).sum(), best, rtol=1e-10)


def test_best_subset_with_free_columns_that_explain_others():
    twin = np.column_stack([X, X[:, 0] + X[:, 1], 2 * X[:, 0]])
    factors = np.array([0.0, 0, 1, 1, 1, 1, 1, 1, 0])
    model = estimators.BestSubset(3, penalty_factors=factors).fit(twin, Y)
    assert 7 not in model.selected_ and {2, 5} <= set(model.selected_.tolist())


@pytest.mark.parametrize("name", ["BestSubset", "FusedLasso"])
def test_prices_without_a_meaning_are_refused(name):
    with pytest.raises(FewerError, match="penalty factors"):
        made(name, penalty_factors=np.full(7, 0.5))[0].fit(X, Y)


def fused(model, alpha, sparse, factors, weights):
    """The objective of the fused lasso, written out."""
    chain = [j for j in range(7) if factors[j] == 1]
    b, s = model[:7] * np.isfinite(factors), weights / weights.mean()
    jumps, size = np.abs(np.diff(b[chain])).sum(), np.abs(b[chain]).sum()
    return (s * (Y - X @ b - model[7]) ** 2).mean() / 2 + alpha * (jumps + sparse * size)


@pytest.mark.parametrize("make", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("sparse", [0.0, 0.4])
@pytest.mark.parametrize("factors", [np.ones(7), np.array([1, 1, 0, 1, np.inf, 1, 1])])
def test_fused_lasso_is_not_worse_than_a_search(make, sparse, factors):
    weights = RNG.random(70)
    model = estimators.FusedLasso(0.1, sparse=sparse, penalty_factors=factors, tol=1e-9)
    model.fit(make(X), Y, sample_weight=weights)
    found = np.append(model.coef_, model.intercept_)
    other = minimize(fused, found, (0.1, sparse, factors, weights), "Nelder-Mead", options={"maxfev": 2000}).fun
    assert fused(found, 0.1, sparse, factors, weights) <= other * (1 + 1e-9)
    assert sparse or make is sp.csc_array or model.dual_gap_ <= 1e-9


def test_fused_strength_is_chosen_and_certified():
    y = X[:, :4].sum(axis=1) + 0.3 * RNG.standard_normal(70)
    model = estimators.FusedLassoCV(cv=4, rule="1se", tol=1e-8).fit(X, y)
    again = estimators.FusedLasso(model.alpha_, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(again.coef_, model.coef_, atol=1e-6)
    assert model.dual_gap_ <= 1e-8 * model.solution_.null and np.ptp(model.coef_[:4]) < 0.2


def test_positions_of_a_penalty_stand_when_columns_are_free_or_excluded():
    from fewer.penalty import Group

    groups, factors = ((0, 1), (2, 3), (4, 5, 6)), np.array([np.inf, 0, 1, 1, 1, 1, 1])
    model = estimators.SparseRegressor(0.1, penalty=Group(groups), penalty_factors=factors, tol=1e-10).fit(X, Y)
    prices = np.array([0.0, 2**0.5, 3**0.5])

    def objective(b):
        rows = Y - X[:, 1:] @ b[:6] - b[6]
        return (rows**2).mean() / 2 + 0.1 * (prices[1] * np.hypot(b[1], b[2]) + prices[2] * np.linalg.norm(b[3:6]))

    found = np.append(model.coef_[1:], model.intercept_)
    other = minimize(objective, found + 1e-3, method="BFGS").fun
    assert model.coef_[0] == 0 and model.coef_[1] != 0 and objective(found) <= other * (1 + 1e-8)


def test_relations_may_be_free_or_excluded():
    factors = np.ones((7, 7))
    factors[0, 1] = factors[1, 0] = 0.0
    factors[2, 5] = factors[5, 2] = np.inf
    data, counts = np.column_stack([X[:, :2], Y, X[:, 3:]]), RNG.integers(1, 3, 70)
    model = estimators.SparsePrecision(0.5, penalty_factors=factors).fit(data, sample_weight=counts)
    again = estimators.SparsePrecision(0.5, penalty_factors=factors).fit(np.repeat(data, counts, axis=0))
    assert model.precision_[2, 5] == 0 and model.precision_[0, 1] != 0 and model.dual_gap_ <= 7e-6
    np.testing.assert_allclose(model.precision_, again.precision_, atol=1e-6)
    covariance = np.cov(data.T, aweights=counts, bias=True)
    np.testing.assert_allclose(np.linalg.inv(model.precision_)[0, 1], covariance[0, 1], atol=1e-4)


@pytest.mark.parametrize("pilot", ["ridge", "lasso"])
def test_adaptive_factors_stand_on_given_ones(pilot):
    made = Adaptive(pilot, base=[0.0, 2, np.inf, 1, 1, 1, 1]).candidates(X, Y, None, [str(j) for j in range(7)], None)
    from fewer.linear import lambda_max, path

    base = np.array([0.0, 2, np.inf, 1, 1, 1, 1])
    lam = 0.01 * lambda_max(X, Y, factors=base)
    b = path(X, Y, lams=[lam], factors=base, mix=float(pilot == "lasso"))[0].coef
    want = [0.0] + [f / abs(v) if v else np.inf for f, v in zip(base[1:], b[1:], strict=True)]
    np.testing.assert_allclose(made[0].factors, want)


@pytest.mark.parametrize("name", ["SparseLogistic", "SparsePoisson", "SparseCox", "SparseHuber", "RelaxedLasso"])
def test_factors_are_learnt_without_the_rows_that_judge_them(name):
    y, folds, alphas = TARGETS.get(name, Y), KFold(3), np.array([0.2, 0.05])
    options = {"penalty_factors": Adaptive("lasso", gamma=0.5), "tol": 1e-10}
    shares = {"phi": [0.0]} if name == "RelaxedLasso" else {}
    model = getattr(estimators, name + "CV")(alphas=alphas, cv=folds, **shares, **options).fit(X, y)
    losses = []
    for train, test in folds.split(X):
        fits = [getattr(estimators, name)(a, **options).fit(X[train], y[train]) for a in alphas]
        loss, codes = fits[0]._loss(), fits[0]._target(y) if name == "SparseLogistic" else y
        etas = [np.ravel(X[test] @ fit.coef_.T + fit.intercept_) for fit in fits]
        held = codes[test].astype(float)
        ones = np.ones(len(test))
        if name == "SparseCox":  # times tie rows together: what the fold adds to the partial likelihood
            ones, held, etas = np.ones(70), y, [np.ravel(X @ fit.coef_) for fit in fits]
            losses.append([loss.held_out(e, held, ones, np.isin(np.arange(70), train)) for e in etas])
            continue
        losses.append([loss.value(e, held, ones) if loss else ((held - e) ** 2).sum() / 2 for e in etas])
    np.testing.assert_allclose(model.tried_[0].mean, np.sum(losses, axis=0) / 70, rtol=1e-4)


@pytest.mark.parametrize("name", ["LassoCV", "SparseLogisticCV", "SparsePoissonCV", "SparseCoxCV", "RelaxedLassoCV"])
@pytest.mark.parametrize("high", [5.0, 1e6])
def test_beliefs_turned_round_cost_nothing(name, high):
    turned = np.where(np.isin(np.arange(7), [2, 5]), high, 1.0)  # what matters is said not to
    (plain, y), (misled, _) = made(name, n_alphas=15), made(name, n_alphas=15, penalty_factors=Prior(turned))
    plain.fit(X, y)
    misled.fit(X, y)
    assert misled.cv_mean_.min() <= plain.cv_mean_.min() + 1e-7
    assert {tried.label for tried in misled.tried_} == {"trust 0", "trust 0.5", "trust 1", "trust 2"}
    if misled.factors_ == "trust 0":
        np.testing.assert_allclose(misled.coef_, plain.coef_, atol=1e-5)
