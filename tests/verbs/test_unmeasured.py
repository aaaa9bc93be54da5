"""Layers that the data never reaches: magnitude, no repair, said with names and tokens; never evidence of zero."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

import fewer
from fewer.evidence import collect
from fewer.method import FewerError
from fewer.recipe import Recipe
from fewer.select import select

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def experts():
    """Four experts behind a gate that sends every token to the same two."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 4, "initializer_range": 0.2}
    model = MixtralForCausalLM(MixtralConfig(**sizes, **heads)).eval()
    model.model.layers[0].mlp.gate.weight.data.zero_()
    return model


@pytest.fixture(scope="module")
def unseen(experts):
    """The dense weights of the four matrices of the two idle experts."""
    idle = [name for name, count in collect(experts, tokens(), ["input_norm"]).tokens.items() if not count]
    assert len(idle) == 4
    return {x.name: x.read() for x in fewer.prune(experts, score="magnitude", keep=1.0).opened.layers if x.name in idle}


OPTIONS = [
    {}, {"score": "wanda"}, {"score": "taylor"}, {"score": "ria", "pattern": "2:4"},
    {"score": "wanda", "update": "dsnot"}, {"score": "obs", "update": "sweep", "order": "at-once"},
    {"score": "wanda", "budget": "global"}, {"score": "magnitude", "budget": "sensitivity", "update": "sweep"},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_idle_expert_keeps_its_largest_weights(experts, unseen, options):
    done = fewer.prune(experts, tokens(), keep=None if "pattern" in options else 0.5, **options)
    rows = {row.name: row for row in done.layers}
    after = {layer.name: layer.read() for layer in done.opened.layers}
    for name, weight in unseen.items():
        rule = {k: done.plan.recipe.to_dict()[k] for k in ("pattern", "within")}
        assert torch.equal(done.masks[name], select(weight.abs(), 0.5, **rule)), name
        assert torch.equal(after[name], weight * done.masks[name]) and rows[name].damage is None
        assert "0 tokens" in done.layer_notes[name]["evidence"]
    said = next(note for note in done.notes if "0 tokens" in note)
    assert all(name in said for name in unseen)
    assert sum(row.kept for row in done.layers) == round(sum(row.total for row in done.layers) / 2)


def test_streamed_and_sweep_say_the_same(experts, unseen, tmp_path):
    experts.save_pretrained(tmp_path / "dense")
    memory = fewer.prune(experts, tokens())
    streamed = fewer.prune(tmp_path / "dense", tokens(), out=tmp_path / "out")
    assert streamed.layers == memory.layers and streamed.notes == memory.notes
    curve = fewer.sweep(experts, tokens(), tokens(2), recipe=Recipe(update="alps"), keeps=(0.5, 0.4))
    level = curve.materialise("keep 0.5")
    for name, weight in unseen.items():
        assert torch.equal(level.masks[name], select(weight.abs(), 0.5)) and "evidence" in level.layer_notes[name]


def test_a_budget_without_a_share_leaves_an_idle_expert_dense(experts, unseen):
    options = {"rise": 0.5, "resolution": 0.25}
    done = fewer.prune(experts, tokens(2), score="wanda", budget="tolerance", budget_options=options, update="zero")
    assert all(row.kept == row.total for row in done.layers if row.name in unseen)
    assert any("left dense" in note for note in done.notes)


class Routed(nn.Module):
    """Experts that are modules of their own, of which one is ever called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.last = nn.Linear(8, 8)

    def forward(self, x):
        return self.last(self.experts[1](x))


@pytest.mark.parametrize("order", ["sequential", "at-once"])
def test_experts_that_are_modules_may_stay_idle(order):
    done = fewer.prune(Routed(), torch.randn(64, 8), keep=0.5, order=order)
    assert {row.name: row.damage is None for row in done.layers} == {"experts.0": True, "experts.1": False}
    assert any("0 tokens" in note and "layer experts.0" in note for note in done.notes)


class Gated(nn.Module):
    """A branch behind a gate that is closed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.closed, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.closed(x * 0.0))


@pytest.mark.parametrize("score", ["wanda", "obs"])
def test_inputs_that_are_all_zero_are_no_evidence(score):
    model = Gated()
    done = fewer.prune(model, torch.randn(32, 8), score=score, keep=0.5)
    assert torch.equal(
        done.masks["closed"], select(model.closed.weight.detach().abs(), 0.5, within=done.plan.recipe.within)
    )
    assert "zero everywhere" in done.layer_notes["closed"]["evidence"]
    assert "32 tokens" in done.layer_notes["closed"]["evidence"]
    assert next(row for row in done.layers if row.name == "closed").damage is None


def test_inputs_of_a_closed_branch_are_all_read():
    done = fewer.prune(Gated(), torch.randn(32, 8), unit="input", score="wina", keep=0.5)
    assert {row.name: row.kept == row.total for row in done.layers} == {"first": False, "closed": True}
    assert any("closed" in note and "32 tokens" in note for note in done.notes)


def test_padding_is_no_input_to_cut():
    x, mask = tokens(4, 8), torch.ones(4, 8, dtype=torch.long)
    mask[:, 4:] = 0
    batch = {"input_ids": x, "attention_mask": mask}
    moved = {"input_ids": torch.where(mask == 1, x, 95 - x), "attention_mask": mask}
    one, other = (fewer.prune(tiny_llama(), [b], unit="input", score="magnitude") for b in (batch, moved))
    assert one.inputs.thresholds == pytest.approx(other.inputs.thresholds, rel=1e-6)


def padded(rows):
    """Windows of which only these are real."""
    mask = torch.zeros(4, 8, dtype=torch.long)
    mask[rows] = 1
    return [{"input_ids": tokens(4, 8), "attention_mask": mask}]


@pytest.mark.parametrize(
    "options", [{}, {"score": "taylor"}, {"score": "magnitude"}, {"unit": "input", "score": "wina"}]
)
def test_data_without_a_real_token_is_refused(options):
    with pytest.raises(FewerError, match="no data: every token of batches is padding"):
        fewer.prune(tiny_llama(), padded([]), keep=0.5, **options)
    with pytest.raises(FewerError, match="no data"):
        fewer.evaluate(tiny_llama(), padded([]))


@pytest.mark.parametrize("score", ["wanda", "taylor", "grasp", "obs"])
def test_a_window_of_padding_alone_says_nothing(score):
    alone = [{"input_ids": tokens(4, 8)[:2]}]
    one, other = (fewer.prune(tiny_llama(), data, score=score, update="zero") for data in (padded([0, 1]), alone))
    assert all(float((one.masks[n] != other.masks[n]).float().mean()) < 0.01 for n in one.masks)


def test_labels_that_are_all_ignored_are_no_loss():
    batch = {"input_ids": tokens(2, 8), "labels": torch.full((2, 8), -100)}
    with pytest.raises(FewerError, match="no loss to take a gradient of"):
        fewer.prune(tiny_llama(), [batch], score="taylor")


@pytest.mark.parametrize("options", [{}, {"unit": "input", "score": "magnitude"}, {"score": "taylor"}])
def test_inputs_in_half_precision_meet_widened_weights(options):
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))).bfloat16()
    x = torch.randn(64, 8).bfloat16()
    data = [(x, x)] if options.get("score") == "taylor" else x
    assert fewer.prune(model, data, keep=0.5, compute="float32", **options).layers
    assert fewer.evaluate(model, x, compute="float32").tokens == 64
