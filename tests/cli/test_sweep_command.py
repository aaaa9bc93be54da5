"""`fewer sweep` and `fewer materialise` as a shell sees them: evidence once, and none that is not the model's own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

DATA = ("--samples", 4, "--length", 32)
LEVELS = ("--score", "wanda", "--keep", "0.5,0.25", "--pattern", "2:4")
NOTE = "note: evidence of an earlier run is used"
PROGRAM = (sys.executable, "-c", "from fewer.cli import main; main()")


@pytest.fixture(scope="module")
def swept(made, corpus, tmp_path_factory):
    from fewer.cli.group import call

    out = tmp_path_factory.mktemp("swept") / "out"
    words = ["sweep", made, "--data", corpus, "--eval", corpus, *DATA, *LEVELS, "--context", 64, "--out", out]
    assert call([str(word) for word in words]) == 0
    return out


def weights(folder):
    from safetensors.torch import load_file

    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


@pytest.mark.parametrize("level", ["keep 0.5", "0.5", "0.50"])
def test_a_level_is_written_without_the_data(fewer, swept, made, tmp_path, level):
    assert fewer("materialise", swept, level, made, "--out", tmp_path / "half").code == 0
    found = json.loads(fewer("mask", "show", tmp_path / "half", "--json").out)
    assert found["density"] == 0.5 and found["provenance"]["method"] == "wanda, zero"


def test_a_level_is_what_prune_at_once_writes(fewer, swept, made, corpus, tmp_path):
    assert fewer("materialise", swept, "2:4", made, "--out", tmp_path / "a").code == 0
    options = ("--data", corpus, *DATA, "--score", "wanda", "--pattern", "2:4", "--order", "at-once")
    assert fewer("prune", made, *options, "--out", tmp_path / "b").code == 0
    one, two = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_same_directory_gives_its_evidence_to_the_next_run(fewer, made, corpus, tmp_path):
    common = ("sweep", made, "--data", corpus, "--eval", corpus, "--score", "wanda", "--out", tmp_path / "out")
    assert NOTE not in fewer(*common, *DATA, "--keep", "0.5").err
    assert NOTE in fewer(*common, *DATA, "--keep", "0.9", "--update", "least-squares").err
    assert NOTE not in fewer(*common, "--samples", 3, "--length", 32, "--keep", "0.9").err
    assert sorted(x.name for x in tmp_path.iterdir()) == ["out"]


def test_an_interrupted_sweep_keeps_its_evidence_and_goes_on(fewer, made, corpus, tmp_path, monkeypatch):
    words = ("sweep", made, "--data", corpus, "--eval", corpus, *DATA, *LEVELS, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("fewer.verbs.sweep.compare", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        ended = fewer(*words)
    assert ended.code == 130 and ended.err.endswith("the same command uses the evidence that was measured already\n")
    assert [x.name for x in tmp_path.iterdir()] == ["out.evidence"]
    assert NOTE in fewer(*words).err
    assert [x.name for x in tmp_path.iterdir()] == ["out"]


def test_evidence_of_another_sweep_is_used_when_named(fewer, swept, made, corpus, tmp_path):
    words = ("sweep", made, "--eval", corpus, "--evidence", swept, "--score", "wanda", "--keep", "0.8")
    ended = fewer(*words, "--out", tmp_path / "out")
    assert ended.code == 0 and "gathering evidence" not in ended.err
    assert fewer("materialise", tmp_path / "out", "0.8", made, "--out", tmp_path / "m").code == 0


@pytest.fixture
def refused_whole(tmp_path):
    """In a process of its own: exit code 2, a last line that says what, and nothing new; the line is returned."""

    def run(*arguments):
        done = subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert not (tmp_path / "out").exists() and not (tmp_path / "out.evidence").exists()
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1].removeprefix("fewer: ")

    return run


def test_evidence_of_another_model_is_refused(refused_whole, fewer, swept, made, corpus, tmp_path):
    assert fewer("prune", made, "--score", "magnitude", "--out", tmp_path / "other").code == 0
    words = ("--eval", corpus, "--evidence", swept, "--score", "wanda", "--out", tmp_path / "out")
    assert "was measured on model" in refused_whole("sweep", tmp_path / "other", *words)
    line = refused_whole("materialise", swept, "0.5", tmp_path / "other", "--out", tmp_path / "out")
    assert "was measured on model" in line


def test_evidence_of_other_data_is_refused(refused_whole, swept, made, corpus, tmp_path):
    words = ("--eval", corpus, "--data", corpus, "--samples", 2, "--length", 32, "--score", "wanda")
    line = refused_whole("sweep", made, *words, "--evidence", swept, "--out", tmp_path / "out")
    assert "was measured on data" in line


def test_what_is_not_a_sweep_or_not_a_level_is_refused(refused, swept, made, corpus, tmp_path):
    words = ("sweep", made, "--eval", corpus, "--score", "wanda", "--out", tmp_path / "out")
    assert "holds no evidence: give a directory that `fewer sweep` wrote" in refused(*words, "--evidence", made)
    line = refused("materialise", swept, "0.7", made, "--out", tmp_path / "m")
    assert "has no level '0.7'" in line and "it has: 2:4, keep 0.25, keep 0.5" in line
    assert not (tmp_path / "m").exists()


def test_held_out_text_that_is_missing_is_told_before_the_work(fewer, made, corpus, tmp_path):
    ended = fewer("sweep", made, "--data", corpus, "--eval", "/nowhere.txt", *DATA, *LEVELS, "--out", tmp_path / "out")
    assert ended.code == 2 and "/nowhere.txt" in ended.err and "evidence" not in ended.err
    assert not any(tmp_path.iterdir())


def test_a_tolerance_that_no_cut_meets_is_refused(refused_whole, made, corpus, tmp_path):
    words = ("--data", corpus, *DATA, "--score", "magnitude", "--budget", "tolerance", "--set", "budget.rise=-1e9")
    line = refused_whole("prune", made, *words, "--out", tmp_path / "out")
    assert line.startswith("no cut raises the loss by -1e+09 or less")
    assert "no cut raises the loss" in refused_whole("sweep", made, *words, "--eval", corpus, "--out", tmp_path / "out")
