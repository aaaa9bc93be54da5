"""A made-up comparison whose numbers behave like those of a small language model."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from fewer.verbs.result import Candidate, Comparison, Histogram, LayerResult, Provenance, Quality

KINDS = {
    "self_attn.q_proj": (256, 256),
    "self_attn.k_proj": (64, 256),
    "self_attn.v_proj": (64, 256),
    "self_attn.o_proj": (256, 256),
    "mlp.gate_proj": (768, 256),
    "mlp.up_proj": (768, 256),
    "mlp.down_proj": (256, 768),
}
#: KL at 50 % of made-up methods.
METHODS = {"random": 4.2, "magnitude": 0.62, "wanda": 0.21, "obs sweep": 0.083}


def quality(kl: float | None) -> Quality:
    nll = 2.0 + 0.9 * (kl or 0.0)
    slices = {f"slice {i}": math.exp(nll + 0.05 * i) for i in range(4)}
    top1 = None if kl is None else math.exp(-0.75 * math.sqrt(kl))
    worst = slices["slice 3"]
    return Quality(65_536, 256, nll, math.exp(nll), worst, "slice 3", kl, top1, slices, "evaluation.txt")


def layers(keep: float, kl: float, rng: random.Random) -> tuple[LayerResult, ...]:
    rows = []
    for block in range(6):
        for kind, (out, width) in KINDS.items():
            damage = 0.18 * kl**0.5 * (1 + 0.12 * block) * rng.uniform(0.7, 1.4) * (1.6 if "down" in kind else 1)
            total = out * width
            rows.append(
                LayerResult(f"model.layers.{block}.{kind}", block, (out, width), round(keep * total), total, damage)
            )
    return tuple(rows)


def bell(centre: float, cut: float, soft: float, title: str) -> Histogram:
    edges = tuple(-5 + 0.125 * i for i in range(41))
    kept, dropped = [], []
    for left in edges[:-1]:
        count = round(90_000 * math.exp(-(((left - centre) / 0.55) ** 2)))
        stays = 1 / (1 + math.exp(-(left - cut) / soft)) if soft else float(left >= cut)
        kept.append(round(count * stays))
        dropped.append(count - round(count * stays))
    return Histogram(title, edges, tuple(kept), tuple(dropped))


def candidate(method: str, keep: float, pattern: str = "unstructured") -> Candidate:
    rng = random.Random(f"{method}{keep}{pattern}")
    kl = METHODS[method] * ((1 - keep) / 0.5) ** 3.2 * (2.2 if ":" in pattern else 1.0)
    rows = layers(keep, kl, rng)
    kept = sum(row.kept for row in rows)
    soft = {"magnitude": 0.0, "random": 50.0}.get(method, 0.25)
    return Candidate(
        label=method,
        group=method,
        keep=keep,
        pattern=pattern,
        random=method == "random",
        quality=quality(kl),
        layers=rows,
        parameters=5_200_000,
        nonzero=5_200_000 - sum(row.total for row in rows) + kept,
        bytes=10_400_000,
        packed_bytes=10_400_000 - round(8_000_000 * (1 - keep)),
        seconds={"random": 0.4, "magnitude": 0.5, "wanda": 3.1, "obs sweep": 9.7}[method],
        recipe={"score": method, "keep": keep, "pattern": pattern, "update": "zero", "data": {"samples": 128}},
        histograms=(bell(-1.6, -1.7, soft, "weights, log10 |w|"), bell(-2.4, -2.5, 0.0, "scores, log10")),
        notes=("damping was raised to 0.02 in 1 layer",) if method == "obs sweep" else (),
    )


def comparison(keeps: tuple[float, ...] = (0.5,), patterns: tuple[str, ...] = ("2:4",)) -> Comparison:
    size = 10_400_000
    dense = Candidate(
        "dense", "dense", 1.0, "unstructured", False, quality(None), (), size // 2, size // 2, size, size, 0.0
    )
    found = [candidate(m, k) for k in keeps for m in METHODS]
    found += [candidate(m, 0.5, p) for p in patterns for m in METHODS]
    provenance = Provenance(
        model="demo",
        model_hash="3f" * 32,
        calibration="demo: 128 windows of 256 tokens, seed 0",
        evaluation="demo: evaluation.txt, 65,536 tokens",
        versions={"fewer": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        machine="x86-64, 2 cores",
        date="2026-01-01",
        citations=("A Simple and Effective Pruning Approach for Large Language Models (2023), arXiv:2306.11695",),
    )
    return Comparison(dense, tuple(found), provenance)


@pytest.fixture
def two_settings() -> Comparison:
    return comparison()


@pytest.fixture
def five_levels() -> Comparison:
    return comparison(keeps=(0.9, 0.7, 0.5, 0.3), patterns=("2:4", "4:8"))


@pytest.fixture
def make() -> Callable[..., Comparison]:
    return comparison
