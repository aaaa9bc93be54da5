"""The packed form: exact round trips, sizes, and arrays that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.method import FewerError
from fewer.runtime.format import check, pack_weight, row_sums, unpack_weight


def sparse(rows: int, cols: int, keep: float) -> torch.Tensor:
    return torch.randn(rows, cols) * (torch.rand(rows, cols) < keep)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(0, 200), st.floats(0, 1), st.sampled_from([torch.float32, torch.bfloat16]))
def test_round_trip_is_exact(rows: int, cols: int, keep: float, dtype: torch.dtype) -> None:
    weight = sparse(rows, cols, keep).to(dtype)
    packed = pack_weight(weight)
    check(packed, "x")
    assert torch.equal(unpack_weight(packed), weight) and packed.kept == int((weight != 0).sum())


@pytest.mark.parametrize(("dtype", "height"), [(torch.float32, 16), (torch.bfloat16, 32)])
def test_blocks_keep_their_zeros(dtype: torch.dtype, height: int) -> None:
    weight = sparse(96, 70, 0.05).to(dtype)
    packed = pack_weight(weight, height=height)
    check(packed, "x")
    assert torch.equal(unpack_weight(packed), weight)
    assert packed.kept == height * int(weight.reshape(-1, height, 70).any(dim=1).sum())


def test_int8_is_within_half_a_step() -> None:
    weight = sparse(30, 90, 0.5)
    weight[3] = 0
    packed = pack_weight(weight, dtype=torch.int8)
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((unpack_weight(packed) - weight).abs() <= step * 0.5001).all())
    assert torch.equal(row_sums(packed), (unpack_weight(packed) / packed.scale[:, None]).round().sum(1).int())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_size_is_values_and_one_bit_a_place(dtype: torch.dtype, sparsity: float) -> None:
    packed = pack_weight(sparse(1024, 768, 1 - sparsity), dtype=dtype)
    bits = 8 * dtype.itemsize
    assert packed.nbytes / (1024 * 768 * dtype.itemsize) <= 1 - packed.sparsity + 1 / bits + 0.005


@pytest.mark.parametrize("weight", [torch.ones(3), torch.ones(2, 2, dtype=torch.int32), torch.tensor([[float("nan")]])])
def test_what_cannot_be_packed(weight: torch.Tensor) -> None:
    with pytest.raises(FewerError):
        pack_weight(weight)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offsets": lambda a: a.offsets + 1}, "offsets do not agree"),
        ({"offsets": lambda a: a.offsets[:-1]}, "offsets is"),
        ({"offsets": lambda a: a.offsets.flip(0)}, "offsets do not agree"),
        ({"mask": lambda a: a.mask | (1 << 40)}, "do not agree"),
        ({"values": lambda a: a.values[:-1]}, "values have shape"),
        ({"values": lambda a: a.values.double()}, "not torch.float64"),
        ({"values": lambda a: a.values * float("inf")}, "not all finite"),
        ({"rows": lambda a: 99}, "mask is"),
        ({"cols": lambda a: 10}, "beyond column 10"),
        ({"height": lambda a: 7}, "blocks are 16 high"),
        ({"scale": lambda a: torch.ones(4)}, "only int8"),
    ],
)
def test_arrays_that_do_not_fit(change: dict, words: str) -> None:
    packed = pack_weight(torch.ones(4, 20))
    with pytest.raises(FewerError, match=words):
        check(replace(packed, **{name: make(packed) for name, make in change.items()}), "layer 'a'")
