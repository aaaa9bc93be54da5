"""Scores for networks that have not been trained: what each weight does for the flow of gradients or of signal."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array

__all__ = ["grasp", "synflow"]


@method(
    "score",
    "grasp",
    papers=[Paper("Picking Winning Tickets Before Training by Preserving Gradient Flow", 2020, "2002.07376")],
    formula="w (H g)",
    unit="weight",
    note="larger stays, as in the paper, which removes the largest -w (H g); budget global",
)
def grasp(weight: Array, hessian_grad: Array, /) -> Array:
    """What the weight adds to the squared norm of the gradient.

    Formula: s_ij = w_ij (H g)_ij, signed. Without the weight, g.g changes by -2 s_ij to first order: the most
    negative scores go first, since the gradient is larger without them.

    Args:
        weight: (out, in).
        hessian_grad: (out, in) Hessian of the loss times its own gradient.

    Returns:
        (out, in) scores of both signs.

    >>> import numpy as np
    >>> grasp(np.array([[2.0, -1.0]]), np.array([[0.5, 3.0]]))
    array([[ 1., -3.]])

    Reference: Wang et al. 2020. The sign was checked on a quadratic loss and against the copy in the
    code of Tanaka et al. 2020; the temperature 200 of the authors' code scales the logits of the pass, not the score.
    """
    return weight * hessian_grad


@method(
    "score",
    "synflow",
    papers=[
        Paper("Pruning neural networks without any data by iteratively conserving synaptic flow", 2020, "2006.05467")
    ],
    formula="|w dR/d|w||, R = summed outputs of the network of |w| fed with ones",
    unit="weight",
    note="budget global, repeated over 100 exponentially shrinking steps in the paper",
)
def synflow(weight: Array, synflow_grad: Array, /) -> Array:
    """The share of the weight in the flow through a network of absolute weights; no data.

    Formula: s_ij = |w_ij * dR/d|w_ij||

    Args:
        weight: (out, in).
        synflow_grad: (out, in) gradient of R with respect to the absolute weights.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> synflow(np.array([[2.0, -1.0]]), np.array([[0.5, 3.0]]))
    array([[1., 3.]])

    Reference: Tanaka et al. 2020, read beside the authors' code; their conservation law (what enters a hidden unit
    leaves it) is a test.
    """
    return array_namespace(weight, synflow_grad).abs(weight * synflow_grad)
