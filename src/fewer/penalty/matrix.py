"""Penalties on the spectrum of a matrix: the nuclear norm.

Contract (see `contract`): value(w) -> scalar; prox(w, step) -> array; residual(w, grad) -> scalar, zero exactly at a
stationary point; lam_max(grad0) -> scalar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from fewer.arguments import NotNegative, check_fields
from fewer.method import Paper, method
from fewer.penalty.contract import _soft
from fewer.types import Array

__all__ = ["Nuclear"]

_SVT = Paper("A Singular Value Thresholding Algorithm for Matrix Completion", 2010, "0810.3286")


@method("penalty", "nuclear", papers=[_SVT], formula="lam * sum of singular values", unit="rank")
@dataclass(frozen=True)
class Nuclear:
    """The nuclear norm of a matrix, lam * sum_i sigma_i(W): L1 on the spectrum.

    Args:
        lam: strength.
        tol: singular values below tol * the largest count as zero in `residual`.

    >>> import numpy as np
    >>> Nuclear(1.0).prox(np.diag([3.0, 0.5]), 1.0) + 0.0
    array([[2., 0.],
           [0., 0.]])

    Reference: Cai, Candes and Shen (2010), theorem 2.1.
    """

    lam: NotNegative = 1.0
    tol: NotNegative = 1e-10
    convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse other types and numbers out of range."""
        check_fields(self)

    def value(self, w: Array) -> Array:
        """Lam * sum sigma."""
        xp = array_namespace(w)
        return self.lam * xp.sum(xp.linalg.svdvals(w))

    def prox(self, w: Array, step: Any) -> Array:
        """Soft threshold the singular values."""
        xp = array_namespace(w)
        u, s, vt = xp.linalg.svd(w, full_matrices=False)
        return (u * _soft(s, self.lam * step)) @ vt

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance of -grad to {lam (U V' + M) : U'M = 0, M V = 0, |M|_2 <= 1}, Frobenius norm."""
        xp = array_namespace(w, grad)
        u, s, vt = xp.linalg.svd(w, full_matrices=False)
        rank = int(xp.sum(xp.astype(s > self.tol * xp.max(s), xp.int64)))
        u, vt = u[:, :rank], vt[:rank, :]
        gap = -grad - self.lam * (u @ vt)
        outside = gap - u @ (xp.matrix_transpose(u) @ gap)
        outside = outside - (outside @ xp.matrix_transpose(vt)) @ vt
        excess = _soft(xp.linalg.svdvals(outside), self.lam)
        inside = gap - outside
        return xp.sqrt(xp.sum(inside * inside) + xp.sum(excess * excess))

    def lam_max(self, grad0: Array) -> Array:
        """Largest singular value of grad0."""
        xp = array_namespace(grad0)
        return xp.max(xp.linalg.svdvals(grad0))
