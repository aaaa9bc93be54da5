"""Checkpoints of several number types: computed as transformers computes them, written in the types that they had."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, Glm4MoeConfig, MixtralConfig

import fewer
from fewer.adapt.stream import Stream
from fewer.method import FewerError
from fewer.verbs.prune import plan_for

from .models import tiny_llama, tokens

SIZES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MIXES = {
    "norms": (torch.bfloat16, {"norm": torch.float32}),
    "embedding": (torch.bfloat16, {"embed": torch.float32}),
    "projection": (torch.bfloat16, {"layers.0.self_attn.q_proj": torch.float32}),
    "head": (torch.bfloat16, {"lm_head": torch.float16}),
    "half": (torch.float32, {"mlp": torch.float16}),
    "double": (torch.float16, {"layers.1.mlp.up": torch.float64}),
}


def mixed(path, base, changes, **config):
    """A checkpoint of `base` in which tensors whose names hold a key of `changes` have another type, unrounded."""
    tiny_llama().to(base).save_pretrained(path)
    file, full = path / "model.safetensors", tiny_llama().state_dict()
    found = load_file(file)
    for part, dtype in changes.items():
        found |= {name: full[name].to(dtype) for name in found if part in name}
    save_file(found, file, {"format": "pt"})
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(settings | config))
    return path


def same(one, other):
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name]) for name, value in one.items()
    )


@pytest.mark.parametrize("mix", MIXES)
def test_every_tensor_keeps_its_type_streamed_and_in_memory(mix, tmp_path):
    source = mixed(tmp_path / "m", *MIXES[mix])
    memory = fewer.prune(source, tokens(), score="wanda")
    fewer.prune(source, tokens(), score="wanda", out=tmp_path / "streamed")
    memory.save(tmp_path / "memory")
    before = load_file(source / "model.safetensors")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("memory", "streamed"))
    assert same(one, other) and all(value.dtype == before[name].dtype for name, value in one.items())
    assert all(torch.equal(value[value != 0], before[name][value != 0]) for name, value in one.items())
    assert sum(int((value == 0).sum()) for value in one.values()) == sum(row.total - row.kept for row in memory.layers)


@pytest.mark.parametrize("mix", MIXES)
def test_it_is_computed_as_transformers_computes_it(mix, tmp_path):
    source = mixed(tmp_path / "m", *MIXES[mix])
    theirs, ours = AutoModelForCausalLM.from_pretrained(source, dtype="auto"), fewer.load(source).module
    assert same(theirs.state_dict(), ours.state_dict())
    types = {name: value.dtype for name, value in Stream(source, tmp_path / "o").module.state_dict().items()}
    assert types == {name: value.dtype for name, value in theirs.state_dict().items()}


@pytest.mark.parametrize("dtype", ["float32", None])
def test_the_type_that_the_configuration_names_is_computed_in_and_not_written(dtype, tmp_path):
    source = mixed(tmp_path / "m", torch.bfloat16, {"lm_head": torch.float32}, dtype=dtype)
    pruned = fewer.prune(source, tokens(), keep=0.5, score="wanda")
    assert pruned.model.dtype == AutoModelForCausalLM.from_pretrained(source, dtype="auto").dtype == torch.float32
    fewer.prune(source, tokens(), keep=0.5, score="wanda", out=tmp_path / "streamed")
    pruned.save(tmp_path / "memory")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("memory", "streamed"))
    assert same(one, other) and one["model.norm.weight"].dtype == torch.bfloat16
    rounded = one["model.layers.0.mlp.up_proj.weight"].float()
    assert torch.equal(rounded, pruned.model.model.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize("update", ["zero", "sweep"])
def test_masks_are_applied_and_undone_exactly(update, tmp_path):
    source = mixed(tmp_path / "m", *MIXES["projection"])
    done = fewer.prune(source, tokens(), score="wanda", update=update, out=tmp_path / "out", complement=True)
    from fewer.verbs.mask import apply_mask, undo_mask

    assert fewer.load(source).hash() == done.model_hash == Stream(source, tmp_path / "o").hash()
    undo_mask(tmp_path / "out", tmp_path / "out", tmp_path / "back")
    assert same(load_file(tmp_path / "back" / "model.safetensors"), load_file(source / "model.safetensors"))
    if update == "zero":
        apply_mask(source, tmp_path / "out", tmp_path / "again")
        assert same(*(load_file(tmp_path / name / "model.safetensors") for name in ("again", "out")))
        assert fewer.pack(tmp_path / "out")(tokens()).logits.isfinite().all()


def test_experts_stored_one_by_one_keep_a_type_each(tmp_path):
    config = MixtralConfig(**SIZES, num_key_value_heads=2, intermediate_size=48, num_local_experts=2)
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(tmp_path / "m")
    found = load_file(tmp_path / "m" / "model.safetensors")
    found |= {name: value.float() * 1.001 for name, value in found.items() if ".experts.1.w1" in name}
    save_file(found, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    fewer.prune(tmp_path / "m", tokens(), score="magnitude", out=tmp_path / "a")
    fewer.prune(tmp_path / "m", tokens(), score="magnitude").save(tmp_path / "b")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert same(one, other) and {name: x.dtype for name, x in one.items()} == {n: x.dtype for n, x in found.items()}


def test_what_a_class_keeps_in_float32_is_computed_so_when_streamed(tmp_path):
    shape = {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    config = Glm4MoeConfig(**SIZES, **shape, num_key_value_heads=2, intermediate_size=48, first_k_dense_replace=1)
    AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(tmp_path / "m")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").state_dict()
    ours = Stream(tmp_path / "m", tmp_path / "o").module.state_dict()
    assert {name: x.dtype for name, x in ours.items()} == {name: x.dtype for name, x in theirs.items()}
    assert len({x.dtype for x in ours.values()}) == 2


@pytest.mark.parametrize("road", ["plan", "load", "streamed"])
@pytest.mark.parametrize("how", ["int8", "float8", "quantization_config", "nested"])
def test_quantised_checkpoints_are_refused_in_a_line(how, road, tmp_path):
    changes = {"int8": {"q_proj": torch.int8}, "float8": {"q_proj": torch.float8_e4m3fn}}.get(how, {})
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4}} if how[0] in "qn" else {}
    config = {"text_config": config} if how == "nested" else config
    source = mixed(tmp_path / "m", torch.bfloat16, changes, **config)
    roads = {"plan": fewer.plan_for, "load": fewer.load, "streamed": lambda x: fewer.prune(x, out=tmp_path / "out")}
    with pytest.raises(FewerError, match=r"is quantised.*open the unquantised checkpoint") as caught:
        roads[road](source)
    assert "\n" not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_modules_of_foreign_types_are_refused_in_a_line(dtype):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].weight = nn.Parameter(torch.ones(4, 4).to(dtype), requires_grad=False)
    with pytest.raises(FewerError, match=r"layer '0' is (quantised|complex) \("):
        fewer.prune(model, score="magnitude")


def test_an_unforeseen_error_says_what_its_work_is_good_for(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of luck")

    tiny_llama().save_pretrained(tmp_path / "m")
    monkeypatch.setattr("fewer.verbs._solve.Job.worth", fail)
    with pytest.raises(RuntimeError) as caught:
        fewer.prune(tmp_path / "m", tokens(), score="wanda", out=tmp_path / "out")
    assert "out.partial' holds what was finished: the same call goes on there; remove it" in caught.value.__notes__[0]


def test_the_plan_names_the_type_that_the_model_is_loaded_in(tmp_path, monkeypatch):
    """A configuration may name another type than the files have: it decides, on every processor."""
    monkeypatch.setattr("fewer.compute.multiplies", lambda _: True)
    source = mixed(tmp_path / "m", torch.bfloat16, {}, dtype="float32")
    assert plan_for(source).compute == plan_for(fewer.load(source)).compute == "float32"
    assert fewer.prune(source, tokens(), out=tmp_path / "out").plan.compute == "float32"
    assert plan_for(mixed(tmp_path / "n", torch.bfloat16, {}, dtype="bfloat16")).compute == "bfloat16"


def test_stored_values_that_are_gone_are_not_replaced_by_rounded_ones(tmp_path):
    source = mixed(tmp_path / "m", *MIXES["norms"])
    opened = fewer.load(source)
    shutil.rmtree(source)
    with pytest.raises(FewerError, match=r"stored values of '.*norm.*' cannot be read any more"):
        opened.hash()
