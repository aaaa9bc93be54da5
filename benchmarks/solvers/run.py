"""Every update on the layers of a model: reconstruction error and time, side by side in one run.

    python benchmarks/solvers/run.py --model demo --data demo --cases 0.5,0.3,2:4 --out benchmarks/solvers/results

Each layer is solved from the same Gram matrix by every contender. Errors are ||X (W - W')^T||_F^2 / ||X W^T||_F^2 on
the calibration inputs; ratios are to our own SparseGPT sweep. Random masks at the same count are the control for
errors, a straight column loop in torch the control for the sweep's time. `--beside FILE` adds a contender from a
Python file that defines NAME and solve(weight, gram, keep, pattern, tokens) -> weight.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from fewer import adapt
from fewer.evidence import collect
from fewer.score import magnitude, random, wanda
from fewer.select import Rule, rule
from fewer.update import admm, alps, auto, least_squares, solve_levels, sweep, zero
from fewer.update._scaled import _last

Solver = Callable[[Tensor, dict[str, Tensor], Rule], Tensor]
CURVE = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


def _wanda_mask(weight: Tensor, known: dict[str, Tensor], chosen: Rule) -> Tensor:
    return chosen.select(wanda(weight, known["input_norm"]))


CONTENDERS: dict[str, Solver] = {
    "random mask, zero": lambda w, e, r: zero(w, r.select(random(w))).weight,
    "random mask, least-squares": lambda w, e, r: least_squares(w, r.select(random(w)), e["input_gram"]).weight,
    "magnitude, zero": lambda w, e, r: zero(w, r.select(magnitude(w))).weight,
    "wanda, zero": lambda w, e, r: zero(w, _wanda_mask(w, e, r)).weight,
    "wanda, least-squares": lambda w, e, r: least_squares(w, _wanda_mask(w, e, r), e["input_gram"]).weight,
    "sweep": lambda w, e, r: sweep(w, w != 0, e["input_gram"], rule=r).weight,
    "admm": lambda w, e, r: admm(w, w != 0, e["input_gram"], rule=r).weight,
    "alps (growth 1.3)": lambda w, e, r: alps(w, w != 0, e["input_gram"], rule=r).weight,
    "alps (growth 1.1)": lambda w, e, r: alps(w, w != 0, e["input_gram"], rule=r, growth=1.1).weight,
    "auto": lambda w, e, r: auto(w, w != 0, e["input_gram"], rule=r).weight,
}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    opened = adapt.open(args.model, dtype=torch.float32)
    layers = [x for x in opened.layers if any(fnmatchcase(x.name, glob) for glob in args.layers.split(","))]
    data = adapt.data.text(args.data, opened, samples=args.samples, length=args.length)
    store = collect(opened, data, ("input_gram", "input_norm"), layers=layers)
    contenders = dict(CONTENDERS)
    for file in args.beside:
        contenders |= _beside(Path(file), data.tokens)
    cases = args.cases.split(",")
    rows: list[dict[str, Any]] = []
    for layer in layers:
        weight, known = layer.read(), dict(store[layer.name])
        for case in cases:
            chosen = _rule(layer.shape, case)
            rows += [_measure(layer.name, case, n, s, weight, known, chosen) for n, s in contenders.items()]
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} thread(s), torch {torch.__version__}",
        "model": str(args.model),
        "calibration": f"{data.tokens} tokens",
        "rows": rows,
        "curve": [_curve(x.name, x.read(), store[x.name]["input_gram"]) for x in layers],
        "sweep": _sweep_speed(args.size) if args.size else {},
    }
    text = _markdown(result, cases, list(contenders))
    print(text)
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{args.out}.json").write_text(json.dumps(result, indent=1) + "\n")
        Path(f"{args.out}.md").write_text(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--layers", default="*", help="globs over layer names, separated by commas")
    parser.add_argument("--cases", default="0.5,0.3,2:4", help="shares kept, or patterns")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=2048, help="side of the square layer of the sweep's timing, or 0")
    parser.add_argument("--beside", action="append", default=[], help="Python file with one more contender")
    parser.add_argument("--out", default="", help="path without suffix for .json and .md")
    return parser.parse_args()


def _rule(shape: tuple[int, int], case: str) -> Rule:
    if ":" in case:
        kept, group = map(int, case.split(":"))
        return rule(shape, kept / group, pattern=case)
    return rule(shape, float(case))


def _beside(file: Path, tokens: int) -> dict[str, Solver]:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def solve(weight: Tensor, known: dict[str, Tensor], chosen: Rule) -> Tensor:
        keep = chosen.count / weight.numel()
        made: Tensor = module.solve(weight, known["input_gram"], keep, str(chosen.pattern), tokens)
        return made

    return {str(module.NAME): solve}


def _measure(
    layer: str, case: str, name: str, solver: Solver, weight: Tensor, known: dict[str, Tensor], chosen: Rule
) -> dict[str, Any]:
    _last.clear()  # no contender may use an eigenbasis that another has paid for
    wall, cpu = time.perf_counter(), time.process_time()
    made = solver(weight, known, chosen)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    error = _error(made, weight, known["input_gram"])
    kept = int((made != 0).sum())
    return {
        "layer": layer, "case": case, "contender": name, "error": error, "cpu": spent[0], "wall": spent[1], "kept": kept
    }  # fmt: skip


def _error(made: Tensor, weight: Tensor, gram: Tensor) -> float:
    gram, step, dense = gram.double(), (made - weight).double(), weight.double()
    return float(((step @ gram) * step).sum() / ((dense @ gram) * dense).sum())


def _curve(name: str, weight: Tensor, gram: Tensor) -> dict[str, Any]:
    """Seven levels at once against seven single solves."""
    rules = [rule((weight.shape[0], weight.shape[1]), keep) for keep in CURVE]
    single, errors = [], []
    for chosen in rules:
        _last.clear()
        start = time.process_time()
        made = alps(weight, weight != 0, gram, rule=chosen).weight
        single.append(time.process_time() - start)
        errors.append(_error(made, weight, gram))
    _last.clear()
    start = time.process_time()
    together = solve_levels(weight, gram, rules)
    spent = time.process_time() - start
    ratios = [_error(u.weight, weight, gram) / e for u, e in zip(together, errors, strict=True)]
    return {"layer": name, "cpu": spent, "single": statistics.mean(single), "error ratios": ratios}


def _sweep_speed(size: int) -> dict[str, float]:
    """Seconds on a fixed half-empty mask: ours, the loop over columns inside blocks, the straight loop."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2 * size, size, generator=generator)
    inputs = inputs + 0.3 * inputs[:, torch.randperm(size, generator=generator)]
    gram = inputs.T @ inputs / len(inputs)
    weight = torch.randn(size, size, generator=generator)
    mask = torch.rand(size, size, generator=generator) < 0.5
    found: dict[str, float] = {}
    made: dict[str, Tensor] = {}
    runs: dict[str, Callable[[], Tensor]] = {
        "sweep": lambda: sweep(weight, mask, gram).weight,
        "column loop in blocks of 128": lambda: _loop(weight, mask, gram, 128),
        "straight column loop": lambda: _loop(weight, mask, gram, size),
    }
    for name, run in runs.items():
        times = []
        for _ in range(1 if name.startswith("straight") else 3):
            start = time.process_time()
            made[name] = run()
            times.append(time.process_time() - start)
        found[name] = min(times)
    for name, weights in made.items():
        found[f"largest difference, {name}"] = float((weights - made["straight column loop"]).abs().max())
    return found


def _loop(weight: Tensor, mask: Tensor, gram: Tensor, block: int) -> Tensor:
    """The column sweep as the paper writes it."""
    ridge = gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(ridge)), upper=True)
    weight = weight.clone()
    for first in range(0, weight.shape[1], block):
        last = min(first + block, weight.shape[1])
        part = weight[:, first:last].clone()
        lost = torch.zeros_like(part)
        for j in range(last - first):
            kept = part[:, j] * mask[:, first + j]
            error = (part[:, j] - kept) / upper[first + j, first + j]
            part[:, j + 1 :] -= error[:, None] * upper[first + j, first + j + 1 : last][None, :]
            part[:, j], lost[:, j] = kept, error
        weight[:, first:last] = part
        weight[:, last:] -= lost @ upper[first:last, last:]
    return weight


def _mean(values: list[float]) -> float:
    """Geometric mean."""
    return math.exp(statistics.mean(math.log(max(v, 1e-30)) for v in values))


def _markdown(result: dict[str, Any], cases: list[str], names: list[str]) -> str:
    rows = {(r["layer"], r["case"], r["contender"]): r for r in result["rows"]}
    layers = list(dict.fromkeys(r["layer"] for r in result["rows"]))
    lines = [
        "# Layer solvers", "", f"{result['machine']}; model {result['model']}, {len(layers)} layers, calibration on "
        f"{result['calibration']}. Error: geometric mean over layers of ||X (W - W')^T||^2 / ||X W^T||^2. "
        "Ratios are to our own sweep. CPU seconds: sum over layers.", "",
    ]  # fmt: skip
    for case in cases:
        lines += [
            f"## {case}",
            "",
            "| update | error | error / sweep | CPU s | time / sweep |",
            "|---|---|---|---|---|",
        ]
        base = [rows[x, case, "sweep"] for x in layers]
        whole = sum(r["cpu"] for r in base)
        for name in names:
            mine = [rows[x, case, name] for x in layers]
            ratio = _mean([a["error"] / b["error"] for a, b in zip(mine, base, strict=True)])
            spent = sum(r["cpu"] for r in mine)
            error = _mean([r["error"] for r in mine])
            lines.append(f"| {name} | {error:.3e} | {ratio:.3f} | {spent:.2f} | {spent / whole:.2f} |")
        lines.append("")
    curve = result["curve"]
    times = [row["cpu"] / row["single"] for row in curve]
    ratios = [r for row in curve for r in row["error ratios"]]
    lines += [
        "## Seven levels at once", "",
        f"Time of the whole curve over one single solve by alps: mean {statistics.mean(times):.2f}, worst "
        f"{max(times):.2f}. Error over that of the single solves: mean {_mean(ratios):.3f}, "
        f"worst {max(ratios):.3f}.", "",
    ]  # fmt: skip
    if result["sweep"]:
        lines += ["## The sweep's time", "", "| what | CPU s, or largest difference of a weight |", "|---|---|"]
        lines += [f"| {name} | {value:.3g} |" for name, value in result["sweep"].items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
