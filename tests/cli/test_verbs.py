"""The verbs from end to end, on a checkpoint of two blocks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DATA = ("--samples", 4, "--length", 32)
LAYERS = 2 * 7
TOTAL = 2 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 24 * 16)


def weights(folder):
    from safetensors.torch import load_file

    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def test_plan_reads_no_weight(fewer, checkpoint):
    for path in checkpoint.glob("*.safetensors"):
        size = int.from_bytes(path.read_bytes()[:8], "little")
        path.write_bytes(path.read_bytes()[: 8 + size] + b"\xff" * (path.stat().st_size - 8 - size))
    found = json.loads(fewer("plan", checkpoint, "--score", "wanda", "--keep", 0.25, "--json").out)
    assert (found["total"], found["kept"], len(found["layers"])) == (TOTAL, TOTAL // 4, LAYERS)
    assert "input_norm" in found["evidence"]


def test_plan_prints_a_table(fewer, checkpoint):
    ended = fewer("plan", checkpoint, "--only", "*.mlp.*")
    assert ended.code == 0
    assert sum(line.startswith("model.layers.") for line in ended.out.splitlines()) == 6


def test_prune_writes_what_it_says(fewer, checkpoint, corpus, tmp_path):
    out = tmp_path / "out"
    ended = fewer(
        "prune", checkpoint, "--data", corpus, *DATA, "--score", "wanda", "--keep", 0.5, "--out", out, "--json"
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["kept"], found["total"], found["sparsity"]) == (TOTAL // 2, TOTAL, 0.5)
    pruned = {k: v for k, v in weights(out).items() if "proj" in k}
    assert len(pruned) == LAYERS
    assert sum(int(v.count_nonzero()) for v in pruned.values()) == TOTAL // 2
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    assert events[0] == "run_started" and events[-1] == "run_done" and events.count("layer_done") == LAYERS


def test_prune_without_data_needs_none(fewer, checkpoint, tmp_path):
    ended = fewer("prune", checkpoint, "--score", "magnitude", "--pattern", "2:4", "--out", tmp_path / "out")
    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"{TOTAL // 2:,} of {TOTAL:,} weights are zero (50.00%) in {tmp_path / 'out'}"
    for name, value in weights(tmp_path / "out").items():
        if "proj" in name:
            assert ((value.reshape(-1, 4) != 0).sum(1) == 2).all()


def test_eval_of_a_model_against_itself(fewer, checkpoint, corpus):
    arguments = ("eval", checkpoint, "--against", checkpoint, "--data", corpus, "--context", 64, "--json")
    found = json.loads(fewer(*arguments).out)
    keys = {"perplexity", "kl", "top1_agreement", "worst_slice_perplexity", "sparsity", "tokens", "context"}
    assert keys <= set(found)
    assert (found["kl"], found["top1_agreement"], found["sparsity"], found["context"]) == (0.0, 1.0, 0.0, 64)
    assert 3000 < found["perplexity"] <= found["worst_slice_perplexity"]


def test_eval_alone_says_nothing_about_a_dense_model(fewer, checkpoint, corpus):
    ended = fewer("eval", checkpoint, "--data", corpus, "--context", 64)
    assert [line.split("  ")[0] for line in ended.out.splitlines()] == [
        "perplexity", "worst slice", "sparsity", "measured on", "computed in",
    ]  # fmt: skip


def test_run_does_what_the_options_do(fewer, checkpoint, corpus, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = f'score = "wanda"\nkeep = 0.5\nmodel = "{checkpoint}"\nout = "{tmp_path / "a"}"\n'
    recipe.write_text(f'{text}[data]\ntext = "{corpus}"\nsamples = 4\nlength = 32\n')
    assert fewer("run", recipe).code == 0
    assert (
        fewer(
            "prune", checkpoint, "--data", corpus, *DATA, "--score", "wanda", "--keep", 0.5, "--out", tmp_path / "b"
        ).code
        == 0
    )
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert a.keys() == b.keys() and all(bool((a[name] == b[name]).all()) for name in a)


def test_compare_puts_directories_and_recipes_beside_random(fewer, checkpoint, corpus, tmp_path):
    assert fewer("prune", checkpoint, "--score", "magnitude", "--out", tmp_path / "small").code == 0
    recipe = tmp_path / "wanda.toml"
    recipe.write_text("[data]\nsamples = 4\nlength = 32\n")
    arguments = (checkpoint, tmp_path / "small", recipe, "--data", corpus, "--calibration", corpus, "--context", 64)
    ended = fewer("compare", *arguments, "--out", tmp_path / "report.html", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert [(c["label"], c["sparsity"]) for c in found["candidates"]] == [
        ("small", 0.5),
        ("wanda", 0.5),
        ("random", 0.5),
    ]
    assert "<title>fewer: " in Path(found["report"]).read_text("utf-8")


def test_compare_measures_a_directory_as_the_model_that_was_written(fewer, checkpoint, corpus, tmp_path):
    fewer("prune", checkpoint, "--score", "magnitude", "--keep", 0.3, "--out", tmp_path / "small")
    shared = ("--data", corpus, "--context", 64, "--json")
    compared = json.loads(fewer("compare", checkpoint, tmp_path / "small", *shared).out)["candidates"][0]["quality"]
    measured = json.loads(fewer("eval", tmp_path / "small", "--against", checkpoint, *shared).out)
    assert compared["kl"] == pytest.approx(measured["kl"], rel=1e-6) and measured["kl"] > 0


def test_a_real_process_prints_the_result_and_nothing_else(checkpoint, tmp_path):
    command = ("prune", checkpoint, "--score", "magnitude", "--keep", "0.5", "--out", tmp_path / "out", "--json")
    program = (sys.executable, "-c", "from fewer.cli import main; main()")
    done = subprocess.run([*program, *command], capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["sparsity"] == 0.5
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())


def test_a_sweep_solves_every_level_and_any_can_be_written_later(fewer, checkpoint, corpus, tmp_path):
    swept = ("--out", tmp_path / "swept", "--data", corpus, *DATA, "--eval", corpus, "--context", 64)
    ended = fewer("sweep", checkpoint, "--keep", "0.7,0.4", "--pattern", "2:4", "--update", "zero", *swept, "--json")
    assert ended.code == 0, ended.err
    found = [c for c in json.loads(ended.out)["candidates"] if not c["random"]]
    assert [(c["pattern"], round(c["sparsity"], 3)) for c in found] == [
        ("unstructured", 0.3),
        ("unstructured", 0.6),
        ("2:4", 0.5),
    ]
    level = found[1]["label"]
    written = fewer("materialise", tmp_path / "swept", level, checkpoint, "--out", tmp_path / "one", "--json")
    assert json.loads(written.out)["kept"] == round(0.4 * TOTAL)


def test_a_sweep_refuses_what_it_cannot_do(refused, checkpoint, corpus, tmp_path):
    assert refused("sweep", checkpoint, "--data", corpus).startswith("sweep measures every level on held-out text")
    assert refused("sweep", checkpoint, "--keep", "0.5;0.3").startswith("--keep is '0.5;0.3'; it must be a share")
    assert "not a sweep" in refused("materialise", checkpoint, "0.5", checkpoint, "--out", tmp_path / "x")
