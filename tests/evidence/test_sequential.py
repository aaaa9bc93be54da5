from __future__ import annotations

import pytest
import torch
import zoo
from torch import nn

from fewer import adapt, evidence
from fewer.adapt import walk
from fewer.method import FewerError

NAMES = ["input_gram", "input_norm", "block_similarity"]


def watch(model, batches, layers=None, names=NAMES):
    """Run without changing anything; what was seen per layer, in order."""
    seen = {}

    def visit(block, store):
        seen.update({layer.name: dict(store[layer.name]) for layer in block})
        return len(block)

    return evidence.sequential(model, batches, names, visit, layers=layers), seen


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", sorted(set(zoo.MAKERS) - {"cnn"}))
def test_unchanged_weights_give_what_one_pass_gives(family, padded):
    model = zoo.make(family)
    if family == "mixtral":
        model.set_experts_implementation("eager")
    batches = zoo.sample(family, padded=padded)
    whole = evidence.collect(model, batches, NAMES)
    results, seen = watch(model, batches)
    assert len(results) == 3 and list(seen) == list(whole)
    for layer, found in seen.items():
        assert all(torch.equal(found[name], whole[layer][name]) for name in NAMES), layer


@pytest.mark.parametrize("family", sorted(set(zoo.MAKERS) - {"cnn"}))
def test_every_family_is_a_chain(family, monkeypatch):
    monkeypatch.setattr(walk, "_rerun", lambda *_: pytest.fail("went through the whole model again"))
    assert len(watch(zoo.make(family), zoo.sample(family))[0]) == 3


@pytest.mark.parametrize("family", ["llama", "bert", "mixtral", "cnn"])
def test_later_blocks_see_what_was_done_to_earlier_ones(family):
    model, other = zoo.make(family), zoo.make(family)
    batches = zoo.sample(family)
    seen = {}

    def halve(layers, store):
        seen.update({layer.name: store[layer.name]["input_norm"] for layer in layers})
        for layer in layers:
            layer.write(layer.read() * 0.5)

    evidence.sequential(model, batches, ["input_norm"], halve)
    opened = adapt.open(other)
    for block in dict.fromkeys(layer.name if layer.block is None else layer.block for layer in opened.layers):
        mine = [layer for layer in opened.layers if block in (layer.name, layer.block)]
        now = evidence.collect(opened, batches, ["input_norm"], layers=mine)
        for layer in mine:
            torch.testing.assert_close(seen[layer.name], now[layer.name]["input_norm"], rtol=1e-5, atol=1e-6)
            layer.write(layer.read() * 0.5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_layers_outside_the_blocks_come_last():
    model = zoo.make("llama")
    layers = adapt.select_layers(adapt.open(model).candidates, only=["lm_head", "*.q_proj"])
    order = []
    evidence.sequential(
        model, zoo.sample("llama"), ["input_norm"], lambda b, s: order.append([x.name for x in b]), layers=layers
    )
    assert order == [[f"model.layers.{i}.self_attn.q_proj"] for i in range(3)] + [["lm_head"]]


class Skips(nn.Module):
    """Blocks that read something else than the output of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(3))

    def forward(self, x):
        first = x
        for layer in self.layers:
            x = layer(x) + first
        return x


def test_a_model_that_is_no_chain_is_run_again_for_every_block():
    torch.manual_seed(0)
    model = Skips().eval()
    batches = [torch.randn(4, 6), torch.randn(2, 6)]
    whole = evidence.collect(model, batches, ["input_gram"])
    results, seen = watch(model, batches, names=["input_gram"])
    assert results == [1, 1, 1]
    assert all(torch.equal(found["input_gram"], whole[layer]["input_gram"]) for layer, found in seen.items())


def test_gradients_are_those_of_the_model_as_it_was_given():
    model = zoo.make("llama")
    batches = zoo.sample("llama")
    dense = evidence.collect(model, batches, ["grad_sq"])
    seen = {}

    def destroy(layers, store):
        seen.update({layer.name: (store[layer.name]["grad_sq"], set(store[layer.name])) for layer in layers})
        for layer in layers:
            layer.write(layer.read() * 0)

    evidence.sequential(model, batches, ["grad_sq", "input_norm"], destroy)
    assert all(torch.equal(grad, dense[name]["grad_sq"]) for name, (grad, _) in seen.items())
    assert all(names == {"grad_sq", "input_norm"} for _, names in seen.values())


def test_training_mode_and_blocks_are_put_back_even_after_a_fault():
    model = zoo.make("llama").train()
    blocks = list(model.model.layers)

    def fail(layers, store):
        raise RuntimeError("visit")

    with pytest.raises(RuntimeError, match="visit"):
        evidence.sequential(model, zoo.sample("llama"), ["input_norm"], fail)
    assert model.training and list(model.model.layers) == blocks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_infinite_activations_name_the_layer_and_the_batch():
    model = zoo.make("llama")
    model.model.layers[1].input_layernorm.weight.data[:] = float("inf")
    batches = zoo.sample("llama")
    for run in (evidence.collect, lambda *a: evidence.sequential(*a, lambda b, s: None)):
        with pytest.raises(FewerError, match=r"layer 'model\.layers\.1\.self_attn\.q_proj' in batch 0"):
            run(model, batches, ["input_norm"])


def test_an_infinite_gradient_names_the_layer_and_the_sample():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight.data[:] = 10
    data = [{"inputs": torch.ones(2, 2), "labels": torch.tensor([[0.0, 0.0], [3e38, 3e38]])}]
    with pytest.raises(FewerError, match=r"gradient of layer '0' in sample 1"):
        evidence.collect(net, data, ["grad"])


@pytest.mark.parametrize(
    ("names", "message"),
    [(["input_nrm"], "did you mean 'input_norm'"), (["block_similarity"], "lies in no block")],
)
def test_what_cannot_be_measured_is_refused(names, message):
    with pytest.raises(FewerError, match=message):
        evidence.collect(nn.Sequential(nn.Linear(2, 2)), torch.ones(1, 2), names)


@pytest.mark.parametrize(("idle", "name"), [(nn.Linear(2, 2), "idle"), (nn.Conv2d(4, 4, 1, groups=2), r"idle\[0\]")])
def test_a_layer_that_is_never_called_is_named(idle, name):
    """A group of a convolution is no expert that may stay idle."""

    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.out = nn.Linear(2, 2), idle, nn.Linear(2, 2)

        def forward(self, x):
            return self.out(self.used(x))

    with pytest.raises(FewerError, match=f"layer '{name}' was never called"):
        evidence.collect(Idle(), torch.ones(1, 2), ["input_norm"])


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(FewerError, match="token 64 is outside the model's vocabulary of 64"):
        evidence.collect(zoo.make("llama"), torch.full((1, 4), 64), ["input_norm"])


def test_routed_padding_that_cannot_be_followed_is_refused():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.first, self.out = nn.Embedding(8, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, ids, attention_mask):
            return self.out(self.first(self.embed(ids)[:, :3]))

    batch = {"input_ids": torch.ones(2, 5, dtype=torch.long), "attention_mask": torch.tensor([[1] * 5, [1] * 4 + [0]])}
    with pytest.raises(FewerError, match="cannot be matched with the padding"):
        evidence.collect(Net(), [batch], ["input_norm"])


def test_an_expert_that_sees_no_token_has_zero_evidence():
    model = zoo.make("mixtral")
    store = evidence.collect(model, torch.tensor([[5]]), ["input_norm"])
    seen = [name for name in store if "experts.down_proj" in name and store.tokens[name]]
    idle = [name for name in store if "experts.down_proj" in name and not store.tokens[name]]
    assert (len(seen), len(idle)) == (6, 6)
    assert all(float(store[name]["input_norm"].abs().sum()) == 0 for name in idle)
