"""Outputs: one run at a time, never over the model itself, and nothing lost when the saving fails."""

from __future__ import annotations

import errno
import fcntl
import threading

import pytest
import torch

import fewer
from fewer.adapt import output
from fewer.adapt.reserve import reserved
from fewer.events import RunStarted
from fewer.method import FewerError
from fewer.verbs.mask import apply_mask, undo_mask

from .models import tiny_llama, tokens

ZERO = {"score": "magnitude", "update": "zero"}


@pytest.fixture
def folder(tmp_path):
    fewer.prune(tiny_llama(), **ZERO, keep=0.9, out=tmp_path / "m")
    return tmp_path / "m"


ROADS = {
    "prune": lambda model, out: fewer.prune(model, out=out, **ZERO),
    "in memory": lambda model, out: fewer.prune(fewer.load(model), out=out, **ZERO),
    "at once": lambda model, out: fewer.prune(model, out=out, order="at-once", **ZERO),
    "inputs": lambda model, out: fewer.prune(model, tokens(), unit="input", out=out),
    "apply": lambda model, out: apply_mask(model, model, out),
    "undo": lambda model, out: undo_mask(model, model, out),
    "pack": lambda model, out: fewer.pack(model, out=out),
    "sweep": lambda model, out: fewer.sweep(model, tokens(), tokens(), out=out),
    "save": lambda model, out: fewer.prune(fewer.load(model), **ZERO).save(out),
}


@pytest.mark.parametrize("road", ROADS)
def test_the_model_itself_is_never_replaced(road, folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for out, message in (
        (folder, "is the model itself"),
        (folder.parent / "x" / ".." / "m", "is the model itself|does not exist"),
        (folder / "inside", "lies inside the model directory"),
        (tmp_path / "link", "is the model itself|is not a directory"),
    ):
        with pytest.raises(FewerError, match=message) as caught:
            ROADS[road](folder, out)
        assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "m"]


def test_an_output_that_holds_the_model_is_refused(folder, tmp_path):
    (tmp_path / "fewer.json").write_text('{"fewer": "1"}')
    with pytest.raises(FewerError, match="holds the model"):
        fewer.prune(folder, out=tmp_path, **ZERO)


@pytest.mark.parametrize("road", [road for road in ROADS if road != "save"])
def test_a_second_run_into_one_output_is_refused_at_its_start(road, folder, tmp_path):
    done, begun = threading.Event(), threading.Event()

    def first():
        with reserved(tmp_path / "out"):
            begun.set()
            done.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(60)
    try:
        with pytest.raises(FewerError, match=r"another run is writing '.*out'"):
            ROADS[road](folder, tmp_path / "out")
    finally:
        done.set()
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_another_process_is_refused_too_and_a_killed_one_leaves_no_lock(folder, tmp_path):
    (tmp_path / "out.lock").touch()
    with (tmp_path / "out.lock").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FewerError, match="another run is writing"):
            fewer.prune(folder, out=tmp_path / "out", **ZERO)
    fewer.prune(folder, out=tmp_path / "out", **ZERO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out"]


@pytest.mark.parametrize("how", ["generation_config", "config", "nan"])
def test_what_stops_the_save_is_told_before_the_work(how, tmp_path):
    model, seen = tiny_llama(), []
    if how == "generation_config":
        model.generation_config.temperature = 0.9
    elif how == "config":
        model.config.mine = object()
    else:
        model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(FewerError, match=r"cannot be saved: its .*config is refused|NaN") as caught:
        fewer.prune(model, out=tmp_path / "out", progress=seen.append, **ZERO)
    assert not any(isinstance(event, RunStarted) for event in seen) and not any(tmp_path.iterdir())
    assert "\n" not in str(caught.value)


def test_a_failed_save_keeps_the_result(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "flush", full)
    with pytest.raises(FewerError, match="no space left") as caught:
        fewer.prune(tiny_llama(), keep=0.5, out=tmp_path / "out", **ZERO)
    assert not any(tmp_path.iterdir()) and "error.pruned.save(DIR)" in caught.value.__notes__[0]
    monkeypatch.undo()
    caught.value.pruned.save(tmp_path / "elsewhere")
    assert fewer.reopen(tmp_path / "elsewhere").sparsity == pytest.approx(0.5, abs=1e-3)


def test_a_streamed_run_that_cannot_be_finished_is_finished_by_the_next(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fewer.adapt.stream.publish", full)
    with pytest.raises(FewerError, match=r"out\.partial' is kept: the same call goes on there"):
        fewer.prune(folder, out=tmp_path / "out", **ZERO)
    monkeypatch.undo()
    done = fewer.prune(folder, out=tmp_path / "out", **ZERO)
    assert torch.equal(done.masks[done.layers[0].name], fewer.prune(folder, **ZERO).masks[done.layers[0].name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out"]
