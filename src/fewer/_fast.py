"""Native doors for what the array API lacks; each gives what its portable form gives, ties included (tested)."""

from __future__ import annotations

from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from fewer.types import Array, Mask

__all__ = ["first_in_rows", "in_order", "inverse_diagonal", "kth_largest", "lowest_in_rows"]


def kth_largest(scores: Array, count: int) -> Array:
    """The count-th largest along the last axis: by partition where the library has one, else by sorting."""
    size = int(scores.shape[-1])
    if is_numpy_array(scores):
        import numpy as np

        return np.partition(scores, size - count, axis=-1)[..., size - count]
    if is_torch_array(scores):
        scores = scores.detach()
        if scores.device.type != "cpu":
            return scores.kthvalue(size - count + 1, dim=-1).values
        # numpy's partition is an order of magnitude faster than torch's selection on a CPU. Half precision has no
        # numpy form; float32 holds every such value exactly.
        wide = scores.float() if scores.dtype.itemsize < 4 else scores
        return scores.new_tensor(kth_largest(wide.numpy(), count))
    return array_namespace(scores).sort(scores, axis=-1)[..., size - count]


def first_in_rows(marked: Mask, count: Array) -> Mask:
    """The first `count` (rows, 1) of the marks in every row (rows, columns), by the places of the marks where few."""
    if not (is_numpy_array(marked) or (is_torch_array(marked) and marked.device.type == "cpu")):
        xp = array_namespace(marked)
        return marked & (xp.cumulative_sum(xp.astype(marked, xp.int64), axis=-1) <= count)
    import numpy as np

    rows, columns = marked.shape
    places = np.flatnonzero(np.asarray(marked))
    row = places // columns
    rank = np.arange(places.size) - np.searchsorted(row, np.arange(rows))[row]
    found = np.zeros(rows * columns, dtype=bool)
    found[places[rank < np.asarray(count)[row, 0]]] = True
    return array_namespace(marked).asarray(found.reshape(rows, columns))


def in_order(values: Array) -> Array:
    """The same values with those of a row side by side in memory, where the library knows of such a thing."""
    if is_numpy_array(values):
        import numpy as np

        return np.ascontiguousarray(values)
    return values.contiguous() if is_torch_array(values) else values


def lowest_in_rows(scores: Array, count: int) -> Mask | None:
    """The `count` lowest of every row as torch's own top-k settles ties; None where the arrays are not torch's.

    Which of two equal scores `torch.topk` takes follows no rule that could be written down, and published N:M code
    calls it, so to reproduce that code is to call it too.
    """
    if not is_torch_array(scores):
        return None
    import torch

    found = torch.topk(scores.detach().float(), count, dim=1, largest=False).indices
    return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device).scatter_(1, found, True)


def inverse_diagonal(matrix: Array) -> Array:
    """The diagonal of the inverse of a positive definite matrix; by a Cholesky factor where solves with it are fast.

    Raises:
        Exception: the library's own, for a matrix that has no inverse or is not definite.
    """
    if is_torch_array(matrix):
        import torch

        factor = torch.linalg.cholesky(matrix)
        eye = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
        return (torch.linalg.solve_triangular(factor, eye, upper=False) ** 2).sum(dim=0)
    xp = array_namespace(matrix)
    return xp.linalg.diagonal(xp.linalg.inv(matrix))
