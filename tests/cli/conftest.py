"""Runs the program in this process and hands back what a shell would see."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fewer.cli.group import call


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def fewer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*arguments: object) -> Ended:
        code = call([str(a) for a in arguments])
        caught = capsys.readouterr()
        return Ended(code, caught.out, caught.err)

    return run


@pytest.fixture
def refused(fewer: Callable[..., Ended]) -> Callable[..., str]:
    """For wrong input: exit code 2, nothing on standard output, and one line that says what; it is returned."""

    def run(*arguments: object) -> str:
        ended = fewer(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("fewer: ") and ended.err.endswith("\n") and ended.err.count("\n") == 1
        return ended.err.removeprefix("fewer: ").rstrip("\n")

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two blocks with the demo's tokenizer, in several shards; copied before it is damaged."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from fewer.demo import model_path

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("made") / "model"
    sizes = {"vocab_size": 4096, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(folder, max_shard_size="100KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_path() / name, folder)
    return folder


@pytest.fixture
def checkpoint(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few thousand characters of text."""
    from fewer.demo import evaluation_path

    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text(evaluation_path().read_text("utf-8")[:6000], "utf-8")
    return path
