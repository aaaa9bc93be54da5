"""Whole models: KL to the dense model and time of every update, beside the authors' ALPS, from the same windows.

    python -m benchmarks.solvers.whole --model DIR --data FILE --eval FILE --alps DIR --out RESULTS/NAME

`--alps` is a checkout of the authors' repository (github.com/mazumder-lab/ALPS); it is read where it lies, and left
out if none is given. Every contender goes through the model block by block, so that later blocks see what was done to
earlier ones, and prunes a copy of the same float32 weights. Time is CPU time of one thread for everything: the
calibration passes, solving, writing; what solving alone takes is that less the passes, which are run by themselves
for it. KL is in nats per token of the held-out text.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.solvers.authors_alps import load, prune_as_authors

import fewer
from fewer import adapt
from fewer.runtime.machine import machine
from fewer.verbs.evaluate import evaluate_all

#: What `fewer.prune` is given; the default says nothing.
OURS: dict[str, dict[str, Any]] = {
    "random, zero": {"score": "random", "update": "zero", "within": "layer"},
    "wanda, zero": {"score": "wanda"},
    "sweep": {"score": "obs", "update": "sweep"},
    "admm": {"score": "obs", "update": "admm"},
    "alps": {"score": "obs", "update": "alps"},
    "alps, growth 1.1": {"score": "obs", "update": "alps", "update_options": {"growth": 1.1, "steps": 240}},
    "default": {},
    "passes alone": {"score": "magnitude", "damage": "gram"},
}
AUTHORS, AUTHORS_PASSES = "authors' ALPS", "authors' passes alone"


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    dense = adapt.open(args.model, dtype=torch.float32)
    held_out = adapt.data.text(args.eval, dense, samples=args.eval_samples, length=args.length, seed=0)
    contenders = {name: OURS[name] for name in args.contenders.split(";")} if args.contenders else OURS
    runs: dict[str, Callable[..., Any]] = {name: _ours(settings) for name, settings in contenders.items()}
    if args.alps:
        module = load(Path(args.alps))
        runs[AUTHORS] = lambda model, data, case: prune_as_authors(module, model, data, *_share(case))
        runs[AUTHORS_PASSES] = lambda model, data, case: prune_as_authors(module, model, data, 1.0, 0, 0)
    rows: list[dict[str, Any]] = []
    warm = adapt.data.text(args.data, dense, samples=4, length=args.length, seed=0)
    _measure(dense, warm, warm, runs, "0.5", 0)
    for seed in range(args.seeds):
        data = adapt.data.text(args.data, dense, samples=args.samples, length=args.length, seed=seed)
        for case in args.cases.split(","):
            rows += _measure(dense, data, held_out, runs, case, seed)
    result = {
        "machine": str(machine()), "model": args.name or Path(args.model).name, "seeds": args.seeds, "rows": rows,
        "parameters": sum(p.numel() for p in dense.module.parameters()), "architecture": type(dense.module).__name__,
        "calibration": f"{args.samples} windows of {args.length} tokens", "evaluation": held_out.tokens,
    }  # fmt: skip
    print(markdown(result))
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{args.out}.json").write_text(json.dumps(result, indent=1) + "\n")
        Path(f"{args.out}.md").write_text(markdown(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--name", default="", help="how to call the model in the table")
    parser.add_argument("--data", default="demo", help="calibration text")
    parser.add_argument("--eval", default="demo:evaluation", help="held-out text")
    parser.add_argument("--alps", default="", help="checkout of the authors' repository")
    parser.add_argument("--cases", default="0.5,0.3,2:4", help="shares kept, or patterns")
    parser.add_argument("--contenders", default="", help=f"some of: {'; '.join(OURS)}")
    parser.add_argument("--samples", type=int, default=128, help="calibration windows")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--eval-samples", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1, help="calibration windows are drawn again for each")
    parser.add_argument("--out", default="", help="path without suffix for .json and .md")
    return parser.parse_args()


def _share(case: str) -> tuple[float, int, int]:
    """Share kept, and N and M of a pattern (0 where unstructured)."""
    if ":" not in case:
        return float(case), 0, 0
    kept, group = map(int, case.split(":"))
    return kept / group, kept, group


def _ours(settings: dict[str, Any]) -> Callable[..., Any]:
    def run(model: adapt.Opened, data: Any, case: str) -> None:
        keep, group = (None, case) if ":" in case else (float(case), "")
        fewer.prune(model, data, keep=keep, pattern=group, inplace=True, **_legal(settings, group))

    return run


def _legal(settings: dict[str, Any], group: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not (group and key == "within")}


def _measure(
    dense: adapt.Opened, data: Any, held_out: Any, runs: dict[str, Callable[..., Any]], case: str, seed: int
) -> list[dict[str, Any]]:
    """Everyone at one case, one after the other in one process."""
    models, rows = {}, {}
    for name, run in runs.items():
        models[name] = adapt.Opened(copy.deepcopy(dense.module), dense.path)
        wall, cpu = time.perf_counter(), time.process_time()
        run(models[name], data, case)
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        weights = [layer.read() for layer in models[name].layers]
        kept = sum(int((w != 0).sum()) for w in weights) / sum(w.numel() for w in weights)
        rows[name] = {"case": case, "seed": seed, "contender": name, "kept": kept, **spent}
    found = evaluate_all(models, held_out, dense=dense)
    return [row | {"kl": found[name].kl, "nll": found[name].nll} for name, row in rows.items()]


def markdown(result: dict[str, Any]) -> str:
    """The table of one model."""
    rows, names = result["rows"], list(dict.fromkeys(row["contender"] for row in result["rows"]))
    lines = [
        f"# {result['model']}: KL of whole models", "",
        f"{result['architecture']}, {result['parameters']:,} parameters; calibration {result['calibration']}, "
        f"{result['seeds']} draw(s); KL to the dense model on {result['evaluation']} held-out tokens, in nats. CPU "
        f"seconds of one thread, everything included. Machine: {result['machine']}.", "",
    ]  # fmt: skip
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = {name: [r for r in rows if r["case"] == case and r["contender"] == name] for name in names}
        lines += [f"## {case}", ""]
        lines += ["| update | KL | sweep's KL / KL | KL / authors' | CPU s | time / authors' | solving / authors' |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_line(name, mine) for name in names if "passes" not in name]
        lines.append("")
    return "\n".join(lines)


def _line(name: str, mine: dict[str, list[dict[str, Any]]]) -> str:
    kls = [row["kl"] for row in mine[name]]
    spread = f" ± {statistics.stdev(kls):.5f}" if len(kls) > 1 else ""
    cells = [name, f"{statistics.mean(kls):.5f}{spread}", _over(mine, "sweep", name, "kl")]
    cells += [_over(mine, name, AUTHORS, "kl"), f"{_mean(mine[name], 'cpu'):.1f}", _over(mine, name, AUTHORS, "cpu")]
    cells.append(_solving(name, mine))
    return f"| {' | '.join(cells)} |"


def _solving(name: str, mine: dict[str, list[dict[str, Any]]]) -> str:
    """Time without the calibration passes, over the authors' without theirs."""
    if not {"passes alone", AUTHORS, AUTHORS_PASSES} <= set(mine) or name.endswith("zero"):
        return "-"
    own, theirs = "passes alone" if name != AUTHORS else AUTHORS_PASSES, _mean(mine[AUTHORS], "cpu")
    solving = _mean(mine[name], "cpu") - _mean(mine[own], "cpu")
    return f"{solving / (theirs - _mean(mine[AUTHORS_PASSES], 'cpu')):.2f}"


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.mean(row[key] for row in rows)


def _over(mine: dict[str, list[dict[str, Any]]], top: str, bottom: str, key: str) -> str:
    if top not in mine or bottom not in mine:
        return "-"
    return f"{_mean(mine[top], key) / _mean(mine[bottom], key):.2f}"


if __name__ == "__main__":
    main()
