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
    assert "could not be read" in capsys.readouterr().err
    assert call(["select", str(tmp_path / "none.csv"), "--target", "y"]) == 2


def test_names_at_the_end_of_lines_keep_apart_and_inside():
    from fewer.report.selection import _spread

    places = _spread([300.0, 301.0, 302.0, 303.0], 26, 306)
    assert places[-1] == 306 and min(np.diff(places)) == 13
    assert _spread([5.0, 100.0, 105.0], 26, 306) == [26, 100, 113]
