"""Compute dtype: the number type of forward passes, known from the processor and never timed.

A processor without products of bfloat16 (AVX2, say) emulates them, an order of magnitude slower than those of float32.
There `auto` widens the weights for as long as they are multiplied; the stored type stays what it is. The choice depends
on the stored type, the device, the processor's flags and the variables that restrict torch (ATEN_CPU_CAPABILITY,
ONEDNN_MAX_CPU_ISA), so that the same machine always computes alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from fewer.arguments import checked
from fewer.method import FewerError, nearest

__all__ = ["AUTO", "COMPUTES", "check", "most", "multiplies", "resolve"]

AUTO = "auto"
COMPUTES = (AUTO, "float32", "bfloat16", "float16")
#: Significant bits of each type: a model is never computed with fewer than it is stored with.
_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
#: Flags of /proc/cpuinfo that stand for matrix products of a type.
_FLAGS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16"},
}
#: What /proc/cpuinfo calls the flags, on x86 and on Arm.
_NAMES = ("flags", "features")
#: Values of ATEN_CPU_CAPABILITY, and parts of those of ONEDNN_MAX_CPU_ISA, that leave such products in.
_WIDE_LOOPS = ("avx512", "sve256", "sve")
_PRODUCTS = {"bfloat16": ("BF16", "FP16", "AMX", "AVX10", "DEFAULT"), "float16": ("FP16", "AVX10_2", "DEFAULT")}


@checked
def resolve(asked: str, stored: str, *, device: str = "cpu", authors: bool = False) -> str:
    """The number type of a model's forward passes.

    Args:
        asked: `auto`, or a type of `COMPUTES`.
        stored: the type that the weights are stored in, such as "bfloat16".
        device: "cpu", or another kind of device, where `auto` is the stored type.
        authors: whether the rounding of a published script is to be reproduced: `auto` is then the stored type.

    Returns:
        The name of the type.

    Raises:
        FewerError: an unknown type, or one with fewer significant bits than the stored one.

    >>> resolve("auto", "float32"), resolve("float32", "bfloat16"), resolve("auto", "bfloat16", device="cuda")
    ('float32', 'float32', 'bfloat16')
    """
    check(asked)
    if asked == AUTO:
        slow = stored in _FLAGS and device == "cpu" and not authors and not multiplies(stored)
        return "float32" if slow else stored
    if _BITS.get(stored, 0) > _BITS[asked]:
        raise FewerError(f"compute '{asked}' would round the weights, which are stored in {stored}: leave it at 'auto'")
    if {asked, stored} == {"bfloat16", "float16"}:
        raise FewerError(f"compute '{asked}' cannot hold weights stored in {stored}: take 'auto' or 'float32'")
    return asked


@checked
def most(sizes: Iterable[tuple[str, int]]) -> str:
    """The type that most bytes are stored in, by name; float32 where there are none.

    >>> most([("bfloat16", 20), ("float32", 8)])
    'bfloat16'
    """
    found: dict[str, int] = {}
    for name, size in sizes:
        found[name] = found.get(name, 0) + size
    return max(found, key=lambda name: found[name], default="float32")


@checked
def check(asked: str) -> None:
    """Refuse a name that is no compute dtype.

    Raises:
        FewerError: with the nearest name.
    """
    if asked not in COMPUTES:
        raise FewerError(f"unknown compute '{asked}'{nearest(str(asked), COMPUTES)}; known: {', '.join(COMPUTES)}")


@checked
def multiplies(dtype: str, flags: frozenset[str] | None = None, variables: Mapping[str, str] | None = None) -> bool:
    """Whether this processor has matrix products of a type and torch may use them.

    Args:
        dtype: "bfloat16" or "float16".
        flags: of the processor; by default those of this one.
        variables: of the environment; by default the present ones.

    Raises:
        FewerError: another type.

    >>> multiplies("bfloat16", frozenset({"avx2"}), {})
    False
    >>> multiplies("bfloat16", frozenset({"avx512_bf16"}), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"})
    True
    """
    if dtype not in _FLAGS:
        raise FewerError(f"dtype is '{dtype}'; what is looked up is {' or '.join(_FLAGS)}")
    flags = processor() if flags is None else flags
    variables = os.environ if variables is None else variables
    loops = variables.get("ATEN_CPU_CAPABILITY", "").lower()
    products = variables.get("ONEDNN_MAX_CPU_ISA") or variables.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    if loops and loops not in _WIDE_LOOPS:
        return False
    return bool(_FLAGS[dtype] & flags) and any(part in products.upper() for part in _PRODUCTS[dtype])


@cache
def processor() -> frozenset[str]:
    """The flags of this processor, as Linux names them; empty where no file lists them (float32 is never slow)."""
    place = Path("/proc/cpuinfo")
    if not place.is_file():
        return frozenset()
    pairs = (line.partition(":") for line in place.read_text("utf-8", "replace").splitlines())
    return frozenset(next((value.split() for key, _, value in pairs if key.strip().lower() in _NAMES), []))
