"""One small positive definite system per row, each on its own support, solved in batches."""

from __future__ import annotations

from collections.abc import Iterator

from array_api_compat import array_namespace, device, is_torch_array

from fewer.types import Array, Mask
from fewer.update._compiled import can_run, solve_rows

__all__ = ["solve_on_supports"]

#: Numbers held at once in the stacked sub-matrices of one batch: what stays in a cache, and sixteen times that where
#: the arrays lie on a device that is only busy with more.
_BATCH = 1 << 20


def solve_on_supports(matrix: Array, right: Array, mask: Mask) -> Array:
    """Rows x with x zero off the row's support S and matrix[S, S] x[S] = right[S].

    Rows that share one support (whole columns dropped) are solved by one factorisation; otherwise the compiled solver
    takes them one by one, and what it cannot take (no extension, arrays elsewhere, a pivot that is not positive) goes
    in batches.
    """
    xp = array_namespace(matrix, right, mask)
    rows, columns = right.shape
    if rows == 0 or columns == 0:
        return right
    if bool(xp.all(mask == mask[:1, :])):
        return _shared(matrix, right, mask[0, :])
    if not can_run(right):
        return _in_batches(matrix, right, mask)
    solved, failed = solve_rows(matrix, right, mask)
    if bool(xp.any(failed)):
        again = xp.nonzero(failed)[0]
        solved[again, :] = _in_batches(matrix, xp.take(right, again, axis=0), xp.take(mask, again, axis=0))
    return xp.astype(solved, right.dtype, copy=False)


def _in_batches(matrix: Array, right: Array, mask: Mask) -> Array:
    """Rows ordered by the size of their support and padded with the identity to the largest of their batch."""
    xp = array_namespace(matrix, right, mask)
    near = getattr(device(right), "type", "cpu") == "cpu"
    room = _BATCH if near else 16 * _BATCH
    counts = xp.sum(xp.astype(mask, xp.int64), axis=1)
    by_size = xp.argsort(counts, stable=True)
    pieces = [
        _batch(matrix, xp.take(right, index, axis=0), xp.take(mask, index, axis=0), size)
        for index, size in _batches(by_size, [int(n) for n in xp.take(counts, by_size)], room)
    ]
    return xp.take(xp.concat(pieces, axis=0), xp.argsort(by_size, stable=True), axis=0)


def _batches(order: Array, sizes: list[int], room: int) -> Iterator[tuple[Array, int]]:
    """Consecutive runs of rows whose padded systems fit in `room` numbers, with the largest size of each."""
    start = 0
    while start < len(sizes):
        stop = start + 1
        while stop < len(sizes) and (stop + 1 - start) * max(sizes[stop], 1) ** 2 <= room:
            stop += 1
        yield order[start:stop], sizes[stop - 1]
        start = stop


def _shared(matrix: Array, right: Array, kept: Mask) -> Array:
    """All rows on one support: one factorisation, many right-hand sides."""
    xp = array_namespace(matrix)
    both = kept[:, None] & kept[None, :]
    eye = xp.eye(matrix.shape[0], dtype=matrix.dtype, device=device(matrix))
    system = xp.where(both, matrix, eye)
    target = xp.where(kept[None, :], right, xp.zeros_like(right))
    return xp.matrix_transpose(_solve(system, xp.matrix_transpose(target)))


def _batch(matrix: Array, right: Array, mask: Mask, size: int) -> Array:
    """A few rows, each padded to `size` unknowns."""
    xp = array_namespace(matrix)
    rows, columns = right.shape
    order = xp.argsort(xp.astype(~mask, xp.int8), axis=1, stable=True)
    index = order[:, :size]
    flat = xp.reshape(index[:, :, None] * columns + index[:, None, :], (-1,))
    system = xp.reshape(xp.take(xp.reshape(matrix, (-1,)), flat), (rows, size, size))
    real = xp.take_along_axis(mask, index, axis=1)
    eye = xp.eye(size, dtype=matrix.dtype, device=device(matrix))
    system = xp.where(real[:, :, None] & real[:, None, :], system, eye[None, :, :])
    target = xp.take_along_axis(right, index, axis=1)
    target = xp.where(real, target, xp.zeros_like(target))
    solved = _solve(system, target[:, :, None])[:, :, 0]
    rest = xp.zeros((rows, columns - size), dtype=matrix.dtype, device=device(matrix))
    return xp.take_along_axis(xp.concat([solved, rest], axis=1), xp.argsort(order, axis=1, stable=True), axis=1)


def _solve(system: Array, target: Array) -> Array:
    """Solve positive definite systems; torch offers the factorisation that halves the work."""
    if is_torch_array(system):
        import torch

        factor, failed = torch.linalg.cholesky_ex(system)
        if not bool(failed.any()):
            return torch.cholesky_solve(target, factor)
    xp = array_namespace(system)
    return xp.linalg.solve(system, target)
