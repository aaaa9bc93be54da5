"""Activation sparsity: scores, cuts, budgets and calibrated models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fewer.method import FewerError, find
from fewer.runtime import ActivationSparseLinear, TopKLinear, keep_for_tolerance, sparsify_inputs, top_k, train_top_k
from fewer.runtime.skipping import GatedCut
from fewer.score.inputs import cut, greedy_keeps, keep_within, top_inputs, wina


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 10)).eval()


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(16, 48), nn.Linear(16, 48), nn.Linear(48, 16)
        self.act_fn = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def test_wina_against_a_loop() -> None:
    weight, x = np.random.default_rng(0).standard_normal((5, 7)), np.random.default_rng(1).standard_normal((3, 7))
    wanted = [[abs(x[t, j]) * sum(weight[i, j] ** 2 for i in range(5)) ** 0.5 for j in range(7)] for t in range(3)]
    np.testing.assert_allclose(wina(x, np.linalg.norm(weight, axis=0)), wanted, rtol=1e-12)


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 0.99, 1.0])
def test_the_cut_leaves_the_stated_share(keep: float) -> None:
    worth = np.random.default_rng(0).random(997)
    kept = int((worth > cut(worth, keep)).sum())
    assert kept == 997 - int(np.ceil((1 - keep) * 997 - 1e-9)) or (keep == 1.0 and kept == 997)


def test_top_inputs_takes_the_lowest_index_at_ties() -> None:
    mask = top_inputs(torch.tensor([[1.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), 3)
    assert mask.tolist() == [[True, True, True, False], [True, True, True, False]]


def test_greedy_meets_the_share_and_beats_uniform() -> None:
    hurt = {"a": 10.0, "b": 1.0, "c": 0.1}
    sizes = {"a": 100, "b": 50, "c": 200}
    error = lambda keeps: sum(hurt[n] * (1 - k) ** 2 for n, k in keeps.items())  # noqa: E731
    keeps = greedy_keeps(sizes, error, 0.6)
    assert sum(sizes[n] * k for n, k in keeps.items()) == pytest.approx(0.6 * 350)
    assert error(keeps) < error(dict.fromkeys(sizes, 0.6)) and keeps["c"] < keeps["a"]


def test_search_ends_within_the_tolerance() -> None:
    found = keep_within(lambda keep: 10 + 5 * (1 - keep) ** 2, tolerance=0.05)
    assert 10 + 5 * (1 - found) ** 2 <= 10.5 and found - 1 / 64 <= 1 - 0.1**0.5
    with pytest.raises(FewerError):
        keep_within(lambda keep: 1.0, tolerance=-1.0)


def test_a_bracket_narrower_than_numbers_ends():
    found = keep_within(lambda keep: 2 - keep, tolerance=0.3, resolution=1e-300)
    assert abs(found - 0.7) < 1e-12


@pytest.mark.parametrize("score", ["wina", "magnitude", "random"])
def test_calibrated_layers_keep_what_was_asked(score: str) -> None:
    data = [torch.randn(256, 40)]
    result = sparsify_inputs(net(), data, score=score, keep=0.5, copy=True)
    assert set(result.thresholds) == {"0", "2"} and abs(result.observed["0"] - 0.5) < 0.01
    layer = result.model[0]
    assert isinstance(layer, ActivationSparseLinear)
    assert abs(float(layer.active(data[0]).float().mean()) - result.observed["0"]) < 1e-6
    torch.testing.assert_close(layer(data[0][:1]), layer(data[0][:2])[:1], atol=1e-5, rtol=1e-5)


def test_scores_beat_random() -> None:
    model, x = net(), torch.randn(512, 40)
    error = {}
    with torch.no_grad():
        for score in ("wina", "magnitude", "random"):
            sparse = sparsify_inputs(model, [x], score=score, keep=0.5, copy=True).model
            error[score] = float((sparse(x) - model(x)).norm())
    assert max(error["wina"], error["magnitude"]) < error["random"]


def test_gated_cut_is_catss_activation() -> None:
    model, x = Gated(), torch.randn(300, 16)
    result = sparsify_inputs(model, [x], score="cats", keep=0.4, copy=True)
    gate = model.act_fn(model.gate_proj(x))
    threshold = float(gate.detach().abs().flatten().sort().values[int(0.6 * gate.numel()) - 1])
    assert result.thresholds["down_proj"] == pytest.approx(threshold)
    wanted = model.down_proj(torch.where(gate.abs() >= threshold, gate, 0.0) * model.up_proj(x))
    torch.testing.assert_close(result.model(x), wanted)
    assert isinstance(result.model.act_fn, GatedCut)
    with pytest.raises(FewerError, match="needs gated blocks"):
        sparsify_inputs(net(), [x], score="cats")


def test_greedy_over_blocks_of_a_model() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Gated(), Gated()])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.layers:
                x = x + block(x)
            return x

    torch.manual_seed(0)
    model, data = Stack(), [torch.randn(4, 20, 16)]
    result = sparsify_inputs(model, data, score="magnitude", keep=0.5, budget="greedy", step=0.25, copy=True)
    weighted = sum(result.keeps[n] * size for n, size in result.sizes.items()) / sum(result.sizes.values())
    assert weighted == pytest.approx(0.5) and len(set(result.keeps.values())) > 1


def test_straight_through_gradient() -> None:
    x = torch.tensor([1.0, -3.0, 2.0, 0.5], requires_grad=True)
    y = top_k(x, keep=0.5)
    (gradient,) = torch.autograd.grad((y * torch.arange(4.0)).sum(), x)
    assert y.tolist() == [0.0, -3.0, 2.0, 0.0] and gradient.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_model_can_be_tuned_under_top_k() -> None:
    model, x, wanted = net(), torch.randn(64, 40), torch.randn(64, 10)
    weight = model[0].weight
    train_top_k(model, keep=0.25)
    assert type(model[0]) is TopKLinear and model[0].weight is weight
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (model(x) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_tolerance_on_a_model() -> None:
    model, x = net(), torch.randn(128, 40)

    def measure(other: nn.Module) -> float:
        return 10 + float((other(x) - model(x)).detach().square().mean())

    keep = keep_for_tolerance(model, [x], measure, tolerance=0.002)
    assert 0 < keep < 1
    assert measure(sparsify_inputs(model, [x], keep=keep, copy=True).model) <= 10.02


def test_methods_are_catalogued() -> None:
    for kind, name in (("input-score", "wina"), ("input-cut", "quantile"), ("input-budget", "greedy")):
        assert find(kind, name).papers
    with pytest.raises(FewerError, match="did you mean 'wina'"):
        sparsify_inputs(net(), [torch.ones(1, 40)], score="wnia")
