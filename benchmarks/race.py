"""Every score with every kind of repair, at equal budgets, on the demo model, beside random.

    python -m benchmarks.race                      the whole table (an hour on two cores)
    python -m benchmarks.race --scores wanda ria --levels 0.5 2:4 --seeds 1 --windows 32
    python -m benchmarks.race --updates auto       measure these again, keep the rest of the table

What was measured before with as many seeds and windows stays in the table unless it is measured again.

A row is a score; a cell is the mean KL to the dense model in nats per token (standard deviation over seeds, each with
its own calibration windows and its own random numbers). The mask is the score's own in every column: zero, sweep and
the default solver differ in what they do with the weights that stay. The last row lets the solver choose the mask.
Scores that contrast two data sets get a second draw of the same text as their reference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fewer import adapt, evidence
from fewer.method import catalogue, find
from fewer.recipe import Recipe
from fewer.runtime.machine import machine
from fewer.types import EVIDENCE
from fewer.verbs.evaluate import evaluate_all
from fewer.verbs.sweep import _solve, levels

RESULTS = Path(__file__).parent / "results"
LEVELS = ("0.5", "0.4", "0.3", "2:4", "4:8")


def needed(scores: list[str]) -> list[str]:
    """Evidence of these scores and of the solvers."""
    names = {need for score in scores for need in find("score", score).needs} | {"input_gram"}
    return [name for name in EVIDENCE if name in names and name != "weight"]


def recipes(score: str, update: str, wanted: list[str], seed: int, choose: str) -> dict[str, Recipe]:
    """One recipe a level."""
    keeps = [float(text) for text in wanted if ":" not in text]
    patterns = [text for text in wanted if ":" in text]
    return levels(Recipe(score=score, update=update, seed=seed, choose=choose), keeps, patterns)


def measure(
    scores: list[str],
    updates: list[str],
    wanted: list[str],
    seeds: int,
    windows: int,
    keep: Callable[[dict[str, dict[str, list[float]]]], object] = len,
) -> dict[str, dict[str, list[float]]]:
    """KL of every (score, update) at every level, one number a seed; `keep` is handed the table after each of them."""
    opened = adapt.open("demo")
    held_out = adapt.data.text("demo:evaluation", opened, samples=windows, length=256, seed=0)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        calibration = adapt.data.text("demo", opened, samples=64, length=256, seed=seed)
        other = adapt.data.text("demo", opened, samples=64, length=256, seed=1000 + seed)
        store = evidence.collect(opened, calibration, needed(scores), reference=other)
        runs = [(score, update, "score") for score in scores for update in updates]
        runs += [("(solver's own)", update, "update") for update in updates if update != "zero"]
        for score, update, choose in runs:
            start = time.monotonic()
            asked = recipes("obs" if choose == "update" else score, update, wanted, seed, choose)
            ready = {name: one.resolve() for name, one in asked.items()}
            made = _solve(opened, ready, store, calibration.source)
            measured = evaluate_all({name: one.model for name, one in made.items()}, held_out, dense=opened)
            for name in asked:
                found.setdefault(f"{score}|{update}", {}).setdefault(name, []).append(float(measured[name].kl or 0.0))
            keep(found)
            print(f"seed {seed}  {score:<14} {update:<6} {time.monotonic() - start:6.1f} s", flush=True)
    return found


def merged(found: dict[str, dict[str, list[float]]], setting: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The table with what was measured now; earlier cells of another setting are dropped."""
    path = RESULTS / "race.json"
    former = json.loads(path.read_text()) if path.exists() else {}
    kept = former.get("cells", {}) if former.get("setting") == setting else {}
    cells = {key: {**kept.get(key, {}), **found.get(key, {})} for key in [*kept, *(k for k in found if k not in kept)]}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"setting": setting, "cells": cells}, indent=1) + "\n")
    return cells


def table(found: dict[str, dict[str, list[float]]], note: str) -> str:
    """Markdown: one block an update, one row a score."""
    lines = ["# Every score with every repair, on the demo model", "", note, ""]
    for update in dict.fromkeys(key.split("|")[1] for key in found):
        rows = {key.split("|")[0]: values for key, values in found.items() if key.endswith(f"|{update}")}
        names = list(next(iter(rows.values())))
        lines += [f"## update `{update}`", "", "| score | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for score, values in sorted(rows.items(), key=lambda row: statistics.mean(row[1][names[0]])):
            lines.append(f"| {score} | " + " | ".join(_cell(values.get(name, [])) for name in names) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    """Measure and write `results/race.md` and `results/race.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", nargs="*", default=[score.name for score in catalogue("score")])
    parser.add_argument("--updates", nargs="*", default=["zero", "sweep", "auto"])
    parser.add_argument("--levels", nargs="*", default=list(LEVELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=48)
    options: Any = parser.parse_args()
    keep = partial(merged, setting={"seeds": options.seeds, "windows": options.windows})
    found = measure(options.scores, options.updates, options.levels, options.seeds, options.windows, keep)
    note = (
        f"Mean KL to the dense model in nats per token ± standard deviation over {options.seeds} seeds; "
        f"{options.windows} evaluation windows of 256 tokens, 64 calibration windows, evidence of the dense model. "
        f"{machine()}."
    )
    page = table(keep(found), note)
    (RESULTS / "race.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
