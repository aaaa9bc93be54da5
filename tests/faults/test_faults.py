"""Every fault that a user can cause: one line that says what, where and what instead; and nothing is written."""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import fewer
from fewer.method import FewerError

SIZES = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A checkpoint in several shards; tests copy it before they damage it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("made") / "model"
    LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS)).save_pretrained(folder, max_shard_size="6KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.fixture
def model(sharded, tmp_path):
    return Path(shutil.copytree(sharded, tmp_path / "model"))


@pytest.fixture
def data():
    return torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(0))


def refused(words, model, data=None, *, out=None, **options):
    """Prune must fail with one line that holds the words, and leave the folder as it was."""
    out = out or Path(model).parent / "out"
    before = sorted(path.relative_to(out.parent) for path in out.parent.rglob("*"))
    with pytest.raises(FewerError, match=words) as caught:
        fewer.prune(model, data, out=out, **options)
    assert "\n" not in str(caught.value)
    assert sorted(path.relative_to(out.parent) for path in out.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score": "wnada"}, "unknown score 'wnada'; did you mean 'wanda'"),
        ({"budget": "lmap"}, "unknown budget 'lmap'.*'lamp'"),
        ({"update": "swep"}, "unknown update 'swep'.*'sweep'"),
        ({"keep": 0.0}, r"keep is 0; .*\(0, 1\]"),
        ({"keep": 1.01}, r"keep is 1.01"),
        ({"keep": -0.5}, r"keep is -0.5"),
        ({"keep": math.nan}, "keep is nan"),
        ({"keep": 0.7, "pattern": "2:4"}, "pattern '2:4' keeps 0.5, but keep is 0.7"),
        ({"pattern": "5:3"}, "5:3"),
        ({"pattern": "2:5"}, r"model\.layers\.0\.self_attn\.q_proj"),
        ({"pattern": "3x1"}, r"model\.layers\.0\.self_attn\.q_proj"),
        ({"unit": "head"}, "unit 'head' cannot be pruned"),
        ({"unit": "row", "pattern": "2:4"}, "contradicts"),
        ({"within": "rows"}, "unknown within 'rows'; did you mean 'row'"),
        ({"order": "backwards"}, "unknown order"),
        ({"only": ["*.mlpp.*"]}, r"no layer matches '\*\.mlpp\.\*'"),
        ({"skip": ["*"]}, "no layer is left"),
        ({"only": "mlp"}, "give a list"),
        ({"score": "wanda", "score_options": {"powr": 2.0}}, "no option 'powr'.*'power'"),
        ({"score": "wanda", "score_options": {"power": "big"}}, "option 'power'.*not a number"),
        ({"keep": [0.5, 0.6], "budget": "erk"}, "already fixes"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_bad_choices(model, data, options, words):
    refused(words, model, data, **options)


def test_missing_calibration_data_names_what_it_is_for(model):
    refused("needs input_gram: give calibration data", model)
    refused("needs input_norm: give calibration data", model, score="wanda")


def test_missing_shard(model, data):
    shard = sorted(model.glob("*.safetensors"))[1]
    shard.unlink()
    refused(shard.name, model, data)


def test_truncated_shard(model, data):
    shard = sorted(model.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-7])
    refused(shard.name, model, data)


def test_corrupt_header(model, data):
    shard = sorted(model.glob("*.safetensors"))[0]
    shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])
    refused(shard.name, model, data)


def test_index_that_leaves_its_directory(model, data):
    index = model / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    name = next(iter(table["weight_map"]))
    table["weight_map"][name] = "../elsewhere.safetensors"
    index.write_text(json.dumps(table))
    refused(r"\.\./elsewhere\.safetensors", model, data)


def test_pickle_checkpoint(model, data):
    for shard in [*model.glob("*.safetensors"), *model.glob("*.index.json")]:
        shard.unlink()
    torch.save({"x": torch.zeros(2)}, model / "pytorch_model.bin")
    refused("safetensors", model, data)


def test_remote_code(model, data):
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "mystery", "architectures": ["Mystery"], "auto_map": {"AutoModelForCausalLM": "m.Mystery"}}
    (model / "config.json").write_text(json.dumps(config))
    refused("code", model, data)


def test_not_a_model(tmp_path, data):
    refused("absent", tmp_path / "absent", data)
    (tmp_path / "empty").mkdir()
    refused("config.json", tmp_path / "empty", data)


def test_nan_weight_names_its_layer(model, data):
    from safetensors.torch import load_file, save_file

    for shard in model.glob("*.safetensors"):
        tensors = load_file(shard)
        if "model.layers.1.mlp.up_proj.weight" in tensors:
            tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = math.nan
            save_file(tensors, shard, metadata={"format": "pt"})
    refused(r"model\.layers\.1\.mlp\.up_proj", model, data)


def test_infinite_activation_names_layer_and_batch(data):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    inputs = torch.ones(6, 4)
    inputs[3, 1] = math.inf
    with pytest.raises(FewerError, match=r"layer '0'.*batch") as caught:
        fewer.prune(net, list(inputs.split(2)), score="wanda")
    assert "\n" not in str(caught.value)


def test_text_too_short_for_a_window(tmp_path):
    (tmp_path / "short.txt").write_text("x = 1\n")
    refused("too short for one window", "demo", tmp_path / "short.txt", out=tmp_path / "out")


def test_absent_text(tmp_path):
    refused("absent.txt", "demo", tmp_path / "absent.txt", out=tmp_path / "out")


def test_output_that_exists_and_is_not_ours(model, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused("exists", model, data, out=out)
    (out / "fewer.json").write_text("{}")
    refused("exists", model, data, out=out)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_output_inside_or_equal_to_the_model(model, data):
    refused("exists", model, data, out=model)


FULL = """
import resource, sys, torch, fewer
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    fewer.prune(sys.argv[1], torch.zeros(2, 16, dtype=torch.long), score="magnitude", out=sys.argv[2])
except fewer.FewerError as error:
    print(error)
    sys.exit(2)
"""


def test_no_space_left(model, tmp_path):
    assert resource.RLIMIT_FSIZE is not None
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", FULL, model, out], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1 and not out.exists()


def test_bad_recipe_file(model, data, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("keep = 0.5\n[score_options]\nx = 1\n")
    with pytest.raises(FewerError, match="no option 'x'"):
        fewer.run(model, data, fewer.load_recipe(path), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_longer_than_a_table_of_positions():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0)
    )
    with pytest.raises(FewerError, match="windows of 9 tokens are longer than the model's 8 positions"):
        fewer.prune(model, torch.zeros(2, 9, dtype=torch.long))
