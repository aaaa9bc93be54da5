from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

import fewer
from fewer import adapt
from fewer.method import FewerError, find
from fewer.plan import evidence_of, make_plan
from fewer.recipe import Recipe, Where


@dataclass(frozen=True)
class Row:
    name: str
    shape: tuple[int, int]
    block: int | None = None
    kind: str = "linear"
    default: bool = True
    tied: str = ""
    type: str = "bfloat16"

    @property
    def dimensions(self) -> tuple[int, ...]:
        return self.shape

    @property
    def bytes(self) -> int:
        return 2 * self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Outline:
    candidates: tuple[Row, ...]
    unseen: tuple = ()


def outline(blocks: int = 3) -> Outline:
    rows = [Row("embed", (50, 8), kind="embedding", default=False)]
    for block in range(blocks):
        rows += [Row(f"blocks.{block}.up", (12, 8), block), Row(f"blocks.{block}.down", (8, 12), block)]
    return Outline((*rows, Row("head", (50, 8), default=False)))


def test_counts_bytes_and_totals():
    plan = make_plan(outline(), Recipe(keep=0.25))
    assert [row.kept for row in plan.rows] == [24] * 6
    assert (plan.kept, plan.total, plan.bytes) == (144, 576, 1152)


def test_evidence_is_the_union_of_what_score_and_update_ask_for():
    assert evidence_of(Recipe(score="wanda", update="sweep").resolve()) == ("input_norm", "input_gram")
    assert evidence_of(Recipe(score="magnitude", update="zero").resolve()) == ()


def test_evidence_bytes_of_one_block_or_of_all():
    one = make_plan(outline(), Recipe(update="zero", damage="none"))
    assert one.evidence == ("input_norm",) and one.evidence_bytes == 4 * (8 + 12)
    assert make_plan(outline(), Recipe(update="zero", damage="none", order="at-once")).evidence_bytes == 3 * 80
    gram = make_plan(outline(), Recipe(update="zero", damage="gram"))
    assert gram.evidence_bytes == 4 * (8 + 12 + 64 + 144)


def test_damage_is_not_measured_where_gram_matrices_are_large():
    wide = Outline((Row("a", (8, 8192), 0),))
    assert make_plan(wide, Recipe(update="zero")).evidence == ("input_norm",)
    assert "input_gram" in make_plan(wide, Recipe(update="zero", damage="gram")).evidence


def test_what_is_left_alone_has_a_reason():
    plan = make_plan(outline(), Recipe(skip=("*.down",)))
    reasons = {row.name: row.reason for row in plan.excluded}
    assert reasons["embed"] == "embedding" and "unless named" in reasons["head"]
    assert reasons["blocks.1.down"] == "named by skip"


def test_weights_that_are_no_layer_are_said():
    plan = make_plan(Outline(outline().candidates, (("blocks.0.experts.up", (2, 8, 24)),)), Recipe())
    assert plan.excluded[-1].reason == "no layer: what it multiplies is not known"
    assert "left alone: blocks.0.experts.up (2 x 8 x 24): no layer" in str(plan)


def test_filters_and_depth():
    recipe = Recipe(keep=(0.75, 0.25), where=(Where("*.1.*", 1.0),))
    assert [row.keep for row in make_plan(outline(), recipe).rows] == [0.75, 0.75, 1.0, 1.0, 0.25, 0.25]


def test_a_filter_that_matches_no_layer_is_refused():
    with pytest.raises(
        FewerError, match=r"where: no layer to be pruned matches 'blocks\.1\.upp'; did you mean 'blocks"
    ):
        make_plan(outline(), Recipe(where=(Where("blocks.1.upp", 0.3),)))


@pytest.mark.parametrize(("pattern", "kept"), [("1:4", 24), ("2:4", 48), ("4x2", 48), ("row", 48), ("column", 48)])
def test_patterns_count_weights(pattern, kept):
    assert [row.kept for row in make_plan(outline(), Recipe(score="magnitude", pattern=pattern)).rows] == [kept] * 6


def test_a_pattern_that_does_not_divide_names_the_layer():
    with pytest.raises(FewerError, match=r"'3x1'.*blocks\.0\.down"):
        make_plan(outline(), Recipe(pattern="3x1"))


def test_budgets_that_need_scores_are_decided_at_run_time():
    plan = make_plan(outline(), Recipe(budget="owl", keep=0.5))
    assert all(row.kept is None for row in plan.rows) and plan.kept == 288
    assert "decided at run time" in str(plan) and "run time" in str(plan).splitlines()[2]


def test_erk_counts_the_kernel_of_a_convolution():
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 16, 1), torch.nn.Conv2d(16, 16, 3))
    found = [
        {row.name: row.kept for row in make_plan(adapt.outline(net), Recipe(score="magnitude", budget=name)).rows}
        for name in ("erk", "er", "uniform")
    ]
    shapes = {"0": (8, 4, 3, 3), "1": (16, 8, 1, 1)}
    assert found == [find("budget", name).target(shapes, 0.5) for name in ("erk", "er", "uniform")]
    assert found[0] != found[1]


def test_erk_is_decided_now():
    plan = make_plan(outline(), Recipe(budget="erk", keep=0.5))
    assert plan.kept == 288 and "decided" not in str(plan)


def test_the_hash_changes_with_the_plan_and_only_with_it():
    base = make_plan(outline(), Recipe())
    assert base.hash == make_plan(outline(), Recipe()).hash
    assert len({base.hash, make_plan(outline(2), Recipe()).hash, make_plan(outline(), Recipe(keep=0.4)).hash}) == 3


def test_plan_is_json():
    plan = make_plan(outline(), Recipe())
    assert json.loads(json.dumps(plan.to_dict()))["kept"] == plan.kept


def test_no_weight_is_read(tmp_path, monkeypatch):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    expected = fewer.plan_for(model, Recipe(pattern="2:4"))
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    size = int.from_bytes(file.read_bytes()[:8], "little") + 8
    with file.open("r+b") as handle:
        handle.seek(size)
        handle.write(b"\xff" * (file.stat().st_size - size))
    assert fewer.plan_for(tmp_path / "model", Recipe(pattern="2:4")).rows == expected.rows


def test_a_plan_of_an_outline_is_that_of_the_model():
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    opened = adapt.open(net)
    assert make_plan(opened, Recipe()).to_dict() == make_plan(opened.outline(), Recipe()).to_dict()


def test_nothing_left_to_prune():
    with pytest.raises(FewerError, match="no layer is left"):
        make_plan(outline(), Recipe(skip=("blocks*",)))
