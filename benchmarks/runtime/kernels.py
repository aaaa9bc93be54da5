"""R1 to R13, R18, R19: kernels against torch, against the own dense kernel, and against a plain read of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from benchmarks.runtime.timing import race, ring
from torch.nn import functional

from fewer.runtime import dispatch
from fewer.runtime.format import BLOCK_HEIGHT, Packed, pack_weight
from fewer.runtime.kernels import columns_product, dense_product, product

SHAPES = ((4096, 4096), (3072, 768))
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
Row = tuple[str, str, float, str, float]  # id, what, measured, "at least"/"at most", goal


def weight(rows: int, cols: int, keep: float, dtype: torch.dtype, pattern: str = "") -> torch.Tensor:
    dense = torch.randn(rows, cols)
    if pattern:
        n, m = map(int, pattern.split(":"))
        mask = torch.rand(rows, cols // m, m).argsort(dim=-1).lt(n).reshape(rows, cols)
    else:
        mask = torch.rand(rows, cols) < keep
    return (dense * mask).to(torch.float32 if dtype == torch.int8 else dtype)


def calls(packed: Packed, form: str, tier: str, x: torch.Tensor) -> Callable[[int], object]:
    """The product on a cold copy of the packed weight at every call."""

    def copy() -> object:
        parts = [None if a is None else a.clone() for a in (packed.mask, packed.values, packed.offsets, packed.scale)]
        fresh = Packed(packed.rows, packed.cols, packed.height, *parts)
        return product(fresh, None, form=form, tier=tier, x_dtype=x.dtype)

    copies, y = ring(copy, packed.nbytes), x.new_empty(x.shape[0], packed.rows)
    return lambda turn: copies[turn % len(copies)](x, y, x.shape[0])


def dense_calls(dense: torch.Tensor, tier: str, x: torch.Tensor, scale: torch.Tensor | None = None) -> Callable:
    size = dense.numel() * dense.element_size()
    copies = ring(lambda: dense_product(dense.clone(), None, tier=tier, x_dtype=x.dtype, scale=scale), size)
    y = x.new_empty(x.shape[0], dense.shape[0])
    return lambda turn: copies[turn % len(copies)](x, y, x.shape[0])


def torch_calls(dense: torch.Tensor, x: torch.Tensor) -> Callable:
    copies = ring(dense.clone, dense.numel() * dense.element_size())
    return lambda turn: functional.linear(x, copies[turn % len(copies)])


def torch_int8_calls(dense: torch.Tensor, x: torch.Tensor) -> Callable:
    """torch's dynamic int8 linear: weights and inputs int8, as the packed int8 kernel."""
    scale = float(dense.abs().max()) / 127
    stored = torch.quantize_per_tensor(dense, scale, 0, torch.qint8)
    copies = ring(lambda: torch.ops.quantized.linear_prepack(stored, None), dense.numel())
    return lambda turn: torch.ops.quantized.linear_dynamic(x, copies[turn % len(copies)])


def stream_calls(size: int) -> Callable:
    native = dispatch.native()
    copies = ring(lambda: torch.ones(size, dtype=torch.uint8), size)
    return lambda turn: native.runtime_stream(copies[turn % len(copies)].data_ptr(), size)


def bitmask(tier: str, seconds: float) -> Iterator[Row]:
    """R1 to R10 and R19."""
    goals = {  # dtype: vs own 50 / 70, vs torch 50 / 70
        "fp32": ("R2", 1.45, 2.1, "R5", 2.3, 3.2), "bf16": ("R3", 1.4, 1.75, "R6", 3.1, 4.2),
        "int8": ("R4", 1.2, 1.4, "R7", 1.4, 1.8),
    }  # fmt: skip
    for shape in SHAPES:
        for label, dtype in DTYPES.items():
            where = f"{label} {shape[0]}x{shape[1]}"
            x = torch.randn(1, shape[1], dtype=torch.bfloat16 if dtype == torch.bfloat16 else torch.float32)
            full = weight(*shape, 1.1, dtype)
            dense, scale = full, None
            if dtype == torch.int8:
                dense, scale = torch.randint(-127, 127, shape, dtype=torch.int8), torch.ones(shape[0])
            packs = {s: pack_weight(weight(*shape, 1 - s, dtype), dtype=dtype) for s in (0.5, 0.7)}
            size = dense.numel() * dense.element_size()
            field = {"own": dense_calls(dense, tier, x, scale), "stream": stream_calls(size)}
            field["torch"] = torch_int8_calls(full, x) if dtype == torch.int8 else torch_calls(full, x)
            for s, packed in packs.items():
                field[f"sparse {s}"] = calls(packed, "bitmask", tier, x)
            avx2 = "extension-avx2" in dispatch.tiers() and dtype != torch.int8
            if avx2:
                for s, packed in packs.items():
                    field[f"avx2 {s}"] = calls(packed, "bitmask", "extension-avx2", x)
            if dtype != torch.int8 and shape == SHAPES[0]:
                for pattern in ("2:4", "8:16"):
                    regular = pack_weight(weight(*shape, 0, dtype, pattern), dtype=dtype)
                    field[pattern] = calls(regular, "bitmask", tier, x)
            t = race(field, seconds)
            own, against = goals[label][:3], goals[label][3:]
            yield "R1", f"own dense bytes/s over stream, {where}", t["stream"] / t["own"], "at least", 0.80
            for s, goal_own, goal_torch in ((0.5, own[1], against[1]), (0.7, own[2], against[2])):
                ratio = t["own"] / t[f"sparse {s}"]
                yield own[0], f"bitmask vs own dense, {where}, {s:.0%}", ratio, "at least", goal_own
                ratio = t["torch"] / t[f"sparse {s}"]
                yield against[0], f"bitmask vs torch, {where}, {s:.0%}", ratio, "at least", goal_torch
                if avx2:
                    goal = {"fp32": {0.5: 2.0, 0.7: 2.3}, "bf16": {0.5: 1.8, 0.7: 1.9}}[label][s]
                    yield "R8", f"AVX2 vs torch, {where}, {s:.0%}", t["torch"] / t[f"avx2 {s}"], "at least", goal
                if dtype != torch.int8:
                    share = packs[s].nbytes / size * t["stream"] / t[f"sparse {s}"]
                    goal = 0.70 if s == 0.5 else 0.60
                    yield "R9", f"packed bytes/s over stream, {where}, {s:.0%}", share, "at least", goal
                limit = 1 - packs[s].sparsity + 1 / (8 * dtype.itemsize) + 0.005
                yield "R19", f"packed size over dense, {where}, {s:.0%}", packs[s].nbytes / size, "at most", limit
            for pattern in ("2:4", "8:16"):
                if pattern in t:
                    ratio = t[pattern] / t["sparse 0.5"]
                    yield "R10", f"{pattern} vs unstructured time, {where}", ratio, "at most", 1.05


def blocks(tier: str, seconds: float) -> Iterator[Row]:
    """R11."""
    rows, cols = SHAPES[0]
    height = BLOCK_HEIGHT[torch.float32]
    for batch, goals in ((1, {0.5: 2.4, 0.75: 4.5}), (32, {0.5: 2.8, 0.7: 4.6})):
        x = torch.randn(batch, cols)
        field = {"torch": torch_calls(torch.randn(rows, cols), x)}
        for s in goals:
            kept = (torch.rand(rows // height, cols) >= s).repeat_interleave(height, dim=0)
            field[str(s)] = calls(pack_weight(torch.randn(rows, cols) * kept, height=height), "blocks", tier, x)
        t = race(field, seconds)
        for s, goal in goals.items():
            yield "R11", f"16x1 blocks vs torch, fp32, batch {batch}, {s:.0%}", t["torch"] / t[str(s)], "at least", goal


def columns(tier: str, seconds: float) -> Iterator[Row]:
    """R12 and R13."""
    for shape in SHAPES:
        for label, dtype in list(DTYPES.items())[:2]:
            x = torch.randn(1, shape[1]).to(dtype)
            worth = x.float().abs().flatten().sort().values
            dense = torch.randn(shape).to(dtype)
            field = {"torch": torch_calls(dense, x)}
            weights = ring(lambda d=dense: d.T.contiguous(), dense.numel() * dense.element_size())
            y = x.new_empty(shape[0])
            for s in (0.0, 0.25, 0.5, 0.65):
                cut = float(worth[int(s * len(worth)) - 1]) if s else 0.0
                for name, kind in (("c", tier), ("numba", "numba")):
                    if kind not in dispatch.tiers() or (name == "numba" and s != 0.5):
                        continue
                    made = [columns_product(w, cut, None, None, tier=kind, x_dtype=x.dtype) for w in weights]
                    field[f"{name} {s}"] = lambda turn, made=made, x=x, y=y: made[turn % len(made)](x[0], y, 1)
            t = race(field, seconds)
            for s in (0.25, 0.5, 0.65):
                if label == "fp32" or shape == SHAPES[0]:
                    goal = (0.82 if label == "fp32" else 0.85) / (1 - s)
                    what = f"column skipping vs itself at 0 %, {label} {shape[0]}x{shape[1]}, {s:.0%}"
                    yield "R12", what, t["c 0.0"] / t[f"c {s}"], "at least", goal
            what = f"column skipping vs torch, {label} {shape[0]}x{shape[1]}, 50%"
            yield "R13", what, t["torch"] / t["c 0.5"], "at least", 2.0 if label == "fp32" else 2.7
            if "numba 0.5" in t:
                what = f"numba column skipping over C time, {label} {shape[0]}x{shape[1]}"
                yield "R13", what, t["numba 0.5"] / t["c 0.5"], "at most", 1.3


def guard(tier: str) -> Iterator[Row]:
    """R18: the false dependency of the expand instruction would make this about 6."""
    for label, dtype in list(DTYPES.items())[:2]:
        rows, cols = 64, 2048 // dtype.itemsize
        x = torch.randn(1, cols).to(dtype)
        packed, dense = pack_weight(weight(rows, cols, 0.5, dtype)), torch.randn(rows, cols).to(dtype)
        y = x.new_empty(1, rows)
        small, least = pack_weight(weight(1, 64, 0.5, dtype)), {}
        products = {
            "sparse": product(packed, None, form="bitmask", tier=tier, x_dtype=dtype),
            "dense": dense_product(dense, None, tier=tier, x_dtype=dtype),
            "call": product(small, None, form="bitmask", tier=tier, x_dtype=dtype),
        }
        for name, call in products.items():
            least[name] = float("inf")
            for _ in range(400):
                start = time.perf_counter_ns()
                for _ in range(20):
                    call(x, y, 1)
                least[name] = min(least[name], time.perf_counter_ns() - start)
        ratio = (least["sparse"] - least["call"]) / (least["dense"] - least["call"])
        yield "R18", f"in-cache time of the expand loop over the dense loop, {label}", ratio, "at most", 2.5
