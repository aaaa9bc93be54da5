"""`fewer mask` as a shell sees it: the way of a mask to disk, over others, onto the model and off again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

DATA = ("--samples", 4, "--length", 32)
PROGRAM = (sys.executable, "-c", "from fewer.cli import main; main()")


def weights(folder):
    from safetensors.torch import load_file

    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def home(tmp_path_factory, made, corpus):
    """Two results of one dense model, the first with its complement."""
    from fewer.cli.group import call

    folder = tmp_path_factory.mktemp("masks")
    data = ("--data", str(corpus), *map(str, DATA))
    update = ("--score", "obs", "--update", "sweep", "--pattern", "2:4", "--complement")
    assert call(["prune", str(made), *data, *update, "--out", str(folder / "a")]) == 0
    assert call(["prune", str(made), "--score", "magnitude", "--keep", "0.25", "--out", str(folder / "b")]) == 0
    return folder


def test_show_says_where_a_mask_comes_from(fewer, home):
    found = json.loads(fewer("mask", "show", home / "a", "--json").out)
    assert (found["density"], found["provenance"]["method"], len(found["layers"])) == (0.5, "obs, sweep", 14)
    text = fewer("mask", "show", home / "b").out
    assert "method        magnitude, zero (keep 0.25" in text
    assert "needs the dense checkpoint: fewer mask undo MASK PRUNED --dense MODEL --out DIR" in text
    assert text.count("25.00%  #####...............") == 14


def test_a_mask_is_exactly_what_is_not_zero(home):
    from fewer import maskfile

    held, pruned = maskfile.read(home / "b"), weights(home / "b")
    for name, layer in held.layers.items():
        assert torch.equal(torch.from_numpy(layer.unpack()), pruned[f"{name}.weight"] != 0)


def test_diff_and_combinations_agree(fewer, home, tmp_path):
    rows = json.loads(fewer("mask", "diff", home / "a", home / "b", "--json").out)
    both = json.loads(fewer("mask", "intersect", home / "a", home / "b", "--out", tmp_path / "i", "--json").out)
    either = json.loads(fewer("mask", "union", home / "a", home / "b", "--out", tmp_path / "u", "--json").out)
    total = rows["total"]
    assert (both["kept"], either["kept"]) == (total["both"], total["both"] + total["first"] + total["second"])
    assert total["chance"] == pytest.approx(0.125 / 0.625) and total["overlap"] > total["chance"]
    assert "all layers" in fewer("mask", "diff", home / "a", home / "b").out


def test_apply_zeroes_the_dense_model(fewer, home, made, tmp_path):
    assert fewer("mask", "apply", home / "b", made, "--out", tmp_path / "m").code == 0
    assert same(weights(tmp_path / "m"), weights(home / "b"))
    assert fewer("mask", "show", tmp_path / "m").code == 0


def test_undo_from_the_file_and_from_the_dense_model(fewer, home, made, tmp_path):
    ended = fewer("mask", "undo", home / "a", home / "a", "--out", tmp_path / "one")
    assert ended.code == 0 and "(values from the mask file)" in ended.out
    assert fewer("mask", "undo", home / "b", home / "b", "--dense", made, "--out", tmp_path / "two").code == 0
    assert same(weights(tmp_path / "one"), weights(made)) and same(weights(tmp_path / "two"), weights(made))


@pytest.mark.parametrize("order", ["sequential", "at-once"])
def test_streamed_and_in_memory_write_the_same_mask_file(fewer, made, corpus, tmp_path, order):
    common = ("--data", corpus, *DATA, "--score", "magnitude", "--keep", 0.5, "--complement", "--order", order)
    assert fewer("prune", made, *common, "--out", tmp_path / "a").code == 0
    assert fewer("mask", "undo", tmp_path / "a", tmp_path / "a", "--out", tmp_path / "d").code == 0
    assert same(weights(tmp_path / "d"), weights(made))


@pytest.fixture
def refused_whole(home, tmp_path):
    """In a process of its own: exit code 2, one line, and nothing new in the folder; the line is returned."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        done = subprocess.run([*PROGRAM, "mask", *map(str, arguments)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return done.stderr.removeprefix("fewer: ").rstrip()

    return run


def test_undo_says_what_it_needs(refused_whole, home, tmp_path):
    line = refused_whole("undo", home / "b", home / "b", "--out", tmp_path / "out")
    assert line.startswith("this mask file does not hold the dense values: give the dense checkpoint (--dense)")


def test_a_mask_of_another_model_is_refused(refused_whole, home, tmp_path):
    assert "the mask belongs to model" in refused_whole("apply", home / "b", home / "a", "--out", tmp_path / "out")


@pytest.fixture
def damaged(home, tmp_path):
    """A copy of the mask of `b` whose description was changed."""

    def edit(change):
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file

        source = str(home / "b" / "fewer.mask")
        with safe_open(source, "pt") as file:
            about = json.loads(file.metadata()["fewer-mask"])
        change(about)
        save_file(load_file(source), tmp_path / "x", {"fewer-mask": json.dumps(about)})
        return tmp_path / "x"

    return edit


def test_a_mask_that_breaks_its_own_pattern_is_refused(refused_whole, damaged):
    path = damaged(lambda about: next(iter(about["layers"].values())).update(pattern="1:4"))
    assert refused_whole("show", path).endswith("breaks the pattern '1:4'")


def test_a_file_cut_short_is_refused(refused_whole, home, tmp_path):
    (tmp_path / "x").write_bytes((home / "b" / "fewer.mask").read_bytes()[:-40])
    line = refused_whole("intersect", tmp_path / "x", home / "a", "--out", tmp_path / "out")
    assert "is truncated: its header describes" in line


def test_what_is_no_mask_is_not_replaced(refused_whole, home, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    line = refused_whole("union", home / "a", home / "b", "--out", tmp_path / "notes.txt")
    assert line.endswith("exists and is not a mask file: name another file or remove it")


def test_words_that_are_wrong(refused, home, made):
    assert refused("mask", "dif", home / "a", home / "b").startswith("unknown command 'dif'; did you mean 'diff'")
    assert "holds no fewer.mask" in refused("mask", "show", made)
    assert "does not exist" in refused("mask", "show", home / "nothing")
    assert refused("mask", "union", home / "a").startswith("missing argument 'B'")
