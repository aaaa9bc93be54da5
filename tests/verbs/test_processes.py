"""`torchrun -m fewer prune`: two processes on parts of the data select what one selects on all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fewer.adapt.checkpoint import read
from fewer.adapt.data import batches
from fewer.demo import evaluation_path
from fewer.method import FewerError
from fewer.verbs import _processes

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fewer")
SMALL = ("--score", "wanda", "--keep", "0.5", "--samples", "32", "--length", "32")


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    (tmp_path / "text.txt").write_text(evaluation_path().read_text("utf-8")[:40_000], "utf-8")
    for name, program in (("one", ("-m", "fewer")), ("two", TWO)):
        command = [sys.executable, "-W", "ignore", *program, "prune", "demo", *SMALL, "--only", "*.layers.0.*"]
        command += ["--only", "*.layers.1.*", "--data", tmp_path / "text.txt", "--out", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("weights are zero") == 1
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "text.txt", "two"]


def test_data_that_cannot_be_shared_is_refused(monkeypatch):
    data = batches(torch.arange(32).reshape(8, 4), batch=4)
    assert _processes.share(data) is data and _processes.share(None) is None
    monkeypatch.setattr(_processes, "place", lambda: (1, 2))
    assert len(_processes.share(data)) == 1
    monkeypatch.setattr(_processes, "place", lambda: (0, 3))
    with pytest.raises(FewerError, match="2 batches of calibration data cannot be shared by 3 processes"):
        _processes.share(data)
