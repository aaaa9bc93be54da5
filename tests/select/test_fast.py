"""The native doors against their portable forms, ties and half precision included; authors' rounding."""

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewer._fast import first_in_rows, in_order, inverse_diagonal, kth_largest, lowest_in_rows
from fewer.select import select, top_in_rows

shapes = st.tuples(st.integers(1, 6), st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 999), st.data())
def test_kth_largest_is_the_same_through_every_door(shape, seed, data):
    scores = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)
    count = data.draw(st.integers(1, shape[1]))
    portable = np.asarray(kth_largest(strict.asarray(scores), count))
    np.testing.assert_array_equal(portable, -np.sort(-scores, axis=1)[:, count - 1])
    np.testing.assert_array_equal(kth_largest(scores, count), portable)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        found = kth_largest(torch.as_tensor(scores).to(dtype), count)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.float().numpy(), portable)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 999))
def test_first_in_rows_is_the_same_through_every_door(shape, seed):
    rng = np.random.default_rng(seed)
    marked, count = rng.random(shape) < rng.random(), rng.integers(0, shape[1] + 1, (shape[0], 1))
    expected = np.zeros(shape, dtype=bool)
    for row, places in enumerate(map(np.flatnonzero, marked)):
        expected[row, places[: count[row, 0]]] = True
    for library in (np.asarray, torch.as_tensor, strict.asarray):
        found = first_in_rows(library(marked), library(count))
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_in_order_puts_rows_side_by_side_and_changes_nothing():
    turned = np.arange(6.0).reshape(2, 3).T
    assert in_order(turned).flags.c_contiguous and in_order(torch.as_tensor(turned)).is_contiguous()
    for library in (np.asarray, torch.as_tensor, strict.asarray):
        np.testing.assert_array_equal(np.asarray(in_order(library(turned))), turned)


def test_inverse_diagonal_through_every_door():
    x = np.random.default_rng(0).standard_normal((30, 7))
    expected = np.diag(np.linalg.inv(x.T @ x))
    for library in (np.asarray, torch.as_tensor, strict.asarray):
        np.testing.assert_allclose(np.asarray(inverse_diagonal(library(x.T @ x))), expected, rtol=1e-9)


def test_lowest_in_rows_is_torchs_choice_and_nobody_elses():
    scores = torch.tensor([[0.0, 0, 0, 0], [2, 1, 1, 1], [1, 0, 1, 0]])
    mask = lowest_in_rows(scores, 2)
    assert mask.sum(dim=1).tolist() == [2, 2, 2]
    assert bool((scores[mask].reshape(3, 2).amax(dim=1) <= torch.tensor([0.0, 1, 0])).all())
    assert lowest_in_rows(scores.numpy(), 2) is None


@pytest.mark.parametrize("size", [4, 8, 32, 64])
def test_small_groups_equal_a_sort_of_rows(size):
    """Pairwise comparison (up to 32) and the general selection agree, ties included."""
    scores = np.random.default_rng(size).integers(0, 3, (5, 2 * size)).astype(float)
    for keep in (1, size // 2, size - 1, size):
        mask = select(scores, keep / size, pattern=f"{keep}:{size}")
        np.testing.assert_array_equal(mask.reshape(-1, size), top_in_rows(scores.reshape(-1, size), keep))


def dropped_as_published(scores, sparsity, within):
    """What the published code zeroes: floored rows by a stable sort, or everything up to one threshold."""
    if within == "row":
        order = np.argsort(scores, axis=1, kind="stable")[:, : int(scores.shape[1] * sparsity)]
        gone = np.zeros(scores.shape, bool)
        np.put_along_axis(gone, order, True, axis=1)
        return gone
    return scores <= np.sort(scores, axis=None)[int(scores.size * sparsity)]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(2, 40), st.integers(0, 99), st.sampled_from([0.3, 0.4, 0.5, 0.6, 0.7, 0.9]))
def test_compat_drops_what_the_published_code_drops(rows, columns, seed, sparsity):
    scores = np.random.default_rng(seed).integers(0, 9, (rows, columns)).astype(float)
    for within in ("row", "layer"):
        kept = select(scores, 1 - sparsity, within=within, compat="wanda")
        np.testing.assert_array_equal(~kept, dropped_as_published(scores, sparsity, within))


def test_compat_of_groups_is_torchs_top_k():
    scores = torch.randint(0, 3, (20, 40), generator=torch.Generator().manual_seed(0)).float()
    for n, m in ((2, 4), (4, 8)):
        gone = torch.zeros(scores.shape, dtype=torch.bool)
        for start in range(0, 40, m):
            found = torch.topk(scores[:, start : start + m], m - n, dim=1, largest=False).indices
            gone.scatter_(1, start + found, True)
        assert torch.equal(~select(scores, n / m, pattern=f"{n}:{m}", compat="wanda"), gone)


def test_compat_keeps_everything_where_nothing_is_to_go():
    assert select(np.ones((2, 3)), 1.0, compat="wanda").all()
    assert select(np.ones((2, 3)), 1.0, within="row", compat="wanda").all()
