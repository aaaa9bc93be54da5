from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import zoo
from torch import nn

from fewer import adapt, evidence
from fewer.method import FewerError


def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def pairs(count: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    made = [torch.randn(count, n, generator=draw, dtype=torch.float64) for n in (3, 2)]
    return [(made[0], made[1])]


def measured(net: nn.Module, data, names: list[str], **more) -> evidence.Store:
    """Of all layers, the last one too."""
    opened = adapt.open(net)
    return evidence.collect(opened, data, names, layers=opened.candidates, precision="float64", **more)


def gradient(net: nn.Module, data: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Mean gradient of both weights, written out in float64."""
    weights = [net[0].weight, net[2].weight]
    value = sum(((net(x) - y) ** 2).mean() for x, y in data) / len(data)
    return list(torch.autograd.grad(value, weights))


def test_hessian_times_gradient_equals_a_central_difference_of_gradients():
    net, data, step = smooth(), pairs(), 1e-4
    store = measured(net, data, ["hessian_grad"])
    g = gradient(net, data)
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            for place, part in zip((0, 2), g, strict=True):
                moved[place].weight += sign * step * part
        ends.append(gradient(moved, data))
    for place, plus, minus in zip(("0", "2"), *ends, strict=True):
        want = (plus - minus) / (2 * step)
        torch.testing.assert_close(store[place]["hessian_grad"], want, rtol=1e-5, atol=1e-7)


def test_hessian_of_a_quadratic_is_the_gram_matrix():
    """One output, mean squared error: H = 2 X^T X / S and g = 2 X^T (X w - y) / S."""
    torch.manual_seed(0)
    net, x, y = nn.Linear(3, 1, bias=False).double(), torch.randn(6, 3).double(), torch.randn(6, 1).double()
    holder = nn.Sequential(net)
    store = evidence.collect(holder, [(x, y)], ["hessian_grad"], precision="float64")
    w = net.weight.detach()
    want = (2 * (x @ w.T - y).T @ x / 6) @ (2 * x.T @ x / 6)
    torch.testing.assert_close(store["0"]["hessian_grad"], want, rtol=1e-5, atol=1e-7)


def test_hessian_of_a_language_model_equals_a_central_difference():
    """All layers together, through attention: the fused kernels have no second derivative."""
    model = zoo.make("llama").double()
    batches, opened = zoo.sample("llama"), adapt.open(model)
    got = evidence.collect(opened, batches, ["grad", "hessian_grad"], precision="float64")
    ends = []
    for sign in (1, -1):
        moved = adapt.open(copy.deepcopy(model))
        for layer in moved.layers:
            layer.write(layer.read() + sign * 1e-3 * got[layer.name]["grad"])
        ends.append(evidence.collect(moved, batches, ["grad"], precision="float64"))
    for layer in opened.layers:
        want = (ends[0][layer.name]["grad"] - ends[1][layer.name]["grad"]) / 2e-3
        found = got[layer.name]["hessian_grad"]
        assert float((found - want).norm()) < 2e-3 * float(want.norm()) + 1e-9


def test_hessian_does_not_depend_on_the_batches_and_parts_of_it_do_not_add_up():
    x, y = pairs(4)[0]
    whole = evidence.collect(smooth(), [(x, y)], ["hessian_grad"])
    parts = [(x[:1], y[:1]), (x[1:], y[1:])]
    cut = evidence.collect(smooth(), parts, ["hessian_grad"])
    torch.testing.assert_close(cut["0"]["hessian_grad"], whole["0"]["hessian_grad"])
    one, two = (evidence.collect(smooth(), [part], ["hessian_grad"]) for part in parts)
    with pytest.raises(FewerError, match="hessian_grad of two parts of the data do not add up"):
        one.merge(two)


def test_what_has_no_second_derivative_is_one_line():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    class Square(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    net = nn.Sequential(nn.Linear(3, 2), Square()).double()
    with pytest.raises(FewerError, match="hessian_grad: a part of the model has no second derivative") as caught:
        evidence.collect(net, pairs(), ["hessian_grad"])
    assert "\n" not in str(caught.value)


def test_synflow_equals_the_product_of_absolute_matrices():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
    store = measured(net, -torch.rand(4, 3), ["synflow_grad"])
    one, two = (net[i].weight.detach().double().abs() for i in (0, 2))
    first = torch.outer(two.sum(0), torch.ones(3).double())
    second = torch.outer(torch.ones(2).double(), one.sum(1))
    torch.testing.assert_close(store["0"]["synflow_grad"], first)
    torch.testing.assert_close(store["2"]["synflow_grad"], second)


def test_synflow_conserves_what_enters_and_leaves_every_hidden_unit():
    from fewer.score import synflow

    torch.manual_seed(0)
    sizes = [4, 7, 6, 3]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b, bias=False), nn.ReLU())]
    net = nn.Sequential(*layers).double()
    store = measured(net, torch.rand(1, 4), ["synflow_grad"])
    scores = [synflow(net[i].weight.detach(), store[str(i)]["synflow_grad"]) for i in (0, 2, 4)]
    for before, after in pairwise(scores):
        torch.testing.assert_close(before.sum(1), after.sum(0))
    assert float(scores[0].sum()) > 0


def test_synflow_of_a_language_model_feeds_ones_and_reads_no_token():
    model = zoo.make("llama")
    opened, (first, *_) = adapt.open(model), zoo.sample("llama")
    ids = first["input_ids"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got, other = (evidence.collect(opened, x, ["synflow_grad"], precision="float64") for x in (ids, ids.flip(1)))
    twin = copy.deepcopy(model).double()
    for p in twin.parameters():
        p.data = p.data.abs()
    twin(inputs_embeds=torch.ones(1, ids.shape[1], model.config.hidden_size).double()).logits.sum().backward()
    for layer in adapt.open(twin).layers:
        found = got[layer.name]["synflow_grad"]
        torch.testing.assert_close(found, layer.tensor().grad, rtol=1e-9, atol=1e-12)
        assert torch.equal(found, other[layer.name]["synflow_grad"])
    after = model.state_dict()
    assert all(torch.equal(after[n], v) and after[n].dtype == v.dtype for n, v in before.items())


def test_synflow_of_a_module_that_only_takes_tokens_is_refused():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    with pytest.raises(FewerError, match="this model takes token ids and nothing else"):
        evidence.collect(net, torch.zeros(2, 3, dtype=torch.long), ["synflow_grad"])


def test_reference_gradients_are_those_of_the_second_data():
    data, second = pairs(4), [(x.flip(1), y) for x, y in pairs(5)]
    names = ["grad", "grad_sq", "reference_grad", "reference_grad_sq"]
    both = evidence.collect(smooth(), data, names, reference=second)
    alone, there = (evidence.collect(smooth(), x, ["grad", "grad_sq"]) for x in (data, second))
    for name in ("grad", "grad_sq"):
        assert torch.equal(both["0"][name], alone["0"][name])
        assert torch.equal(both["0"][f"reference_{name}"], there["0"][name])
    assert both.data not in (alone.data, there.data)


def test_reference_without_a_second_data_set_is_one_line():
    with pytest.raises(FewerError, match=r"reference_grad are measured on a second data set: give it as reference"):
        evidence.collect(smooth(), pairs(), ["reference_grad"])


def test_block_by_block_these_are_those_of_the_model_as_it_was_given():
    names = ["hessian_grad", "synflow_grad", "reference_grad_sq"]
    want, seen, opened = measured(smooth(), pairs(), names, reference=pairs(3)), {}, adapt.open(smooth())

    def visit(layers, store):
        for layer in layers:
            seen[layer.name] = dict(store[layer.name])
            layer.write(0 * layer.read())

    more = {"layers": opened.candidates, "reference": pairs(3), "precision": "float64"}
    evidence.sequential(opened, pairs(), names, visit, **more)
    assert all(torch.equal(seen[x][name], want[x][name]) for x in want for name in names)


def test_a_kernel_without_float64_gives_synflow_in_float32():
    got = {}
    for kind in ("eager", "grouped_mm"):
        model = zoo.make("mixtral")
        model.set_experts_implementation(kind)
        got[kind] = evidence.collect(model, zoo.sample("mixtral"), ["synflow_grad"])
    for layer, found in got["eager"].items():
        # Queries and keys have no flow but rounding.
        if not layer.endswith(("q_proj", "k_proj")):
            torch.testing.assert_close(got["grouped_mm"][layer]["synflow_grad"], found["synflow_grad"])


def test_a_flow_that_a_normalisation_swallows_is_refused():
    net = nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    with pytest.raises(FewerError, match="synflow_grad is zero everywhere: a normalisation removes the constant"):
        evidence.collect(net, torch.rand(2, 4), ["synflow_grad"])
