"""Words of other tools, names that would have to be fetched, and files that are not what their names say."""

from __future__ import annotations

import json

import pytest

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sparsity", "0.7"), "unknown option '--sparsity'; did you mean --keep 0.3?"),
        (("--sparsity=0.5",), "did you mean --keep 0.5?"),
        (("--prune-ratio", "0.2"), "did you mean --keep 0.8?"),
        (("--amount", "0.25"), "did you mean --keep 0.75?"),
        (("--output", "dir"), "did you mean --out dir?"),
        (("--dataset", "c4"), "did you mean --data c4?"),
        (("--nsamples", "64"), "did you mean --samples 64?"),
        (("--model", "dir"), "MODEL stands first, without an option: dir"),
    ],
)
def test_a_word_of_another_tool_leads_to_ours(refused, arguments, message):
    assert message in refused("prune", "demo", *arguments)


@pytest.mark.parametrize("name", ["some-lab/Some-7B", "some-model"])
def test_a_name_on_a_hub_is_not_fetched(refused, name):
    assert f"model '{name}' does not exist" in (line := refused("plan", name)) and "nothing is fetched" in line


@pytest.mark.parametrize("name", ["wikitext2", "lab/c4"])
def test_a_data_set_is_not_fetched(refused, checkpoint, name):
    line = refused("eval", checkpoint, "--data", name)
    assert f"the text '{name}'" in line and "nothing is fetched, give a text file" in line


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json", "tokenizer.json"])
@pytest.mark.parametrize(("content", "message"), [("", "is empty"), (POINTER, "is a pointer of Git LFS")])
def test_a_file_in_name_only(refused, checkpoint, corpus, tmp_path, name, content, message):
    (checkpoint / name).write_text(content)
    line = refused("prune", checkpoint, "--data", corpus, "--out", tmp_path / "out")
    assert f"{name}' {message}" in line


def test_a_shard_in_name_only(refused, checkpoint):
    shard = sorted(checkpoint.glob("*.safetensors"))[0]
    shard.write_text(POINTER)
    assert f"{shard.name}' is a pointer of Git LFS" in refused("plan", checkpoint)


def test_an_adapter(refused, checkpoint):
    (checkpoint / "config.json").rename(checkpoint / "adapter_config.json")
    assert "is an adapter (adapter_config.json), not a model" in refused("plan", checkpoint)


def test_a_missing_tokenizer(refused, checkpoint, corpus):
    for file in checkpoint.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer (tokenizer.json, " in refused("eval", checkpoint, "--data", corpus)


@pytest.mark.parametrize("command", [("plan",), ("pack", "--out", "more")])
def test_a_packed_directory(refused, checkpoint, command):
    (checkpoint / "fewer.json").write_text(json.dumps({"format": "fewer-packed", "version": "1"}))
    assert "is packed (`fewer pack`) and cannot be changed" in refused(command[0], checkpoint, *command[1:])


def test_the_next_step_is_for_people_alone(fewer, checkpoint, tmp_path):
    out = tmp_path / "out"
    ended = fewer("prune", checkpoint, "--score", "magnitude", "--out", out)
    assert ended.out.splitlines()[-1] == (
        f"the size on disk is unchanged: `fewer pack {out} --out DIR` shrinks it, "
        f"`fewer eval {out} --against {checkpoint} --data TEXT` says what it cost"
    )
    ended = fewer("prune", checkpoint, "--score", "magnitude", "--out", out, "--json")
    assert json.loads(ended.out)["out"] == str(out)


def test_an_output_is_not_called_as_the_demo_model_is(fewer, refused, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused("prune", checkpoint, "--score", "magnitude", "--out", "demo")
    assert "output 'demo' would be read as the model that ships with fewer: write './demo'" in said
    assert fewer("prune", checkpoint, "--score", "magnitude", "--out", "./demo").code == 0
