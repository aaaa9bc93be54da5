"""Families that no line of this project names, by their defaults alone: memory and stream give the same weights."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
import zoo
from safetensors.torch import load_file

import fewer
from fewer.method import FewerError

MOE = dict(num_experts_per_tok=2, moe_intermediate_size=16)
#: Model type and what its configuration needs besides the sizes in `zoo.SMALL`.
FAMILIES = {
    "gemma": dict(head_dim=8),
    "gemma2": dict(head_dim=8, sliding_window=4, query_pre_attn_scalar=8),
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen2_moe": dict(num_experts=4, shared_expert_intermediate_size=16, **MOE),
    "qwen3_moe": dict(num_experts=4, head_dim=8, **MOE),
    "olmo2": {},
    "olmoe": dict(num_experts=4, num_experts_per_tok=2),
    "stablelm": {},
    "cohere": {},
    "falcon": dict(ffn_hidden_size=64),
    "bloom": dict(n_layer=3, n_head=4),
    "mpt": dict(d_model=32, n_layers=3, n_heads=4, max_seq_len=64),
    "gptj": dict(n_embd=32, n_layer=3, n_head=4, n_positions=64, rotary_dim=4),
    "gpt_neo": dict(num_heads=4, attention_types=[[["global"], 2], [["local"], 1]], window_size=4),
    "starcoder2": {},
    "granite": {},
    "mamba2": dict(state_size=8, num_heads=8, head_dim=8, n_groups=1),
    "deepseek_v3": dict(
        num_key_value_heads=4, n_routed_experts=4, n_group=2, topk_group=1, q_lora_rank=16, kv_lora_rank=16,
        qk_rope_head_dim=4, v_head_dim=8, qk_nope_head_dim=8, first_k_dense_replace=1, **MOE,
    ),
    "smollm3": {},
    "gpt_oss": dict(num_local_experts=4, num_experts_per_tok=2, head_dim=8, sliding_window=4),
    "glm4": dict(head_dim=8),
    "rwkv": dict(attention_hidden_size=32, context_length=64),
    "nemotron": {},
    "exaone4": {},
}  # fmt: skip


def make(family):
    torch.manual_seed(0)
    config = hf.AutoConfig.for_model(family, **{**zoo.SMALL, **FAMILIES[family]})
    return hf.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_and_stream_agree(family, tmp_path):
    model, data = make(family), zoo.sample("llama")
    model.save_pretrained(tmp_path / "dense")
    held = fewer.prune(model, data, score="wanda", keep=0.5)
    held.save(tmp_path / "memory")
    fewer.prune(tmp_path / "dense", data, score="wanda", keep=0.5, out=tmp_path / "streamed")
    one, other = (load_file(tmp_path / way / "model.safetensors") for way in ("memory", "streamed"))
    assert one.keys() == other.keys() and held.sparsity == pytest.approx(0.5, abs=0.01)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_experts_of_unknown_layout_are_spoken_of():
    done = fewer.prune(zoo.make("llama4"), zoo.sample("llama4"), score="wanda")
    assert "27,648 weights belong to no layer and were left alone: `fewer plan` names them" in done.notes


def test_a_layer_that_is_only_read_is_left_alone_unless_it_is_named(tmp_path):
    model = hf.MambaForCausalLM(hf.MambaConfig(**{**zoo.SMALL, "state_size": 8})).eval()
    model.save_pretrained(tmp_path / "dense")
    name = "backbone.layers.0.mixer.dt_proj"
    for source, out in ((model, None), (tmp_path / "dense", tmp_path / "out")):
        done = fewer.prune(source, zoo.sample("llama"), score="wanda", out=out)
        assert f"never called on this data: left as they are (3 layers, first {name})" in done.notes
        assert bool(done.masks[name].all()) and not bool(done.masks["backbone.layers.0.mixer.in_proj"].all())
        assert {row.name: row.damage for row in done.layers}[name] is None
    with pytest.raises(FewerError, match=r"'backbone\.layers\.0\.mixer\.dt_proj' was never called .* leave it out"):
        fewer.prune(model, zoo.sample("llama"), score="wanda", only=["*_proj"])
