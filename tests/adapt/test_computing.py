from __future__ import annotations

import pytest
import torch
import zoo

from fewer import adapt, evidence
from fewer.adapt.computing import computing, dtype_of
from fewer.adapt.stream import Stream
from fewer.compute import multiplies, resolve
from fewer.method import FewerError

CORE = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"})


def half(family="llama"):
    return zoo.make(family).bfloat16()


@pytest.mark.parametrize(
    ("flags", "variables", "fast"),
    [
        ({"avx2", "avx512f"}, {}, False),
        (CORE, {}, True),
        ({"asimd", "bf16"}, {}, True),
        (CORE, {"ATEN_CPU_CAPABILITY": "avx2"}, False),
        (CORE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        (CORE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        (CORE, {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, True),
        (CORE, {"DNNL_MAX_CPU_ISA": "avx512_core"}, False),
    ],
)
def test_products_of_bfloat16_are_known_from_flags_and_variables(flags, variables, fast):
    assert multiplies("bfloat16", frozenset(flags), variables) is fast
    assert not multiplies("float16", frozenset(flags), variables)


@pytest.mark.parametrize(
    ("fast", "wanted"), [(False, ("float32", "float32", "float32")), (True, ("bfloat16", "float16", "float32"))]
)
def test_auto_is_the_stored_type_where_that_is_fast(fast, wanted, monkeypatch):
    monkeypatch.setattr("fewer.compute.multiplies", lambda _: fast)
    assert tuple(resolve("auto", stored) for stored in ("bfloat16", "float16", "float32")) == wanted
    assert resolve("auto", "bfloat16", device="cuda") == resolve("auto", "bfloat16", authors=True) == "bfloat16"


@pytest.mark.parametrize(
    ("asked", "stored", "said"),
    [("bfloat16", "float32", "round"), ("float32", "float64", "round"), ("float16", "bfloat16", "cannot hold")],
)
def test_no_model_is_computed_in_less_than_it_is_stored_in(asked, stored, said):
    with pytest.raises(FewerError, match=said):
        resolve(asked, stored)


def test_the_nearest_type_is_suggested():
    with pytest.raises(FewerError, match=r"unknown compute 'bfloat15'.*bfloat16"):
        resolve("bfloat15", "bfloat16")


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "bert", "vit", "llama4"])
def test_a_model_in_half_precision_gives_the_evidence_of_its_weights_in_float32(family):
    data = zoo.sample(family)
    names = ["input_gram", "input_norm"]
    mine = evidence.collect(half(family), data, names, compute="float32")
    theirs = evidence.collect(half(family).float(), data, names)
    assert mine.compute == theirs.compute == "float32"
    assert all(torch.equal(mine[x][n], theirs[x][n]) for x in theirs for n in names)


def test_gradients_are_those_of_the_weights_in_float32():
    mine = evidence.collect(half(), zoo.sample("llama"), ["grad_sq"], compute="float32")
    theirs = evidence.collect(half().float(), zoo.sample("llama"), ["grad_sq"])
    assert all(torch.equal(mine[x]["grad_sq"], theirs[x]["grad_sq"]) for x in theirs)


@pytest.mark.parametrize("blocks", [False, True])
def test_parameters_stay_what_they_are(blocks):
    model = half()
    opened, before = adapt.open(model), dict(model.named_parameters())
    kept = {name: value.clone() for name, value in before.items()}
    with (
        pytest.raises(RuntimeError, match="size of tensor"),
        computing(model, torch.float32, opened.blocks if blocks else ()),
    ):
        assert model.lm_head.weight.dtype == torch.float32
        assert (model.model.layers[0].mlp.up_proj.weight.dtype == torch.float32) is not blocks
        model.model.layers[0](torch.ones(1, 2, 3))
    for name, value in model.named_parameters():
        assert value is before[name] and value.dtype == torch.bfloat16 and torch.equal(value, kept[name])


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_streaming_computes_in_float32_what_memory_does(family, tmp_path):
    half(family).save_pretrained(tmp_path / "m", max_shard_size="20KB")
    opened, stream = adapt.open(tmp_path / "m"), Stream(tmp_path / "m", tmp_path / "out")

    def visit(layers, store):
        for layer in layers:
            layer.write(layer.read() * (store[layer.name]["input_norm"] > store[layer.name]["input_norm"].median()))
        return {layer.name: store[layer.name]["input_norm"].tolist() for layer in layers}

    data = zoo.sample(family, padded=True)
    assert evidence.sequential(stream, data, ["input_norm"], visit, compute="float32") == evidence.sequential(
        opened, data, ["input_norm"], visit, compute="float32"
    )
    stream.finish()
    assert adapt.open(tmp_path / "out").hash() == opened.hash()
    assert dtype_of(opened.module, authors=True) == torch.bfloat16


def test_a_run_is_not_resumed_in_another_type(tmp_path):
    half().save_pretrained(tmp_path / "m")
    data, layers = adapt.data.batches(torch.arange(3, 23)[None]), Stream(tmp_path / "m", tmp_path / "out").layers
    next(Stream(tmp_path / "m", tmp_path / "out").stages(data, layers, torch.bfloat16))
    with pytest.raises(FewerError, match="unfinished run with another compute"):
        next(Stream(tmp_path / "m", tmp_path / "out").stages(data, layers, torch.float32))
