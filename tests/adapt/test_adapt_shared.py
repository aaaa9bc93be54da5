"""A parameter that several modules multiply with is one layer: evidence pooled, counted and damaged once."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import fewer
from fewer import adapt
from fewer.evidence import collect


class Twice(nn.Module):
    """`c` multiplies with the weight of `a`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.head = (nn.Linear(8, 8) for _ in range(4))
        self.c.weight = self.a.weight

    def forward(self, x):
        return self.head(self.c(torch.relu(self.b(self.a(x)))))


def inputs(model, x):
    """What enters the shared weight, both times."""
    return torch.cat([x, torch.relu(model.b(model.a(x)))])


def test_one_layer_with_pooled_evidence():
    model, x = Twice(), torch.randn(20, 8)
    assert [layer.name for layer in adapt.open(model).candidates] == ["a", "b", "head"]
    store = collect(model, x, ["input_norm", "input_gram"])
    both = inputs(model, x).detach()
    assert store.tokens["a"] == 40
    torch.testing.assert_close(store["a"]["input_gram"], both.T @ both / 40)


@pytest.mark.parametrize("update", ["zero", "sweep", "bias"])
def test_damage_and_bias_are_of_all_uses(update):
    model, x = Twice(), torch.randn(64, 8)
    score = "obs" if update == "sweep" else "wanda"
    done = fewer.prune(model, x, score=score, update=update, only=["a"], order="at-once", damage="gram")
    after, both = done.model, inputs(model, x).detach()
    assert after.c.weight is after.a.weight and done.layers[0].total == 64 and len(done.layers) == 1
    dense = model.a.weight.detach()
    gone = both @ (dense - after.a.weight.detach()).T
    assert done.layers[0].damage == pytest.approx(float(gone.norm() / (both @ dense.T).norm()), rel=1e-4)
    shifts = [(getattr(after, n).bias - getattr(model, n).bias).detach() for n in "ac"]
    assert torch.equal(*shifts) or torch.allclose(*shifts, atol=1e-7)
    assert bool(shifts[0].any()) == (update == "bias")


def test_the_mask_applies_to_the_same_model():
    from fewer import maskfile

    model, x = Twice(), torch.randn(20, 8)
    done = fewer.prune(model, x, score="wanda")
    again = adapt.open(Twice())
    maskfile.apply(done.mask_file(), again)
    assert all(torch.equal(v, again.module.state_dict()[k]) for k, v in done.model.state_dict().items())


class Transposed(nn.Module):
    """A tied autoencoder: the second weight is the first one, seen the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.mid, self.head = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.down.weight = nn.Parameter(self.up.weight.data.T)

    def forward(self, x):
        return self.head(self.mid(self.down(self.up(x))))


def test_a_matrix_that_is_also_used_transposed_is_left_alone_unless_named():
    opened = adapt.open(Transposed())
    assert [layer.name for layer in opened.layers] == ["mid"]
    done = fewer.prune(Transposed(), score="magnitude", only=["up", "down"])
    assert [row.name for row in done.layers] == ["up"]
    assert next(row.reason for row in done.plan.excluded if row.name == "down") == "its weight is that of up"


def test_a_tied_head_is_left_alone_and_pruned_once_when_both_are_named():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=8))
    assert not [x for x in adapt.open(model).layers if "lm_head" in x.name or "wte" in x.name]
    done = fewer.prune(model, score="magnitude", only=["lm_head", "transformer.wte"])
    assert [row.name for row in done.layers] == ["transformer.wte"] and done.layers[0].total == 128


class Blocks(nn.Module):
    """Three blocks, of which the last uses the weight of the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)) for _ in range(3))
        self.blocks[2][0].weight = self.blocks[0][0].weight

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_a_weight_of_two_blocks_sees_the_inputs_of_both():
    model, x = Blocks(), torch.randn(20, 8)
    layer = adapt.open(model).candidates[0]
    assert layer.blocks == (0, 2) and layer.block == 0
    seen = []
    fewer.evidence.sequential(model, x, ["input_norm"], lambda mine, store: seen.append(store.tokens))
    assert {name: count for part in seen for name, count in part.items()}["blocks.0.0"] == 40
    assert sum(row.total for row in fewer.prune(model, x, keep=0.5).layers) == 5 * 64


def test_one_block_that_is_called_many_times():
    sizes = {"vocab_size": 16, "embedding_size": 8, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
    model = AlbertModel(AlbertConfig(num_hidden_layers=3, max_position_embeddings=16, **sizes)).eval()
    tokens = torch.randint(0, 16, (2, 6))
    found = collect(model, tokens, ["input_norm"]).tokens
    assert set(found.values()) == {36}


class Tied(LlamaForCausalLM):
    """Two matrices of every block are one."""

    _tied_weights_keys = {  # noqa: RUF012
        f"model.layers.{i}.mlp.up_proj.weight": f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 1)
    }

    def __init__(self, config):
        super().__init__(config)
        for block in self.model.layers:
            block.mlp.up_proj.weight = block.mlp.gate_proj.weight


class Across(LlamaForCausalLM):
    """Two blocks share a matrix."""

    _tied_weights_keys = {"model.layers.1.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        one, two = self.model.layers
        two.mlp.up_proj.weight = one.mlp.up_proj.weight


@pytest.mark.parametrize("kind", [Tied, Across])
def test_streamed_equals_in_memory(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("fewer.adapt.checkpoint.model_class", lambda config, path: kind)
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    model = kind(LlamaConfig(num_hidden_layers=2, tie_word_embeddings=True, **sizes)).eval()
    adapt.checkpoint.save(adapt.open(model), tmp_path / "dense")
    data = torch.randint(0, 32, (4, 16))
    memory = fewer.prune(tmp_path / "dense", data)
    streamed = fewer.prune(tmp_path / "dense", data, out=tmp_path / "out")
    assert streamed.layers == memory.layers and len(memory.layers) == 14 - (2 if kind is Tied else 1)
    found = streamed.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in memory.model.state_dict().items())


def test_each_group_of_a_convolution_shifts_its_own_part_of_the_bias():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 2, 1)), torch.randn(4, 4, 6, 6) + 1
    done = fewer.prune(model, x, score="wanda", update="bias", only=["0*"])
    before, after = (m[0](x).mean((0, 2, 3)).detach() for m in (model, done.model))
    torch.testing.assert_close(before, after, rtol=0.0, atol=1e-5)


def test_inputs_are_cut_at_every_use(tmp_path):
    model, x = Twice(), torch.randn(64, 8)
    done = fewer.prune(model, x, unit="input", keep=0.5)
    assert set(done.inputs.cuts) == {"a", "b", "c"} and [row.name for row in done.layers] == ["a", "b"]
    assert done.layers[0].kept == 32 and done.layers[0].total == 64
    assert done.inputs.cuts["a"] != done.inputs.cuts["c"]
