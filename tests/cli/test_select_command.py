"""`fewer select`: the answer, its JSON, its page, and wrong input in one line."""

import json

import numpy as np
import pandas as pd
import pytest

from fewer.cli.group import call

RNG = np.random.default_rng(0)


@pytest.fixture
def table(tmp_path):
    frame = pd.DataFrame(RNG.standard_normal((80, 6)), columns=list("abcdef"))
    frame["colour"] = RNG.choice(["red", "blue"], 80)
    frame["y"] = 3 * frame["b"] - frame["e"] + 0.2 * RNG.standard_normal(80)
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    return path


def test_json_names_the_columns_and_certifies_them(table, capsys):
    assert call(["select", str(table), "--target", "y", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"b", "e"} <= {c["name"] for c in found["chosen"]}
    assert found["converged"]
    assert found["gap"] <= 1e-6
    assert len(found["alphas"]) == len(found["mean"]) == 100
    slopes = {c["name"]: c["coefficients"][0] for c in found["chosen"]}
    assert slopes["b"] == pytest.approx(3, abs=0.4)


def test_the_page_is_whole_and_escapes_names(tmp_path, capsys):
    frame = pd.DataFrame({"<b>x</b>": np.arange(30.0), "z": RNG.standard_normal(30)})
    frame["y"] = frame["<b>x</b>"] * 2
    frame.to_csv(tmp_path / "t.csv", index=False)
    page = tmp_path / "report.html"
    assert call(["select", str(tmp_path / "t.csv"), "--target", "y", "--html", str(page)]) == 0
    text = page.read_text()
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x</b>" not in text
    assert text.count("<svg") == 3
    assert "http" not in text.replace("http-equiv", "")


def test_factors_keep_and_exclude(table, capsys):
    options = ["--factor", "b=inf", "--factor", "a=0", "--json"]
    assert call(["select", str(table), "--target", "y", *options]) == 0
    names = {c["name"] for c in json.loads(capsys.readouterr().out)["chosen"]}
    assert "a" in names
    assert "b" not in names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "why"], "no column 'why'"),
        (["--target", "y", "--family", "gaus"], "unknown family 'gaus'; did you mean 'gaussian'"),
        (["--target", "colour"], "is not a number"),
        (["--target", "y", "--rule", "2se"], "unknown rule '2se'"),
        (["--target", "y", "--missing", "maen"], "did you mean 'mean'"),
        (["--target", "y", "--folds", "1"], "1 folds for 80 rows"),
        (["--target", "y", "--factor", "b"], "not COLUMN=NUMBER"),
        (["--target", "y", "--factor", "q=1"], "penalty factor for 'q': no such column"),
        (["--target", "y", "--factor", "a=-1"], "must be in [0, inf]"),
        ([], "missing option '--target'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(table, options, message, capsys):
    assert call(["select", str(table), *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_file_that_is_no_table(tmp_path, capsys):
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    assert call(["select", str(tmp_path / "x.parquet"), "--target", "y"]) == 2
    assert "is no whole Parquet file" in capsys.readouterr().err
    assert call(["select", str(tmp_path / "none.csv"), "--target", "y"]) == 2


def test_names_at_the_end_of_lines_keep_apart_and_inside():
    from fewer.report.selection import _spread

    places = _spread([300.0, 301.0, 302.0, 303.0], 26, 306)
    assert places[-1] == 306 and min(np.diff(places)) == 13
    assert _spread([5.0, 100.0, 105.0], 26, 306) == [26, 100, 113]


def test_groups_of_rows_stay_in_one_fold_and_explain_nothing(tmp_path, capsys):
    person = np.repeat(np.arange(16), 5)
    frame = pd.DataFrame(RNG.standard_normal((80, 3)), columns=list("abc")).assign(person=[f"p{k}" for k in person])
    frame["y"] = frame["b"] + np.random.default_rng(1).standard_normal(16)[person]
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["select", str(tmp_path / "t.csv"), "--target", "y", "--groups", "person", "--json"]
    assert call(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"] == 3 and "rows of one 'person' stay in one fold (16 groups)" in found["notes"]
    from sklearn.model_selection import GroupKFold

    from fewer.linear.estimators import LassoCV

    X = frame[list("abc")].to_numpy()
    splits = list(GroupKFold(5, shuffle=True, random_state=0).split(X, groups=person))
    literal = LassoCV(cv=splits).fit((X - X.mean(axis=0)) / X.std(axis=0), frame["y"])
    np.testing.assert_allclose(found["mean"], literal.cv_mean_, rtol=1e-6)
    assert call([*command, "--folds", "17"]) == 2
    assert "17 folds, but 16 group(s) of rows" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["binomial", "cox", "poisson"])
def test_groups_and_classes_are_spread_together(tmp_path, capsys, family):
    person = np.repeat(np.arange(12), 5)
    frame = pd.DataFrame(RNG.standard_normal((60, 2)), columns=list("ab")).assign(person=person)
    frame["y"] = (frame["a"] + RNG.standard_normal(60) > 0).astype(int)
    frame["time"] = np.exp(-frame["a"] + RNG.standard_normal(60))
    frame.to_csv(tmp_path / "t.csv", index=False)
    target = "time,y" if family == "cox" else "y"
    drop = [] if family == "cox" else ["--drop", "time"]
    command = ["select", str(tmp_path / "t.csv"), "--target", target, "--family", family, "--groups", "person", *drop]
    assert call([*command, "--folds", "3", "--strengths", "5"]) == 0
    assert "rows of one 'person' stay in one fold (12 groups)" in capsys.readouterr().out


def test_a_page_in_a_folder_that_is_not_there_is_refused_before_the_work(tmp_path, capsys):
    assert call(["select", "absent.csv", "--target", "y", "--html", str(tmp_path / "new" / "r.html")]) == 2
    assert f"there is no folder '{tmp_path / 'new'}'; make it first" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_text_and_page_say_what_the_held_out_loss_is(table, tmp_path, capsys):
    assert call(["select", str(table), "--target", "y", "--html", str(tmp_path / "r.html")]) == 0
    assert "half the mean squared error" in capsys.readouterr().out
    assert (tmp_path / "r.html").read_text().count("half the mean squared error") == 2


def test_a_curve_that_says_nothing_is_not_read_as_no_column(tmp_path):
    import dataclasses

    from fewer.report.selection import answer, page
    from fewer.verbs.select import select_columns

    frame = pd.DataFrame({"a": np.arange(30.0), "y": np.arange(30.0) + RNG.standard_normal(30)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = select_columns(tmp_path / "t.csv", "y", n_alphas=4)
    flat = dataclasses.replace(found, mean=(2.0,) * 4, chosen=())
    assert "the same at every penalty: nothing can be chosen by it" in answer(flat)
    assert "no column explains" in answer(dataclasses.replace(flat, path=((0.0,) * 4,)))
    holed = dataclasses.replace(found, mean=(float("nan"), *found.mean[1:]))
    assert "nan" not in page(holed)


def test_doubts_of_an_estimator_are_notes(tmp_path, monkeypatch, capfd):
    import warnings

    import fewer.linear.estimators as estimators

    class LassoCV(estimators.LassoCV):
        def fit(self, X, y, sample_weight=None, **params):
            warnings.warn("3 of 600 fits did not reach tol", UserWarning, stacklevel=2)
            return super().fit(X, y, sample_weight, **params)

    monkeypatch.setattr(estimators, "LassoCV", LassoCV)
    pd.DataFrame({"a": np.arange(20.0), "y": RNG.standard_normal(20)}).to_csv(tmp_path / "t.csv", index=False)
    assert call(["select", str(tmp_path / "t.csv"), "--target", "y"]) == 0
    shown = capfd.readouterr()
    assert "note: 3 of 600 fits did not reach tol" in shown.out and shown.err == ""
