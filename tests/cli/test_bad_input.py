"""Wrong input, as a shell sees it: exit code 2, one line, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def untouched(refused, checkpoint, corpus, tmp_path):
    """`fewer prune` on the checkpoint must refuse and leave the folder as it was."""

    def run(*arguments, model=checkpoint, command="prune"):
        out = () if "--out" in arguments else ("--out", tmp_path / "out")
        before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
        line = refused(command, model, *arguments, *out)
        assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before
        return line

    return run


SMALL = ("--samples", 2, "--length", 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--score", "wnada"), "unknown score 'wnada'; did you mean 'wanda'"),
        (("--update", "swep"), "unknown update 'swep'; did you mean 'sweep'"),
        (("--budget", "lmap"), "unknown budget 'lmap'; did you mean 'lamp'"),
        (("--score", "wanda", "--set", "score.pwer=2"), "score 'wanda' has no option 'pwer'; did you mean 'power'"),
        (("--keep", "0"), "keep is 0; the share that stays must be in (0, 1]"),
        (("--keep", "1.5"), "keep is 1.5; the share that stays must be in (0, 1]"),
        (("--keep", "-1"), "keep is -1; the share that stays must be in (0, 1]"),
        (("--score", "magnitude", "--pattern", "4:7"), "4:7"),
        (("--score", "magnitude", "--pattern", "2-4"), "2-4"),
        (("--score", "magnitude", "--pattern", "2:4", "--keep", "0.3"), "pattern '2:4' keeps 0.5, but keep is 0.3"),
        (("--score", "magnitude", "--only", "nothing*"), "nothing*"),
        (("--data", "/nowhere.txt", *SMALL), "/nowhere.txt"),
        (("--recipe", "/nowhere.toml"), "cannot read recipe '/nowhere.toml': No such file or directory"),
        (("--score", "wanda", *SMALL), "input_norm: give calibration data"),
    ],
)
def test_a_wrong_option(untouched, arguments, message):
    assert message in untouched(*arguments)


def test_a_text_that_is_too_short(untouched, tmp_path):
    (tmp_path / "short.txt").write_text("x = 1\n")
    assert "short.txt" in untouched("--data", tmp_path / "short.txt", *SMALL)


def test_a_text_that_is_not_text(untouched, tmp_path):
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 40)
    assert "binary.txt" in untouched("--data", tmp_path / "binary.txt", *SMALL)


@pytest.mark.parametrize("command", ["plan", "eval"])
def test_a_model_that_is_not_there(refused, command, corpus):
    data = ("--data", corpus) if command == "eval" else ()
    assert "/nowhere" in refused(command, "/nowhere", *data)


def test_a_missing_shard(untouched, checkpoint, corpus):
    gone = sorted(checkpoint.glob("*.safetensors"))[1]
    gone.unlink()
    assert gone.name in untouched("--score", "magnitude")


def test_a_truncated_shard(untouched, checkpoint):
    cut = sorted(checkpoint.glob("*.safetensors"))[-1]
    cut.write_bytes(cut.read_bytes()[:-16])
    assert cut.name in untouched("--score", "magnitude")


def test_an_index_that_leaves_its_directory(untouched, checkpoint):
    path = checkpoint / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "../../secret.safetensors")
    path.write_text(json.dumps(index))
    assert "../../secret.safetensors" in untouched("--score", "magnitude")


def test_an_index_that_is_damaged(untouched, checkpoint):
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": {')
    assert "model.safetensors.index.json' is not valid JSON" in untouched("--score", "magnitude")


def test_a_corrupt_shard(untouched, checkpoint):
    shard = sorted(checkpoint.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:8] + b"#" * 40 + shard.read_bytes()[48:])
    assert f"{shard.name}' is corrupt" in untouched("--score", "magnitude")


def test_a_pickle(untouched, checkpoint):
    for path in (*checkpoint.glob("*.safetensors"), checkpoint / "model.safetensors.index.json"):
        path.unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "pytorch_model.bin" in untouched("--score", "magnitude") or "pickle" in untouched("--score", "magnitude")


def test_a_model_that_needs_code_of_its_own(untouched, checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "code" in untouched("--score", "magnitude")


def test_weights_that_are_not_finite(untouched, checkpoint):
    from safetensors.torch import load_file, save_file

    for path in checkpoint.glob("*.safetensors"):
        tensors = load_file(path)
        if "model.layers.1.mlp.up_proj.weight" in tensors:
            tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
            save_file(tensors, path, metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj" in untouched("--score", "magnitude")


def test_activations_that_overflow_name_the_layer_and_the_batch(untouched, checkpoint, corpus):
    from safetensors.torch import load_file, save_file

    for path in checkpoint.glob("*.safetensors"):
        tensors = load_file(path)
        for name in tensors:
            tensors[name] *= 1e25 if name.endswith(("0.mlp.up_proj.weight", "0.mlp.gate_proj.weight")) else 1
        save_file(tensors, path, metadata={"format": "pt"})
    line = untouched("--score", "wanda", "--data", corpus, *SMALL)
    assert line.startswith("NaN or infinity in the input of layer 'model.layers.0.mlp.down_proj' in batch 0")


@pytest.mark.parametrize("content", ["file", "directory"])
def test_an_output_that_exists(untouched, tmp_path, content):
    out = tmp_path / "mine"
    if content == "file":
        out.write_text("precious")
    else:
        out.mkdir()
        (out / "precious").write_text("x")
    assert "mine" in untouched("--score", "magnitude", "--out", out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scor = 'wanda'", "unknown key 'scor'; did you mean 'score'"),
        ("keep = 'half'", 'keep: "half" is not a number or a list of numbers'),
        ("steps = 1.5", "steps: 1.5 is not a whole number"),
        ("[data]\nsample = 3", "data: unknown key 'sample'; did you mean 'samples'"),
        ("keep = ", "not valid TOML"),
        ("score = 'wanda'", 'no model; write model = "..." into the recipe or give --model'),
        ("model = 'demo'", 'no out; write out = "..." into the recipe or give --out'),
    ],
)
def test_a_wrong_recipe(refused, tmp_path, text, message):
    (tmp_path / "recipe.toml").write_text(text)
    line = refused("run", tmp_path / "recipe.toml")
    assert message in line and "recipe.toml" in line
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("nothing", "'nothing' is neither a directory nor a recipe (.toml)"),
        ("none.toml", "cannot read recipe 'none.toml'"),
    ],
)
def test_a_candidate_that_is_not_there(refused, checkpoint, corpus, candidate, message):
    assert refused("compare", checkpoint, candidate, "--data", corpus).startswith(message)


def test_a_candidate_that_fewer_did_not_write(refused, checkpoint, corpus):
    line = refused("compare", checkpoint, checkpoint, "--data", corpus)
    assert line.endswith("was not pruned by fewer: it has no fewer-recipe.toml; `fewer eval` measures it")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fewer-report.json", "{", "cannot read '"),
        ("fewer-report.json", "[]", "is not a report of fewer: 'layers' is missing or has the wrong type"),
        ("fewer-recipe.toml", "x = 1", "unknown key 'x'"),
    ],
)
def test_a_candidate_whose_account_is_damaged(fewer, refused, checkpoint, corpus, tmp_path, name, content, message):
    assert fewer("prune", checkpoint, "--score", "magnitude", "--out", tmp_path / "out").code == 0
    (tmp_path / "out" / name).write_text(content)
    assert message in refused("compare", checkpoint, tmp_path / "out", "--data", corpus)


@pytest.mark.parametrize("place", ["folder", "folder/file/page.html"])
def test_a_page_that_cannot_be_written_is_refused_before_the_work(refused, checkpoint, corpus, tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    line = refused("compare", checkpoint, "absent.toml", "--data", corpus, "--out", tmp_path / place)
    assert "cannot write report" in line


def test_no_traceback_reaches_the_user_in_a_real_process(tmp_path):
    program = (sys.executable, "-m", "fewer")
    done = subprocess.run([*program, "prune", "/nowhere", "--out", tmp_path / "o"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fewer: ") and done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []
