"""The compiled step of ADMM beside the one in array operations, at every level."""

import numpy as np
import pytest
import torch
from problems import layer

from fewer.select import rule
from fewer.update import _compiled, alps
from fewer.update._projection import _Groups, _Portable, _Threshold, projection
from fewer.update._scaled import scaled

PATTERNS = [("2:4", 0.5), ("1:4", 0.25), ("4:8", 0.5), ("3:7", 3 / 7), ("unstructured", 0.3), ("unstructured", 0.9)]


def problem(columns=56, rows=23):
    weight, _, gram = layer(rows=rows, columns=columns, tokens=200)
    return scaled(weight.astype(np.float32), gram.astype(np.float32), 0.01)


@pytest.fixture(params=["avx512", "avx2", "portable"])
def level(request, monkeypatch):
    extension = _compiled._extension()
    if extension is None or request.param not in extension.update_levels():
        pytest.skip("not on this machine")
    monkeypatch.setenv("FEWER_TIER", f"extension-{request.param}")


def walk(step, inverse, steps=9):
    seen = []
    for number in range(steps):
        grows = number % 3 == 2
        step.step(step.pull @ inverse, 0.3 if grows else 0.2, 0.5 if grows else 1.0)
        seen.append((np.array(step.moved), np.array(step.pull), step.changed()))
    return seen


@pytest.mark.native
@pytest.mark.parametrize(("text", "keep"), PATTERNS)
def test_every_level_equals_array_operations(level, text, keep):
    given = problem()
    chosen = rule(given.dense.shape, keep, pattern=text)
    mine, plain = projection(given, chosen, 0.2), _Portable(given, chosen, 0.2)
    assert isinstance(mine, _Threshold if text == "unstructured" else _Groups)
    inverse = given.basis.inverse(0.2)
    for one, other in zip(walk(mine, inverse), walk(plain, inverse), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-5, atol=1e-6)
        assert one[2] == other[2]


@pytest.mark.native
@pytest.mark.parametrize("text", ["2:4", "unstructured"])
def test_threads_change_nothing(monkeypatch, text):
    given = problem(rows=70)
    chosen, inverse = rule(given.dense.shape, 0.5, pattern=text), given.basis.inverse(0.2)
    alone = walk(projection(given, chosen, 0.2), inverse)
    monkeypatch.setattr(_compiled, "_SMALL", 0)
    monkeypatch.setattr(_compiled, "_threads", lambda: 3)
    for one, other in zip(alone, walk(projection(given, chosen, 0.2), inverse), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.native
def test_equal_scores_keep_as_many_as_the_pattern_says():
    given = problem(columns=16, rows=5)
    step = _Groups(given, rule((5, 16), 0.5, pattern="2:4"), 0.2)
    step.step(np.zeros((5, 16), dtype=np.float32), 0.2, 1.0)
    assert (np.asarray(step.kept).reshape(-1, 4).sum(axis=1) == 2).all()


@pytest.mark.parametrize("text", ["2:4", "unstructured"])
def test_the_portable_way_gives_the_same_mask(monkeypatch, text):
    weight, _, gram = (torch.tensor(x, dtype=torch.float32) for x in layer(rows=24, columns=32, tokens=200))
    chosen = rule(tuple(weight.shape), 0.5, pattern=text)
    mine = alps(weight, weight != 0, gram, rule=chosen)
    monkeypatch.setenv("FEWER_TIER", "dense")
    plain = alps(weight, weight != 0, gram, rule=chosen)
    assert torch.equal(mine.mask, plain.mask)
    torch.testing.assert_close(mine.weight, plain.weight, rtol=1e-3, atol=1e-4)
