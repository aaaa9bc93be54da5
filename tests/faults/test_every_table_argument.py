"""Wrong values for every argument of estimators and solvers: one line that names it, or the right result."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fewer.linear as fl
import fewer.linear.estimators as estimators
from fewer.linear.beliefs import Ask
from fewer.linear.factors import Adaptive, Manual, Prior
from fewer.method import FewerError
from fewer.penalty import L1
from fewer.verbs.select import select_columns

RNG = np.random.default_rng(0)
N = 24
X = RNG.standard_normal((N, 3))
Y = X[:, 0] + 0.3 * RNG.standard_normal(N)
TARGETS = {
    "SparseLogistic": Y > 0, "SparseMultinomial": np.digitize(Y, [-0.4, 0.4]),
    "OrdinalLogit": np.digitize(Y, [-0.4, 0.4]), "SparsePoisson": np.floor(np.exp(Y)),
    "SparseCox": np.column_stack([np.exp(-Y), np.ones(N)]),
}  # fmt: skip
WRONG = {
    "None": None, "text": "typo", "null": "a\0b", "negative": -1, "zero": 0, "huge": 10**30, "half": 2.5,
    "nan": math.nan, "infinite": math.inf, "true": True, "pair": (2, 4), "texts": ["x"], "bytes": b"a", "dict": {},
    "names": {"a": 1}, "path": Path("/nowhere"), "object": object(), "class": fl.Logistic, "scalar": np.array(3),
    "matrix": np.ones((2, 2)), "one": 1, "empty": [], "nans": [math.nan], "complex": 1j, "share": np.float32(0.5),
    "ragged": [[1], [2, 3]],
}  # fmt: skip
NUMBERS = {"one", "half", "share", "huge", "zero"}
#: What of these is right, by the name of the argument.
RIGHT = {
    "alpha": NUMBERS, "tol": NUMBERS, "ridge": NUMBERS, "delta": NUMBERS - {"zero"}, "smooth": NUMBERS - {"zero"},
    "alphas": {"None", "one", "pair"}, "n_alphas": {"one"}, "eps": {"share", "one"}, "max_iter": {"one"},
    "fit_intercept": {"true"}, "standardize": {"true"}, "positive": {"true"}, "assume_centered": {"true"},
    "cv": {"None"}, "n_jobs": {"None", "one", "negative"}, "q": {"share"}, "size": {"one", "huge"},
    "max_size": {"None", "one"}, "groups": {"None"}, "loss": {"None"}, "penalty": set(), "rule": set(), "ties": set(),
    "pilot": set(), "penalty_factors": {"None", "dict"}, "l1_ratio": {"zero", "one", "share"},
    "phi": {"zero", "one", "share"}, "sparse": NUMBERS | {"pair"}, "gamma": (NUMBERS - {"zero"}) | {"pair"},
}  # fmt: skip
#: Messages may say these for the argument.
WORDS = {
    "penalty_factors": ("penalty factor",), "y": ("target",), "Y": ("y ",), "X": ("fold", "columns"),
    "base": ("factor",),     "folds": ("fold",), "high": ("asked for",),
}  # fmt: skip


def fault(call, argument):
    """What is wrong with the answer of a call, and whether it was accepted."""
    try:
        call()
    except (FewerError, TypeError) as error:
        text = str(error)
        named = any(word in text for word in (argument, *WORDS.get(argument, ())))
        return (
            "" if named and text and "\n" not in text and len(text) < 400 else f"{type(error).__name__}: {text}"
        ), False
    except BaseException as error:
        return f"{type(error).__name__}: {error}", False
    return "", True


def made(name, **options):
    kind = getattr(estimators, name)
    short = {"cv": 2, "n_alphas": 2, "eps": 0.3, "max_size": 2} if name.endswith("CV") else {}
    return kind(**{key: v for key, v in short.items() if key in kind().get_params()} | options)


def target(name):
    return TARGETS.get(name.removesuffix("CV"), Y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", estimators.__all__)
def test_arguments_of_estimators(name):
    many, faults = name.endswith("CV"), []
    for argument in getattr(estimators, name)().get_params():
        for word, value in WRONG.items():
            if argument == "n_jobs" and word == "negative":
                continue  # right, and starts processes
            found, accepted = fault(lambda a=argument, v=value: made(name, **{a: v}).fit(X, target(name)), argument)
            right = word in RIGHT[argument] and (many or word != "pair") and (name, word) != ("SparsePrecision", "dict")
            if found or accepted != right:
                faults.append(f"{argument}={word}: {found or ('accepted' if accepted else 'refused')}")
    assert not faults, "\n".join(faults)


def columns():
    """Matrices that are none of numbers, or not of this shape."""
    bad = X.copy()
    bad[2, 1] = math.nan
    text = X.astype(object)
    text[3, 1] = "red"
    frame = pd.DataFrame(X, columns=list("abc"))
    return {
        "None": None, "text": "a", "three": X[None], "one": X[:, 0], "nan": bad, "infinite": np.where(X > 1, np.inf, X),
        "words": text, "no rows": X[:0], "no columns": X[:, :0], "complex": X * 1j, "sparse nan": sp.csc_array(bad),
        "sparse complex": sp.csc_array(X * 1j), "dates": np.full(X.shape, np.datetime64("2020-01-01")), "dict": {},
        "frame of dates": frame.assign(b=pd.Timestamp("2020-01-01")), "frame of words": frame.assign(b="x"),
        "twice": frame.set_axis(list("aab"), axis=1), "masked": np.ma.masked_array(X, X > 1), "ragged": [[1, 2], [3]],
        "object": object(), "huge": X * 1e200, "tiny": X * 1e-200, "records": np.zeros(N, dtype=[("a", float)]),
    }  # fmt: skip


def rows(y):
    """Targets that are none."""
    y = np.asarray(y)
    one = y.astype(float)
    one.flat[0] = math.nan
    mixed = y.astype(object)
    mixed.flat[0] = "red"
    none = y.astype(object)
    none.flat[0] = None
    return {
        "None": None, "text": "a", "three": one[None, None], "nan": one, "words": mixed, "none": none, "empty": y[:0],
        "short": y[:-1], "long": np.concatenate([y, y]), "complex": y * 1j, "dict": {}, "object": object(),
        "dates": np.full(y.shape, np.datetime64("2020-01-01")), "scalar": 1.0, "sparse": sp.csc_array(np.ones((N, 1))),
    }  # fmt: skip


def weights():
    s = np.ones(N)
    return {
        "text": "a", "nan": s * math.nan, "infinite": s * math.inf, "negative": -s, "zero": 0 * s, "short": s[1:],
        "matrix": s[:, None], "words": ["a"] * N, "complex": s * 1j, "dict": {}, "object": object(), "less": -1,
        "nothing": 0, "not one": math.nan, "sparse": sp.csc_array(s[:, None]), "overflow": s * 1.5e308, "empty": [],
    }  # fmt: skip


LABELS = {
    "scalar": 2, "text": "a", "short": np.arange(N - 1), "matrix": np.ones((N, 1)), "nan": np.full(N, math.nan),
    "none": [None] * N, "all one": np.ones(N), "complex": np.arange(N) * 1j, "dict": {}, "empty": [],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", estimators.__all__)
def test_data_of_estimators(name):
    y, model = target(name), made(name).fit(X, target(name))
    tries = [("X", w, lambda v=v, w=w: made(name).fit(v, y[:0] if w == "no rows" else y)) for w, v in columns().items()]
    if hasattr(model, "predict"):
        tries += [("y", w, lambda v=v: made(name).fit(X, v)) for w, v in rows(y).items()]
        tries += [("X", w, lambda v=v: model.predict(v)) for w, v in columns().items() if w not in ("huge", "tiny")]
    tries += [("sample_weight", w, lambda v=v: made(name).fit(X, y, sample_weight=v)) for w, v in weights().items()]
    if name.endswith("CV"):
        tries += [("groups", w, lambda v=v: made(name).fit(X, y, groups=v)) for w, v in LABELS.items()]
    found = [(argument, word, *fault(call, argument)) for argument, word, call in tries]
    faults = [f"{a}={w}: {text or 'accepted'}" for a, w, text, accepted in found if text or accepted]
    assert not faults, "\n".join(faults)


LOGISTIC = (np.asarray(Y > 0, dtype=float), fl.Logistic())
FRAME = pd.DataFrame(X, columns=list("abc"))
SHORT = {"count": 2}
#: Every public function with arguments that it takes.
CALLS = {
    "solve": ([X, Y, 0.1], {}), "path": ([X, Y], SHORT), "batch": ([X, Y], SHORT), "lambda_max": ([X, Y], {}),
    "gram_path": ([X.T @ X / N, X.T @ Y / N, float(Y @ Y / N)], SHORT), "homotopy_path": ([X, Y], {}),
    "cross_paths": ([X, Y, [np.arange(8), np.arange(8, N)]], SHORT), "glm_solve": ([X, *LOGISTIC, 0.1], {}),
    "glm_path": ([X, *LOGISTIC], SHORT), "group_path": ([X, Y, fl.Squared(), [0, 0, 1]], SHORT),
    "general_path": ([X, Y, fl.Squared(), L1()], SHORT), "trend_path": ([X, Y], {}), "refit": ([X, Y, [0, 1]], {}),
    "best_subset": ([X, Y, [1, 2]], {}), "square_root_path": ([X, Y], SHORT), "quantile_solve": ([X, Y, 0.5, 0.1], {}),
    "graphical_lasso": ([np.cov(X.T), 0.1], {}), "Huber": ([], {}), "Quantile": ([], {}), "Multinomial": ([], {}),
    "Ordinal": ([], {}), "Cox": ([], {}),
}  # fmt: skip
SHARE, COUNT, TRUTH, NONE = {"zero", "one", "share"}, {"one"}, {"true"}, {"None"}
#: What of `WRONG` these functions rightly take.
TAKEN = {
    "lam": NUMBERS, "tol": NUMBERS, "mix": SHARE, "share": SHARE, "ratio": {"one", "share", "None"}, "count": COUNT,
    "max_iter": COUNT, "most": COUNT, "intercept": TRUTH, "standardize": TRUTH, "duals": TRUTH, "factors": NONE,
    "weights": NONE, "groups": NONE, "loss": NONE, "X": NONE, "cuts": {"None", "pair"}, "q": {"share"},
    "ridge": NUMBERS,     "lams": {"None", "zero", "one", "half", "share", "scalar", "pair", "true"}, "square": NUMBERS,
    "lower": {"None", "zero", "negative"},
    "upper": {"None", "zero", "half", "infinite", "one", "share", "scalar", "true"},
    "order": {"zero", "one"}, "support": {"empty"}, "delta": NUMBERS - {"zero"}, "smooth": NUMBERS - {"zero"},
    "covariance": {"matrix"}, "sizes": set(), "classes": set(), "ties": set(), "folds": {"ragged", "matrix"},
}  # fmt: skip
ARRAYS = {
    "three": np.ones((2, 2, 2)), "nan": X * math.nan, "complex": X * 1j, "words": np.full(X.shape, "a"),
    "short": Y[:-1], "nans": Y * math.nan, "no rows": X[:0], "no columns": X[:, :0], "less": -np.ones(3),
    "dates": np.full(X.shape, np.datetime64("2020-01-01")), "huge": X * 1e200, "masked": np.ma.masked_array(X, X > 1),
}  # fmt: skip
#: Those of `ARRAYS` that some argument takes.
GOOD = {("lower", "less"), ("groups", "less"), ("gram", "masked"), ("moment", "less")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_the_solver_layer(name):
    function, (given, options), faults = getattr(fl, name), CALLS[name], []
    for place, argument in enumerate(inspect.signature(function).parameters.values()):
        if argument.kind is argument.VAR_KEYWORD:
            continue
        for word, value in [*WRONG.items(), *ARRAYS.items()]:
            args = [value if at == place else one for at, one in enumerate(given)]
            named = options if place < len(given) else {**options, argument.name: value}
            text, accepted = fault(lambda a=args, k=named: function(*a, **k), argument.name)
            right = (argument.name, word) in GOOD or (word in WRONG and word in TAKEN.get(argument.name, ()))
            if text or (accepted and not right):
                faults.append(f"{argument.name}={word}: {text or 'accepted'}")
    assert not faults, "\n".join(faults)


FACTORS = {
    "Manual": (Manual, {"factors": np.ones(3)}, {"factors": {"dict", "names"}}),
    "Adaptive": (
        Adaptive, {"pilot": "ridge", "gamma": 1.0, "strength": 0.01, "base": None},
        {"gamma": (NUMBERS | {"pair"}) - {"zero"}, "strength": NUMBERS - {"zero"}, "base": {"None", "dict", "names"}},
    ),
    "Prior": (Prior, {"beliefs": np.ones(3)}, {"trust": {"pair", "empty"}}),
    "Ask": (
        lambda **k: Prior(Ask(**k)),
        {"answer": lambda _: "a: 3\nb: 3\nc: 4", "target": "price", "context": "", "low": 1.0, "high": 9.0, "batch": 2},
        {"target": {"text", "null"}, "context": {"text", "null"}, "low": {"one", "share", "half"}, "high": {"huge"},
         "batch": {"one"}},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FACTORS)
def test_arguments_of_penalty_factors(name):
    make, given, right = FACTORS[name]
    faults = []
    for argument in given:
        for word, value in WRONG.items():
            if (argument, word) in {("beliefs", "class"), ("answer", "class")}:
                continue  # functions that the caller owns
            text, accepted = fault(
                lambda a=argument, v=value: made("LassoCV", penalty_factors=make(**{**given, a: v})).fit(FRAME, Y),
                argument if argument != "beliefs" else "belief",
            )
            if text or accepted != (word in right.get(argument, ())):
                faults.append(f"{argument}={word}: {text or ('accepted' if accepted else 'refused')}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("length", [0, -5, 10**6])
def test_the_length_of_a_path_has_a_range_of_its_own(length):
    with pytest.raises(FewerError, match=f"n_alphas is {length}; it must be at (least 1|most 100,000)"):
        select_columns("nowhere.csv", "y", n_alphas=length)


@pytest.mark.parametrize(("value", "words"), [(1j * X, "Complex"), (X[:, 0], "Reshape your data"), (X[:0], "0 sample")])
def test_words_of_scikit_learn_stand_in_one_line(value, words):
    with pytest.raises(FewerError, match=f"X: .*{words}") as caught:
        estimators.Lasso().fit(value, Y[: len(value)])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 310


@pytest.mark.parametrize("make", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("level", [1.0, 1e6])
@pytest.mark.parametrize(
    "name", ["LassoCV", "SparseHuberCV", "SparseMultinomialCV", "GroupLassoCV", "SparseRegressorCV"]
)
def test_constant_columns_explain_nothing_and_at_once(name, level, make):
    flat = np.full((N, 3), level) * [1.0, 1.1, 1 / 3]
    model = made(name, n_alphas=5).fit(make(flat), target(name))
    assert not np.any(model.coef_) and all(path.path.converged.all() for path in model.tried_)
