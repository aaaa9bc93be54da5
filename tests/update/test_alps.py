import sys

import array_api_strict as strict
import numpy as np
import pytest
import torch
from problems import error, layer, random_mask

from fewer.method import FewerError
from fewer.select import rule
from fewer.update import _scaled as scaled_module
from fewer.update import alps, least_squares, solve_levels, sweep
from fewer.update._keep import kept

PATTERNS = [
    ("unstructured", "layer"),
    ("unstructured", "row"),
    ("2:4", "group"),
    ("row", "layer"),
    ("3x2", "layer"),
    ("column", "layer"),
]


def reference(weight, gram, drop, rho=0.05, growth=1.3, damping=0.01, iterations=300):
    """ADMM literally, with explicit inverses and dual in units of the penalty, then exact least squares."""
    ridge = gram + damping * np.mean(np.diag(gram)) * np.eye(len(gram))
    scale = np.sqrt(np.diag(ridge))
    matrix, dense = ridge / np.outer(scale, scale), weight * scale
    dual, before = np.zeros_like(dense), drop(dense)
    sparse = np.where(before, 0.0, dense)
    for step in range(iterations):
        free = (dense @ matrix - dual + rho * sparse) @ np.linalg.inv(matrix + rho * np.eye(len(gram)))
        moved = free + dual / rho
        gone = drop(moved)
        sparse = np.where(gone, 0.0, moved)
        dual = dual + rho * (free - sparse)
        if step % 3 == 2:
            if (gone != before).sum() <= 3e-3 * (~gone).sum():
                break
            before, rho = gone, rho * growth
    return ~gone


@pytest.mark.parametrize("xp", [np, torch, strict], ids=["numpy", "torch", "strict"])
def test_support_equals_the_literal_iteration(xp):
    weight, _, gram = layer(rows=8, columns=16, tokens=80)

    def drop(values):
        gone = np.zeros(values.size, dtype=bool)
        gone[np.argsort(np.abs(values), axis=None)[: values.size // 2]] = True
        return gone.reshape(values.shape)

    made = alps(xp.asarray(weight), xp.asarray(weight != 0), xp.asarray(gram), rule=rule(weight.shape, 0.5))
    np.testing.assert_array_equal(np.asarray(made.mask), reference(weight, gram, drop))


@pytest.mark.parametrize(("pattern", "within"), PATTERNS)
def test_any_pattern_is_met_exactly_and_beats_the_sweep_on_average(pattern, within):
    ours, theirs = 0.0, 0.0
    for seed in range(4):
        weight, _, gram = layer(rows=12, columns=24, tokens=100, seed=seed)
        chosen = rule(weight.shape, 0.5, pattern=pattern, within=within)
        made = alps(weight, weight != 0, gram, rule=chosen)
        np.testing.assert_array_equal(chosen.select(made.mask.astype(float)), made.mask)
        assert not made.weight[~made.mask].any()
        ours += error(made.weight, weight, gram)
        theirs += error(sweep(weight, weight != 0, gram, rule=chosen).weight, weight, gram)
    assert ours < theirs


def test_the_refit_reaches_exact_least_squares():
    weight, _, gram = layer(rows=6, columns=16, tokens=200)
    mask = random_mask(weight.shape)
    made = alps(weight, mask, gram, refit=60)
    exact = least_squares(weight, mask, gram, damping=0.01)
    np.testing.assert_allclose(made.weight, exact.weight, atol=2e-3)
    np.testing.assert_array_equal(made.mask, mask)


@pytest.mark.parametrize("rows", [2, 30])
def test_few_rows_go_through_the_eigenbasis_with_equal_results(rows, monkeypatch):
    weight, _, gram = layer(rows=rows, columns=16, tokens=80)
    chosen = rule(weight.shape, 0.5)
    first = alps(weight, weight != 0, gram, rule=chosen)
    monkeypatch.setattr(sys.modules["fewer.update.alps"], "_THIN", 0.0 if rows == 2 else 100.0)
    second = alps(weight, weight != 0, gram, rule=chosen)
    np.testing.assert_array_equal(first.mask, second.mask)


def test_the_basis_is_shared_between_equal_matrices_alone(monkeypatch):
    _, _, gram = layer()
    first = scaled_module.basis(gram, 0.01)
    assert scaled_module.basis(gram.copy(), 0.01) is first
    other = gram.copy()
    other[0, 1] = other[1, 0] = other[0, 1] + 1e-9
    assert scaled_module.basis(other, 0.01) is not first


@pytest.mark.parametrize("text", ["unstructured", "2:4", "1:4", "3:8"])
def test_the_quick_selection_equals_the_rule(text):
    scores = np.random.default_rng(0).standard_normal((6, 24)) ** 2
    chosen = rule(scores.shape, {"unstructured": 0.3, "2:4": 0.5, "1:4": 0.25, "3:8": 0.375}[text], pattern=text)
    np.testing.assert_array_equal(kept(chosen, scores) == 1, chosen.select(scores))


def test_levels_are_near_the_errors_of_single_solves():
    weight, _, gram = layer(rows=24, columns=32, tokens=200)
    rules = [rule(weight.shape, keep) for keep in (0.8, 0.7, 0.6, 0.5, 0.4)]
    for chosen, made in zip(rules, solve_levels(weight, gram, rules), strict=True):
        single = alps(weight, weight != 0, gram, rule=chosen).weight
        assert made.mask.sum() == chosen.count
        assert error(made.weight, weight, gram) < 1.3 * error(single, weight, gram)


def test_inputs_that_never_fire_go_first():
    weight, _, gram = layer(columns=12)
    gram[[3, 7], :] = gram[:, [3, 7]] = 0.0
    made = alps(weight, weight != 0, gram, rule=rule(weight.shape, 0.6))
    assert not made.mask[:, [3, 7]].any()
    assert np.isfinite(made.weight).all()


def test_bad_input_is_one_clear_line():
    weight, _, gram = layer()
    with pytest.raises(FewerError, match="12 inputs"):
        alps(weight, weight > 0, np.eye(5))
    weight[1, 1] = np.nan
    with pytest.raises(FewerError, match="not finite"):
        alps(weight, weight > 0, gram)
