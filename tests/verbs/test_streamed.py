"""A directory pruned block by block: the same result as in memory, and the same bytes after a kill."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys

import pytest
import torch

import fewer
from fewer.events import BlockDone
from fewer.method import FewerError

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("dense") / "model"
    tiny_llama(num_hidden_layers=4).to(torch.bfloat16).save_pretrained(path, max_shard_size="16KB")
    return path


def digests(path):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}


OPTIONS = [
    {"score": "wanda", "keep": 0.5, "update": "zero"},
    {"score": "magnitude", "keep": [0.8, 0.3], "update": "zero"},
    {"score": "obs", "pattern": "2:4", "update": "sweep"},
    {"score": "wanda", "keep": 0.5, "budget": "erk", "update": "zero", "skip": ["*.layers.1.*", "*.o_proj"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["wanda", "list", "sweep", "skip"])
def test_streamed_equals_in_memory(folder, tmp_path, options):
    memory = fewer.prune(folder, tokens(), **options)
    streamed = fewer.prune(folder, tokens(), out=tmp_path / "out", **options)
    expected, found = memory.model.state_dict(), streamed.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert streamed.layers == memory.layers and streamed.histograms == memory.histograms
    assert all(torch.equal(streamed.masks[name], memory.masks[name]) for name in memory.masks)
    assert streamed.to_dict() == memory.to_dict()


@pytest.mark.parametrize("budget", ["owl", "global", "lamp"])
def test_budgets_that_compare_layers_run_in_memory(folder, tmp_path, budget):
    done = fewer.prune(folder, tokens(), keep=0.5, budget=budget, update="zero", out=tmp_path / "out")
    assert (tmp_path / "out" / "fewer-report.json").is_file() and done.sparsity == pytest.approx(0.5, abs=1e-4)


def test_a_budget_that_does_not_fit_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fewer.verbs._memory._free_memory", lambda: 1000.0)
    with pytest.raises(FewerError, match=r"budget 'owl'.* needs the whole model in memory") as caught:
        fewer.prune(folder, tokens(), budget="owl", update="zero", out=tmp_path / "out")
    assert "\n" not in str(caught.value) and not any(tmp_path.iterdir())


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [0, 2])
def test_interrupted_and_resumed_equals_undisturbed(folder, tmp_path, after):
    fewer.prune(folder, tokens(), update="zero", out=tmp_path / "whole")

    def stop(event):
        if isinstance(event, BlockDone) and event.index == after:
            raise Stop

    with pytest.raises(Stop):
        fewer.prune(folder, tokens(), update="zero", out=tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()
    seen = []
    fewer.prune(folder, tokens(), update="zero", out=tmp_path / "out", progress=seen.append)
    assert [event.index for event in seen if isinstance(event, BlockDone)] == list(range(after, 4))
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


RUN = """
import os, sys, torch, fewer
from fewer.events import BlockDone
def stop(event):
    if isinstance(event, BlockDone) and event.index == 1:
        os.kill(os.getpid(), int(sys.argv[3]))
ids = torch.randint(0, 96, (8, 24), generator=torch.Generator().manual_seed(1))
fewer.prune(sys.argv[1], ids, update="zero", out=sys.argv[2], progress=stop)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_signal_then_again_gives_the_same_bytes(folder, tmp_path, sign):
    fewer.prune(folder, tokens(), update="zero", out=tmp_path / "whole")
    run = [sys.executable, "-c", RUN, folder, tmp_path / "out", str(int(sign))]
    assert subprocess.run(run, stderr=subprocess.DEVNULL).returncode == -sign
    assert not (tmp_path / "out").exists()
    seen = []
    fewer.prune(folder, tokens(), update="zero", out=tmp_path / "out", progress=seen.append)
    assert [event.index for event in seen if isinstance(event, BlockDone)] == [1, 2, 3]
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_an_unfinished_run_of_another_recipe_is_not_continued(folder, tmp_path):
    def stop(event):
        if isinstance(event, BlockDone):
            raise Stop

    with pytest.raises(Stop):
        fewer.prune(folder, tokens(), update="zero", out=tmp_path / "out", progress=stop)
    with pytest.raises(FewerError, match="partial"):
        fewer.prune(folder, tokens(), update="zero", keep=0.25, out=tmp_path / "out")


def _fault(*_):
    raise FewerError("a fault")


def test_a_fault_leaves_no_partial_directory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fewer.verbs._solve.relative_damage", _fault)
    with pytest.raises(FewerError):
        fewer.prune(folder, tokens(), update="zero", out=tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_recipe_as_data(folder, tmp_path):
    first = fewer.prune(folder, tokens(), score="wanda", pattern="2:4", update="zero", out=tmp_path / "a")
    again = fewer.run(folder, tokens(), fewer.load_recipe(tmp_path / "a" / "fewer-recipe.toml"), out=tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b") and first.plan == again.plan
