"""Held-out losses: folds without evidence, losses that tie rows together, curves that say nothing, groups of rows."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, LeaveOneOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fewer.linear.estimators as estimators
from fewer.linear.estimators.held_out import Fold, tried
from fewer.method import FewerError

RNG = np.random.default_rng(4)
X = RNG.standard_normal((36, 4))
Y = X[:, 1] - X[:, 2] + 0.5 * RNG.standard_normal(36)
TIMES = np.column_stack([np.ceil(6 * np.exp(-Y)), RNG.random(36) < 0.7])
TARGETS = {
    "SparseLogisticCV": Y > 0, "SparseMultinomialCV": np.digitize(Y, [-1, 1]), "SparsePoissonCV": np.floor(np.exp(Y)),
    "OrdinalLogitCV": np.digitize(Y, [-1, 1]), "SparseCoxCV": TIMES,
}  # fmt: skip
CHOOSING = [name for name in estimators.__all__ if name.endswith("CV")]


def made(name, **more):
    kind = getattr(estimators, name)
    options = {"n_alphas": 3, "eps": 0.3, "max_size": 2, **more}
    return kind(**{key: v for key, v in options.items() if key in kind().get_params()})


@pytest.mark.parametrize("name", CHOOSING)
def test_a_fold_without_weight_is_left_out_and_named(name):
    y, weights, side = TARGETS.get(name, Y), np.ones(36), "training" if name < "L" else "held-out"
    weights[:12] = 0.0
    splits = list(KFold(3).split(X))
    if side == "training":
        splits[0] = splits[0][::-1]
    with pytest.warns(UserWarning, match=f"the {side} rows of fold 1 of 3 have weight 0; the fold is left out"):
        model = made(name, cv=splits).fit(X, y, sample_weight=weights)
    fair = made(name, cv=splits[1:]).fit(X, y, sample_weight=weights)
    assert np.isfinite(model.cv_mean_).all() and model.alpha_ == fair.alpha_
    np.testing.assert_array_equal(model.cv_mean_, fair.cv_mean_)


def test_no_fold_with_weight_is_refused():
    weights = np.repeat([1.0, 0.0], [12, 24])
    with pytest.warns(UserWarning), pytest.raises(FewerError, match="no fold has both training and held-out rows"):
        estimators.LassoCV(cv=3).fit(X, Y, sample_weight=weights)


def test_what_is_not_finite_is_named_and_never_ranked():
    folds = [Fold(k, 2, np.arange(2), np.arange(2, 4)) for k in (1, 2)]
    path = SimpleNamespace(lams=np.array([3.0, 2.0, 1.0]), values=np.ones((1, 3)))
    with pytest.warns(UserWarning, match="not finite in fold 2 of 2 for 2 of 3 penalties"):
        found = tried("M", "equal", 1.0, path, [[1.0, 5.0, 0.0], [np.nan, 3.0, -np.inf]], folds, None)
    assert found.least == 4.0 and found.pick("min") == found.pick("1se") == 1


def partial(eta, y, s, ties):
    """Minus the log partial likelihood, event time by event time, in units of weight that the caller chose."""
    total = 0.0
    for time in np.unique(y[y[:, 1] > 0, 0]):
        dead = (y[:, 0] == time) & (y[:, 1] > 0) & (s > 0)
        at_risk, own, d = (s * np.exp(eta))[y[:, 0] >= time].sum(), (s * np.exp(eta))[dead].sum(), dead.sum()
        total -= (s * eta)[dead].sum()
        for k in range(d):
            total += s[dead].sum() / d * np.log(at_risk - (k / d * own if ties == "efron" else 0.0))
    return total


@pytest.mark.parametrize(
    ("folds", "ties", "weighted"),
    [(KFold(3), "breslow", True), (KFold(3), "efron", True), (LeaveOneOut(), "breslow", False)],
)
def test_cox_folds_are_judged_by_what_they_add_to_the_partial_likelihood(folds, ties, weighted):
    rows, times, alphas = X[:12], TIMES[:12], [0.3, 0.1]
    weights = RNG.integers(1, 4, 12) if weighted else np.ones(12)
    model = estimators.SparseCoxCV(ties=ties, alphas=alphas, cv=folds).fit(rows, times, sample_weight=weights)
    s, total = weights / weights.mean(), np.zeros(2)
    for train, _ in folds.split(rows):
        for k, alpha in enumerate(alphas):
            b = estimators.SparseCox(alpha, ties=ties).fit(rows[train], times[train], s[train]).coef_
            total[k] += partial(rows @ b, times, s, ties) - partial((rows @ b)[train], times[train], s[train], ties)
    np.testing.assert_allclose(model.cv_mean_, total / 12, rtol=2e-4)
    assert np.ptp(model.cv_mean_) > 0.01  # rows left out one by one still tell the penalties apart


def test_concordance_without_a_comparable_pair_is_no_number():
    model = estimators.SparseCox(0.05).fit(X, TIMES)
    with pytest.warns(UndefinedMetricWarning, match="no pair of rows can be compared"):
        assert np.isnan(model.score(X[:1], TIMES[:1]))


@pytest.mark.parametrize("name", ["SparseLogisticCV", "SparseMultinomialCV", "OrdinalLogitCV"])
def test_a_class_that_a_fold_holds_out_wholly_is_named(name):
    y = np.sort(TARGETS[name])
    with pytest.raises(FewerError, match=r"fold 1 of \d holds out every row of class"):
        made(name, cv=KFold(2 if name == "SparseLogisticCV" else 4)).fit(X, y)


def test_a_fold_that_cannot_be_fitted_is_named():
    counts = np.repeat([3.0, 0.0], 18)
    with pytest.raises(FewerError, match="training rows of fold 1 of 2: poisson loss: every target is 0"):
        estimators.SparsePoissonCV(cv=KFold(2)).fit(X, counts)


def test_a_flat_curve_is_called_flat():
    thin = np.vstack([np.zeros((6, 1)), RNG.standard_normal((6, 1))])
    splits = [(np.arange(3, 12), np.arange(3)), (np.r_[0:3, 6:12], np.arange(3, 6))]
    with pytest.warns(UserWarning, match="the same at every penalty, so cross-validation cannot choose"):
        estimators.LassoCV(cv=splits, fit_intercept=False).fit(thin, thin[:, 0] + 1.0)


@pytest.mark.parametrize("name", ["LassoCV", "GroupLassoCV", "SparsePoissonCV", "SparseCoxCV"])
def test_a_constant_target_is_explained_by_nothing_and_no_doubt_is_raised(name):
    model = made(name, cv=2).fit(X, np.ones(36))
    np.testing.assert_allclose(model.coef_, 0, atol=1e-12)


@pytest.mark.parametrize("name", ["LassoCV", "ElasticNetCV", "SparseLogisticCV"])
def test_one_warning_counts_the_fits_that_did_not_converge(name):
    mixed = X @ RNG.standard_normal((4, 4))
    model = made(name, cv=3, n_alphas=10, eps=1e-3, tol=1e-12, max_iter=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(mixed, TARGETS.get(name, Y))
    assert [w.category for w in seen] == [ConvergenceWarning]
    assert "of 40 fits of the paths" in str(seen[0].message)


def test_one_standard_error_needs_two_folds():
    with pytest.raises(FewerError, match="needs a standard error, so two folds"):
        estimators.LassoCV(rule="1se", cv=[(np.arange(20), np.arange(20, 36))]).fit(X, Y)


def test_training_rows_are_those_of_the_splitter():
    train, test = np.r_[0:10, 0:10], np.arange(20, 36)  # rows drawn twice, rows left alone
    model = estimators.LassoCV(alphas=[0.1], cv=[(train, test)], tol=1e-10).fit(X, Y)
    literal = estimators.Lasso(0.1, tol=1e-10).fit(X[train], Y[train])
    np.testing.assert_allclose(model.cv_mean_[0], ((Y[test] - literal.predict(X[test])) ** 2).mean() / 2, rtol=1e-6)


LABELS = np.repeat(np.arange(6), 6)


@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut(), 3])
def test_groups_stay_in_one_fold(cv):
    model = estimators.LassoCV(cv=cv, n_alphas=5).fit(X, Y, groups=LABELS)
    splitter = GroupKFold(3) if cv == 3 else cv
    listed = estimators.LassoCV(cv=list(splitter.split(X, Y, LABELS)), n_alphas=5).fit(X, Y)
    np.testing.assert_array_equal(model.cv_mean_, listed.cv_mean_)


def test_groups_that_cannot_be_used_are_refused():
    with pytest.raises(FewerError, match="groups say nothing where cv lists the splits"):
        estimators.LassoCV(cv=list(KFold(3).split(X))).fit(X, Y, groups=LABELS)
    with pytest.raises(FewerError, match=r"LassoCV.fit got 'group'"):
        estimators.LassoCV().fit(X, Y, group=LABELS)
    with pytest.raises(FewerError, match=r"groups of fit have shape \(35,\); give one label for each of 36 rows"):
        estimators.LassoCV().fit(X, Y, groups=LABELS[1:])


@pytest.mark.parametrize("name", ["LassoCV", "SparseLogisticCV", "BestSubsetCV"])
def test_metadata_is_routed_as_in_scikit_learn(name):
    y = TARGETS.get(name, Y)
    alone = made(name, cv=GroupKFold(3)).fit(StandardScaler().fit_transform(X), y, groups=LABELS)
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), made(name, cv=GroupKFold(3))).fit(X, y, groups=LABELS)
    np.testing.assert_array_equal(pipe[-1].cv_mean_, alone.cv_mean_)
