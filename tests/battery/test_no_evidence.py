"""A law of every score and every update: no evidence is not evidence of zero."""

import pytest
import torch

from fewer.evidence import Store
from fewer.evidence.accumulate import KINDS
from fewer.method import catalogue
from fewer.recipe import Recipe
from fewer.verbs._solve import Job

WEIGHT = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
#: Constants of a method are there without data; flow is of ones, and is refused where it is zero.
MEASURED = [s for s in catalogue("score") if set(s.needs) - {"weight", "synflow_grad"}]
UPDATES = [u for u in catalogue("update") if set(u.needs) - {"weight", "mask"}]


def label(entry):
    return entry.name


def nothing(needs, count):
    """Accumulators that saw `count` rows of zeros."""
    names = [name for name in needs if name in KINDS]
    held = {name: KINDS[name].zeros((6, 8), torch.float32) for name in names}
    for accumulator in held.values():
        accumulator.count = count
    return Store({"layer": held}, "model", ("data",))["layer"]


def solved(count, **recipe):
    job = Job.of(Recipe(**recipe).resolve())
    evidence = nothing({*job.score.needs, *job.update.needs, "input_gram"}, count)
    return job, job.solve("layer", WEIGHT, evidence, 24)


@pytest.mark.parametrize("count", [0, 32], ids=["nothing", "zeros"])
@pytest.mark.parametrize("entry", MEASURED, ids=label)
def test_a_score_without_evidence_is_magnitude(entry, count):
    job, found = solved(count, score=entry.name, update="zero")
    assert torch.equal(found.mask, job.rule("layer", WEIGHT, 24).select(WEIGHT.abs()))
    assert torch.equal(found.weight, WEIGHT * found.mask)
    assert found.damage is None and f"{count} tokens" in found.notes["evidence"]


@pytest.mark.parametrize("count", [0, 32], ids=["nothing", "zeros"])
@pytest.mark.parametrize("entry", UPDATES, ids=label)
@pytest.mark.parametrize("score", ["magnitude", "obs"])
def test_an_update_without_evidence_repairs_nothing(entry, count, score):
    _, found = solved(count, score=score, update=entry.name)
    assert int(found.mask.sum()) == 24 and found.bias is None
    assert torch.equal(found.weight, WEIGHT * found.mask)
    assert bool(found.mask[WEIGHT.abs() == WEIGHT.abs().max()].all())
    assert found.damage is None and f"{count} tokens" in found.notes["evidence"]


@pytest.mark.parametrize("pattern", ["2:4", "2x2", "row", "column"])
def test_every_pattern_falls_back_at_its_own_count(pattern):
    job = Job.of(Recipe(score="wanda", pattern=pattern, update="zero").resolve())
    count = job.rule("layer", WEIGHT, 24).count if pattern == "2:4" else 3
    found = job.solve("layer", WEIGHT, nothing(["input_norm"], 0), count)
    assert torch.equal(found.mask, job.rule("layer", WEIGHT, count).select(WEIGHT.abs()))


def test_what_is_partly_seen_is_measured():
    evidence = nothing(["input_norm"], 8)
    evidence._sums["input_norm"].total[3] = 8.0
    found = Job.of(Recipe(score="wanda", update="zero").resolve()).solve("layer", WEIGHT, evidence, 6)
    assert bool(found.mask[:, 3].all()) and "evidence" not in found.notes
