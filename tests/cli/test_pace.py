"""Away from a terminal no work is silent for long: what is said, and when, on a clock that the test turns."""

from __future__ import annotations

import json

import pytest
import torch

import fewer
from fewer import adapt
from fewer.cli import show
from fewer.cli.group import COMMANDS
from fewer.cli.show import Paced, plain_line, progress
from fewer.events import (
    BlockDone,
    EvidenceProgress,
    LayerDone,
    Note,
    RunStarted,
    StageStarted,
    Working,
    followed,
    listening,
)  # fmt: skip


@pytest.fixture(autouse=True)
def ten_seconds(monkeypatch):
    monkeypatch.setattr(show, "SILENCE", 10.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def paced():
    """A display that notes the time of every line."""
    clock, lines = Clock(), []

    def write(event):
        line = plain_line(event)
        if line:
            lines.append((clock.now, line))
        return bool(line)

    def at(second, *events):
        clock.now = float(second)
        for event in events:
            display(event)
        display.tick()

    display = Paced(write, "starting", clock)
    return at, lines


def test_work_that_has_not_begun_is_reported_after_ten_seconds(paced):
    at, lines = paced
    for second in range(25):
        at(second)
    assert lines == [(10.0, "  starting: 10.0 s"), (20.0, "  starting: 20.0 s")]


def test_a_long_stage_says_how_far_it_is_every_ten_seconds(paced):
    at, lines = paced
    at(1, RunStarted("eval", "demo", 0, 0), StageStarted("measuring", 90))
    for second in range(2, 35):
        at(second, EvidenceProgress(second, 90))
    assert [line for _, line in lines] == [
        "eval: demo", "  measuring", "  measuring: 10 of 90, 9.0 s", "  measuring: 20 of 90, 19.0 s",
        "  measuring: 30 of 90, 29.0 s",
    ]  # fmt: skip


def test_lines_that_come_anyway_put_it_off(paced):
    at, lines = paced
    for second in range(0, 40, 5):
        at(second, BlockDone(second, 40, 5.0))
    assert [line for _, line in lines] == [f"  block {s + 1} of 40, 5.0 s" for s in range(0, 40, 5)]


def test_a_short_stage_says_no_more_than_its_name(paced):
    at, lines = paced
    at(0, StageStarted("hashing", 3), EvidenceProgress(1, 3))
    at(9, Working("saving", 1, 2), EvidenceProgress(3, 3))
    assert [line for _, line in lines] == ["  hashing"]


def test_a_part_of_a_stage_is_named_while_it_lasts(paced):
    at, lines = paced
    at(0, StageStarted("pruning", 6), BlockDone(0, 6, 1.0), LayerDone("model.layers.1.up", 1, 1, 2, None))
    at(8, Working("hashing", 1, 40))
    at(12, Working("hashing", 7, 40))
    at(23, LayerDone("model.layers.1.down", 1, 1, 2, None))
    assert [line for _, line in lines][2:] == [
        "  hashing: 7 of 40, 4.0 s", "  pruning, after model.layers.1.down: 1 of 6, 23.0 s",
    ]  # fmt: skip


def test_with_json_it_is_an_event(monkeypatch, capsys):
    monkeypatch.setattr(show, "SILENCE", 0.0)
    with progress(as_json=True) as told:
        told(StageStarted("measuring", 4))
        told(Working("hashing", 2, 5))
        told(Note("done"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    found = [line for line in lines if line["event"] == "stage_running"]
    assert {(line["title"], line["done"], line["total"]) for line in found} >= {("hashing", 2, 5), ("measuring", 0, 4)}
    assert "working" not in {line["event"] for line in lines}


def test_a_thread_turns_the_clock_where_no_event_comes(monkeypatch):
    ticks = show.threading.Event()
    monkeypatch.setattr(Paced, "tick", lambda self: ticks.set())
    with progress(as_json=False):
        assert ticks.wait(10)


def told(run):
    """What `working` reports while something runs."""
    found = []
    with listening(found.append):
        run()
    return {event.what for event in found}


def test_loops_far_below_a_verb_say_how_far_they_are(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    sparse = fewer.prune(net, score="magnitude", keep=0.5)
    assert told(adapt.open(net).hash) == {"hashing"}
    assert told(lambda: fewer.pack(net)) == {"changing layers"}
    assert "choosing at random" in told(lambda: fewer.verbs.prune.random_like(net, sparse))
    assert told(lambda: list(followed("counting", iter("ab"), 2))) == {"counting"}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"methods"}))
def test_every_command_that_works_long_is_watched(name, monkeypatch):
    import importlib

    module = importlib.import_module(COMMANDS[name].partition(":")[0])
    assert module.progress is progress
