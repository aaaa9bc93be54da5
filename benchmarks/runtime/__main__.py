"""Print goals R1 to R19 with what was measured: `python -m benchmarks.runtime [--only R2,R3]`.

The goals of all but R16 and R17 were set for kernels of AVX-512; on a machine without it they are left out and what
was measured stands alone.

A shared machine is better measured in pieces: `--only ... --name part-1` for each, then
`--join part-1,part-2 --name DATE` puts them into one table.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.runtime import kernels, layers

from fewer.runtime import dispatch
from fewer.runtime.machine import Machine, machine

RESULTS = Path(__file__).parent / "results"


def rows(only: set[str], seconds: float, steps: int) -> Iterator[kernels.Row]:
    tier = dispatch.tiers()[0]
    parts = [
        ("R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 R19", lambda: kernels.bitmask(tier, seconds)),
        ("R11", lambda: kernels.blocks(tier, seconds)), ("R12 R13", lambda: kernels.columns(tier, seconds)),
        ("R18", lambda: kernels.guard(tier)), ("R14 R15", lambda: layers.end_to_end(steps)),
        ("R16", layers.overhead), ("R17", lambda: layers.never_slower(seconds / 4)),
    ]  # fmt: skip
    native = tier == "extension-avx512"
    for names, part in parts:
        if only and not only & set(names.split()):
            continue
        for name, what, measured, sense, goal in part():
            yield name, what, measured, sense, goal if native or names in ("R16", "R17") else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each race")
    parser.add_argument("--steps", type=int, default=40, help="decoding steps end to end")
    parser.add_argument("--only", default="", help="such as R2,R14")
    parser.add_argument("--name", default="", help="file name of the results")
    parser.add_argument("--join", default="", help="names of earlier parts: join them, measure nothing")
    parser.add_argument("--remark", default="", help="what else the table should say")
    options = parser.parse_args()
    if options.join:
        join(options.join.split(","), options.name, options.remark)
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
    here, found = machine(), []
    clock = "thread CPU time, 20th percentile, cold ring of 200 MB, contenders interleaved in random order"
    print(f"{here}\n{clock}\n")
    print("| id | check | measured | goal | |\n|---|---|---|---|---|")
    start = time.monotonic()
    only = set(filter(None, options.only.split(",")))
    for name, what, measured, sense, goal in rows(only, options.seconds, options.steps):
        met = "no goal" if goal is None else _verdict(measured, sense, goal)
        found.append({"id": name, "check": what, "measured": measured, "sense": sense, "goal": goal, "verdict": met})
        aim = "" if goal is None else f"{_sign(sense)} {goal:.3f}"
        print(f"| {name} | {what} | {measured:.3f} | {aim} | {met} |", flush=True)
    RESULTS.mkdir(exist_ok=True)
    name = options.name or time.strftime("%Y-%m-%d")
    record = {"machine": asdict(here), "clock": clock, "seconds": time.monotonic() - start, "rows": found}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    (RESULTS / f"{name}.md").write_text(_table(str(here), clock, found), "utf-8")


def join(parts: list[str], name: str, remark: str) -> None:
    """One table from parts measured on one machine; a row that was measured again counts in its last form."""
    records = [json.loads((RESULTS / f"{part}.json").read_text("utf-8")) for part in parts]
    first = records[0]
    assert all(record["machine"]["cpu"] == first["machine"]["cpu"] for record in records), "parts of two machines"
    found = {(row["id"], row["check"].split(" (")[0]): row for record in records for row in record["rows"]}
    rows = sorted(found.values(), key=lambda row: int(row["id"][1:]))
    whole = {**first, "seconds": sum(r["seconds"] for r in records), "remark": remark, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    here = Machine(**{key: tuple(v) if isinstance(v, list) else v for key, v in first["machine"].items()})
    table = _table(str(here), first["clock"], rows)
    (RESULTS / f"{name}.md").write_text(table + (f"\n{remark}\n" if remark else ""), "utf-8")
    print(table)


def _sign(sense: str) -> str:
    return ">=" if sense == "at least" else "<="


def _verdict(measured: float, sense: str, goal: float) -> str:
    return "pass" if (measured >= goal if sense == "at least" else measured <= goal) else "short"


def _table(here: str, clock: str, found: list[dict]) -> str:
    lines = ["# Runtime goals R1 to R19", "", f"{here}.", f"{clock}.", "", "| id | check | measured | goal | |"]
    lines += ["|---|---|---|---|---|"]
    for row in sorted(found, key=lambda r: int(r["id"][1:])):
        goal = "" if row["goal"] is None else f"{_sign(row['sense'])} {row['goal']:.2f}"
        lines.append(f"| {row['id']} | {row['check']} | {row['measured']:.2f} | {goal} | {row['verdict']} |")
    passed = sum(row["verdict"] == "pass" for row in found)
    judged = sum(row["verdict"] != "no goal" for row in found)
    return "\n".join([*lines, "", f"{passed} of {judged} pass.", ""])


if __name__ == "__main__":
    main()
