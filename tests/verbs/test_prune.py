from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import fewer
from fewer.events import BlockDone, LayerDone, RunDone, RunStarted
from fewer.method import FewerError
from fewer.recipe import Recipe, Where

from .models import tiny_llama, tokens


def linears(model):
    return {n: m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}


def zeros(weight):
    return int((weight == 0).sum())


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.61, 1.0])
@pytest.mark.parametrize("score", ["magnitude", "wanda", "random", "ria"])
def test_requested_share_is_met_to_within_one_weight(score, keep):
    model = tiny_llama()
    done = fewer.prune(model, tokens(), score=score, keep=keep, update="zero")
    for name, weight in linears(done.model).items():
        assert abs(zeros(weight) - (1 - keep) * weight.numel()) <= 1, name
        assert torch.equal(weight != 0, done.masks[name])


def test_the_rest_is_untouched_and_the_given_model_too():
    model = tiny_llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = fewer.prune(model, tokens(), keep=0.5, update="zero")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    pruned = {f"{name}.weight" for name in linears(model)}
    for name, value in done.model.state_dict().items():
        same = torch.equal(value, before[name])
        assert same != (name in pruned), name
        if name in pruned:
            assert torch.equal(value, torch.where(done.masks[name.removesuffix(".weight")], before[name], 0.0))


def test_inplace_writes_into_the_given_model():
    model = tiny_llama()
    assert fewer.prune(model, score="magnitude", inplace=True).model is model
    assert zeros(model.model.layers[0].mlp.up_proj.weight) > 0


def literal_wanda(model, rows, keep):
    """Block by block in float64: norms, one sort a row, zero, and on with the pruned block's output."""
    kept = {}
    for index, block in enumerate(model.model.layers):
        names = {n: m for n, m in block.named_modules() if isinstance(m, torch.nn.Linear)}
        sums = dict.fromkeys(names, 0.0)

        def hook(name, sums=sums):
            def add(_, args):
                sums[name] = sums[name] + args[0].double().reshape(-1, args[0].shape[-1]).square().sum(0)

            return add

        handles = [m.register_forward_pre_hook(hook(n)) for n, m in names.items()]
        for row in rows:
            model(input_ids=row[None])
        for handle in handles:
            handle.remove()
        for name, layer in names.items():
            worth = layer.weight.double().abs() * sums[name].sqrt()
            total = round(keep * worth.numel())
            share, extra = divmod(total, worth.shape[0])
            mask = torch.zeros_like(worth, dtype=torch.bool)
            for place, line in enumerate(worth):
                best = sorted(range(len(line)), key=lambda j, line=line: (-float(line[j]), j))
                mask[place, best[: share + (place < extra)]] = True
            layer.weight.mul_(mask)
            kept[f"model.layers.{index}.{name}"] = mask
    return kept


@torch.no_grad()
@pytest.mark.parametrize("keep", [0.5, 0.375])
def test_sequential_wanda_equals_a_literal_loop(keep):
    done = fewer.prune(tiny_llama(), tokens(), score="wanda", keep=keep, update="zero")
    expected = literal_wanda(tiny_llama(), tokens(), keep)
    assert list(done.masks) == list(expected)
    for name, mask in expected.items():
        assert torch.equal(done.masks[name], mask), name


def test_later_blocks_see_the_pruned_earlier_ones():
    options = {"score": "wanda", "keep": 0.2, "update": "zero"}
    one = fewer.prune(tiny_llama(), tokens(), order="sequential", **options)
    other = fewer.prune(tiny_llama(), tokens(), order="at-once", **options)
    same = [torch.equal(one.masks[name], other.masks[name]) for name in one.masks]
    assert all(same[:4]) and not all(same[7:])


@pytest.mark.parametrize(("pattern", "group"), [("2:4", (2, 4)), ("1:4", (1, 4)), ("4:8", (4, 8))])
def test_n_of_m(pattern, group):
    done = fewer.prune(tiny_llama(), tokens(), score="wanda", pattern=pattern, update="zero")
    n, m = group
    assert done.plan.recipe.keep == n / m
    for mask in done.masks.values():
        assert (mask.reshape(-1, m).sum(1) == n).all()


@pytest.mark.parametrize(("pattern", "axis"), [("row", 1), ("column", 0)])
def test_whole_rows_and_columns(pattern, axis):
    done = fewer.prune(tiny_llama(), tokens(), score="wanda", pattern=pattern, keep=0.5, update="zero")
    for mask in done.masks.values():
        lines = mask.any(axis)
        assert torch.equal(lines, mask.all(axis)) and int(lines.sum()) == len(lines) // 2


def test_blocks():
    done = fewer.prune(tiny_llama(), score="magnitude", pattern="4x2", keep=0.25, update="zero")
    for mask in done.masks.values():
        units = mask.reshape(mask.shape[0] // 4, 4, -1, 2).float().mean((1, 3))
        assert set(units.unique().tolist()) <= {0.0, 1.0} and units.mean() == 0.25


@pytest.mark.parametrize("budget", ["global", "lamp", "erk", "owl"])
def test_budgets_meet_the_total_and_differ_by_layer(budget):
    done = fewer.prune(tiny_llama(), tokens(), keep=0.5, budget=budget, update="zero")
    total = sum(row.total for row in done.layers)
    assert sum(row.kept for row in done.layers) == round(0.5 * total)
    assert len({round(row.sparsity, 3) for row in done.layers}) > 1


def test_a_list_of_shares_and_filters():
    recipe = Recipe(score="magnitude", keep=(0.8, 0.4), where=(Where("*.down_proj", 0.25),), update="zero")
    done = fewer.run(tiny_llama(), None, recipe)
    found = {row.name: row.kept / row.total for row in done.layers}
    assert found["model.layers.0.mlp.up_proj"] == pytest.approx(0.8, abs=1e-3)
    assert found["model.layers.1.mlp.up_proj"] == pytest.approx(0.4, abs=1e-3)
    assert found["model.layers.1.mlp.down_proj"] == 0.25


def test_only_and_skip():
    done = fewer.prune(tiny_llama(), score="magnitude", only=["*.mlp.*"], skip=["*.layers.1.*"])
    assert [row.name for row in done.layers] == [f"model.layers.0.mlp.{x}_proj" for x in ("gate", "up", "down")]


def test_lm_head_is_pruned_when_it_is_named():
    done = fewer.prune(tiny_llama(), tokens(), only=["lm_head"], keep=0.5, update="zero")
    assert zeros(done.model.lm_head.weight) == done.model.lm_head.weight.numel() // 2
    assert zeros(done.model.model.layers[0].mlp.up_proj.weight) == 0


def test_rounds_nest_and_end_at_the_share():
    seen = []
    options = {"score": "wanda", "keep": 0.3, "update": "zero", "steps": 4, "schedule": "linear"}
    done = fewer.prune(tiny_llama(), tokens(), progress=seen.append, **options)
    counts = {}
    for event in seen:
        if isinstance(event, LayerDone):
            counts.setdefault(event.name, []).append(event.kept)
    assert all(len(c) == 4 and sorted(c, reverse=True) == c and c[0] > c[-1] for c in counts.values())
    assert abs(done.sparsity - 0.7) < 1e-3


def test_damage_is_the_relative_error_of_the_layers_output():
    model, rows = tiny_llama(), tokens()
    layer = "model.layers.0.self_attn.q_proj"
    done = fewer.prune(model, rows, keep=0.5, update="zero", order="at-once")
    seen = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(input_ids=rows)
    handle.remove()
    inputs = seen[0].reshape(-1, 32).double()
    dense, sparse = (m.get_submodule(layer).weight.detach().double() for m in (model, done.model))
    error = (inputs @ (dense - sparse).T).norm() / (inputs @ dense.T).norm()
    found = {row.name: row.damage for row in done.layers}
    assert found[layer] == pytest.approx(float(error), rel=1e-4)


def test_an_update_that_compensates_does_less_damage():
    zero = fewer.prune(tiny_llama(), tokens(), keep=0.5, update="zero")
    least = fewer.prune(tiny_llama(), tokens(), keep=0.5, update="least-squares")
    assert all(a.damage < b.damage for a, b in zip(least.layers[:4], zero.layers[:4], strict=True))


def test_same_seed_same_bytes():
    runs = [fewer.prune(tiny_llama(), tokens(), score="random", seed=s, update="zero") for s in (3, 3, 4)]
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_random_differs_between_layers_of_one_shape():
    masks = fewer.prune(tiny_llama(), score="random", update="zero").masks
    assert not torch.equal(masks["model.layers.0.mlp.up_proj"], masks["model.layers.0.mlp.gate_proj"])


def test_gradient_scores():
    done = fewer.prune(tiny_llama(), tokens(), score="gblm", keep=0.5, update="zero")
    assert abs(done.sparsity - 0.5) < 1e-3


def test_a_convolutional_net():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 16, 5),
    )
    done = fewer.prune(net, torch.randn(6, 3, 8, 8), score="wanda", keep=0.5, update="zero")
    assert [row.name for row in done.layers] == ["0", "2"]
    assert zeros(done.model[2].weight) == done.model[2].weight.numel() // 2


def test_missing_data_is_said_before_anything_runs():
    with pytest.raises(FewerError, match=r"score 'wanda' .* needs input_norm: give calibration data"):
        fewer.prune(tiny_llama(), score="wanda", update="zero")


def test_functions_are_accepted_as_methods():
    from fewer.score import magnitude

    assert fewer.prune(tiny_llama(), score=magnitude).plan.recipe.score == "magnitude"
    with pytest.raises(FewerError, match="is not a registered score"):
        fewer.prune(tiny_llama(), score=len)


def test_events_tell_the_story():
    seen = []
    fewer.prune(tiny_llama(), tokens(), progress=seen.append, update="zero")
    assert isinstance(seen[0], RunStarted) and seen[0].layers == 14 and isinstance(seen[-1], RunDone)
    assert sum(isinstance(event, LayerDone) for event in seen) == 14
    assert [event.index for event in seen if isinstance(event, BlockDone)] == [0, 1]


def test_histograms_count_every_nonzero_weight_once():
    done = fewer.prune(tiny_llama(), tokens(), update="zero")
    weights = next(h for h in done.histograms if h.title == "weights")
    assert sum(weights.kept) + sum(weights.dropped) == sum(row.total for row in done.layers)
    assert len(weights.edges) == len(weights.kept) + 1


def test_the_output_says_where_it_comes_from(tmp_path):
    done = fewer.prune(tiny_llama(), tokens(), keep=0.5, update="zero")
    out = done.save(tmp_path / "out")
    assert fewer.load_recipe(out / "fewer-recipe.toml") == done.plan.recipe
    assert "Simple and Effective Pruning" in (out / "fewer-citations.md").read_text()
    assert "NaN" not in (out / "fewer-report.json").read_text()
    again = fewer.run(tiny_llama(), tokens(), fewer.load_recipe(out / "fewer-recipe.toml"))
    assert all(torch.equal(again.masks[name], done.masks[name]) for name in done.masks)


def test_non_finite_weights_are_caught_with_their_layer():
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = math.inf
    with pytest.raises(FewerError, match=r"model\.layers\.1\.mlp\.up_proj"):
        fewer.prune(model, score="magnitude")


def test_resolved_recipe_gives_the_same_plan():
    done = fewer.prune(tiny_llama(), tokens(), pattern="2:4", update="zero")
    again = dataclasses.replace(done.plan.recipe)
    assert fewer.plan_for(tiny_llama(), again).hash == done.plan.hash
