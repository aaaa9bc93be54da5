from __future__ import annotations

import literal
import pytest
import torch
import transformers
import zoo

from fewer import adapt, evidence

NAMES = ["input_norm", "input_gram", "input_mean", "input_var"]
FAMILIES = sorted(zoo.MAKERS)


def expected(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums in plain loops over tokens."""
    count, width = max(len(rows), 1), rows.shape[1]
    square, mean = torch.zeros(width).double(), torch.zeros(width).double()
    gram, var = torch.zeros(width, width).double(), torch.zeros(width).double()
    for row in rows:
        square += row * row / count
        mean += row / count
        gram += torch.outer(row, row) / count
    for row in rows:
        var += (row - mean) ** 2 / count
    return {"input_norm": square.sqrt(), "input_gram": gram, "input_mean": mean, "input_var": var}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_equal_the_literal_computation(family, padded):
    model = zoo.make(family)
    if family == "mixtral":
        model.set_experts_implementation("eager")
    batches = zoo.sample(family, padded=padded)
    opened = adapt.open(model)
    # A grouped or depthwise convolution counts too: everything that can be named, but embeddings.
    layers = [layer for layer in opened.candidates if layer.kind != "embedding" and layer.name != "score"]
    store = evidence.collect(opened, batches, NAMES, layers=layers, precision="float64")
    for layer in layers[:: 1 if family in ("mixtral", "cnn") else 3]:
        rows = literal.inputs(model, batches, layer)
        # The bert pooler reads one token a sample, which padding cannot touch.
        if layer.name.startswith(("bert.pooler", "classifier")) and padded:
            continue
        assert store.tokens[layer.name] == len(rows)
        for name, value in expected(rows).items():
            torch.testing.assert_close(store[layer.name][name].double(), value, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_gradients_are_taken_one_sample_at_a_time(family):
    model = zoo.make(family)
    if family == "mixtral":
        model.set_experts_implementation("eager")
    batches = zoo.sample(family, padded=True)
    opened = adapt.open(model)
    store = evidence.collect(opened, batches, ["grad", "grad_abs", "grad_sq"])
    samples = [{k: v[i : i + 1] for k, v in b.items()} for b in batches for i in range(2)]
    want = {x.name: torch.zeros(3, *x.shape) for x in opened.layers}
    for sample in samples:
        model.zero_grad()
        literal.sample_loss(model, sample).backward()
        for layer in opened.layers:
            g = layer.matrix(layer.tensor().grad)
            want[layer.name] += torch.stack([g, g.abs(), g * g]) / len(samples)
    for layer in opened.layers:
        got = torch.stack([store[layer.name][n] for n in ("grad", "grad_abs", "grad_sq")])
        torch.testing.assert_close(got, want[layer.name], rtol=1e-3, atol=1e-7)


def test_gradients_do_not_depend_on_the_batches_and_leave_the_model_as_it_was():
    model = zoo.make("llama")
    model.lm_head.weight.requires_grad_(False)
    ids = torch.cat([batch["input_ids"] for batch in zoo.sample("llama")])
    one = evidence.collect(model, adapt.data.batches(ids, batch=4), ["grad_sq", "output_grad_norm"])
    two = evidence.collect(model, adapt.data.batches(ids, batch=1), ["grad_sq", "output_grad_norm"])
    for layer in one:
        assert all(torch.equal(one[layer][name], two[layer][name]) for name in one[layer])
    assert all(p.grad is None for p in model.parameters())
    assert not model.lm_head.weight.requires_grad and model.model.norm.weight.requires_grad


@pytest.mark.parametrize("family", ["llama", "mixtral", "cnn"])
def test_output_gradients_are_root_mean_squares_of_what_a_bias_would_sum(family):
    model = zoo.make(family)
    batches = zoo.sample(family, count=2)
    opened = adapt.open(model)
    if family == "cnn":
        batches = [{**batch, "labels": torch.tensor([0, 3])} for batch in batches]
    layer = opened.layers[-1]
    seen = []
    from fewer.adapt.capture import Tap

    for batch in adapt.data.batches(batches).singles():
        with Tap([layer], on_gradient=lambda _, rows: seen.append(rows)):
            adapt.run.loss(model, batch).backward()
    store = evidence.collect(opened, batches, ["output_grad_norm"], layers=[layer])
    rows = torch.cat(seen).double()
    torch.testing.assert_close(store[layer.name]["output_grad_norm"].double(), rows.square().mean(0).sqrt())
    if family == "cnn":
        torch.testing.assert_close(rows.sum(0).float(), model.point.bias.grad)


def test_block_similarity_is_the_mean_cosine():
    model = zoo.make("llama")
    batches = zoo.sample("llama", padded=True)
    store = evidence.collect(model, batches, ["block_similarity"])
    cosines: dict[int, list[float]] = {}
    for batch in batches:
        with torch.no_grad():
            states = model.model(**batch, output_hidden_states=True).hidden_states
            for index in range(2):  # the last entry of hidden_states is after the final norm
                for s, t in batch["attention_mask"].nonzero().tolist():
                    a, b = states[index][s, t].double(), states[index + 1][s, t].double()
                    cosines.setdefault(index, []).append(float(a @ b / (a.norm() * b.norm())))
    for index, values in cosines.items():
        got = float(store[f"model.layers.{index}.mlp.up_proj"]["block_similarity"])
        assert got == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_transposed_experts_are_seen_as_out_by_in():
    """GPT-OSS stores (experts, in, out) and multiplies with `@`."""
    small = dict(zoo.SMALL, num_local_experts=4, num_experts_per_tok=2, head_dim=8)
    torch.manual_seed(0)
    model = transformers.GptOssForCausalLM(transformers.GptOssConfig(**small)).eval()
    batches = zoo.sample("llama", padded=True)
    states = []
    home = model.model.layers[1].mlp
    handle = home.experts.register_forward_pre_hook(
        lambda m, args, kwargs: states.append((args[0], (list(args[1:]) + list(kwargs.values()))[0])), with_kwargs=True
    )
    store = evidence.collect(model, batches, ["input_norm"])
    handle.remove()
    for index in range(4):
        rows = []
        for (x, routed), batch in zip(states, batches, strict=True):
            for token, keep in enumerate(batch["attention_mask"].reshape(-1).tolist()):
                if keep and index in routed[token].tolist():
                    rows.append(x.reshape(-1, 32)[token].double())
        name = f"model.layers.1.mlp.experts.gate_up_proj[{index}]"
        assert store.tokens[name] == len(rows)
        want = torch.stack(rows).square().mean(0).sqrt()
        torch.testing.assert_close(store[name]["input_norm"].double(), want, rtol=2e-6, atol=2e-6)
