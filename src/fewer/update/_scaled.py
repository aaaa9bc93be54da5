"""A layer's least-squares problem in coordinates where every input has unit second moment, and its eigenbasis.

Whatever solves on it needs matrix products only. The eigenbasis of the last Gram matrix is kept, because the
layers that read one input (query, key and value; gate and up) come one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from array_api_compat import array_namespace, device

from fewer.method import FewerError
from fewer.types import Array, Mask
from fewer.update._gram import damped, square
from fewer.update.updated import Updated

__all__ = ["Basis", "Scaled", "basis", "conjugate_gradient", "finish", "scaled"]


#: Relative residual at which a refit stops: from scratch, and where ADMM has already come near (the rest changed the
#: KL of whole models by less than 2 % either way).
_TOLERANCE, _NEAR = 1e-4, 3e-3


#: Numbers in the inverses that a basis keeps at most.
_KEPT = 1 << 24


@dataclass(frozen=True, slots=True)
class Basis:
    """matrix = (G + damping) / (scale scale^T), unit diagonal, = vectors diag(values) vectors^T."""

    matrix: Array
    scale: Array
    values: Array
    vectors: Array
    alive: Mask
    damping: float
    inverses: dict[float, Array] = field(default_factory=dict)

    def inverse(self, rho: float) -> Array:
        """(matrix + rho I)^-1; small ones are kept for the next layer on this input, which asks for the same."""
        found = self.inverses.get(rho)
        if found is None:
            xp = array_namespace(self.vectors)
            found = square(self.vectors / xp.sqrt(self.values + rho)[None, :])
            size = self.matrix.shape[0] ** 2
            if size * (len(self.inverses) + 1) <= _KEPT:
                self.inverses[rho] = found
        return found


@dataclass(frozen=True, slots=True)
class Scaled:
    """min over b of (b - dense) matrix (b - dense)^T, row by row; `target` is dense @ matrix."""

    basis: Basis
    dense: Array
    target: Array

    def error(self, rows: Array) -> float:
        """Relative quadratic error of a candidate."""
        xp = array_namespace(rows)
        step = rows - self.dense
        whole = float(xp.sum(self.dense * self.target))
        return float(xp.sum((step @ self.basis.matrix) * step)) / whole if whole > 0 else 0.0


_last: list[tuple[float, Array, Basis]] = []


def basis(gram: Array, damping: float) -> Basis:
    """The scaled Gram matrix and its eigenbasis; equal to the last one asked for, it is not computed again."""
    xp = array_namespace(gram)
    made = damped(gram, damping, xp.result_type(xp.float32, gram.dtype))
    if _last and _last[0][0] == damping and _same(_last[0][1], made.matrix):
        return _last[0][2]
    matrix = made.matrix
    if matrix.shape[0] == 0:
        empty = xp.linalg.diagonal(matrix)
        return Basis(matrix, empty, empty, matrix, made.alive, 0.0)
    eye = xp.eye(matrix.shape[0], dtype=matrix.dtype, device=device(matrix))
    scale = xp.sqrt(xp.linalg.diagonal(matrix))
    matrix = matrix / scale[None, :] / scale[:, None]
    matrix = matrix * (1 - eye) + eye
    values, vectors = xp.linalg.eigh(matrix)
    found = Basis(matrix, scale, xp.where(values > 0, values, xp.zeros_like(values)), vectors, made.alive, made.damping)
    _last[:] = [(damping, made.matrix, found)]
    return found


def _same(one: Array, other: Array) -> bool:
    """Whether two matrices are of one kind and equal."""
    if type(one) is not type(other) or (one.shape, one.dtype, device(one)) != (other.shape, other.dtype, device(other)):
        return False
    return bool(array_namespace(one).all(one == other))


def scaled(weight: Array, gram: Array, damping: float) -> Scaled:
    """A layer's problem in scaled coordinates.

    Raises:
        FewerError: shapes that do not fit, or a number that is not finite.
    """
    xp = array_namespace(weight, gram)
    if gram.shape != (weight.shape[1], weight.shape[1]):
        raise FewerError(f"Gram matrix of shape {tuple(gram.shape)} for a weight with {weight.shape[1]} inputs")
    found = basis(gram, damping)
    # A weight on an input that never fires is worth nothing, whatever its size.
    dense = xp.astype(weight, found.matrix.dtype) * (found.scale * xp.astype(found.alive, found.scale.dtype))[None, :]
    if not bool(xp.all(xp.isfinite(dense))):
        raise FewerError("the weight holds a number that is not finite")
    return Scaled(found, dense, dense @ found.matrix)


def conjugate_gradient(
    matrix: Array, target: Array, mask: Mask, start: Array, steps: int, tolerance: float
) -> tuple[Array, int]:
    """Rows x with x zero off the mask and (x matrix - target) zero on it, all rows at once.

    The matrix has unit diagonal, which is the Jacobi preconditioner at work. Stops when every row's residual is
    below `tolerance` of its first, or of the target.
    """
    xp = array_namespace(matrix)
    keep = xp.astype(mask, matrix.dtype)
    rows = start * keep
    residual = (target - rows @ matrix) * keep
    search = residual
    norm = xp.sum(residual * residual, axis=1, keepdims=True)
    goal = tolerance**2 * xp.sum((target * keep) ** 2, axis=1, keepdims=True)
    for step in range(steps):
        if bool(xp.all(norm <= goal)):
            return rows, step
        image = (search @ matrix) * keep
        slope = xp.sum(search * image, axis=1, keepdims=True)
        live = (slope > 0) & (norm > goal)
        length = xp.where(live, norm / xp.where(live, slope, xp.ones_like(slope)), xp.zeros_like(norm))
        rows = rows + length * search
        residual = residual - length * image
        new = xp.sum(residual * residual, axis=1, keepdims=True)
        ratio = xp.where(live, new / xp.where(live, norm, xp.ones_like(norm)), xp.zeros_like(norm))
        search = residual + ratio * search
        norm = new
    return rows, steps


def finish(weight: Array, problem: Scaled, mask: Mask, start: Array, refit: int, steps: int) -> Updated:
    """Refit on the support and go back to the layer's own coordinates; rows that keep everything stay untouched."""
    xp = array_namespace(weight, mask)
    base = problem.basis
    tolerance = _NEAR if steps else _TOLERANCE
    rows, used = conjugate_gradient(base.matrix, problem.target, mask, start, refit, tolerance)
    solved = xp.astype(rows / base.scale[None, :], weight.dtype)
    untouched = xp.all(mask, axis=1)[:, None] | ~base.alive[None, :]
    final = xp.where(mask & untouched, weight, xp.where(mask, solved, xp.zeros_like(weight)))
    notes: dict[str, float | str] = {"iterations": float(steps), "refit": float(used), "error": problem.error(rows)}
    return Updated(final, mask, notes)
