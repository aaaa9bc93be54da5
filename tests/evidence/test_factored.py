"""Gradients of factors, against real factors that torch differentiates."""

from __future__ import annotations

import pytest
import torch
import zoo
from torch import nn

from fewer import adapt, evidence
from fewer.adapt.run import loss
from fewer.evidence.factored import RANK

LORA = ["lora_a", "lora_b", "lora_a_grad", "lora_b_grad"]
PST = ["pst_a", "pst_b", "pst_rows", "pst_columns"]


@pytest.fixture(params=["llama", "gpt2", "cnn"])
def case(request):
    model = zoo.make(request.param)
    labels = {"labels": torch.ones(2, dtype=torch.long)} if request.param == "cnn" else {}
    batches = adapt.data.batches([{**batch, **labels} for batch in zoo.sample(request.param)])
    return adapt.open(model), batches, evidence.collect(model, batches, [*LORA, *PST])


class Beside(nn.Module):
    """A weight with factors beside it: W + B A, or W times a mask that lets gradients through to its scores."""

    def __init__(self, layer, found, kind):
        super().__init__()
        self.layer, self.kind = layer, kind
        names = {"lora": ("lora_a", "lora_b"), "pst": ("pst_a", "pst_b", "pst_rows", "pst_columns")}[kind]
        held = [found[name] if name in ("lora_a", "pst_a") else torch.zeros_like(found[name]) for name in names]
        self.factors = nn.ParameterList(nn.Parameter(value) for value in held)

    def forward(self, stored):
        weight = self.layer.matrix(stored)
        if self.kind == "lora":
            a, b = self.factors
            made = weight + b @ a
        else:
            a, b, rows, columns = self.factors
            scores = weight.abs() + a @ b + rows[:, None] + columns[None, :]
            made = weight * (1.0 + scores - scores.detach())
        return made.T if self.layer.transposed else made.reshape(stored.shape)


def gradients(opened, batches, found, layer, kind):
    """Mean over samples of the gradients of factors that torch sees."""
    beside = Beside(layer, found, kind)
    nn.utils.parametrize.register_parametrization(layer.module, layer.parameter, beside, unsafe=True)
    for sample in batches.singles():
        (loss(opened.module, sample) / batches.samples).backward()
    nn.utils.parametrize.remove_parametrizations(layer.module, layer.parameter, leave_parametrized=False)
    return [torch.zeros_like(f) if f.grad is None else f.grad for f in beside.factors]


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)


def test_factors_of_an_adapter(case):
    opened, batches, store = case
    for layer in opened.layers[::3]:
        found = store[layer.name]
        down, up = gradients(opened, batches, found, layer, "lora")
        close(found["lora_a_grad"], down)
        close(found["lora_b_grad"], up)
        assert not found["lora_b"].any() and found["lora_a"].shape == (RANK, layer.shape[1])


def test_factors_of_pst_have_taken_one_step(case):
    opened, batches, store = case
    for layer in opened.layers[::3]:
        found = store[layer.name]
        left, right, rows, columns = gradients(opened, batches, found, layer, "pst")
        assert not left.any()
        close(found["pst_b"], -right)
        close(found["pst_rows"], -rows)
        close(found["pst_columns"], -columns)


def test_the_model_is_not_touched_and_parts_add_up():
    model = zoo.make("llama")
    opened, batches = adapt.open(model), adapt.data.batches(zoo.sample("llama"))
    before = opened.hash()
    whole = evidence.collect(opened, batches, [*LORA, *PST])
    assert opened.hash() == before and all(p.grad is None for p in model.parameters())
    one, two = (evidence.collect(opened, batches.part(rank, 2), [*LORA, *PST]) for rank in (0, 1))
    joined = one.merge(two)
    for layer in opened.layers:
        for name in (*LORA, *PST):
            close(joined[layer.name][name], whole[layer.name][name])


def test_what_is_stored_is_of_low_rank(tmp_path):
    model, batches = zoo.make("llama"), zoo.sample("llama")
    store = evidence.collect(model, batches, ["lora_a", "lora_b_grad"])
    again = evidence.Store.load(store.save(tmp_path / "store"))
    name = next(iter(store))
    close(again[name]["lora_a"], store[name]["lora_a"])
    assert store.sums[name]["lora_b_grad"].total.shape[1] == RANK
