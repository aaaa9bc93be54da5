"""Names that scikit-learn has too mean the same; what docstrings name is there; wrong arguments are refused by name."""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import covariance
from sklearn import linear_model as peer
from sklearn.model_selection import KFold

import fewer.linear.estimators as estimators
from fewer.method import FewerError

RNG = np.random.default_rng(9)
X = RNG.standard_normal((40, 5))
Y = X[:, 0] - 0.5 * X[:, 3] + 0.3 * RNG.standard_normal(40) + 1.0
COUNTS, TWO = np.floor(np.exp(0.5 * Y)), Y > 1
WEIGHTS = RNG.integers(1, 4, 40)
PEERS = {
    "Lasso": peer.Lasso, "ElasticNet": peer.ElasticNet, "LassoCV": peer.LassoCV, "ElasticNetCV": peer.ElasticNetCV,
    "SparseLogistic": peer.LogisticRegression, "SparseLogisticCV": peer.LogisticRegressionCV,
    "SparsePoisson": peer.PoissonRegressor, "SparseQuantile": peer.QuantileRegressor,
    "SparseHuber": peer.HuberRegressor, "SparsePrecision": covariance.GraphicalLasso,
}  # fmt: skip
#: How each shared name is tried; every name that both have must be here.
VALUES = {
    "alpha": 0.15, "l1_ratio": 0.4, "alphas": 6, "eps": 0.05, "cv": KFold(3), "fit_intercept": False, "positive": True,
    "tol": 1e-9, "max_iter": 20_000, "n_jobs": 1, "assume_centered": True,
}  # fmt: skip
#: Shared names with another meaning, which the documents own up to.
OTHER = {("SparseHuber", "alpha"), ("SparsePoisson", "alpha"), ("SparseLogistic", "l1_ratio")}


def shared(name):
    ours, theirs = (set(inspect.signature(kind).parameters) for kind in (getattr(estimators, name), PEERS[name]))
    return sorted(ours & theirs)


def test_every_shared_argument_is_tried():
    assert {name for kind in PEERS for name in shared(kind)} <= set(VALUES)


@pytest.mark.parametrize(("name", "argument"), [(k, a) for k in list(PEERS)[:4] for a in shared(k)])
def test_an_argument_means_what_it_means_in_scikit_learn(name, argument):
    options = {"tol": 1e-12, argument: VALUES[argument]}
    if name == "ElasticNetCV" and argument == "l1_ratio":
        options["l1_ratio"] = [0.2, 0.9]
    options |= {"alphas": options.get("alphas", 8)} if name.endswith("CV") else {"alpha": options.get("alpha", 0.2)}
    weights = None if name.endswith("CV") else WEIGHTS
    ours, theirs = (k(**options).fit(X, Y, weights) for k in (getattr(estimators, name), PEERS[name]))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-5)
    if name.endswith("CV"):
        np.testing.assert_allclose(ours.alphas_, np.reshape(theirs.alphas_, (-1, len(ours.alphas_)))[-1], rtol=1e-8)
        assert ours.alpha_ == pytest.approx(theirs.alpha_)


def test_the_same_numbers_mean_the_same_in_other_families():
    pairs = [
        (estimators.SparseLogistic(0.05, l1_ratio=0.3, tol=1e-10), peer.LogisticRegression(
            C=1 / (40 * 0.05), l1_ratio=0.3, solver="saga", tol=1e-9, max_iter=20_000), TWO),
        (estimators.SparsePoisson(0.1, l1_ratio=0.0, tol=1e-10), peer.PoissonRegressor(alpha=0.1, tol=1e-9), COUNTS),
        (estimators.SparseQuantile(0.1), peer.QuantileRegressor(alpha=0.1), Y),
    ]  # fmt: skip
    for ours, theirs, y in pairs:
        np.testing.assert_allclose(ours.fit(X, y).coef_, theirs.fit(X, y).coef_, atol=2e-4)
    for options in ({"alpha": 0.15}, {"alpha": 0.15, "assume_centered": True}):
        theirs = covariance.GraphicalLasso(**options, tol=1e-5).fit(X).precision_
        np.testing.assert_allclose(estimators.SparsePrecision(**options).fit(X).precision_, theirs, atol=5e-3)


def test_other_meanings_are_documented():
    text = (Path(__file__).parents[3] / "docs" / "tables.md").read_text("utf-8")
    section = text[text.index("### Differences from scikit-learn") :]
    for name, argument in OTHER:
        assert name in section and f"`{argument}`" in section


TARGETS = {
    "SparseLogistic": TWO, "SparseMultinomial": np.digitize(Y, [0, 2]), "OrdinalLogit": np.digitize(Y, [0, 2]),
    "SparsePoisson": COUNTS, "SparseCox": np.column_stack([np.exp(-Y), np.ones(40)]),
}  # fmt: skip


def fitted(name):
    kind = getattr(estimators, name)
    options = {"alpha": 0.1, "n_alphas": 3, "eps": 0.3, "cv": 2, "max_size": 2}
    model = kind(**{key: v for key, v in options.items() if key in kind().get_params()})
    return model.fit(X, TARGETS.get(name.removesuffix("CV"), Y))


@pytest.mark.parametrize("name", estimators.__all__)
def test_every_attribute_that_a_docstring_names_is_there(name):
    model = fitted(name)
    texts = [kind.__doc__ or "" for kind in type(model).__mro__ if kind.__module__.startswith("fewer")]
    named = set(re.findall(r"`([a-z]\w*_)`", " ".join(texts)))
    assert named and not [attribute for attribute in sorted(named) if not hasattr(model, attribute)]


def test_sigma_is_the_noise():
    noise = RNG.standard_normal(4000)
    wide = RNG.standard_normal((4000, 3))
    model = estimators.SquareRootLasso(0.05).fit(wide, wide[:, 0] + 0.7 * noise)
    assert model.sigma_ == pytest.approx(0.7, rel=0.05)
    weighted = estimators.SquareRootLasso(0.3).fit(X, Y, sample_weight=WEIGHTS)
    squares = WEIGHTS @ (Y - weighted.predict(X)) ** 2 / WEIGHTS.sum()
    assert weighted.sigma_ == pytest.approx(np.sqrt(squares))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("LassoCV", {"alphas": 0.5}, "alphas is 0.5; it must be a list of penalties, or how many: a whole number"),
        ("LassoCV", {"alphas": 0}, "alphas is 0; "),
        ("LassoCV", {"alphas": []}, "alphas is empty"),
        ("SparseCoxCV", {"alphas": [1, -1]}, r"alphas\[1\] is -1; penalties are finite"),
        ("GroupLassoCV", {"alphas": [1, "x"]}, r"alphas\[1\] is 'x'; penalties are finite"),
        ("FusedLassoCV", {"alphas": [np.inf]}, r"alphas\[0\] is inf; penalties are finite"),
        ("LassoCV", {"eps": 0.0}, "eps is 0.0; it must be the end of the grid"),
        ("LassoCV", {"n_alphas": 2.5}, "n_alphas is 2.5; it must be a whole number"),
        ("ElasticNet", {"l1_ratio": 2}, "l1_ratio is 2; it must be a share"),
        ("ElasticNet", {"l1_ratio": [0.5]}, r"l1_ratio is \[0.5\]; it must be a share"),
        ("ElasticNetCV", {"l1_ratio": [0.5, -1]}, r"l1_ratio\[1\] is -1; it must be a share"),
        ("RelaxedLassoCV", {"phi": []}, "phi is empty"),
        ("Lasso", {"alpha": "1"}, "alpha is '1'; it must be a number"),
        ("Lasso", {"alpha": float("nan")}, "alpha is nan; it must be a number"),
        ("Lasso", {"tol": -1}, "tol is -1; it must be a number that is not negative"),
        ("Lasso", {"max_iter": 0}, "max_iter is 0; it must be a whole number of rounds"),
        ("Lasso", {"positive": "no"}, "positive is 'no'; it must be True or False"),
        ("SparseCox", {"ties": "exact"}, "unknown ties 'exact'; known: breslow, efron"),
        ("AdaptiveLasso", {"pilot": "rigde"}, "unknown pilot 'rigde'; did you mean 'ridge'"),
        ("SparseQuantile", {"q": 90}, "q is 90; it must be a quantile, between 0 and 1"),
        ("BestSubset", {"size": 0}, "size is 0; it must be a whole number"),
        ("SparsePrecision", {"alpha": -1}, "alpha is -1; it must be a number"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_own_name(name, options, message):
    with pytest.raises(FewerError, match=message) as caught:
        getattr(estimators, name)(**options).fit(X, TARGETS.get(name.removesuffix("CV"), Y))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"), [("red", r"is no number \('red'\)"), (np.nan, "is missing"), (-np.inf, "is infinite")]
)
@pytest.mark.parametrize("name", ["Lasso", "SparseCox", "SparsePrecision", "LassoCV"])
def test_a_value_that_is_no_number_is_named_by_its_column(name, value, words):
    frame = pd.DataFrame(X, columns=list("abcde")).astype({"c": object if isinstance(value, str) else float})
    frame.loc[7, "c"] = value
    with pytest.raises(FewerError, match=f"column 'c' of X {words} in row 7"):
        getattr(estimators, name)().fit(frame, TARGETS.get(name, Y))
