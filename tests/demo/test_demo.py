from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fewer import demo

TEXTS = {"calibration": demo.calibration_path(), "evaluation": demo.evaluation_path()}
CONTEXT = 256
PERPLEXITY_BOUND = 14.0


def file_names(path: Path) -> set[str]:
    return set(re.findall(r"^# Lib/(\S+\.py)$", path.read_text("utf-8"), flags=re.MULTILINE))


def windows(path: Path, height: int) -> set[tuple[str, ...]]:
    lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    return {tuple(lines[i : i + height]) for i in range(len(lines) - height)}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(demo.model_path(), local_files_only=True)


@pytest.fixture(scope="module")
def model(torch):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        demo.model_path(), dtype=torch.float32, local_files_only=True
    )
    return loaded.eval()


@pytest.fixture(scope="module")
def batch(torch, tokenizer):
    text = demo.evaluation_path().read_text("utf-8")
    ids = torch.tensor(tokenizer.backend_tokenizer.encode(text).ids)
    step = (len(ids) - CONTEXT - 1) // 24
    return torch.stack([ids[start : start + CONTEXT + 1] for start in range(0, 24 * step, step)])


def nats(torch, model, batch) -> float:
    with torch.inference_mode():
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).item()


def test_import_is_light():
    code = "import sys, fewer.demo; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", TEXTS.values(), ids=TEXTS)
def test_texts_are_about_300_kilobytes_of_code(path):
    assert 270_000 <= path.stat().st_size <= 310_000
    assert len(file_names(path)) >= 10


def test_texts_share_no_file():
    first, second = (file_names(path) for path in TEXTS.values())
    assert not first & second


def test_texts_share_no_long_passage():
    first, second = (windows(path, height=8) for path in TEXTS.values())
    assert not first & second


def test_texts_hold_no_test_suite():
    names = file_names(demo.calibration_path()) | file_names(demo.evaluation_path())
    assert not [name for name in names if {"test", "tests", "idle_test"} & set(name.split("/"))]


def test_files_that_must_travel_with_the_model():
    folder = demo.model_path()
    names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    assert [name for name in names if not (folder / name).is_file()] == []
    assert (folder / "model.safetensors").stat().st_size <= 12_000_000
    assert "Python Software Foundation" in (folder.parent / "LICENSE-texts").read_text("utf-8")
    assert "perplexity" in (folder.parent / "README.md").read_text("utf-8")


def test_checkpoint_needs_no_remote_code():
    config = json.loads((demo.model_path() / "config.json").read_text("utf-8"))
    assert config["model_type"] == "llama"
    assert "auto_map" not in config
    assert config["max_position_embeddings"] >= 512


def test_stored_tensors_are_bfloat16_and_the_output_layer_is_not_stored_twice(torch):
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(demo.model_path() / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert "lm_head.weight" not in tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_size_and_tied_weights(model):
    assert 4_000_000 <= sum(p.numel() for p in model.parameters()) <= 6_000_000
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("path", TEXTS.values(), ids=TEXTS)
def test_tokenizer_reproduces_the_texts(tokenizer, path):
    text = path.read_text("utf-8")
    backend = tokenizer.backend_tokenizer
    assert backend.decode(backend.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["", " \t\n", "x  =  1\r\n", "naïve – ✓ 𝛼\x00", "a ,b . c ' s"])
def test_tokenizer_reproduces_odd_text(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_vocabulary_fits_the_embedding(model, tokenizer):
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_perplexity_is_low(torch, model, batch):
    assert math.exp(nats(torch, model, batch)) < PERPLEXITY_BOUND


def test_an_untrained_copy_is_far_worse(torch, model, batch):
    torch.manual_seed(0)
    fresh = type(model)(copy.deepcopy(model.config)).eval()
    assert nats(torch, fresh, batch) > nats(torch, model, batch) + 3


def test_context_helps(torch, model, batch):
    with torch.inference_mode():
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none").view(
        len(batch), CONTEXT
    )
    assert loss[:, 128:].mean() < loss[:, :32].mean()


def test_generation_is_repeatable_and_stays_in_the_vocabulary(model, tokenizer):
    ids = tokenizer("class Cache:\n", return_tensors="pt")
    runs = [model.generate(**ids, do_sample=False, max_new_tokens=8, pad_token_id=0) for _ in range(2)]
    assert runs[0].tolist() == runs[1].tolist()
    assert runs[0].max() < model.config.vocab_size
