"""Agreement of masks with the authors' code, layer by layer, on the same weights and windows.

    python -m benchmarks.parity --model DIR --data FILE --wanda DIR --owl DIR --ria DIR --gblm DIR --dsnot DIR
        --sparsegpt DIR --out benchmarks/parity/results/NAME

Each of the directories is a checkout of the authors' repository: locuslab/wanda, luuyin/OWL, VILA-Lab/GBLM-Pruner,
zyxxmu/DSnoT, IST-DASLab/sparsegpt, and Relative-importance-and-activation-pruning for ria. What is not given is left
out. Their code runs unchanged (see shim.py), in float32, one window at a time, with eager attention; ours is called
as a user would call it, with the option `compat` that reproduces their rounding.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.parity.contenders import PAIRS, Pair
from torch import Tensor

from fewer import adapt
from fewer.runtime.machine import machine
from fewer.verbs.evaluate import evaluate_all


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    dense = adapt.open(args.model, dtype=getattr(torch, args.dtype))
    dense.module.set_attn_implementation("eager")
    windows = _windows(args.data, dense, args.samples, args.length)
    held_out = _windows(args.eval, dense, args.eval_samples, args.length)
    wanted = [p for p in PAIRS if getattr(args, p.checkout) and (not args.only or p.name in args.only.split(","))]
    if hasattr(dense.module.model, "decoder"):
        wanted = [pair for pair in wanted if not pair.llama_alone]
    rows = [_row(dense, pair, Path(getattr(args, pair.checkout)), windows, held_out) for pair in wanted]
    result = {
        "machine": str(machine()),
        "model": args.name or Path(args.model).name,
        "architecture": type(dense.module).__name__,
        "dtype": args.dtype,
        "parameters": sum(p.numel() for p in dense.module.parameters()),
        "windows": list(windows.shape),
        "rows": rows,
    }
    print(markdown(result))
    for row in rows if args.layers else ():
        for name, layer in row["layers"].items():
            print(f"{row['name']:<24} {name:<40} {layer['agree']:.6f} ({layer['differ']} of {layer['of']} differ)")
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
    for name in dict.fromkeys(pair.checkout for pair in PAIRS):
        parser.add_argument(f"--{name}", default="", metavar="DIR", help="checkout of the authors' repository")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(pair.name for pair in PAIRS)}")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--samples", type=int, default=128, help="windows; their buffers hold 128")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--eval-samples", type=int, default=32)
    parser.add_argument("--layers", action="store_true", help="print every layer")
    parser.add_argument("--out", default="", help="path without suffix for .json and .md")
    return parser.parse_args()


def _windows(path: str, dense: adapt.Opened, samples: int, length: int) -> Tensor:
    found = adapt.data.text(path, dense, samples=samples, length=length, seed=0)
    return torch.cat([batch["input_ids"] for batch in found])


def _row(dense: adapt.Opened, pair: Pair, checkout: Path, windows: Tensor, held_out: Tensor) -> dict[str, Any]:
    """One method by both."""
    theirs, ours = (_applied(dense, run) for run in (
        lambda model: pair.theirs(checkout, model.module, windows), lambda model: pair.ours(model, windows),
    ))  # fmt: skip
    layers, worst = {}, 0.0
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        one, other = a.read(), b.read()
        differ = int(((one != 0) != (other != 0)).sum())
        layers[a.name] = {"block": a.block, "differ": differ, "of": one.numel(), "agree": 1 - differ / one.numel()}
        worst = max(worst, float((one - other).abs().max()))
    found = evaluate_all({"theirs": theirs, "ours": ours}, held_out, dense=dense)
    first = [layer for layer in layers.values() if layer["block"] == 0]
    return {
        "name": pair.name, "command": pair.command, "whole": _agreement(list(layers.values())),
        "first": _agreement(first), "differ": sum(layer["differ"] for layer in layers.values()),
        "of": sum(layer["of"] for layer in layers.values()), "worst": worst,
        "kl": found["ours"].kl, "their kl": found["theirs"].kl, "layers": layers,
    }  # fmt: skip


def _applied(dense: adapt.Opened, run: Callable[[adapt.Opened], None]) -> adapt.Opened:
    model = adapt.Opened(copy.deepcopy(dense.module), dense.path)
    run(model)
    return model


def _agreement(layers: list[dict[str, Any]]) -> float:
    return 1 - sum(layer["differ"] for layer in layers) / sum(layer["of"] for layer in layers)


def markdown(result: dict[str, Any]) -> str:
    """The table of one model."""
    lines = [
        f"# {result['model']}: masks beside the authors' code", "",
        f"{result['architecture']}, {result['parameters']:,} parameters, {result['dtype']}, "
        f"{result['windows'][0]} windows of {result['windows'][1]} tokens. Machine: {result['machine']}.", "",
        "| method | masks agree | in the first block | entries that differ | KL ours | KL theirs | ours with |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in result["rows"]:
        cells = [row["name"], f"{row['whole']:.6f}", f"{row['first']:.6f}", f"{row['differ']} of {row['of']:,}"]
        cells += [f"{row['kl']:.5f}", f"{row['their kl']:.5f}", f"`{row['command']}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
