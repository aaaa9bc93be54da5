"""The column sweep: drop weights from left to right, each time repairing the columns still to come (SparseGPT)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace, device, is_torch_array

from fewer.method import FewerError, Paper, method
from fewer.types import Array, Mask
from fewer.update._columns import by_columns
from fewer.update._gram import damped, inverse_factor
from fewer.update.updated import Updated

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["sweep"]

#: Columns eliminated in one step: 2^4 drop patterns are tabulated, so no step looks at a single column.
_STEP = 4


@method(
    "update",
    "sweep",
    papers=[Paper("SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023, "2301.00774")],
    formula="left to right: e_j = w_j / U_jj where dropped, w_k -= e_j U_jk for k > j; G^-1 = U^T U",
    unit="weight",
    note="equals a column-by-column float64 loop; masks agree with the authors' code (tests/parity)",
)
def sweep(
    weight: Array,
    mask: Mask,
    input_gram: Array,
    /,
    *,
    rule: Rule | None = None,
    damping: float = 0.01,
    block: int = 128,
) -> Updated:
    """Drop columns from left to right and let the columns to the right take over what was lost.

    Formula: with H = G + damping * mean(diag G) * I and H^-1 = U^T U, U upper triangular, for j = 1, 2, ...:
    e_j = w_j / U_jj where w_j is dropped (else 0), then w_k <- w_k - e_j U_jk for all k > j. With a `rule` the
    mask is chosen again at the head of every block of columns (of every group, for N:M) by w_j^2 / U_jj^2.

    Four columns are eliminated at a time: the inverses of the 16 possible triangles are tabulated, and every row
    looks its own up.

    Args:
        weight: (out, in).
        mask: (out, in) bool, True is kept; only used when `rule` is None.
        input_gram: (in, in) second moment of the inputs.
        rule: how to choose the mask, or None to keep the one given; with `compat` "sparsegpt" columns go one by one,
            in the authors' order of operations, so that rounding falls as it does there.
        damping: share of the mean diagonal added to the Gram matrix.
        block: columns per block.

    Returns:
        Weights, mask, and in the notes the damping used if it had to be raised.

    Raises:
        FewerError: the Gram matrix does not fit or is not finite.

    Example:
        >>> import numpy as np
        >>> gram = np.array([[1.0, 0.5], [0.5, 1.0]])
        >>> sweep(np.array([[2.0, 1.0]]), np.array([[False, True]]), gram, damping=0.0).weight
        array([[0., 2.]])

    Reference: Frantar and Alistarh 2023, algorithm 1; compared with the authors' code on the same layers.
    """
    xp = array_namespace(weight, mask, input_gram)
    columns = weight.shape[1]
    if input_gram.shape != (columns, columns):
        raise FewerError(f"Gram matrix of shape {tuple(input_gram.shape)} for a weight with {columns} inputs")
    work = xp.result_type(xp.float32, input_gram.dtype)
    authors = rule is not None and rule.compat == "sparsegpt"
    upper, alive, amount, raised = triangle(input_gram, damping, work, authors=authors)
    notes: dict[str, float | str] = {}
    if raised:
        notes = {"damping": amount, "singular": "the Gram matrix was not positive definite; damping was raised"}
    if authors and rule is not None:
        solved, kept = by_columns(xp.astype(weight, work), xp.astype(upper, work), alive, rule, block)
    else:
        state = _Sweep(xp, weight, mask, xp.astype(upper, work), alive, rule)
        for start, stop in state.blocks(block):
            state.run(start, stop)
        solved, kept = xp.matrix_transpose(state.weight), xp.matrix_transpose(state.mask)
    final = xp.astype(solved, weight.dtype)
    return Updated(xp.where(kept, final, xp.zeros_like(final)), kept, notes)


def triangle(
    gram: Array, damping: float, work: Any = None, *, authors: bool = False
) -> tuple[Array, Mask, float, bool]:
    """U with (G + damping)^-1 = U^T U, which inputs ever fire, the damping added, whether it had to be raised.

    With `authors`, torch factorises in the order of the authors' code, so that rounding falls as it does there.
    """
    xp = array_namespace(gram)
    share, raised = damping, False
    while True:
        made = damped(gram, share, work or gram.dtype)
        literally = authors and is_torch_array(gram)
        upper = _as_authors(gram, made.alive, share) if literally else inverse_factor(made.matrix)
        if upper is None and not raised:
            upper = inverse_factor(xp.astype(made.matrix, xp.float64))
        if upper is not None:
            return upper, made.alive, made.damping, raised
        share, raised = max(10.0 * share, 1e-4), True
        if share > 1e8:
            raise FewerError("the Gram matrix cannot be made positive definite by damping; is it a second moment?")


def _as_authors(gram: Array, alive: Mask, damping: float) -> Array | None:
    """The factor by way of the inverse, damping added in the arithmetic of the authors' code."""
    import torch

    matrix = gram.clone()
    diagonal = matrix.diagonal()
    diagonal[~alive] = 1
    diagonal += damping * torch.mean(torch.diag(matrix))
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed):
        return None
    upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return None if bool(failed) else upper


class _Sweep:
    """The matrix under way, transposed so that a column of the layer is one contiguous row."""

    def __init__(self, xp: Any, weight: Array, mask: Mask, upper: Array, alive: Mask, rule: Rule | None) -> None:
        self.xp, self.upper, self.rule = xp, upper, rule
        self.weight = xp.astype(xp.matrix_transpose(weight), upper.dtype, copy=True)
        self.mask = xp.astype(xp.matrix_transpose(mask), xp.bool, copy=True)
        self.errors = xp.zeros_like(self.weight)
        self.strict = xp.triu(upper, k=1)
        pivot = xp.linalg.diagonal(upper)
        # A weight on an input that never fires is worth nothing, whatever its size.
        self.worth = xp.where(alive, 1 / (pivot * pivot), xp.zeros_like(pivot))
        self.group, self.align, adaptive = _grouping(rule)
        self.by_block = adaptive and self.group == 0
        if rule is not None and not adaptive:
            inverse = xp.sum(upper * upper, axis=0)
            value = xp.where(alive, 1 / inverse, xp.zeros_like(pivot))
            scores = xp.matrix_transpose(self.weight) ** 2 * value[None, :]
            self.mask = xp.matrix_transpose(rule.select(scores))

    def blocks(self, width: int) -> Iterator[tuple[int, int]]:
        """Column ranges whose ends respect the pattern."""
        columns, align = self.weight.shape[0], max(self.align, 1)
        width = max(1, -(-width // align)) * align
        for start in range(0, columns, width):
            yield start, min(start + width, columns)

    def choose(self, start: int, stop: int, current: Array) -> None:
        """Choose the mask of these columns from their present values."""
        assert self.rule is not None
        xp = self.xp
        scores = xp.matrix_transpose(current * current * self.worth[start:stop][:, None])
        self.mask[start:stop, :] = xp.matrix_transpose(self.rule.part(start, stop).select(scores))

    def run(self, start: int, stop: int) -> None:
        """Bring a block up to date with all errors to its left in one product, then eliminate its columns."""
        if start:
            self.weight[start:stop, :] -= self.upper[:start, start:stop].T @ self.errors[:start, :]
        if self.by_block:
            self.choose(start, stop, self.weight[start:stop, :])
        tables = self._tables(start, stop)
        width = self.group or stop - start
        for head in range(start, stop, width):
            tail = min(head + width, stop)
            if self.group:
                self.choose(head, tail, self._current(head, tail, start))
            for first in range(head, tail, _STEP):
                last = min(first + _STEP, tail)
                current = self._current(first, last, start)
                lost = self._lost(first, last, current, tables[first])
                self.weight[first:last, :] = current - self.strict[first:last, first:last].T @ lost
                self.errors[first:last, :] = lost

    def _current(self, first: int, last: int, start: int) -> Array:
        """Columns as they stand after all errors of their block so far."""
        if first == start:
            return self.weight[first:last, :]
        return self.weight[first:last, :] - self.upper[start:first, first:last].T @ self.errors[start:first, :]

    def _lost(self, first: int, last: int, current: Array, table: Array) -> Array:
        """Errors e with e_P U_PP = w_P on the dropped set P of every row, zero elsewhere."""
        xp, size = self.xp, last - first
        bits = xp.asarray([1 << i for i in range(size)], dtype=xp.int64, device=device(current))
        codes = xp.sum(xp.astype(~self.mask[first:last, :], xp.int64) * bits[:, None], axis=0)
        own = xp.reshape(xp.take(table, codes, axis=1), (size, size, current.shape[1]))
        return xp.sum(own * current[:, None, :], axis=0)

    def _tables(self, start: int, stop: int) -> dict[int, Array]:
        """The look-up table of every step of a block, by its first column; steps of one size are made together."""
        width = self.group or stop - start
        by_size: dict[int, list[int]] = {}
        for head in range(start, stop, width):
            for first in range(head, min(head + width, stop), _STEP):
                by_size.setdefault(min(_STEP, min(head + width, stop) - first), []).append(first)
        made: dict[int, Array] = {}
        for size, firsts in by_size.items():
            triangles = self.xp.stack([self.upper[i : i + size, i : i + size] for i in firsts], axis=0)
            made |= zip(firsts, _tables(self.xp, triangles), strict=True)
        return made


def _grouping(rule: Rule | None) -> tuple[int, int, bool]:
    """(columns per N:M group or 0, columns that a block must be a multiple of, whether masks adapt by block)."""
    if rule is None:
        return 0, 1, False
    from fewer.pattern import NM, Block, Unstructured

    pattern = rule.pattern
    if isinstance(pattern, NM):
        return pattern.m, pattern.m, True
    if isinstance(pattern, Block):
        return 0, pattern.w, True
    return 0, 1, isinstance(pattern, Unstructured)


def _tables(xp: Any, triangles: Array) -> list[Array]:
    """For each k x k triangle a (k*k, 2^k) table; column c is its inverse on the set of bits of c, zero elsewhere."""
    size = triangles.shape[1]
    codes = xp.arange(1 << size, dtype=xp.int64, device=device(triangles))
    dropped = [xp.astype((codes // (1 << i)) % 2, triangles.dtype)[None, :] for i in range(size)]
    zero = xp.zeros((triangles.shape[0], 1 << size), dtype=triangles.dtype, device=device(triangles))
    found: list[list[Array]] = [[zero] * size for _ in range(size)]
    for row in range(size):
        for column in range(row, size):
            value = xp.ones_like(zero) if row == column else zero
            for k in range(row, column):
                value = value - found[row][k] * triangles[:, k, column, None]
            found[row][column] = value / triangles[:, column, column, None] * dropped[row] * dropped[column]
    table = xp.stack([entry for line in found for entry in line], axis=1)
    return [table[i, ...] for i in range(table.shape[0])]
