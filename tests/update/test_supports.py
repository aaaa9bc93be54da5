"""The compiled solver of one system per row: equal to single solves at every level, size and thread count."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import layer, random_mask

from fewer.update import _compiled, least_squares
from fewer.update._supports import solve_on_supports

LEVELS = ["avx512", "avx2", "portable"]


def single(gram, right, mask):
    made = np.zeros_like(right)
    for i, kept in enumerate(mask):
        made[i, kept] = np.linalg.solve(gram[np.ix_(kept, kept)], right[i, kept])
    return made


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    extension = _compiled._extension()
    if extension is None or request.param not in extension.update_levels():
        pytest.skip("not on this machine")
    monkeypatch.setenv("FEWER_TIER", f"extension-{request.param}")


@pytest.mark.native
@pytest.mark.parametrize(("columns", "keep"), [(1, 0.5), (7, 0.0), (9, 1.0), (40, 0.5), (130, 0.9), (300, 0.7)])
def test_every_level_equals_single_solves(level, columns, keep):
    right, _, gram = layer(rows=5, columns=columns, tokens=3 * columns)
    gram += 0.1 * np.eye(columns)
    mask = random_mask(right.shape, keep)
    made, failed = _compiled.solve_rows(gram, right, mask)
    assert not failed.any()
    np.testing.assert_allclose(made, single(gram, right, mask), rtol=1e-7, atol=1e-9)


@pytest.mark.native
@given(st.integers(1, 6), st.integers(1, 70), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_shape_and_support(rows, columns, keep, seed):
    right, _, gram = layer(rows, columns, tokens=2 * columns, seed=seed)
    gram += 0.1 * np.eye(columns)
    mask = random_mask(right.shape, keep, seed)
    np.testing.assert_allclose(
        _compiled.solve_rows(gram, right, mask)[0], single(gram, right, mask), rtol=1e-7, atol=1e-9
    )


@pytest.mark.native
def test_a_row_without_a_factor_is_marked_and_solved_otherwise(level):
    gram = np.diag([1.0, 2.0, -4.0])
    right, mask = np.ones((2, 3)), np.array([[True, True, False], [False, True, True]])
    np.testing.assert_array_equal(_compiled.solve_rows(gram, right, mask)[1], [False, True])
    np.testing.assert_allclose(solve_on_supports(gram, right, mask), [[1, 0.5, 0], [0, 0.5, -0.25]])


@pytest.mark.native
def test_threads_change_nothing(monkeypatch):
    right, _, gram = layer(rows=11, columns=50)
    gram, mask = gram + np.eye(50), random_mask(right.shape)
    alone = _compiled.solve_rows(gram, right, mask)[0]
    monkeypatch.setattr(_compiled, "_SMALL", 0)
    monkeypatch.setattr(_compiled, "_threads", lambda: 3)
    np.testing.assert_array_equal(_compiled.solve_rows(gram, right, mask)[0], alone)


@pytest.mark.parametrize("keep", [0.3, 0.8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_portable_way_gives_the_same(monkeypatch, keep, dtype):
    weight, _, gram = (torch.tensor(x, dtype=dtype) for x in layer(rows=9, columns=40))
    mask = torch.tensor(random_mask(weight.shape, keep))
    mine = least_squares(weight, mask, gram, damping=0.01).weight
    monkeypatch.setenv("FEWER_TIER", "dense")
    portable = least_squares(weight, mask, gram, damping=0.01).weight
    np.testing.assert_allclose(mine, portable, rtol=1e-6 if dtype is torch.float32 else 1e-10, atol=1e-9)


def test_without_torch_the_threads_are_those_of_openmp():
    code = "from fewer.update import _compiled; print(_compiled._threads())"
    environment = {"OMP_NUM_THREADS": "3", "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.strip() == "3"
