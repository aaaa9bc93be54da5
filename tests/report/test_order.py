from __future__ import annotations

import dataclasses
import math

import pytest

from fewer.report.order import control, kind_of, looks, settings, times_closer
from fewer.report.story import also, answer, headline


def change(comparison, label, **quality):
    """The comparison with other quality numbers for every candidate of a label."""
    rows = [
        dataclasses.replace(c, quality=dataclasses.replace(c.quality, **quality)) if c.label == label else c
        for c in comparison.candidates
    ]
    return dataclasses.replace(comparison, candidates=tuple(rows))


def only(comparison, *labels):
    return dataclasses.replace(comparison, candidates=tuple(c for c in comparison.candidates if c.label in labels))


def test_settings_stand_in_order_best_first_random_last(five_levels):
    found = settings(five_levels)
    assert [(s.pattern, s.keep) for s in found] == [
        *(("unstructured", k) for k in (0.9, 0.7, 0.5, 0.3)),
        ("2:4", 0.5),
        ("4:8", 0.5),
    ]
    for setting in found:
        assert [c.label for c in setting.candidates] == ["obs sweep", "wanda", "magnitude", "random"]


def test_random_stays_last_even_if_it_is_best(two_settings):
    lucky = change(two_settings, "random", kl=1e-9)
    assert all(s.candidates[-1].label == "random" for s in settings(lucky))


def test_a_candidate_without_a_number_stands_behind_those_with_one(two_settings):
    broken = change(two_settings, "obs sweep", kl=math.nan)
    assert [c.label for c in settings(broken)[0].candidates] == ["wanda", "magnitude", "obs sweep", "random"]


def test_the_control_has_the_same_count_in_every_layer(two_settings):
    wanda = next(c for c in two_settings.candidates if c.label == "wanda")
    random = next(c for c in two_settings.candidates if c.random)
    moved = list(random.layers)
    moved[0] = dataclasses.replace(moved[0], kept=moved[0].kept - 10)
    moved[3] = dataclasses.replace(moved[3], kept=moved[3].kept + 10)
    elsewhere = dataclasses.replace(random, label="elsewhere", layers=tuple(moved))
    both = dataclasses.replace(two_settings, candidates=(elsewhere, *two_settings.candidates))
    assert control(wanda, both) is random
    assert control(wanda, only(both, "elsewhere", "wanda")) is elsewhere
    assert control(wanda, only(both, "wanda")) is None


def test_a_control_of_another_pattern_does_not_count(two_settings):
    unstructured = [c for c in two_settings.candidates if c.pattern == "unstructured" and not c.random]
    others = [c for c in two_settings.candidates if c.pattern == "2:4" and c.random]
    mixed = dataclasses.replace(two_settings, candidates=(*unstructured, *others))
    assert {control(c, mixed) for c in unstructured} == {None}


def test_times_closer_is_the_ratio_of_divergences(two_settings):
    found = {c.label: times_closer(c, two_settings) for c in two_settings.candidates if c.pattern == "unstructured"}
    assert found["random"] is None
    assert found["wanda"] == pytest.approx(4.2 / 0.21)


def test_the_headline_is_the_setting_nearest_to_half(five_levels):
    assert headline(five_levels).place == "50 % sparsity"


def test_the_answer_names_the_best_and_its_cost(two_settings):
    assert answer(two_settings) == (
        "At 50 % sparsity, obs sweep stays nearest to the dense model: perplexity 7.96 against 7.39 dense "
        "(context 256), 51 times closer than random."
    )
    assert also(two_settings) == [
        "At 2:4 sparsity, obs sweep stays nearest to the dense model: perplexity 8.71 against 7.39 dense "
        "(context 256), 51 times closer than random."
    ]


def test_the_answer_admits_that_random_was_better(two_settings):
    lucky = change(two_settings, "random", kl=0.01)
    assert answer(lucky).startswith("At 50 % sparsity, no method beats a random selection; the nearest is obs sweep")


def test_the_answer_without_random_claims_nothing_about_it(two_settings):
    assert answer(only(two_settings, "wanda")) == (
        "At 50 % sparsity, wanda stays nearest to the dense model: perplexity 8.93 against 7.39 dense (context 256)."
    )


def test_the_answer_with_nothing_to_compare(two_settings):
    assert answer(only(two_settings)) == "The dense model alone: perplexity 7.39 at context 256."
    assert answer(only(two_settings, "random")) == "At 50 % sparsity, only random selections were measured."


def test_more_than_eight_methods_differ_in_shape_or_colour(two_settings):
    base = two_settings.candidates[1]
    many = [dataclasses.replace(base, group=f"method {i}") for i in range(16)]
    found = looks([*two_settings.candidates[:1], *many])
    assert found["random"].colour == "random"
    assert len(set(found.values())) == 17


@pytest.mark.parametrize(
    ("name", "block", "kind"),
    [
        ("model.layers.11.self_attn.q_proj", 11, "self_attn.q_proj"),
        ("transformer.h.1.mlp.c_fc", 1, "mlp.c_fc"),
        ("model.layers.1.mlp.experts.1.w1", 1, "mlp.experts.w1"),
        ("model.layers.2.mlp.experts.gate_up_proj[7]", 2, "mlp.experts.gate_up_proj"),
        ("features.0", None, "features"),
        ("0", None, "0"),
    ],
)
def test_kind_of(name, block, kind):
    assert kind_of(name, block) == kind
