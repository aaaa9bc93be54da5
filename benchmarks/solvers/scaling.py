"""How time grows: with layers, with tokens, with levels of a curve, each with its straight-line fit.

    python -m benchmarks.solvers.scaling --out benchmarks/solvers/results/NAME

Layers: `fewer.prune` with its defaults on random Llamas of 2 to 16 layers. Tokens: one of them, on more and more
windows. Levels: seven levels of the demo model solved together, over one of them solved alone, from the same stored
evidence. CPU seconds of one thread; every point is the median of `--repeats`, points interleaved.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import fewer
from fewer import adapt
from fewer.evidence import collect
from fewer.recipe import Recipe
from fewer.runtime.machine import machine
from fewer.verbs.sweep import KEEPS, _solve, levels

LAYERS = (2, 4, 6, 8, 12, 16)
WINDOWS = (32, 64, 96, 128, 192, 256)
LENGTH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", default="layers,tokens,levels")
    parser.add_argument("--out", default="", help="path without suffix for .json and .md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"layers": _layers, "tokens": _tokens, "levels": _levels}
    result = {"machine": str(machine()), **{name: parts[name](args.repeats) for name in args.parts.split(",")}}
    print(markdown(result))
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{args.out}.json").write_text(json.dumps(result, indent=1) + "\n")
        Path(f"{args.out}.md").write_text(markdown(result))


def _layers(repeats: int) -> dict[str, Any]:
    data = _random_windows(32)
    return _line({count: _pruning(_model(count), data) for count in LAYERS}, repeats)


def _tokens(repeats: int) -> dict[str, Any]:
    model = _model(4)
    return _line({count * LENGTH: _pruning(model, _random_windows(count)) for count in WINDOWS}, repeats)


def _model(layers: int) -> adapt.Opened:
    sizes = {"hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 8, "num_key_value_heads": 4}
    torch.manual_seed(0)
    return adapt.Opened(LlamaForCausalLM(LlamaConfig(vocab_size=256, num_hidden_layers=layers, **sizes)).eval())


def _random_windows(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, LENGTH), generator=torch.Generator().manual_seed(0))


def _pruning(model: adapt.Opened, data: Any) -> Callable[[], Any]:
    return lambda: fewer.prune(model, data, keep=0.5)


def _line(runs: dict[int, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Medians at every point, and the least-squares line through them."""
    next(iter(runs.values()))()  # what a first call pays, no point pays
    seconds: dict[int, list[float]] = {point: [] for point in runs}
    for _ in range(repeats):
        for point, run in runs.items():
            seconds[point].append(_cpu(run))
    points = {point: statistics.median(found) for point, found in seconds.items()}
    slope, intercept = statistics.linear_regression(list(points), list(points.values()))
    return {"points": points, "slope": slope, "intercept": intercept, "r2": statistics.correlation(*_xy(points)) ** 2}


def _xy(points: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(points), list(points.values())


def _cpu(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _levels(repeats: int) -> dict[str, Any]:
    """Seven levels together and each alone, on the whole demo model."""
    opened = adapt.open("demo", dtype=torch.float32)
    store = collect(opened, adapt.data.text("demo", opened, samples=64, length=LENGTH), ("input_gram",))
    base = Recipe(score="obs", update="auto").resolve()
    made = {name: recipe.resolve() for name, recipe in levels(base, KEEPS).items()}

    def solved(names: Sequence[str], **changes: Any) -> Callable[[], Any]:
        recipes = {name: dataclasses.replace(made[name], **changes) for name in names}
        return lambda: _solve(opened, recipes, store, "")

    # With a pace of its own, which is the default's, a level is solved alone: what `fewer prune` does.
    alone = {"update": "alps", "update_options": {"growth": 1.3, "steps": 90}}

    together, single = [], []
    for _ in range(repeats):
        together.append(_cpu(solved(list(made))))
        single += [_cpu(solved([name], **alone)) for name in ("keep 0.7", "keep 0.5", "keep 0.3")]
    whole, one = statistics.median(together), statistics.median(single)
    return {"levels": len(made), "together": whole, "single": one, "ratio": whole / one}


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    lines = ["# How time grows", "", f"CPU seconds of one thread. Machine: {result['machine']}.", ""]
    for name in ("layers", "tokens"):
        if name in result:
            found = result[name]
            head = " | ".join(f"{point:,}" for point in found["points"])
            cells = " | ".join(f"{value:.2f}" for value in found["points"].values())
            lines += [f"| {name} | {head} |", "|---" * (len(found["points"]) + 1) + "|", f"| CPU s | {cells} |", ""]
            lines += [
                f"Fit: {found['slope']:.3g} s a {name.removesuffix('s')}, intercept {found['intercept']:.2f} s, "
                f"R^2 {found['r2']:.4f}.", "",
            ]  # fmt: skip
    if "levels" in result:
        found = result["levels"]
        lines += [
            f"{found['levels']} levels of the demo together: {found['together']:.1f} s, {found['ratio']:.2f} times "
            f"one level alone ({found['single']:.1f} s).", "",
        ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
