"""Scores of first order: how much the loss would move."""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.types import Array

__all__ = ["fisher", "gblm", "gblm_l1", "taylor", "taylor_second"]

_GBLM = Paper("Beyond Size: How Gradients Shape Pruning Decisions in Large Language Models", 2023, "2311.04902")


@method(
    "score",
    "snip",
    papers=[Paper("SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2019, "1810.02340")],
    formula="|w g| before training",
    unit="weight",
    note="the function of taylor; with budget global; the paper's division by the sum over the model ranks the same",
)
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

    Formula: |w_ij g_ij|, g the mean gradient of the loss. Before training and ranked over the model it is SNIP.

    Args:
        weight: (out, in).
        grad: (out, in) mean gradient.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> taylor(np.array([[2.0, -1.0]]), np.array([[0.5, 3.0]]))
    array([[1., 3.]])

    Reference: Molchanov et al. 2017, equation 7, for single weights; Lee et al. 2019.
    """
    xp = array_namespace(weight, grad)
    return xp.abs(weight * grad)


@method(
    "score",
    "fisher",
    papers=[Paper("Optimal Brain Damage", 1989)],
    formula="|w|^power E[g^2] / 2",
    unit="weight",
    note="the Hessian's diagonal is replaced by the empirical Fisher diagonal",
    status="variant",
)
def fisher(weight: Array, grad_sq: Array, /, *, power: float = 2.0) -> Array:
    """Second-order change of the loss, with the Fisher diagonal for the Hessian.

    Formula: |w_ij|^power * E[g_ij^2] / 2

    Args:
        weight: (out, in).
        grad_sq: (out, in) mean squared gradient.
        power: 2 for the change of the loss; 1 where a paper multiplies by |w|.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> fisher(np.array([[2.0]]), np.array([[0.5]]))
    array([[1.]])

    Reference: LeCun et al. 1989, equation 5.
    """
    size = array_namespace(weight, grad_sq).abs(weight)
    return 0.5 * size**power * grad_sq


@method(
    "score",
    "taylor-second",
    papers=[Paper("Optimal Brain Damage", 1989)],
    formula="|w g - w^2 E[g^2] / 2|",
    unit="weight",
    note="keeps the first-order term, which vanishes only at a minimum; the Fisher diagonal stands for the Hessian's",
    status="variant",
)
def taylor_second(weight: Array, grad: Array, grad_sq: Array, /) -> Array:
    """Change of the loss when a weight is set to zero, first and second order together.

    Formula: |w_ij g_ij - w_ij^2 E[g_ij^2] / 2|

    Args:
        weight: (out, in).
        grad: (out, in) mean gradient.
        grad_sq: (out, in) mean squared gradient.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> taylor_second(np.array([[2.0]]), np.array([[0.5]]), np.array([[1.5]]))
    array([[2.]])

    Reference: LeCun et al. 1989, equation 3 with the gradient kept; the form that LLM-Pruner calls mixed.
    """
    return array_namespace(weight, grad, grad_sq).abs(weight * grad - 0.5 * weight * weight * grad_sq)


@method(
    "score",
    "gblm",
    papers=[_GBLM],
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
    compat: str = "",
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
        compat: "gblm" rounds the gradient's norm to half precision, as the authors' files hold it.

    Returns:
        (out, in) scores.

    Raises:
        FewerError: an unknown `compat`.

    >>> import numpy as np
    >>> gblm(np.array([[2.0]]), np.array([1.0]), np.array([[0.25]]), alpha=1.0, samples=4, length=1)
    array([[4.]])

    Reference: Das et al. 2023, equation 6 with the L2 norm; alpha as in the authors' code (`scale`), masks equal to
    a loop over it.
    """
    if compat not in ("", "gblm"):
        raise FewerError(f"unknown compat '{compat}' of score 'gblm'; it may be gblm or empty")
    gradient = alpha * samples**0.5 * array_namespace(grad_sq).sqrt(grad_sq)
    return _both(weight, input_norm, _to_half(gradient) if compat else gradient, length)


@method(
    "score",
    "gblm-l1",
    papers=[_GBLM],
    formula="|w_ij| (||x_j||_2 + alpha ||g_ij||_1)",
    unit="weight",
    within="row",
    note="as gblm, with ||g||_1 = samples E|g|; the authors' running sum in half precision is not copied",
)
def gblm_l1(
    weight: Array,
    input_norm: Array,
    grad_abs: Array,
    /,
    *,
    alpha: float = 100.0,
    samples: int = 128,
    length: int = 2048,
) -> Array:
    """Wanda's score plus the weight times the 1-norm of its gradient over calibration samples.

    Formula: |w_ij| * (||x_j||_2 + alpha * ||g_ij||_1)

    Args:
        weight: (out, in).
        input_norm: (in,) root mean square of each input.
        grad_abs: (out, in) mean over samples of the absolute gradient.
        alpha: weight of the gradient term.
        samples: number of calibration samples that the paper's norm runs over.
        length: tokens in a sample.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> gblm_l1(np.array([[2.0]]), np.array([1.0]), np.array([[0.25]]), alpha=1.0, samples=4, length=1)
    array([[4.]])

    Reference: Das et al. 2023, equation 6 with the L1 norm.
    """
    return _both(weight, input_norm, alpha * samples * grad_abs, length)


def _both(weight: Array, input_norm: Array, gradient: Array, length: int) -> Array:
    size = array_namespace(weight, input_norm, gradient).abs(weight)
    return size * (length**0.5 * input_norm)[None, :] + size * gradient


def _to_half(values: Array) -> Array:
    """The nearest numbers of half precision, in the dtype given (values below 65,504).

    Adding and taking away a multiple by 2^k + 1 leaves all but k digits; below 2^-14 half precision has steps of 2^-24.
    """
    xp = array_namespace(values)
    digits = 1 - math.frexp(float(xp.finfo(values.dtype).eps))[1]
    multiple = values * (2.0 ** (digits - 10) + 1.0)
    rounded = multiple - (multiple - values)
    return xp.where(values < 2.0**-14, xp.round(values * 2.0**24) * 2.0**-24, rounded)
