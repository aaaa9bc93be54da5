"""Guards against slow code that gives right numbers; limits lie far from what is usual, so noise does not matter."""

from __future__ import annotations

import time

import pytest
import torch

from fewer.runtime import dispatch, pack_weight
from fewer.runtime.kernels import Product, dense_product, product

BEST = dispatch.tiers()[0]
pytestmark = [pytest.mark.native, pytest.mark.skipif(BEST != "extension-avx512", reason="needs AVX-512 VBMI2")]


def least(call: Product, x: torch.Tensor, y: torch.Tensor) -> float:
    times = []
    for _ in range(300):
        start = time.perf_counter_ns()
        for _ in range(10):
            call(x, y, 1)
        times.append(time.perf_counter_ns() - start)
    return min(times)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_expanding_is_not_one_long_chain(dtype: torch.dtype) -> None:
    """About 2 on the machine where it was written; 6.3 when the expand waits for its destination."""
    rows, cols = 64, 2048 // dtype.itemsize
    weight, x = torch.randn(rows, cols).to(dtype), torch.randn(1, cols).to(dtype)
    sparse, y = weight * (torch.rand(rows, cols) < 0.5), x.new_empty(1, rows)
    packed = product(pack_weight(sparse), None, form="bitmask", tier=BEST, x_dtype=dtype)
    assert least(packed, x, y) < 4 * least(dense_product(weight, None, tier=BEST, x_dtype=dtype), x, y)
