"""Laws of every budget and every schedule in the catalogue."""

import numpy as np
import pytest
import torch

from fewer.method import catalogue
from fewer.pattern import parse
from fewer.select import rule, select

BUDGETS = catalogue("budget")
SHAPES = {"b0.q": (6, 8), "b0.up": (16, 8), "b1.q": (6, 8), "b1.up": (16, 8), "head": (3, 7), "one": (1, 1)}
BLOCKS = {"b0.q": 0, "b0.up": 0, "b1.q": 1, "b1.up": 1, "head": None, "one": None}
UNITS = sum(r * c for r, c in SHAPES.values())


def label(entry):
    return entry.name


def supply(keep, library=np.asarray):
    """What a budget may ask for, for a model of four layers in two blocks and two layers outside."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_t(3, size=shape) for name, shape in SHAPES.items()}
    falls = {name: np.sort(rng.random(20))[::-1] for name in SHAPES}
    curve = {name: {k / 20: float(fall[k:].sum()) for k in range(21)} for name, fall in falls.items()}
    worse = {name: {k: 1.01 * loss for k, loss in line.items()} for name, line in curve.items()}
    return {
        "shapes": SHAPES,
        "blocks": BLOCKS,
        "weights": {name: library(w) for name, w in weights.items()},
        "scores": {name: library(np.abs(w)) for name, w in weights.items()},
        "curve": curve,
        "measure": curve,
        "slices": {"x": curve, "y": worse},
        "keep": keep,
    }


def allocate(entry, keep=0.5, library=np.asarray):
    options = {"eps": 9.0} if "eps" in entry.knobs else {}
    options |= {"rise": 1.0} if "rise" in entry.knobs else {}
    given = supply(keep, library)
    return entry.target(*(given[name] for name in entry.needs), **options)


#: A budget without `keep` finds the total itself; the rest meet it.
MET = [entry for entry in BUDGETS if "keep" in entry.needs]


@pytest.mark.parametrize("entry", BUDGETS, ids=label)
def test_counts_are_whole_named_and_within_the_layer(entry):
    counts = allocate(entry)
    assert list(counts) == list(SHAPES)
    for name, (rows, columns) in SHAPES.items():
        assert type(counts[name]) is int
        assert 0 <= counts[name] <= rows * columns


@pytest.mark.parametrize("entry", MET, ids=label)
@pytest.mark.parametrize("keep", [0.31, 0.5, 0.77, 1.0])
def test_the_total_is_met_exactly(entry, keep):
    options = {"beta": 0.0} if "beta" in entry.knobs and keep == 1.0 else {}
    given = supply(keep)
    if "eps" in entry.knobs:
        options["eps"] = 9.0
    counts = entry.target(*(given[name] for name in entry.needs), **options)
    # A table of shares rounds layer by layer; it is uniform here, and may miss by half a unit in each.
    slack = len(SHAPES) / 2 if "shares" in entry.knobs else 0
    assert abs(sum(counts.values()) - round(keep * UNITS)) <= slack


@pytest.mark.parametrize("entry", [e for e in MET if "seed" not in e.knobs and "eps" not in e.knobs], ids=label)
def test_a_layer_keeps_no_less_when_the_model_keeps_more(entry):
    tighter, looser = allocate(entry, 0.4), allocate(entry, 0.6)
    assert all(tighter[name] <= looser[name] + 1 for name in SHAPES)


@pytest.mark.parametrize("entry", BUDGETS, ids=label)
def test_a_budget_is_the_same_on_torch_and_every_time(entry):
    assert allocate(entry) == allocate(entry) == allocate(entry, library=torch.as_tensor)


@pytest.mark.parametrize("entry", catalogue("schedule"), ids=label)
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.3), (0.2, 0.8)])
def test_a_schedule_hits_its_end_and_stays_between(entry, start, end):
    values = [entry.target(i / 50, start=start, end=end) for i in range(51)]
    assert values[-1] == pytest.approx(end, abs=1e-12)
    assert all(min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12 for value in values)
    assert "begin" not in entry.knobs or values[0] == pytest.approx(start, abs=1e-12)


@pytest.mark.parametrize("entry", catalogue("pattern"), ids=label)
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_a_pattern_gives_exact_nested_masks(entry, library):
    sides = {"n": 2, "m": 4, "h": 2, "w": 3}
    pattern = entry.target(*(sides[name] for name in entry.knobs))
    shape = (6, 12)
    assert parse(str(pattern)) == pattern
    units = int(np.prod(pattern.grid(shape)))
    scores = library(np.random.default_rng(1).integers(0, 4, shape).astype(float))
    counts = [units // 2] if pattern.keep is not None else range(units + 1)
    before = np.zeros(shape, bool)
    for count in counts:
        mask = np.asarray(select(scores, count=count, pattern=pattern))
        assert mask.sum() == count * (shape[0] * shape[1] // units)
        assert (mask | ~before).all()
        before = mask if len(counts) > 1 else before
    assert rule(shape, 1 if pattern.keep is None else pattern.keep, pattern=pattern).count <= units
