from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import streamed
import torch
import zoo

from fewer import adapt, evidence
from fewer.adapt.stream import Stream
from fewer.method import FewerError


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A llama in several shards."""
    path = tmp_path_factory.mktemp("model") / "llama"
    zoo.make("llama").bfloat16().save_pretrained(path, max_shard_size="20KB")
    return path


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    streamed.run(model, out)
    return files(out)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", sorted(set(zoo.MAKERS) - {"cnn"}))
def test_streaming_does_what_memory_does(family, padded, tmp_path):
    zoo.make(family).save_pretrained(tmp_path / "m", max_shard_size="20KB")
    batches = zoo.sample(family, padded=padded)
    names = ["input_norm", "block_similarity", "input_gram"]
    opened, stream = adapt.open(tmp_path / "m"), Stream(tmp_path / "m", tmp_path / "out")
    assert stream.hash() == opened.hash() and stream.outline() == opened.outline()
    assert all(torch.equal(a.read(), b.read()) for a, b in zip(stream.candidates, opened.candidates, strict=True))
    seen = []

    def visit(layers, store):
        seen.append({layer.name: dict(store[layer.name]) for layer in layers})
        return streamed.halve(layers, store)

    assert evidence.sequential(stream, batches, names, visit) == evidence.sequential(opened, batches, names, visit)
    stream.finish()
    for mine, theirs in zip(seen[:3], seen[3:], strict=True):
        assert all(torch.equal(mine[x][n], theirs[x][n]) for x in theirs for n in names)
    assert adapt.open(tmp_path / "out").hash() == opened.hash()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out"]


def test_only_the_layers_asked_for_change(model, tmp_path):
    stream = Stream(model, tmp_path / "out")
    layers = adapt.select_layers(stream.candidates, only=["model.layers.1.*"], skip=["*.v_proj"])
    ids = torch.arange(3, 23)[None]
    results = evidence.sequential(stream, ids, ["input_norm"], streamed.halve, layers=layers)
    stream.finish()
    before, after = adapt.checkpoint.read(model), adapt.checkpoint.read(tmp_path / "out")
    changed = {name.removesuffix(".weight") for name in before if not torch.equal(before[name], after[name])}
    assert changed == {layer.name for layer in layers} == set(results[0]) and len(changed) == 6


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


@pytest.fixture
def kill(monkeypatch):
    """Let the process die at the n-th thing that is made durable or renamed, or written."""

    def arm(count):
        left = [count]

        def wrap(module, name):
            original = getattr(module, name)

            def dying(*args, **kwargs):
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return original(*args, **kwargs)

            monkeypatch.setattr(module, name, dying)

        for module, name in [(os, "fsync"), (os, "pwrite"), (os, "rename"), (os, "posix_fallocate"), (os, "unlink"),
                             (Path, "unlink"), (shutil, "rmtree"), (Path, "mkdir"), (shutil, "copyfile")]:  # fmt: skip
            wrap(module, name)
        return left

    return arm


def test_killed_at_every_step_it_ends_with_the_same_bytes(model, undisturbed, tmp_path, kill, monkeypatch):
    steps = 1
    while True:
        out = tmp_path / f"out-{steps}"
        left = kill(steps)
        with contextlib.suppress(Killed):
            streamed.run(model, out)
        monkeypatch.undo()
        if left[0] > 0:
            break
        streamed.run(model, out)
        assert files(out) == undisturbed, f"killed at step {steps}"
        assert not out.with_name(out.name + ".partial").exists()
        shutil.rmtree(out)
        steps += 7
    assert steps > 60


def test_killed_twice_and_with_a_torn_journal(model, undisturbed, tmp_path, kill, monkeypatch):
    out = tmp_path / "out"
    for steps in (50, 20):
        kill(steps)
        with pytest.raises(Killed):
            streamed.run(model, out)
        monkeypatch.undo()
        with (tmp_path / "out.partial/journal.jsonl").open("ab") as file:
            file.write(b'{"block": 2, "resul')
    streamed.run(model, out)
    assert files(out) == undisturbed


def stop_after(blocks):
    def visit(layers, store):
        if layers[0].block == blocks:
            raise Killed
        return streamed.halve(layers, store)

    return visit


def interrupted(model, out, key="half"):
    ids = torch.randint(3, 64, (4, 32), generator=torch.Generator().manual_seed(1))
    stream = Stream(model, out, key=key)
    with pytest.raises(Killed):
        evidence.sequential(stream, adapt.data.batches(ids, batch=2), ["input_norm"], stop_after(2))
    return stream


def test_finished_blocks_are_not_visited_again(model, undisturbed, tmp_path, monkeypatch):
    interrupted(model, tmp_path / "out")
    visited = []
    halve = streamed.halve
    monkeypatch.setattr(streamed, "halve", lambda ls, st: visited.append(ls[0].block) or halve(ls, st))
    streamed.run(model, tmp_path / "out")
    assert visited == [2] and files(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("what", ["plan", "data", "layers", "model"])
def test_another_run_is_refused_and_the_work_is_kept(model, tmp_path, what):
    interrupted(model, tmp_path / "out")
    key, ids, layers, path = "half", torch.arange(3, 23)[None], None, model
    if what == "plan":
        key = "other"
    if what == "model":
        path = tmp_path / "other"
        zoo.make("llama", seed=3).bfloat16().save_pretrained(path, max_shard_size="20KB")
    stream = Stream(path, tmp_path / "out", key=key)
    if what == "layers":
        layers = stream.layers[:-1]
    if what != "data":
        ids = adapt.data.batches(torch.randint(3, 64, (4, 32), generator=torch.Generator().manual_seed(1)), batch=2)
    before = files(tmp_path / "out.partial/model")
    with pytest.raises(FewerError, match=f"unfinished run with another {what}"):
        evidence.sequential(stream, ids, ["input_norm"], streamed.halve, layers=layers)
    assert files(tmp_path / "out.partial/model") == before


def test_changed_states_are_noticed(model, tmp_path):
    interrupted(model, tmp_path / "out")
    states = next((tmp_path / "out.partial").glob("states-*"))
    raw = bytearray(states.read_bytes())
    raw[5] ^= 1
    states.write_bytes(raw)
    with pytest.raises(FewerError, match="was changed since it was written"):
        streamed.run(model, tmp_path / "out")


def test_two_runs_at_once_are_refused(model, tmp_path):
    stream = Stream(model, tmp_path / "out")
    stages = stream.stages(adapt.data.batches(torch.arange(3, 23)[None]), stream.layers)
    next(stages)
    with pytest.raises(FewerError, match="another run is writing"):
        next(Stream(model, tmp_path / "out").stages(adapt.data.batches(torch.arange(3, 23)[None]), stream.layers))
    stages.close()


def test_a_fault_in_the_input_leaves_nothing_behind(model, tmp_path):
    def refuse(layers, store):
        raise FewerError("no")

    with pytest.raises(FewerError, match=r"^no$"):
        evidence.sequential(Stream(model, tmp_path / "out"), torch.arange(3, 23)[None], ["input_norm"], refuse)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FewerError, match="no space left"):
        streamed.run(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_not_touched(model, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/thesis.txt").write_text("mine")
    with pytest.raises(FewerError, match="fewer did not write it"):
        streamed.run(model, tmp_path / "out")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/thesis.txt").write_text("mine")
    with pytest.raises(FewerError, match="was not written by fewer"):
        Stream(model, tmp_path / "theirs")
    assert (tmp_path / "out.partial/thesis.txt").exists() and (tmp_path / "theirs/thesis.txt").exists()


@pytest.mark.parametrize(
    ("names", "only", "message"),
    [
        (["grad_sq"], (), "needs the whole model in memory"),
        (["input_norm"], ("lm_head",), "lies outside the blocks"),
        (["input_nrm"], (), "did you mean"),
    ],
)
def test_what_cannot_be_streamed(model, tmp_path, names, only, message):
    stream = Stream(model, tmp_path / "out")
    layers = adapt.select_layers(stream.candidates, only=only)
    with pytest.raises(FewerError, match=message):
        evidence.sequential(stream, torch.arange(3, 23)[None], names, streamed.halve, layers=layers)
    with pytest.raises(FewerError, match="were not all gone through"):
        stream.finish()
    assert list(tmp_path.iterdir()) == []


def test_writing_outside_a_visit_is_refused(model, tmp_path):
    layer = Stream(model, tmp_path / "out").layers[0]
    with pytest.raises(FewerError, match="its block is not loaded"):
        layer.write(layer.read())


def big(path: Path, *, hidden: int, inner: int, layers: int, heads: int, vocabulary: int, shards: int) -> None:
    """A random llama checkpoint, written tensor by tensor."""
    import transformers
    from safetensors.torch import save_file

    path.mkdir()
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, vocab_size=vocabulary, max_position_embeddings=256, dtype="bfloat16",
        architectures=["LlamaForCausalLM"], tie_word_embeddings=False,
    )  # fmt: skip
    config.save_pretrained(path)
    shapes = {"model.embed_tokens": (vocabulary, hidden)}
    for index in range(layers):
        at = f"model.layers.{index}."
        shapes |= {f"{at}self_attn.{key}_proj": (hidden, hidden) for key in "qkvo"}
        shapes |= {f"{at}mlp.gate_proj": (inner, hidden), f"{at}mlp.up_proj": (inner, hidden)}
        shapes |= {f"{at}mlp.down_proj": (hidden, inner)}
        shapes |= {f"{at}input_layernorm": (hidden,), f"{at}post_attention_layernorm": (hidden,)}
    shapes |= {"model.norm": (hidden,), "lm_head": (vocabulary, hidden)}
    names, where = list(shapes), {}
    draw = torch.Generator().manual_seed(0)
    noise = torch.empty(inner * hidden * 2, dtype=torch.bfloat16).normal_(0, 0.02, generator=draw)
    size = -(-len(names) // shards)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        mine = names[shard * size : (shard + 1) * size]
        tensors = {}
        for place, name in enumerate(mine):
            shape = shapes[name]
            count = torch.Size(shape).numel()
            pool = noise if count <= len(noise) else noise.repeat(-(-count // len(noise)))
            first = (shard * 977 + place * 131) % (len(pool) - count + 1)
            value = pool[first : first + count].reshape(shape).clone()
            tensors[f"{name}.weight"] = value + 1 if len(shape) == 1 else value
        save_file(tensors, path / file, metadata={"format": "pt"})
        where |= {name: file for name in tensors}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", streamed.__file__, *map(str, arguments)]
    return subprocess.Popen(command, start_new_session=True)


def wait_for(journal: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Until a run has journalled so much, however slow the machine is, or has ended."""
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_sigkill_at_random_moments_ends_with_the_same_bytes(tmp_path):
    big(tmp_path / "m", hidden=256, inner=704, layers=16, heads=4, vocabulary=500, shards=4)
    assert start(tmp_path / "m", tmp_path / "calm", 8, 64).wait() == 0
    dice, kills = random.Random(0), 0
    for lines in (4, 9, 13):
        process = start(tmp_path / "m", tmp_path / "out", 8, 64)
        wait_for(tmp_path / "out.partial/journal.jsonl", lines, process)
        time.sleep(dice.uniform(0, 0.02))
        os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not (tmp_path / "out").exists() or files(tmp_path / "out") == files(tmp_path / "calm")
    assert start(tmp_path / "m", tmp_path / "out", 8, 64).wait() == 0
    assert kills and files(tmp_path / "out") == files(tmp_path / "calm")


@pytest.mark.slow
def test_a_model_of_1300_million_parameters_needs_less_than_its_size(tmp_path):
    big(tmp_path / "m", hidden=2048, inner=5504, layers=24, heads=16, vocabulary=32000, shards=8)
    size = sum(file.stat().st_size for file in (tmp_path / "m").iterdir())
    assert size > 2.6e9
    assert start(tmp_path / "m", tmp_path / "out", 2, 32, tmp_path / "peak").wait(timeout=600) == 0
    peak = (tmp_path / "peak").read_text()
    if not peak:
        pytest.skip("this system does not tell a program's peak memory")
    assert int(peak) * 1024 < 1.5e9
    before = adapt.outline(tmp_path / "m")
    assert adapt.outline(tmp_path / "out").layers == before.layers
    kept = json.loads((tmp_path / "out/fewer.json").read_text())["kept"]
    assert sum(len(block) for block in kept) == len(before.layers) == 24 * 7
    layer = Stream(tmp_path / "out", tmp_path / "again").layers[100]
    assert 0.49 < float((layer.read() == 0).float().mean()) < 0.51
