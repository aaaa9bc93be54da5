"""Layers: same numbers as nn.Linear on every tier, through moves, copies, autograd and files."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional

from fewer.method import FewerError
from fewer.runtime import (
    ActivationSparseLinear,
    Cut,
    GemvLinear,
    PackedLinear,
    PackedSkippingLinear,
    dispatch,
    pack,
    pack_weight,
)  # fmt: skip
from fewer.runtime.choose import rule

TIERS = dispatch.tiers()


def layer(rows: int = 64, cols: int = 100, keep: float = 0.4, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(cols, rows).to(dtype)
    made.weight.data.mul_(torch.rand(rows, cols) < keep)
    return made


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(dispatch.VARIABLE, request.param)
    return str(request.param)


@pytest.mark.parametrize("keep", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("prefill", ["keep", "rebuild"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_is_a_drop_in(dtype: torch.dtype, prefill: str, keep: float, tier: str) -> None:
    dense = layer(keep=keep, dtype=dtype)
    packed = PackedLinear(pack_weight(dense.weight), dense.bias, prefill=prefill)
    with torch.no_grad():
        for shape in ((100,), (1, 100), (1, 1, 100), (2, 3, 100), (5, 1, 100), (9, 100), (70, 100), (0, 100)):
            x = torch.randn(shape).to(dtype)
            y = packed(x)
            assert y.shape == dense(x).shape and y.dtype == dtype
            torch.testing.assert_close(y, dense(x), atol=1e-5 if dtype == torch.float32 else 0.03, rtol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_own_dense_and_int8(dtype: torch.dtype, tier: str) -> None:
    dense = layer(keep=1.0, dtype=dtype)
    packed = PackedLinear(pack_weight(dense.weight, dtype=torch.int8), dense.bias, dtype=dtype)
    own = GemvLinear(dense.weight, dense.bias)
    with torch.no_grad():
        for batch in (1, 3, 20):
            x = torch.randn(batch, 100).to(dtype)
            torch.testing.assert_close(own(x), dense(x), atol=1e-5 if dtype == torch.float32 else 0.03, rtol=0.01)
            torch.testing.assert_close(packed(x), dense(x), atol=0.05, rtol=0.05)


def test_views_that_are_not_contiguous(tier: str) -> None:
    dense = layer()
    packed = PackedLinear(pack_weight(dense.weight), dense.bias)
    x = torch.randn(100, 3).T
    with torch.no_grad():
        torch.testing.assert_close(packed(x), dense(x))
        torch.testing.assert_close(packed(torch.randn(1, 200)[:, ::2]).shape, torch.Size([1, 64]))


def test_gradients_reach_the_input(tier: str) -> None:
    dense = layer()
    packed = PackedLinear(pack_weight(dense.weight), dense.bias)
    x = torch.randn(1, 100, requires_grad=True)
    (gradient,) = torch.autograd.grad(packed(x).sum(), x)
    torch.testing.assert_close(gradient, dense.weight.sum(dim=0, keepdim=True))


def test_copies_and_loaded_states_do_not_keep_old_addresses() -> None:
    dense, other = layer(), layer()
    x = torch.randn(1, 100)
    packed = PackedLinear(pack_weight(dense.weight), dense.bias)
    before = packed(x)
    other.weight.data.mul_(2)
    twin = copy.deepcopy(packed)
    twin.load_state_dict(PackedLinear(pack_weight(other.weight), other.bias).state_dict())
    torch.testing.assert_close(twin(x), other(x).detach())
    assert torch.equal(packed(x), before)
    buffer = io.BytesIO()
    torch.save(packed, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), before)


def test_other_number_types_and_moves() -> None:
    dense = layer()
    packed = PackedLinear(pack_weight(dense.weight), dense.bias)
    moved = copy.deepcopy(packed).to(torch.bfloat16)
    assert moved.values.dtype == torch.float32
    assert moved(torch.ones(1, 100, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert packed.double()(torch.ones(2, 100, dtype=torch.float64)).dtype == torch.float64
    assert packed.to("meta")(torch.ones(2, 100, device="meta", dtype=torch.float64)).shape == (2, 64)


def test_compiled_models_use_torch() -> None:
    packed = PackedLinear(pack_weight(layer().weight)).keep_dense()
    exported = torch.export.export(packed, (torch.ones(1, 100),)).module()
    torch.testing.assert_close(exported(torch.ones(1, 100)), packed(torch.ones(1, 100)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_input_sparse_layer_is_the_same_at_every_batch(dtype: torch.dtype, tier: str) -> None:
    dense = layer(keep=1.0, dtype=dtype)
    norms = dense.weight.detach().float().norm(dim=0)
    sparse = ActivationSparseLinear(dense.weight, 0.4, norms=norms, bias=dense.bias)
    with torch.no_grad():
        for batch in (1, 4):
            x = torch.randn(batch, 100).to(dtype)
            left = torch.where(x.float().abs() * norms > 0.4, x, torch.zeros_like(x))
            assert torch.equal(sparse.active(x), left != 0)
            wanted = functional.linear(left, dense.weight, dense.bias)
            torch.testing.assert_close(sparse(x), wanted, atol=1e-5 if dtype == torch.float32 else 0.03, rtol=0.01)


@pytest.mark.parametrize("cut", [Cut(0.4), Cut(count=30), Cut(count=2, group=4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_and_cut_inputs_together(dtype: torch.dtype, cut: Cut, tier: str) -> None:
    dense = layer(keep=0.4, dtype=dtype)
    plain = ActivationSparseLinear(dense.weight, cut, norms=torch.rand(100), bias=dense.bias)
    both = PackedSkippingLinear.of(plain)
    assert torch.equal(both.weight, dense.weight)
    slack = {"atol": 1e-5 if dtype == torch.float32 else 0.03, "rtol": 0.01}
    with torch.no_grad():
        for shape in ((100,), (1, 1, 100), (3, 100), (0, 100)):
            x = torch.randn(shape).to(dtype)
            torch.testing.assert_close(both(x), functional.linear(both._left(x), dense.weight, dense.bias), **slack)
            torch.testing.assert_close(both(x), plain(x), **slack)


@pytest.mark.parametrize(("zeros", "first"), [(2, ()), (6, (1, "torch")), (8, (2, "bitmask")), (12, (4, "bitmask"))])
def test_without_avx512_a_single_input_pays_where_half_is_gone(zeros, first) -> None:
    weight = (torch.arange(16) >= zeros).float().repeat(16, 1)
    assert (*rule(pack_weight(weight), "extension-avx2"), ())[0] == first


def test_pack_chooses_by_sparsity_and_pattern() -> None:
    model = nn.Sequential(layer(keep=0.3), layer(64, 64, keep=1.0), layer(64, 64))
    model[2].weight.data.copy_((torch.rand(4, 64) < 0.3).repeat_interleave(16, dim=0) * (1 + torch.rand(64, 64)))
    packed = pack(model, copy=True)
    assert [type(part) for part in packed] == [PackedLinear, GemvLinear, PackedLinear]
    assert packed[0].height == 1 and packed[2].height == 16
    left = pack(model, below="leave", skip=["2"], copy=True)
    assert [type(part) for part in left] == [PackedLinear, nn.Linear, nn.Linear]
    assert type(model[0]) is nn.Linear


def test_faults_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FewerError, match="no linear layer"):
        pack(nn.ReLU())
    with pytest.raises(FewerError, match="prefill is"):
        PackedLinear(pack_weight(torch.eye(4)), prefill="never")
    with pytest.raises(FewerError, match="at least 0"):
        ActivationSparseLinear(torch.eye(4), -1.0)
    monkeypatch.setenv(dispatch.VARIABLE, "extension-avx51")
    with pytest.raises(FewerError, match="not a tier of this machine"):
        dispatch.tier()


def test_without_the_extension_other_tiers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "native", lambda: None)
    for name in ("dense", *(["numba"] if "numba" in TIERS else [])):
        monkeypatch.setattr(dispatch, "tier", lambda name=name: name)
        dense = layer(keep=0.1)
        for prefill in ("keep", "rebuild"):
            packed = PackedLinear(pack_weight(dense.weight), dense.bias, prefill=prefill)
            for batch in (1, 5):
                x = torch.randn(batch, 100)
                torch.testing.assert_close(packed(x), dense(x).detach())
