"""Which layers are packed: GPT-2's transposed ones too, and a name that matches nothing is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import fewer
from fewer import runtime
from fewer.method import FewerError
from fewer.runtime.linear import PackedLinear
from fewer.verbs.pack import sizes


@pytest.fixture(scope="module")
def sparse():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=32)).eval()
    return fewer.prune(model, score="magnitude", keep=0.5).model


def test_conv1d_is_packed_saved_and_read_again(sparse, tmp_path):
    ids = torch.arange(12)[None]
    with torch.no_grad():
        wanted = sparse(ids).logits
        packed = fewer.pack(sparse, out=tmp_path / "packed")
        assert isinstance(packed.transformer.h[0].attn.c_attn, PackedLinear) and sizes(packed).packed == 8
        torch.testing.assert_close(packed(ids).logits, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(runtime.load(tmp_path / "packed")(ids).logits, wanted, rtol=1e-4, atol=1e-5)
    again = packed.transformer.h[0].mlp.c_fc
    assert torch.equal(again.weight, sparse.transformer.h[0].mlp.c_fc.weight.T)
    assert (again.in_features, again.out_features) == (32, 128)


def test_conv1d_that_is_dense_stays_as_it_is(sparse):
    dense = fewer.pack(sparse, min_sparsity=0.9)
    assert type(dense.transformer.h[0].attn.c_attn).__name__ == "Conv1D"


@pytest.mark.parametrize("options", [{"only": ["*.c_atn"]}, {"skip": ["*.c_atn"]}])
def test_a_name_that_matches_nothing_is_refused(sparse, options):
    with pytest.raises(FewerError, match=r"no linear layer matches '\*.c_atn'"):
        fewer.pack(sparse, **options)


def test_brackets_are_literal_everywhere():
    model = nn.ModuleDict({"a[0]": nn.Linear(64, 64), "a0": nn.Linear(64, 64)})
    for layer in model.values():
        layer.weight.data.tril_(-8)
    packed = fewer.pack(model, only=["a[0]"])
    assert [type(layer).__name__ for layer in packed.values()] == ["PackedLinear", "Linear"]


def test_a_layer_that_stands_in_two_places_is_read_in_both(tmp_path):
    layer = nn.Linear(64, 64)
    layer.weight.data.tril_(-8)
    runtime.save(fewer.pack(nn.Sequential(layer, layer)), tmp_path / "packed")
    again = runtime.load(tmp_path / "packed", nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)))
    assert torch.equal(again[0].weight, layer.weight) and torch.equal(again[1].weight, layer.weight)
