"""`fewer select` over families: categories as groups, options, and faults that leave nothing behind."""

import json

import numpy as np
import pandas as pd
import pytest

from fewer.cli.group import call

RNG = np.random.default_rng(4)
N = 120
TARGETS = {
    "gaussian": "g", "binomial": "b", "multinomial": "m", "poisson": "c", "cox": "t,d", "ordinal": "m", "quantile": "g",
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    frame = pd.DataFrame(RNG.standard_normal((N, 4)), columns=list("uvwx"))
    frame["city"] = RNG.choice(["Rome", "Oslo", "Lima"], N)
    eta = frame["u"] + frame["city"].map({"Rome": 0.0, "Oslo": 1.5, "Lima": -1.5})
    noisy = eta + RNG.logistic(size=N) / 2
    frame["g"], frame["b"] = noisy, np.where(noisy > 0, "yes", "no")
    frame["m"] = np.array(["low", "mid", "high"])[np.digitize(noisy, [-0.7, 0.7])]
    frame["c"] = RNG.poisson(np.exp(0.6 * eta))
    frame["t"], frame["d"] = RNG.exponential(np.exp(-eta)) + 0.01, (RNG.random(N) < 0.8).astype(int)
    frame["s"] = RNG.integers(1, 4, N)
    path = tmp_path_factory.mktemp("tables") / "data.csv"
    frame.to_csv(path, index=False)
    return path


def select(table, family, *options, target=None):
    target = TARGETS[family] if target is None else target
    spare = [name for name in "gbmctds" if name not in target.split(",") and f"--weights={name}" not in options]
    drop = [word for name in spare for word in ("--drop", name)]
    order = ["--levels", "low,mid,high"] if family == "ordinal" else []
    asked = ["--target", target, "--family", family, "--folds", "3", "--strengths", "12"]
    return ["select", str(table), *asked, *order, *drop, *options]


@pytest.mark.parametrize("family", TARGETS)
def test_a_category_enters_as_one_in_every_family(table, family, capsys):
    assert call(select(table, family, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    levels = [c["name"] for c in found["chosen"] if c["source"] == "city"]
    assert sorted(levels) == ["city=Lima", "city=Oslo", "city=Rome"]
    assert "u" in {c["name"] for c in found["chosen"]}
    assert found["columns"] == 5 and max(found["sizes"]) <= 5
    assert found["converged"] and found["gap"] <= 1e-6


@pytest.mark.parametrize(
    ("family", "options", "part"),
    [
        ("ordinal", [], "between low < mid < high"),
        ("binomial", [], "log odds of 'yes'"),
        ("multinomial", ["--levels", "low,mid,high"], "for low, mid, high"),
        ("quantile", ["--quantile", "0.9"], "duality gap"),
        ("cox", ["--ties", "efron"], "held-out loss"),
        ("gaussian", ["--mix", "0.5,1"], "share of L1, from 0.5, 1"),
        ("gaussian", ["--weights=s"], "duality gap"),
        ("gaussian", ["--factor", "city=0"], "city=Rome"),
    ],
)
def test_options_say_what_they_did(table, family, options, part, capsys):
    assert call(select(table, family, *options)) == 0
    assert part in capsys.readouterr().out


def test_relaxed_columns_get_the_coefficients_of_least_squares(table, capsys):
    assert call(select(table, "gaussian", "--relaxed", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    losses = {one["phi"]: one["loss"] for one in found["tried"]}
    assert sorted(losses) == [0.0, 0.5, 1.0] and losses[found["phi"]] == min(losses.values())
    frame = pd.read_csv(table)
    indicators = pd.get_dummies(frame["city"], prefix="city", prefix_sep="=")
    names = [c["name"] for c in found["chosen"]]
    X = np.column_stack([frame.join(indicators)[names].to_numpy(float), np.ones(N)])
    eta = X @ [*(c["coefficients"][0] for c in found["chosen"]), found["intercept"][0]]
    exact = X @ np.linalg.lstsq(X, frame["g"], rcond=None)[0]
    assert found["phi"] == 0.0 and "city=Oslo" in names
    np.testing.assert_allclose(eta, exact, atol=1e-8)


def test_relaxation_is_reported(table, tmp_path, capsys):
    assert call(select(table, "gaussian", "--relaxed", "--html", str(tmp_path / "r.html"))) == 0
    assert "share of the lasso" in capsys.readouterr().out
    assert "share of the lasso" in (tmp_path / "r.html").read_text()


def test_free_and_excluded_categories(table, capsys):
    assert call(select(table, "binomial", "--factor", "city=inf", "--factor", "x=0", "--json")) == 0
    names = {c["source"] for c in json.loads(capsys.readouterr().out)["chosen"]}
    assert "city" not in names and "x" in names


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_beliefs_are_trusted_as_far_as_they_help(table, tmp_path, suffix, capsys):
    beliefs = {"u": 1, "v": 6, "w": 6, "x": 6, "city": 1}
    path = tmp_path / f"beliefs.{suffix}"
    lines = "".join(f"{name},{value}\n" for name, value in beliefs.items())
    path.write_text(json.dumps(beliefs) if suffix == "json" else "column,belief\n" + lines)
    assert call(select(table, "gaussian", "--beliefs", str(path), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    losses = {one["factors"]: one["loss"] for one in found["tried"]}
    assert min(losses.values()) <= losses["trust 0"]
    assert found["factors"] == min(losses, key=losses.get) != "trust 0"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,y\n1,2\n", [], "1 usable row(s)"),
        ("a,y\n", [], "0 usable row(s)"),
        ("", [], "is empty"),
        ("a,a,y\n1,2,3\n2,3,4\n", [], "2 columns named 'a'"),
        ("a,y\n1,2\n2,3\n3,5\n", [], "5 folds for 3 rows"),
        ("y\n1\n2\n3\n4\n5\n6\n", [], "no column beside its target"),
        ("a,y\n1,2\n2,3\n", ["--levels", "a,b"], "--levels orders the labels of classes"),
        ("a,y\n1,2\n2,3\n", ["--mix", "0"], "mix is 0"),
        ("a,y\n1,2\n2,3\n", ["--mix", "x"], "--mix is 'x'"),
        ("a,y\n1,2\n2,3\n", ["--strengths", "0"], "'--strengths': 0 is not in the range x>=1"),
        ("a,y\n1,2\n2,3\n", ["--relaxed", "--family", "poisson"], "--relaxed refits by least squares"),
        ("a,y\n1,2\n2,3\n", ["--relaxed", "--mix", "0.5"], "--relaxed and --mix cannot be given together"),
        ("a,y\n1,2\n2,3\n", ["--quantile", "1"], "quantile is 1"),
        ("a,y\n1,2\n2,3\n", ["--ties", "efrom"], "did you mean 'efron'"),
        ("a,y\n1,2\n2,3\n", ["--beliefs", "none.csv"], "beliefs 'none.csv' cannot be read"),
        ("a,y\n1,2\n2,3\n", ["--weights", "w"], "no column 'w'"),
        ("a,w,y\n1,-1,2\n2,1,3\n", ["--weights", "w"], "weight 'w' is -1 in row 1"),
        ("a,y\n2020-01-01,2\n2020-01-02,3\n", [], "make it a number or a category"),
        ("a,y\n1,p\n2,q\n3,q\n", ["--family", "binomial", "--folds", "2"], "class 'p' of 'y' has one row only"),
        ("a,y\n1,p\n2,q\n3,p\n4,q\n5,p\n", ["--family", "binomial"], "5 folds, but no more than 3 rows of any class"),
        ("a,y\n1,\xff\n", [], "usable row"),
        (",a,y\n0,1,2\n1,2,3\n", [], "column 1 has no name, like an index"),
        ("a\tb,y\n1,2\n2,3\n", ["--seed", "-1"], "seed is -1"),
        ("a,y\n1,2\n2,3\n", ["--factor", "a=0", "--factor", "a=1"], "two penalty factors"),
        ("a,g,y\n1,p,2\n2,,3\n", ["--groups", "g"], "groups 'g' have 1 missing value(s); every row needs a label"),
        ("a,y\n1,2\n2,3\n", ["--groups", "b"], "no column 'b'"),
        ("a,y\n1,2\n2,3\n", ["--weights", "y"], "column 'y' cannot be two of target, weights and groups"),
        ("a,y\n1,0\n2,0\n3,0\n4,1\n5,0\n", ["--family", "poisson"], "above 0 in one row only"),
        ("a,w,y\n1,0,p\n2,1,q\n3,1,q\n", ["--weights", "w", "--family", "binomial"], "one class only"),
        ('"a\n\x1b[2J","a\n\x1b[2J",y\n1,2,3\n2,3,4\n', [], "2 columns named"),
    ],
)
def test_faults_are_one_line_and_nothing_is_written(tmp_path, text, options, message, capsys):
    path = tmp_path / "t.csv"
    path.write_text(text)
    page = tmp_path / "out.html"
    assert call(["select", str(path), "--target", "y", "--html", str(page), *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1 1:2\n", [], "1 usable row(s)"),
        ("1 1:2\n2 b\n", [], "is no svmlight file"),
        ("1 1:nan\n2 1:2\n", [], "not finite"),
        ("1 1:2\n1 1:3\n", [], "constant"),
        ("1 1:2\n2 1:3\n", ["--family", "cox"], "holds one target and no weights"),
        ("-1 1:2\n2 1:3\n", ["--family", "poisson"], "negative counts"),
        ("1 1:2\n2 1:3\n", ["--drop", "9"], "no column '9'"),
        ("1 1:2\n2 1:3\n", ["--target", "y"], "its target is called 'target'"),
    ],
)
def test_faults_of_sparse_files(tmp_path, text, options, message, capsys):
    path = tmp_path / "t.svmlight"
    path.write_text(text)
    assert call(["select", str(path), "--target", "target", *options]) == 2
    assert message in capsys.readouterr().err


def test_columns_far_from_zero_or_very_small_are_found(tmp_path, capsys):
    a, b = RNG.standard_normal((2, 60))
    frame = pd.DataFrame({"far": a + 1e9, "tiny": b * 1e-60, "y": 1e-9 * (a - b)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert call(["select", str(tmp_path / "t.csv"), "--target", "y", "--rule", "min", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    slopes = {c["name"]: c["coefficients"][0] for c in found["chosen"]}
    assert found["converged"] and slopes["far"] == pytest.approx(1e-9, rel=0.02)
    assert slopes["tiny"] == pytest.approx(-1e51, rel=0.02)
    eta = slopes["far"] * frame["far"] + slopes["tiny"] * frame["tiny"] + found["intercept"][0]
    np.testing.assert_allclose(eta, frame["y"], atol=1e-10)


@pytest.mark.parametrize("family", ["ordinal", "multinomial", "poisson"])
def test_constants_are_in_the_units_of_the_table(table, tmp_path, family, capsys):
    frame = pd.read_csv(table)
    frame["u"] += 100
    frame.to_csv(tmp_path / "t.csv", index=False)
    here, there = (json.loads(_shown(select(t, family, "--json"), capsys)) for t in (table, tmp_path / "t.csv"))
    slope = np.array(next(c["coefficients"] for c in here["chosen"] if c["name"] == "u"))
    step = 100 * slope if family == "ordinal" else -100 * slope
    np.testing.assert_allclose(np.array(here["intercept"]) + step, there["intercept"], rtol=1e-3, atol=1e-3)


def _shown(words, capsys):
    assert call(words) == 0
    return capsys.readouterr().out


def test_sparse_columns_keep_the_numbers_of_the_file(tmp_path, capsys):
    rows = [f"{v + 0.01 * i} {3 if v else 7}:1 20000:{1 + i % 2}" for i, v in enumerate([1.0, 0.0] * 15)]
    path = tmp_path / "t.svmlight"
    path.write_text("\n".join(rows))
    assert call(["select", str(path), "--target", "target", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in found["chosen"]} & {"3", "7"}
    assert found["columns"] == 20_000
