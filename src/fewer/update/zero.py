"""No update: what is dropped becomes zero, what is kept stays as it is."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array, Mask
from fewer.update.updated import Updated

__all__ = ["zero"]


@method(
    "update",
    "zero",
    papers=[Paper("Learning both Weights and Connections for Efficient Neural Networks", 2015, "1506.02626")],
    formula="W' = M * W",
    unit="weight",
)
def zero(weight: Array, mask: Mask, /) -> Updated:
    """Set dropped weights to zero and leave the others alone.

    Formula: W' = M * W.

    Args:
        weight: (out, in).
        mask: (out, in) bool, True is kept.

    Returns:
        The masked weight, the mask as given, no notes.

    Example:
        >>> import numpy as np
        >>> zero(np.array([[3.0, -1.0]]), np.array([[True, False]])).weight
        array([[3., 0.]])

    Reference: Han et al. 2015, section 3 (pruning step, before retraining).
    """
    xp = array_namespace(weight, mask)
    return Updated(xp.where(mask, weight, xp.zeros_like(weight)), mask, {})
