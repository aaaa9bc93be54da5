"""Scores of first order: how much the loss would move."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array

__all__ = ["fisher", "gblm", "taylor"]


@method(
    "score",
    "taylor",
    papers=[
        Paper("Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017, "1611.06440"),
    ],
    formula="|w g|",
    unit="weight",
)
def taylor(weight: Array, grad: Array, /) -> Array:
    """First-order change of the loss when a weight is set to zero.

    Formula: |w_ij g_ij|, g the mean gradient of the loss.

    Args:
        weight: (out, in).
        grad: (out, in) mean gradient.

    >>> import numpy as np
    >>> taylor(np.array([[2.0, -1.0]]), np.array([[0.5, 3.0]]))
    array([[1., 3.]])

    Reference: Molchanov et al. 2017, equation 7, for single weights.
    """
    xp = array_namespace(weight, grad)
    return xp.abs(weight * grad)


@method(
    "score",
    "fisher",
    papers=[Paper("Optimal Brain Damage", 1989)],
    formula="w^2 E[g^2] / 2",
    unit="weight",
    note="the Hessian's diagonal is replaced by the empirical Fisher diagonal",
    status="variant",
)
def fisher(weight: Array, grad_sq: Array, /) -> Array:
    """Second-order change of the loss, with the Fisher diagonal for the Hessian.

    Formula: w_ij^2 * E[g_ij^2] / 2

    Args:
        weight: (out, in).
        grad_sq: (out, in) mean squared gradient.

    >>> import numpy as np
    >>> fisher(np.array([[2.0]]), np.array([[0.5]]))
    array([[1.]])

    Reference: LeCun et al. 1989, equation 5.
    """
    return 0.5 * weight * weight * grad_sq


@method(
    "score",
    "gblm",
    papers=[Paper("Beyond Size: How Gradients Shape Pruning Decisions in Large Language Models", 2023, "2311.04902")],
    formula="|w_ij| (||x_j||_2 + alpha ||g_ij||_2)",
    unit="weight",
    within="row",
    note="norms restored from means: ||x_j|| = sqrt(length) rms, ||g|| = sqrt(samples E[g^2])",
)
def gblm(
    weight: Array,
    input_norm: Array,
    grad_sq: Array,
    /,
    *,
    alpha: float = 100.0,
    samples: int = 128,
    length: int = 2048,
) -> Array:
    """Wanda's score plus the weight times the norm of its gradient over calibration samples.

    Formula: |w_ij| * (||x_j||_2 + alpha * ||g_ij||_2), the first norm over the tokens of a sample, the second over
    samples.

    Args:
        weight: (out, in).
        input_norm: (in,) root mean square of each input.
        grad_sq: (out, in) mean over samples of the squared gradient.
        alpha: weight of the gradient term.
        samples: number of calibration samples that the paper's norm runs over.
        length: tokens in a sample.

    >>> import numpy as np
    >>> gblm(np.array([[2.0]]), np.array([1.0]), np.array([[0.25]]), alpha=1.0, samples=4, length=1)
    array([[4.]])

    Reference: Das et al. 2023, equation 6 with the L2 norm; alpha as in the authors' code (`scale`).
    """
    xp = array_namespace(weight, input_norm, grad_sq)
    activation = length**0.5 * input_norm[None, :]
    return xp.abs(weight) * (activation + alpha * samples**0.5 * xp.sqrt(grad_sq))
