from __future__ import annotations

import pytest
import torch
import transformers
import zoo
from torch import nn
from transformers import pytorch_utils

from fewer import adapt
from fewer.adapt import layers
from fewer.method import FewerError

FAMILIES = sorted(zoo.MAKERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_found_and_heads_are_left_alone(family):
    opened = adapt.open(zoo.make(family))
    names = [layer.name for layer in opened.layers]
    assert len(names) == zoo.LAYERS[family] == len(set(names))
    left_alone = ("embed", "lm_head", "classifier", "head", "pooler", "gate.", "norm", "wte", "project_in")
    assert not [name for name in names for word in left_alone if word in name.replace("gate_up", "")]


def test_classes_are_told_by_where_the_frameworks_define_them():
    real = {
        getattr(home, name)
        for home in (nn, transformers, pytorch_utils)
        for name in layers._HOMES
        if hasattr(home, name)
    }
    assert {(kind.__name__, kind.__module__) for kind in real} == set(layers._HOMES.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_the_repeated_layers(family):
    opened = adapt.open(zoo.make(family))
    assert len(opened.blocks) == (0 if family == "cnn" else 3)
    assert [layer.block for layer in opened.layers] == sorted(
        (layer.block for layer in opened.layers), key=lambda block: block or 0
    )
    kinds = {"bert": "encoder", "vit": "vision", "cnn": "module"}
    assert opened.kind == kinds.get(family, "causal-lm")


@pytest.mark.parametrize("family", FAMILIES)
def test_read_write_round_trip_changes_nothing_else(family):
    model = zoo.make(family)
    opened = adapt.open(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for layer in opened.candidates:
        layer.write(layer.read())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    layer = opened.layers[len(opened.layers) // 2]
    layer.write(torch.zeros(layer.shape))
    changed = [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]
    home = layer.name.split("[")[0].removesuffix(".weight")
    assert {name.removesuffix(".weight") for name in changed} == {home}
    assert sum(int((before[n] != v).sum()) for n, v in model.state_dict().items()) == layer.shape[0] * layer.shape[1]


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("mixtral", "cnn")])
def test_matrix_is_what_multiplies_the_input(family):
    layer = adapt.open(zoo.make(family)).layers[1]
    x = torch.randn(5, layer.shape[1])
    bias = layer.module.bias if layer.module.bias is not None else 0
    torch.testing.assert_close(layer.module(x) - bias, x @ layer.read().T)


def test_experts_are_slices_of_the_fused_parameter():
    model = zoo.make("mixtral")
    layers = {layer.name: layer for layer in adapt.open(model).layers}
    stored = model.model.layers[1].mlp.experts.down_proj
    assert torch.equal(layers["model.layers.1.mlp.experts.down_proj[3]"].read(), stored[3])
    assert layers["model.layers.1.mlp.experts.gate_up_proj[0]"].shape == (96, 32)


def test_convolution_groups_are_layers_of_their_own():
    model = zoo.make("cnn")
    layers = {layer.name: layer for layer in adapt.open(model).candidates}
    assert layers["grouped[1]"].shape == (6, 4 * 9)
    assert torch.equal(layers["grouped[1]"].read(), model.grouped.weight[6:].reshape(6, 36))
    assert not layers["depthwise[0]"].default


def test_nothing_is_taken_by_a_star_that_is_left_alone_by_default():
    candidates = adapt.open(zoo.make("llama")).candidates
    assert len(adapt.select_layers(candidates, only=["*"])) == 21
    assert len(adapt.select_layers(candidates, only=["model*"])) == 21
    assert [x.name for x in adapt.select_layers(candidates, only=["lm_head"])] == ["lm_head"]
    assert [x.name for x in adapt.select_layers(candidates, only=["model.embed_tokens"])] == ["model.embed_tokens"]
    some = adapt.select_layers(candidates, only=["*.mlp.*", "lm_*"], skip=["model.layers.0.*"])
    assert len(some) == 7 and some[-1].name == "lm_head"
    experts = adapt.open(zoo.make("mixtral")).candidates
    assert [x.name for x in adapt.select_layers(experts, only=["model.layers.0.mlp.experts.down_proj[1]"])] == [
        "model.layers.0.mlp.experts.down_proj[1]"
    ]


def test_a_pattern_without_a_match_suggests_a_name():
    with pytest.raises(FewerError, match=r"no layer matches 'lm_haed'; did you mean 'lm_head'\?"):
        adapt.select_layers(adapt.open(zoo.make("llama")).candidates, skip=["lm_haed"])
    with pytest.raises(FewerError, match=r"unless it is named: write 'model.embed_tokens'"):
        adapt.select_layers(adapt.open(zoo.make("llama")).candidates, only=["*embed*"])


def test_write_refuses_shapes_and_nan():
    layer = adapt.open(zoo.make("llama")).layers[0]
    with pytest.raises(FewerError, match="has shape"):
        layer.write(torch.zeros(3, 3))
    before = layer.read()
    with pytest.raises(FewerError, match="NaN"):
        layer.write(torch.full(layer.shape, float("nan")))
    assert torch.equal(before, layer.read())


def test_untied_heads_and_routers_of_experts_in_a_list_are_left_alone():
    class Moe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(4, 2)
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Moe() for _ in range(2))
            self.out = nn.Linear(4, 3)

    opened = adapt.open(Net())
    assert [x.name for x in opened.layers] == [f"layers.{b}.experts.{e}" for b in range(2) for e in range(2)]
    assert {x.name for x in opened.candidates if not x.default} == {"layers.0.gate", "layers.1.gate", "out"}


def test_stages_of_a_residual_network_are_its_blocks():
    class Basic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return x + self.conv(x)

    net = nn.Sequential(nn.Sequential(Basic(), Basic()), nn.Sequential(Basic(), Basic(), Basic()), nn.Flatten())
    assert [b.name for b in adapt.open(net).blocks] == ["0.0", "0.1", "1.0", "1.1", "1.2"]


def test_fused_attention_weights_that_no_call_reaches_are_not_offered():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    assert [x.name for x in adapt.open(layer).candidates] == ["linear1", "linear2"]


@pytest.mark.parametrize("source", [3, nn.ReLU()])
def test_open_refuses_what_it_cannot_prune(source):
    with pytest.raises(FewerError):
        adapt.open(source)


def test_experts_of_unknown_layout_are_not_taken_apart():
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_experts, self.up = 2, nn.Parameter(torch.ones(2, 3, 4))
            self.out = nn.Linear(4, 4)

    assert [layer.name for layer in adapt.open(Experts()).candidates] == ["out"]
