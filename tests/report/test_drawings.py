from __future__ import annotations

import re

import pytest

from fewer.report.bars import histogram
from fewer.report.dots import dots
from fewer.report.heat import field
from fewer.report.measures import MEASURES
from fewer.report.order import Look, looks, settings
from fewer.verbs.result import Histogram

LOOK = Look("c0", "circle", None)
KL, PERPLEXITY, AGREEMENT = MEASURES[:3]


def points(polygon):
    return [tuple(map(float, pair.split(","))) for pair in polygon.split()]


def area(polygon):
    corners = points(polygon)
    return (
        abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True))) / 2
    )


def test_areas_of_a_histogram_are_its_counts():
    data = Histogram("weights", (-3.0, -2.0, -1.0, 0.0), kept=(0, 20, 40), dropped=(30, 20, 0))
    drawn = dict(re.findall(r'<polygon points="([^"]*)" class="(kept|dropped)"', histogram(data, LOOK, "x")))
    found = {style: area(polygon) for polygon, style in drawn.items()}
    assert found["kept"] / found["dropped"] == pytest.approx(60 / 50, rel=1e-3)


def test_bins_too_low_to_see_are_cut_off_but_counted():
    data = Histogram("weights", (-4.0, -3.0, -2.0, -1.0, 0.0), kept=(0, 900, 3000, 1), dropped=(2, 100, 0, 0))
    drawn = histogram(data, LOOK, "x")
    assert ">kept 3,901<" in drawn and ">dropped 102<" in drawn
    assert "10⁻⁴" not in drawn and "0.001" in drawn and "0.1<" in drawn


@pytest.mark.parametrize("counts", [(), (0, 0)])
def test_a_histogram_of_nothing_does_not_fail(counts):
    edges = tuple(float(i) for i in range(len(counts) + 1))
    assert "<polygon" not in histogram(Histogram("empty", edges, counts, counts), LOOK, "x") or sum(counts) == 0


def test_darker_is_worse_and_cells_say_their_number():
    values = {("q", "0"): 0.1, ("q", "1"): 0.4, ("k", "0"): 0.9}
    drawn = field(["q", "k"], ["0", "1"], values, lambda v: v, lambda v: f"{v:.1f}", "map")
    found = re.findall(r'fill-opacity="([^"]*)" data-tip="([^"]*)"', drawn)
    assert [(float(o), tip) for o, tip in found] == [(0.15, "q, 0\n0.1"), (0.44, "q, 1\n0.4"), (0.91, "k, 0\n0.9")]
    assert re.findall(r'class="number mid (cell-\w+)">([^<]*)', drawn) == [
        ("cell-light", "0.1"),
        ("cell-light", "0.4"),
        ("cell-dark", "0.9"),
    ]


def test_numbers_are_left_out_of_cells_that_are_too_narrow():
    columns = [str(i) for i in range(60)]
    values = {("q", c): 0.5 for c in columns}
    drawn = field(["q"], columns, values, lambda v: v, lambda v: f"{v:.3f}", "map")
    assert 'class="number' not in drawn and drawn.count("data-tip") == 60


def floors(measure, comparison):
    drawn = dots(measure, settings(comparison), looks(comparison.candidates), comparison.dense)
    boxes = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*class="floor"', drawn)
    circles = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    return [(float(x), float(x) + float(w)) for x, w in boxes], circles


def test_the_floor_reaches_from_random_to_the_worse_side(two_settings):
    boxes, circles = floors(KL, two_settings)
    random = circles[1::2]
    assert [left for left, _ in boxes] == pytest.approx(random, abs=0.01)
    boxes, circles = floors(AGREEMENT, two_settings)
    assert [right for _, right in boxes] == pytest.approx(circles[1::2], abs=0.02)


def test_further_right_is_larger(two_settings):
    drawn = dots(KL, settings(two_settings)[:1], looks(two_settings.candidates), two_settings.dense)
    written = [float(v) for v in re.findall(r'class="value[^"]*">([\d.]+)<', drawn)]
    assert written == [0.083, 0.21, 0.62, 4.2]


def test_a_random_selection_far_off_does_not_set_the_axis(two_settings):
    span = PERPLEXITY.span(two_settings.candidates, two_settings.dense)
    assert max(span) < 30
