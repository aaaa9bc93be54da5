"""Recipe and outline joined: what a run will do to each layer, known before a weight is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fewer.budget.allocation import Counts
from fewer.compute import most, resolve
from fewer.feasible import Entry, check_feasible, take
from fewer.input_recipe import budget_of
from fewer.method import FewerError, Method, find, nearest
from fewer.recipe import Recipe
from fewer.types import EVIDENCE

if TYPE_CHECKING:
    from fewer.pattern import Pattern

__all__ = ["Excluded", "Plan", "PlanRow", "allocate", "evidence_of", "make_plan", "unit_shapes"]

#: What a budget may ask for that a plan already knows.
_KNOWN_BEFORE = frozenset({"shapes", "blocks", "keep"})
#: What a layer's own arrays supply; everything else that a signature names has to be measured.
_NOT_MEASURED = frozenset({"weight", "mask"})
#: Rank of factors, and tokens of a sample of inputs, as `evidence` measures them.
_RANK, _TOKENS = 8, 512
#: Damage is measured through the Gram matrix where the Gram matrices of one block stay below this many bytes.
_CHEAP_GRAM = 96 << 20
#: Why a weight that is no layer is left alone.
_UNSEEN = "no layer: what it multiplies is not known"


class _Entry(Entry, Protocol):
    """What a plan counts beside."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def bytes(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def dimensions(self) -> tuple[int, ...]: ...


class _Outline(Protocol):
    @property
    def candidates(self) -> Sequence[_Entry]: ...
    @property
    def unseen(self) -> Sequence[tuple[str, tuple[int, ...]]]: ...


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One layer to be pruned. `units` counts what is kept or dropped as a whole; None is decided at run time."""

    name: str
    block: int | None
    kind: str
    shape: tuple[int, int]
    keep: float | None
    kept_units: int | None
    units: int
    bytes: int
    evidence_bytes: int
    dimensions: tuple[int, ...]

    @property
    def total(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def kept(self) -> int | None:
        """Number of weights that stay."""
        return None if self.kept_units is None else self.kept_units * (self.total // self.units if self.units else 0)


@dataclass(frozen=True, slots=True)
class Excluded:
    """A weight matrix that the run leaves alone, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do. `str(plan)` is a table, `to_dict` plain data, `hash` identifies it.

    `compute` is the number type of the forward passes on this machine.
    """

    recipe: Recipe
    rows: tuple[PlanRow, ...]
    excluded: tuple[Excluded, ...]
    evidence: tuple[str, ...]
    citations: tuple[str, ...]
    compute: str = "float32"

    @property
    def total(self) -> int:
        """Weights in the layers to be pruned."""
        return sum(row.total for row in self.rows)

    @property
    def kept(self) -> int:
        """Weights that stay, over all layers (known even where the split over layers is not)."""
        if all(row.kept is not None for row in self.rows):
            return sum(row.kept or 0 for row in self.rows)
        return round(self.recipe.mean_keep() * self.total)

    @property
    def bytes(self) -> int:
        """Bytes of the layers to be pruned, dense."""
        return sum(row.bytes for row in self.rows)

    @property
    def evidence_bytes(self) -> int:
        """Bytes of evidence held at once: one block's when sequential, every layer's otherwise."""
        if self.recipe.order == "at-once":
            return sum(row.evidence_bytes for row in self.rows)
        blocks: dict[int | None, int] = {}
        for row in self.rows:
            blocks[row.block] = blocks.get(row.block, 0) + row.evidence_bytes
        return max(blocks.values(), default=0)

    @property
    def unseen(self) -> int:
        """Weights in parameters that are no layer, so that nobody can prune them by name either."""
        return sum(math.prod(row.shape) for row in self.excluded if row.reason == _UNSEEN)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change when anything in the plan does."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        rows = [_plain_row(row) for row in self.rows]
        return {
            "recipe": self.recipe.to_dict(),
            "layers": rows,
            "excluded": [asdict(row) | {"shape": list(row.shape)} for row in self.excluded],
            "evidence": list(self.evidence),
            "compute": self.compute,
            "total": self.total,
            "kept": self.kept,
            "bytes": self.bytes,
            "evidence_bytes": self.evidence_bytes,
            "citations": list(self.citations),
        }

    def __str__(self) -> str:
        """The plan as a table for the terminal."""
        return _table(self)


def make_plan(outline: _Outline, recipe: Recipe) -> Plan:
    """Decide, without reading a weight, what a run of this recipe does to each layer.

    Args:
        outline: an outline or an opened model.
        recipe: blanks are filled in with their defaults.

    Returns:
        The plan; counts that depend on scores are None.

    Raises:
        FewerError: unknown names, a filter that matches nothing, a pattern that does not divide a layer (named),
            a method that asks for evidence that nobody can measure.
    """
    from fewer.method import citations
    from fewer.pattern import parse

    recipe = recipe.resolve()
    pattern = parse(recipe.pattern)
    chosen, left = take(outline.candidates, recipe)
    excluded = tuple(Excluded(e.name, e.shape, left[e.name]) for e in outline.candidates if e.name in left)
    excluded += tuple(Excluded(name, shape, _UNSEEN) for name, shape in outline.unseen)
    for entry in chosen:
        pattern.check(entry.shape, entry.name)
    for row in recipe.where:
        if not any(row.matches(entry.name) for entry in chosen):
            names = nearest(row.match, [entry.name for entry in chosen])
            raise FewerError(f"where: no layer to be pruned matches '{row.match}'{names}; `fewer plan` lists the names")
    evidence = evidence_of(recipe)
    check_feasible(recipe, chosen, evidence, pattern.unit)
    measured = (*evidence, "input_gram") if _measures_damage(recipe, chosen, evidence) else evidence
    grids = {entry.name: pattern.grid(entry.shape) for entry in chosen}
    blocks = {entry.name: entry.block for entry in chosen}
    known = not set(budget_of(recipe).needs) - _KNOWN_BEFORE and recipe.score != "cats"
    shapes = unit_shapes(pattern, chosen)
    counts = allocate(recipe, pattern, shapes, blocks, {}) if known and chosen else {}
    rows = tuple(_row(entry, grids[entry.name], counts.get(entry.name), measured) for entry in chosen)
    papers = citations(recipe.methods())
    own = [recipe.paper] if recipe.paper and not any(recipe.paper in line for line in papers) else []
    held = getattr(outline, "computes", "") or most((entry.type, entry.bytes) for entry in outline.candidates)
    compute = resolve(recipe.compute, held, device=getattr(outline, "device", "cpu"), authors=bool(recipe.compat))
    return Plan(recipe, rows, excluded, measured, (*own, *papers), compute)


def unit_shapes(pattern: Pattern, rows: Iterable[_Entry | PlanRow]) -> dict[str, tuple[int, ...]]:
    """Shape of the grid of units of every layer; where units are single weights, kernel dimensions come last."""
    single = pattern.unit == "weight"
    return {row.name: row.dimensions if single else pattern.grid(row.shape) for row in rows}


def allocate(
    recipe: Recipe,
    pattern: Pattern,
    shapes: Mapping[str, tuple[int, ...]],
    blocks: Mapping[str, int | None],
    given: Mapping[str, Any],
    keep: float | None = None,
) -> Counts:
    """Kept units of every layer.

    Args:
        recipe: resolved.
        pattern: its pattern.
        shapes: of the grid of units of every layer, as `unit_shapes` gives them.
        blocks: block index of every layer.
        given: what else the budget may ask for, by name (scores, weights).
        keep: the share over all layers at this round; by default the recipe's own.

    Returns:
        Whole numbers that add up to what was asked for.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if pattern.keep is not None:
        return Counts({name: round(size * pattern.keep) for name, size in sizes.items()})
    if recipe.varied:
        scale = 1.0 if keep is None else keep / recipe.mean_keep()
        depth = _depths(blocks)
        return Counts({n: _share(recipe.keep_for(n, depth[n]), scale, size) for n, size in sizes.items()})
    budget = find("budget", recipe.budget)
    share = recipe.mean_keep() if keep is None else keep
    supply = {"shapes": dict(shapes), "blocks": dict(blocks), "keep": share, **given}
    missing = [name for name in budget.needs if name not in supply]
    if missing:
        raise FewerError(f"budget '{budget.name}' needs {', '.join(missing)}, which this run cannot give")
    counts = budget.target(*(supply[name] for name in budget.needs), **recipe.budget_options)
    return Counts({name: int(count) for name, count in counts.items()}, getattr(counts, "shares", None))


def evidence_of(recipe: Recipe) -> tuple[str, ...]:
    """The evidence that the score and the update of a resolved recipe ask for, in the order of the vocabulary.

    Raises:
        FewerError: a method names something that is not in the vocabulary.
    """
    if recipe.unit == "input":
        return ()
    wanted: set[str] = set()
    for kind, name in (("score", recipe.score), ("update", recipe.update)):
        method = find(kind, name)
        needs = set(method.needs) - _NOT_MEASURED
        _check_known(method, needs)
        wanted |= needs
    return tuple(name for name in EVIDENCE if name in wanted)


def _check_known(method: Method, needs: Iterable[str]) -> None:
    for need in sorted(needs):
        if need not in EVIDENCE:
            raise FewerError(f"{method.kind} '{method.name}' asks for '{need}', which is not evidence that is measured")


def _share(keep: float, scale: float, size: int) -> int:
    return max(1, min(size, round(keep * scale * size)))


def _depths(blocks: Mapping[str, int | None]) -> dict[str, float]:
    """Where each layer stands, 0 to 1: by block; by place in the list where there are none."""
    last = max((block for block in blocks.values() if block is not None), default=0)
    place = {name: index / max(len(blocks) - 1, 1) for index, name in enumerate(blocks)}
    return {name: place[name] if block is None else block / max(last, 1) for name, block in blocks.items()}


def _measures_damage(recipe: Recipe, chosen: Sequence[_Entry], evidence: Sequence[str]) -> bool:
    if "input_gram" in evidence or recipe.damage == "none":
        return False
    blocks: dict[int | None, int] = {}
    for entry in chosen:
        blocks[entry.block] = blocks.get(entry.block, 0) + _evidence_bytes("input_gram", entry.shape)
    cheap = max(blocks.values()) <= _CHEAP_GRAM
    return recipe.damage == "gram" or (cheap and bool(evidence))


def _row(entry: _Entry, grid: tuple[int, int], kept: int | None, evidence: Sequence[str]) -> PlanRow:
    units = grid[0] * grid[1]
    return PlanRow(
        name=entry.name,
        block=entry.block,
        kind=entry.kind,
        shape=(int(entry.shape[0]), int(entry.shape[1])),
        keep=None if kept is None or not units else kept / units,
        kept_units=kept,
        units=units,
        bytes=entry.bytes,
        evidence_bytes=sum(_evidence_bytes(name, entry.shape) for name in evidence),
        dimensions=tuple(int(n) for n in entry.dimensions),
    )


def _evidence_bytes(name: str, shape: tuple[int, int]) -> int:
    """Float32 bytes of one piece of evidence, from the shape that the vocabulary declares."""
    dimensions = EVIDENCE[name].split(")", 1)[0].lstrip("(").replace(" ", "").split(",")
    sizes = {"out": shape[0], "in": shape[1], "rank": _RANK, "tokens": _TOKENS}
    count = 1
    for dimension in dimensions:
        count *= sizes.get(dimension, 1)
    return 4 * count


def _table(plan: Plan) -> str:
    recipe = plan.recipe
    width = max(len(row.name) for row in plan.rows)
    lines = [
        ("skip small inputs (kept: weights read for a token): " if recipe.unit == "input" else "")
        + f"score {recipe.score}, keep {_keep_text(recipe)}, pattern {recipe.pattern} within {recipe.within}, "
        f"budget {recipe.budget}, update {recipe.update}, {recipe.order}"
        + (f", {recipe.steps} steps ({recipe.schedule})" if recipe.steps > 1 else ""),
        f"{'layer':<{width}}  {'shape':>13}  {'keep':>7}  {'kept':>12}  {'of':>12}  {'size':>9}",
    ]
    for row in plan.rows:
        keep = "run time" if row.keep is None else f"{row.keep:.4f}"
        kept = "-" if row.kept is None else f"{row.kept:,}"
        shape = f"{row.shape[0]} x {row.shape[1]}"
        lines.append(
            f"{row.name:<{width}}  {shape:>13}  {keep:>7}  {kept:>12}  {row.total:>12,}  {_size(row.bytes):>9}"
        )
    share = plan.kept / plan.total if plan.total else 1.0
    sums = f"{share:>7.4f}  {plan.kept:>12,}  {plan.total:>12,}  {_size(plan.bytes):>9}"
    lines.append(f"{'total':<{width}}  {'':>13}  {sums}")
    lines += [f"left alone: {row.name} ({' x '.join(map(str, row.shape))}): {row.reason}" for row in plan.excluded]
    if any(row.kept is None for row in plan.rows):
        lines.append(f"budget '{recipe.budget}' needs scores: the split over layers is decided at run time")
    wanted = f"{', '.join(plan.evidence) or 'none'} (at most {_size(plan.evidence_bytes)} at once)"
    lines.append(f"evidence: {wanted}, computed in {plan.compute}   plan {plan.hash}")
    return "\n".join(lines)


def _plain_row(row: PlanRow) -> dict[str, Any]:
    lists = {"shape": list(row.shape), "dimensions": list(row.dimensions)}
    return asdict(row) | lists | {"kept": row.kept, "total": row.total}


def _keep_text(recipe: Recipe) -> str:
    base = recipe.keep if isinstance(recipe.keep, tuple) else (recipe.mean_keep(),)
    text = ", ".join(f"{value:g}" for value in base)
    return text + "".join(f"; {row.match}: {row.keep}" for row in recipe.where)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000.0:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000.0
    return f"{value:.1f} TB"
