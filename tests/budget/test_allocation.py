"""Budgets against their papers' rules in slow loops; exact totals."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer.budget import er, erk, global_, lamp, owl, table, uniform
from fewer.budget.allocation import _round
from fewer.method import FewerError
from fewer.select import select

shape = st.tuples(st.integers(1, 12), st.integers(1, 12))
models = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), shape, min_size=1, max_size=6)


@pytest.mark.parametrize("budget", [uniform, er, erk])
@settings(max_examples=40, deadline=None)
@given(models, st.floats(0.01, 1.0))
def test_totals_are_exact_and_within_bounds(budget, shapes, keep):
    counts = budget(shapes, keep)
    assert sum(counts.values()) == round(keep * sum(map(prod, shapes.values())))
    assert all(0 <= counts[name] <= prod(shapes[name]) for name in shapes)


@settings(max_examples=30, deadline=None)
@given(models, st.floats(0.01, 1.0))
def test_uniform_is_within_one_weight(shapes, keep):
    counts = uniform(shapes, keep)
    assert all(abs(counts[name] - keep * prod(shapes[name])) <= 1 for name in shapes)


def test_er_shares_are_proportional_where_not_cut():
    shapes = {"a": (64, 64), "b": (128, 32), "c": (256, 256)}
    counts = er(shapes, 0.1)
    density = {n: counts[n] / prod(s) for n, s in shapes.items()}
    ratios = [density[n] / (sum(s) / prod(s)) for n, s in shapes.items()]
    assert max(ratios) / min(ratios) < 1.01


def test_global_equals_one_sort_of_everything():
    rng = np.random.default_rng(0)
    scores = {"a": rng.integers(0, 5, (3, 4)).astype(float), "b": rng.integers(0, 5, (2, 7)).astype(float)}
    flat = [(-v, layer, i) for layer, s in scores.items() for i, v in enumerate(s.ravel())]
    for keep in (0.1, 0.37, 0.9):
        chosen = sorted(flat)[: round(keep * len(flat))]
        assert global_(scores, keep) == {n: sum(c[1] == n for c in chosen) for n in scores}


def test_lamp_equals_the_papers_loop():
    rng = np.random.default_rng(1)
    weights = {"a": rng.standard_normal((4, 5)), "b": 9 * rng.standard_normal((3, 3))}
    scores = {n: np.zeros_like(w) for n, w in weights.items()}
    for name, w in weights.items():
        for i in range(w.size):
            rest = sum(v**2 for v in w.ravel() if abs(v) >= abs(w.ravel()[i]))
            scores[name].ravel()[i] = w.ravel()[i] ** 2 / rest
    for keep in (0.2, 0.5, 0.8):
        counts = lamp(weights, keep)
        assert counts == global_(scores, keep)
        for name, w in weights.items():
            np.testing.assert_array_equal(
                select(scores[name], count=counts[name]), select(np.abs(w), count=counts[name])
            )


def test_owl_equals_the_papers_loop():
    rng = np.random.default_rng(2)
    scores = {f"l{i}": np.abs(rng.standard_cauchy((20, 30))) ** (1 + i % 3) for i in range(6)}
    blocks = {f"l{i}": i // 2 for i in range(6)}
    shares = []
    for block in range(3):
        values = np.concatenate([scores[n].ravel() for n in scores if blocks[n] == block])
        shares.append(100.0 * np.count_nonzero(values > 5 * values.mean()) / values.size)
    ratio = (np.array(shares) - min(shares)) * (1 / (max(shares) - min(shares)) * 0.08 * 2)
    ratio = ratio - ratio.mean() + 0.4
    counts = owl(scores, blocks, 0.4)
    assert sum(counts.values()) == round(0.4 * 3600)
    for name in scores:
        assert abs(counts[name] - ratio[blocks[name]] * 600) <= 1


def test_owl_of_equal_blocks_is_uniform():
    scores = {"a": np.ones((4, 4)), "b": np.ones((4, 4))}
    assert owl(scores, {"a": 0, "b": 1}, 0.5) == {"a": 8, "b": 8}


def test_table_takes_the_first_glob_that_matches():
    shapes = {"x.q": (2, 4), "x.k": (2, 4), "y": (1, 8)}
    assert table(shapes, 0.5, shares={"*.q": 1.0, "x.*": 0.25}) == {"x.q": 8, "x.k": 2, "y": 4}
    with pytest.raises(FewerError, match="in 0 to 1"):
        table(shapes, 0.5, shares={"*": 1.5})


@settings(max_examples=50, deadline=None)
@given(models, st.floats(0.01, 1.0), st.integers(0, 99))
def test_rounding_meets_the_total_whatever_is_wished(shapes, keep, seed):
    """Wishes far outside the bounds are cut, and the rest is shared out without draining anyone."""
    sizes = {name: prod(s) for name, s in shapes.items()}
    wishes = np.random.default_rng(seed).uniform(-0.5, 1.5, len(sizes)) * list(sizes.values())
    counts = _round(dict(zip(sizes, wishes, strict=True)), sizes, keep)
    assert sum(counts.values()) == round(keep * sum(sizes.values()))
    assert all(0 <= counts[name] <= sizes[name] for name in sizes)


def test_uniform_of_layers_that_all_round_the_same_way():
    """Shares that all have remainders: carrying the error along would put one layer off by more than 1."""
    shapes = {"e": (4, 8), "a": (1, 3), "b": (6, 7), "c": (1, 12), "d": (1, 12), "f": (3, 8)}
    counts = uniform(shapes, 0.1)
    assert sum(counts.values()) == 12
    assert all(abs(counts[name] - 0.1 * prod(shapes[name])) < 1 for name in shapes)
