"""The contract of a penalty: four operations on shared parameters.

    value(w)          -> scalar   the price of w
    prox(w, step)     -> array    argmin_z 0.5 ||z - w||^2 + step * value(z); a projection when the price is 0 or inf
    residual(w, grad) -> array    distance of -grad to the subdifferential at w, per coordinate, group or as a whole;
                                  all zero exactly at a stationary point of  smooth + penalty,  grad = grad smooth(w)
    lam_max(grad0)    -> scalar   the smallest strength at which w = 0 is stationary, given the gradient at 0
                                  (where it makes sense)

`step` is a number, or for a separable penalty an array with one step per coordinate. Inputs are never written to;
results keep dtype and device. Any array library of the array API standard will do.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from array_api_compat import array_namespace, device

from fewer.types import Array

__all__ = ["Penalty"]


@runtime_checkable
class Penalty(Protocol):
    """What a solver may ask of a penalty; `convex` says whether prox is firmly non-expansive."""

    convex: bool

    def value(self, w: Array) -> Array:
        """Price of w, a scalar."""

    def prox(self, w: Array, step: Any) -> Array:
        """The minimiser over z of 0.5 ||z - w||^2 + step * value(z)."""

    def residual(self, w: Array, grad: Array) -> Array:
        """Distance of -grad to the subdifferential at w."""


def _like(values: Any, w: Array) -> Array:
    """`values` as an array with the library, dtype and device of w."""
    return array_namespace(w).asarray(values, dtype=w.dtype, device=device(w))


def _indices(values: Any, w: Array) -> Array:
    """`values` as 64-bit indices with the library and device of w."""
    xp = array_namespace(w)
    return xp.asarray(values, dtype=xp.int64, device=device(w))


def _soft(w: Array, threshold: Any) -> Array:
    """sign(w) max(|w| - threshold, 0), written so that an infinite threshold gives exactly 0."""
    xp = array_namespace(w)
    shrunk = xp.abs(w) - threshold
    return xp.where(shrunk > 0, xp.sign(w) * shrunk, xp.zeros_like(w))


def _distance(w: Array, grad: Array, slope: Array, corner: Any) -> Array:
    """Distance of -grad to {slope} where w != 0 and to [-corner, corner] where w = 0."""
    xp = array_namespace(w, grad)
    inside = xp.abs(grad) - corner
    return xp.where(w != 0, xp.abs(grad + slope), xp.where(inside > 0, inside, xp.zeros_like(w)))
