from __future__ import annotations

import json

import pytest
import zoo

from fewer import demo
from fewer.adapt import outlines
from fewer.adapt.checkpoint import build_outline
from fewer.adapt.headers import read_headers, read_json
from fewer.adapt.module_tree import module_tree
from fewer.adapt.stand_ins import Anything, Module, NotKnown, Shape, torch_namespace

#: Families whose files hold the parameters by their own names; the others are renamed on loading or hold fused experts.
QUICK = ("llama", "mistral", "qwen3", "gemma3", "gpt2", "opt", "bert")
SLOW = ("gpt-neox", "mixtral", "llama4", "vit")


@pytest.fixture
def copy(tmp_path):
    """The demo model's files, with changes to its configuration."""

    def made(**changes):
        for file in demo.model_path().iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        config = read_json(tmp_path / "config.json") | changes
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return made


@pytest.mark.parametrize("family", QUICK)
def test_the_source_of_a_class_tells_what_building_it_tells(family, tmp_path):
    zoo.make(family).bfloat16().save_pretrained(tmp_path)
    assert outlines._quick(tmp_path) == build_outline(tmp_path)


def test_an_encoder_decoder_too(tmp_path):
    zoo.t5().save_pretrained(tmp_path)
    assert outlines._quick(tmp_path) == build_outline(tmp_path)


@pytest.mark.parametrize("family", SLOW)
def test_where_the_source_does_not_tell_the_model_is_built(family, tmp_path):
    zoo.make(family).save_pretrained(tmp_path)
    assert outlines._quick(tmp_path) is None
    assert len(outlines.outline(tmp_path).layers) == zoo.LAYERS[family]


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 128}, {"hidden_size": "256"}, {"num_hidden_layers": 5}, {"num_hidden_layers": 10**9},
        {"vocab_size": 4097}, {"architectures": ["LlamaModel"]}, {"architectures": ["Nobody"]}, {"model_type": "../x"},
        {"model_type": "gpt2"}, {"rms_norm_eps": "small"}, {"rope_parameters": {"rope_type": "nought"}},
        {"auto_map": {"AutoConfig": "x.X"}}, {"quantization_config": {}}, {"num_attention_heads": 7},
        {"num_key_value_heads": 3}, {"attention_bias": True}, {"tie_word_embeddings": False},
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_its_files_is_left_to_the_library(changes, copy):
    assert outlines._quick(copy(**changes)) is None


def test_a_tensor_that_no_class_explains_is_left_to_the_library():
    path = demo.model_path()
    config, stored = read_json(path / "config.json"), read_headers(path)
    assert module_tree(config, stored) is not None
    assert module_tree(config, stored | {"model.extra.weight": stored["model.norm.weight"]}) is None
    assert module_tree(config, {name: held for name, held in stored.items() if "norm" not in name}) is None


def test_nothing_is_decided_on_what_is_not_known():
    unknown = Anything() + 1
    for ask in (bool, len, list, int, lambda x: x == 1, lambda x: 1 in x, range):
        with pytest.raises((NotKnown, TypeError)):
            ask(unknown)


def test_stand_ins_number_and_name_their_parts_as_torch_does():
    nn = torch_namespace().nn
    net = nn.Sequential(nn.Linear(4, 3), nn.ModuleList([nn.Conv2d(6, 4, 3, groups=2), nn.LayerNorm(5, bias=False)]))
    net.register_buffer("table", Shape((2,)))
    assert {name: value.shape for name, value in net.named_parameters()} == {
        "0.weight": (3, 4), "0.bias": (3,), "1.0.weight": (4, 3, 3, 3), "1.0.bias": (4,), "1.1.weight": (5,),
    }  # fmt: skip
    assert [name for name, _ in net.named_modules()] == ["", "0", "1", "1.0", "1.1"]
    assert [name for name, _ in net.named_buffers()] == ["table"]


def test_a_part_that_is_not_known_is_no_module_of_a_list():
    with pytest.raises(NotKnown):
        torch_namespace().nn.ModuleList([Anything()])
    with pytest.raises(NotKnown):
        Module().experts = Anything()
