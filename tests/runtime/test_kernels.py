"""Every kernel on every tier of this machine against a float64 product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.method import FewerError
from fewer.runtime import dispatch
from fewer.runtime.format import BLOCK_HEIGHT, pack_weight, unpack_weight
from fewer.runtime.kernels import (
    cut_inputs,
    dense_product,
    forms,
    multiply,
    packed_columns_product,
    product,
    skip_columns,
    unpack_rows,
)  # fmt: skip

TIERS = dispatch.tiers()
DTYPES = (torch.float32, torch.bfloat16, torch.int8)
SHAPES = [(1, 1), (1, 64), (3, 63), (32, 65), (64, 100), (33, 257), (96, 300), (32, 700), (64, 512)]


def sparse(rows: int, cols: int, keep: float, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, cols, generator=g) * (torch.rand(rows, cols, generator=g) < keep)


def reference(weight: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    y = x.double() @ weight.double().T
    return y if bias is None else y + bias.double()


def rounded_inputs(x: torch.Tensor) -> torch.Tensor:
    scale = x.float().abs().amax(dim=1, keepdim=True) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    q = x.float() / scale
    return (torch.sign(q) * torch.floor(q.abs() + 0.5)).double() * scale.double()


def bound(weight: torch.Tensor, x: torch.Tensor, y_dtype: torch.dtype, step: float) -> torch.Tensor:
    """What rounding may do: a few last places of the sum of absolute products, and of the result."""
    size = x.double().abs() @ weight.double().abs().T
    return size * step + 1e-30 + (size / 128 if y_dtype == torch.bfloat16 else 0)


def check(weight: torch.Tensor, dtype: torch.dtype, batch: int, tier: str, height: int = 1) -> None:
    packed = pack_weight(weight, dtype=dtype, height=height)
    dense = unpack_weight(packed)
    bias = torch.linspace(-1, 1, weight.shape[0])
    for x_dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(batch, weight.shape[1], generator=torch.Generator().manual_seed(batch)).to(x_dtype)
        for form in forms(packed, tier):
            seen = rounded_inputs(x) if dtype == torch.int8 and form != "torch" else x.double()
            y = multiply(packed, x, bias, form=form, tier=tier)
            wide = dense.to(x_dtype) if form == "torch" else dense
            # one step of rounding to int8 may fall either way at a tie
            extra = dense.double().abs().sum(dim=1) * (x.double().abs().max() / 127) * 1e-4
            error = (y.double() - reference(wide, seen, bias)).abs()
            slack = bound(dense, x, x_dtype, 1e-5) + (0.02 if x_dtype == torch.bfloat16 else 1e-5)
            slack = slack + extra if dtype == torch.int8 else slack
            assert bool((error <= slack).all()), (form, tier, dtype, x_dtype, float(error.max()))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_match_a_float64_product(shape: tuple[int, int], dtype: torch.dtype, tier: str) -> None:
    for batch in (1, 3, 7):
        check(sparse(*shape, 0.5), dtype, batch, tier)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keep", [0.0, 0.02, 1.0])
def test_empty_rows_and_full_rows(keep: float, dtype: torch.dtype, tier: str) -> None:
    weight = sparse(32, 130, keep)
    weight[5] = 0
    check(weight, dtype, 2, tier)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", list(BLOCK_HEIGHT))
@pytest.mark.parametrize("batch", [1, 2, 5, 16, 37])
def test_blocks(batch: int, dtype: torch.dtype, tier: str) -> None:
    blocks = sparse(4, 150, 0.5).repeat_interleave(32, dim=0)
    check(blocks * torch.randn(128, 150), dtype, batch, tier, BLOCK_HEIGHT[dtype])


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("batch", [16, 17, 32, 33, 70])
def test_index_form_at_the_edges_of_its_batches(batch: int, tier: str) -> None:
    check(sparse(40, 600, 0.3), torch.float32, batch, tier)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), cols=st.integers(1, 200), batch=st.integers(1, 9), keep=st.floats(0, 1), data=st.data())
def test_generated_shapes(rows: int, cols: int, batch: int, keep: float, data: st.DataObject) -> None:
    check(sparse(rows, cols, keep, rows), data.draw(st.sampled_from(DTYPES)), batch, data.draw(st.sampled_from(TIERS)))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_skip_what_is_small(dtype: torch.dtype, tier: str) -> None:
    for rows, cols in ((1, 1), (5, 63), (130, 77), (64, 256)):
        weight = sparse(rows, cols, 1.0).to(dtype)
        x, norms, bias = torch.randn(cols).to(dtype), torch.rand(cols), torch.randn(rows)
        y, count = skip_columns(weight.T, x, 0.3, norms, bias, tier=tier)
        stays = x.float().abs() * norms > 0.3
        wanted = reference(weight, (x * stays)[None], bias)[0]
        assert count == int(stays.sum())
        slack = bound(weight, x[None], dtype, 1e-5)[0] + (0.02 if dtype == torch.bfloat16 else 1e-5)
        assert bool(((y.double() - wanted).abs() <= slack).all())


@pytest.mark.parametrize("tier", [tier for tier in TIERS if tier.startswith("extension-")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_columns_read_what_columns_do(dtype: torch.dtype, tier: str) -> None:
    for rows, cols, keep in (
        (1, 1, 1.0),
        (5, 63, 0.5),
        (130, 77, 0.3),
        (64, 256, 0.0),
        (700, 33, 0.6),
        (4500, 20, 0.5),
    ):
        weight = sparse(rows, cols, keep).to(dtype)
        x, norms, bias = torch.randn(cols).to(dtype), torch.rand(cols), torch.randn(rows)
        call = packed_columns_product(pack_weight(weight.T), 0.3, norms, bias, tier=tier, x_dtype=dtype)
        y = x.new_empty(rows)
        stays = x.float().abs() * norms > 0.3
        assert call(x, y, 1) == int(stays.sum())
        wanted = reference(weight, (x * stays)[None], bias)[0]
        slack = bound(weight, x[None], dtype, 1e-5)[0] + (0.02 if dtype == torch.bfloat16 else 1e-5)
        assert bool(((y.double() - wanted).abs() <= slack).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_are_cut_alike_with_and_without_the_extension(dtype: torch.dtype) -> None:
    x, norms = torch.randn(7, 33).to(dtype), torch.rand(33)
    x[2, 3], x[3, 4] = torch.nan, torch.inf
    with torch.no_grad():
        fast = cut_inputs(x, torch.tensor(0.3), norms)
    torch.testing.assert_close(fast, cut_inputs(x, torch.tensor(0.3), norms), rtol=0, atol=0, equal_nan=True)
    with pytest.raises(FewerError, match="norms of their width"), torch.no_grad():
        cut_inputs(x, torch.tensor(0.3), norms[1:])


@pytest.mark.parametrize("tier", TIERS)
def test_columns_at_the_threshold_are_skipped_and_nan_stays(tier: str) -> None:
    weight = torch.eye(3)
    y, count = skip_columns(weight, torch.tensor([0.5, -0.5, 0.6]), 0.5, tier=tier)
    assert count == 1 and torch.equal(y, torch.tensor([0.0, 0.0, 0.6]))
    y, count = skip_columns(weight, torch.tensor([float("nan"), 0.1, 0.1]), 0.5, tier=tier)
    assert count == 1 and bool(torch.isnan(y[0]))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_reaches_outputs_that_keep_it(bad: float, dtype: torch.dtype, tier: str) -> None:
    weight = sparse(32, 130, 0.6)
    packed = pack_weight(weight, dtype=dtype)
    kept = unpack_weight(packed)[:, 3] != 0
    x = torch.ones(2, 130)
    x[0, 3] = bad
    for form in forms(packed, tier):
        y = multiply(packed, x, form=form, tier=tier)
        assert not torch.isfinite(y[0][kept]).any() and torch.isfinite(y[1]).all(), form


@pytest.mark.parametrize("tier", TIERS)
def test_denormals_are_not_flushed(tier: str) -> None:
    packed = pack_weight(torch.full((2, 70), 2.0**-140))
    for form in forms(packed, tier):
        y = multiply(packed, torch.ones(1, 70), form=form, tier=tier)
        assert torch.equal(y, torch.full((1, 2), 70 * 2.0**-140)), form


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_unpack_as_they_were(dtype: torch.dtype) -> None:
    packed = pack_weight(sparse(64, 150, 0.5), dtype=dtype, height=BLOCK_HEIGHT.get(dtype, 1))
    out = torch.empty(32, 150, dtype=dtype)
    unpack_rows(packed, 32, 64, out)
    stored = pack_weight(sparse(64, 150, 0.5), dtype=dtype)
    dense = torch.empty(64, 150, dtype=dtype)
    unpack_rows(stored, 0, 64, dense)
    assert torch.equal(out, dense[32:])


def test_two_threads_give_the_same_numbers() -> None:
    weight, x = sparse(2048, 512, 0.5), torch.randn(1, 512)
    packed, before = pack_weight(weight), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = multiply(packed, x)
        torch.set_num_threads(2)
        assert torch.equal(multiply(packed, x), one)
        native = dispatch.native()
        if native is not None and dispatch.openmp_loop()[1]:
            native.runtime_threads(*dispatch.openmp_loop())
            assert torch.equal(multiply(packed, x), one)
    finally:
        torch.set_num_threads(before)
        if dispatch.native() is not None:
            dispatch.native().runtime_threads(*dispatch._parallel_loop())


def test_wrong_inputs_are_one_line() -> None:
    packed = pack_weight(torch.eye(4))
    with pytest.raises(FewerError, match=r"expected float32 or bfloat16 \(batch, 4\)"):
        multiply(packed, torch.ones(2, 5))
    with pytest.raises(FewerError, match="no form 'blocks'"):
        multiply(packed, torch.ones(2, 4), form="blocks", tier=TIERS[0])
    with pytest.raises(FewerError, match=r"bias has shape \(3,\)"):
        product(packed, torch.ones(3), form=forms(packed, TIERS[0])[0], tier=TIERS[0], x_dtype=torch.float32)
    with pytest.raises(FewerError, match="needs a scale"):
        dense_product(torch.ones(4, 4, dtype=torch.int8), None, tier=TIERS[0], x_dtype=torch.float32)
    with pytest.raises(FewerError, match="inputs have shape"):
        skip_columns(torch.eye(4), torch.ones(5), 0.1)
