"""Measure again what the files in claims/ say, and write the numbers back.

    python scripts/claims.py                 print every claim beside a fresh measurement
    python scripts/claims.py ID ... --write  measure these again and store numbers, commit, hardware and date

A claim file is data; the measurement of the same name below is how its number came about. A number from a paper is
never changed by this script, and a claim without a measurement is refused.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["CLAIMS", "MEASURES", "Claim", "load", "measure"]

CLAIMS = Path(__file__).resolve().parents[1] / "claims"
RELATIONS = ("equal", "at most", "at least", "below one", "none")
#: Levels of the race against random selection.
LEVELS = ("0.5", "0.3", "2:4")


@dataclass(frozen=True)
class Claim:
    """One file of claims/: numbers from a paper (may be empty), ours, and how they must compare.

    `relation` compares ours with the paper's, entry by entry, within `tolerance` (absolute); "below one" asks that of
    our numbers alone (shares of what random selection loses); "none" states our own number only. `small` claims are
    measured again by the tests.
    """

    id: str
    method: str
    kind: str
    paper: str
    where: str
    quantity: str
    entries: tuple[str, ...]
    published: tuple[float, ...]
    measured: tuple[float, ...]
    tolerance: float
    relation: str
    small: bool
    commit: str
    hardware: str
    date: str

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"{self.id}: relation '{self.relation}' is none of {', '.join(RELATIONS)}")
        wanted = len(self.entries)
        if self.relation in RELATIONS[:3] and len(self.published) != wanted:
            raise ValueError(f"{self.id}: {wanted} entries, {len(self.published)} published numbers")

    def holds(self, found: tuple[float, ...]) -> bool:
        """Whether fresh numbers compare with the paper's as claimed."""
        if self.relation == "none":
            return True
        if self.relation == "below one":
            return all(ours < 1.0 for ours in found)
        sign = {"equal": 0, "at most": 1, "at least": -1}[self.relation]
        gaps = [ours - theirs for ours, theirs in zip(found, self.published, strict=True)]
        return all((abs(gap) if not sign else sign * gap) <= self.tolerance for gap in gaps)

    def stands(self, found: tuple[float, ...]) -> bool:
        """Whether fresh numbers are those that the file records."""
        pairs = zip(found, self.measured, strict=True)
        return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)


def load(path: Path) -> Claim:
    """A claim from its file; unknown and missing keys are errors."""
    table = tomllib.loads(path.read_text("utf-8"))
    known = {field.name for field in fields(Claim)} - {"id"}
    if set(table) != known:
        odd = sorted(set(table) ^ known)
        raise ValueError(f"{path}: missing or unknown keys: {', '.join(odd)}")
    return Claim(path.stem, **{key: tuple(v) if isinstance(v, list) else v for key, v in table.items()})


def measure(claim: Claim) -> tuple[float, ...]:
    """Fresh numbers for a claim."""
    return tuple(MEASURES[claim.id]() if claim.id in MEASURES else against_random(claim.method))


def against_random(score: str) -> list[float]:
    """KL to the dense demo model under the masks of a score, as a share of that under random masks of equal counts."""
    sys.path.insert(0, str(CLAIMS.parent))
    from benchmarks.race import measure as race

    cells = race(["random", score], ["zero"], list(LEVELS), seeds=1, windows=24)
    mine, theirs = cells[f"{score}|zero"], cells["random|zero"]
    return [round(mine[level][0] / theirs[level][0], 4) for level in mine]


def resnet50() -> dict[str, tuple[tuple[int, ...], int]]:
    """Weights of a ResNet-50 for 224 x 224 images: shape (out, in, height, width) and the positions it is used at."""
    layers: dict[str, tuple[tuple[int, ...], int]] = {"stem": ((64, 3, 7, 7), 112 * 112)}
    wide = 64
    for stage, (blocks, width, side) in enumerate(((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))):
        for block in range(blocks):
            name = f"stage{stage}.{block}"
            # The stride sits in the 3 x 3 convolution: the first 1 x 1 of a stage still works at the old size.
            before = side * 2 if block == 0 and stage else side
            layers[f"{name}.a"] = ((width, wide, 1, 1), before * before)
            layers[f"{name}.b"] = ((width, width, 3, 3), side * side)
            layers[f"{name}.c"] = ((4 * width, width, 1, 1), side * side)
            if block == 0:
                layers[f"{name}.skip"] = ((4 * width, wide, 1, 1), side * side)
            wide = 4 * width
    layers["classes"] = ((1000, 2048), 1)
    return layers


def flops_share(counts: dict[str, int]) -> float:
    """Multiplications that stay, as a share of the dense network's."""
    layers = resnet50()
    dense = sum(math.prod(shape) * places for shape, places in layers.values())
    return sum(counts[name] * places for name, (_, places) in layers.items()) / dense


def erk_resnet50_flops() -> list[float]:
    """Inference cost of ResNet-50 under ERK."""
    from fewer.budget import erk

    shapes = {name: shape for name, (shape, _) in resnet50().items()}
    return [round(flops_share(erk(shapes, keep)), 6) for keep in (0.2, 0.1, 0.05)]


def uniform_resnet50_flops() -> list[float]:
    """Inference cost of ResNet-50 at the same share everywhere, the first layer dense."""
    from fewer.budget import uniform

    layers = resnet50()
    shapes = {name: shape for name, (shape, _) in layers.items() if name != "stem"}
    stem = {"stem": math.prod(layers["stem"][0])}
    return [round(flops_share(uniform(shapes, keep) | stem), 6) for keep in (0.2, 0.1, 0.05)]


MEASURES: dict[str, Callable[[], list[float]]] = {
    "erk-resnet50-flops": erk_resnet50_flops,
    "uniform-resnet50-flops": uniform_resnet50_flops,
}


def write(claim: Claim, found: tuple[float, ...]) -> None:
    """Store fresh numbers and where they come from; what the paper says stays."""
    fresh = {
        "measured": list(found),
        "commit": git_commit(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    path = CLAIMS / f"{claim.id}.toml"
    lines = path.read_text("utf-8").splitlines()
    for place, line in enumerate(lines):
        key = line.split("=", 1)[0].strip()
        if key in fresh:
            value = fresh[key]
            lines[place] = f"{key} = {value}" if isinstance(value, list) else f'{key} = "{value}"'
    path.write_text("\n".join(lines) + "\n", "utf-8")


def git_commit() -> str:
    """The commit that was measured, marked if the tree had changed."""
    run = ["git", "-C", str(CLAIMS.parent), "describe", "--always", "--dirty"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Measure, print, and store if asked to; 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", help="claims to measure; all by default")
    parser.add_argument("--write", action="store_true", help="store the fresh numbers")
    given = parser.parse_args()
    good = True
    for path in sorted(CLAIMS.glob("*.toml")):
        claim = load(path)
        if given.ids and claim.id not in given.ids:
            continue
        found = measure(claim)
        good &= claim.holds(found)
        print(f"{'holds' if claim.holds(found) else 'FAILS'}  {claim.id}: {claim.quantity}")
        for entry, number, theirs in zip(claim.entries, found, claim.published or ("-",) * len(found), strict=True):
            print(f"       {entry}: ours {number:g}, published {theirs}")
        if given.write:
            write(claim, found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
