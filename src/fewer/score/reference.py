"""Scores of two data sets: the one to serve and a reference, put together by the combinators."""

from __future__ import annotations

from array_api_compat import array_namespace, device

from fewer.method import FewerError, Paper, method
from fewer.score.combine import contrast, product, total
from fewer.score.gradient import fisher, taylor_second
from fewer.score.weights import magnitude
from fewer.types import Array

__all__ = ["d_pruner", "gaprune"]


@method(
    "score",
    "d-pruner",
    papers=[Paper("Pruning as a Domain-specific LLM Extractor", 2024, "2405.06275")],
    formula="|w g - w^2 F / 2| on the domain + lam G w^2, G the same importance on open data",
    unit="weight",
    status="variant",
    note="the authors' code is withheld; their penalty lam G (w - w0)^2 is charged here with the weight removed, w = 0",
)
def d_pruner(
    weight: Array,
    grad: Array,
    grad_sq: Array,
    reference_grad: Array,
    reference_grad_sq: Array,
    /,
    *,
    lam: float = 0.1,
) -> Array:
    """Loss of removing the weight on the domain, with a penalty for what matters in general.

    Formula: s_ij = t_ij + lam G_ij w_ij^2, t and G = |w g - w^2 F / 2| with the gradients of the domain and of open
    data: the second-order change of  loss + lam sum G (w - w0)^2  when w_ij goes to zero.

    Args:
        weight: (out, in).
        grad: (out, in) mean gradient on the domain.
        grad_sq: (out, in) mean squared gradient on the domain.
        reference_grad: (out, in) mean gradient on open data.
        reference_grad_sq: (out, in) mean squared gradient on open data.
        lam: weight of generality.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> d_pruner(2 * one, one, 0 * one, one, 0 * one, lam=0.5)
    array([[6.]])

    Reference: Zhang et al. 2024 (general importance, regularised loss, dual score).
    """
    domain = taylor_second(weight, grad, grad_sq)
    general = taylor_second(weight, reference_grad, reference_grad_sq)
    return total(domain, product(general, magnitude(weight, power=2.0)), weights=(1.0, lam))


@method(
    "score",
    "gaprune",
    papers=[Paper("GAPrune: Gradient-Alignment Pruning for Domain-Aware Embeddings", 2025, "2509.10844")],
    formula="(|w| F_d - beta |w| F_g) clip(1 + strength a, 1 - strength, 1 + strength) + root sqrt(|w|)",
    unit="weight",
    note="the authors' softplus of it ranks the same and is left out, since it rounds small scores together",
)
def gaprune(
    weight: Array,
    grad: Array,
    grad_sq: Array,
    reference_grad: Array,
    reference_grad_sq: Array,
    /,
    *,
    beta: float = 1.0,
    strength: float = 0.2,
    root: float = 0.5,
    neighbourhood: int = 3,
) -> Array:
    """Fisher importance on the domain less that on general data, more where the two gradients agree.

    Formula: s = (|w| F_d - beta |w| F_g) clip(1 + strength a, 1 - strength, 1 + strength) + root sqrt(|w| + 1e-8),
    a the mean over the neighbourhood (zeros outside) of the product of the two gradients, each of norm 1.

    Args:
        weight: (out, in).
        grad: (out, in) mean gradient on the domain.
        grad_sq: (out, in) mean squared gradient on the domain: F_d.
        reference_grad: (out, in) mean gradient on general data.
        reference_grad_sq: (out, in) mean squared gradient on general data: F_g.
        beta: how much general importance counts against a weight.
        strength: how much alignment counts.
        root: weight of the term in sqrt(|w|).
        neighbourhood: 3 averages alignment over 3 x 3 weights as the authors do; 1 does not.

    Returns:
        (out, in) scores of both signs.

    Raises:
        FewerError: another neighbourhood.

    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> gaprune(4 * one, one, 3 * one, one, one, strength=0.0, root=1.0).round(3)
    array([[10.]])

    Reference: Tang and Yang 2025; compared with the authors' code, in which beta is 1, root 0.5 and the
    clip 0.8 to 1.2. They rank over all chosen layers: budget global.
    """
    if neighbourhood not in (1, 3):
        raise FewerError(f"neighbourhood of score 'gaprune' is {neighbourhood}; it may be 1 or 3")
    xp = array_namespace(weight, grad)
    # fisher carries a factor of one half that the paper leaves out.
    domain, general = (2.0 * fisher(weight, f, power=1.0) for f in (grad_sq, reference_grad_sq))
    objective = contrast(domain, general, lam=beta, scale="none")
    aligned = product(_unit(grad), _unit(reference_grad))
    aligned = _neighbourhood(aligned) if neighbourhood == 3 else aligned
    factor = xp.clip(1.0 + strength * aligned, 1.0 - strength, 1.0 + strength)
    return total(product(objective, factor), xp.sqrt(xp.abs(weight) + 1e-8), weights=(1.0, root))


def _unit(values: Array) -> Array:
    """The array divided by its norm; zeros stay zeros."""
    xp = array_namespace(values)
    norm = xp.sqrt(xp.sum(values * values))
    return values / (norm + 1e-8)


def _neighbourhood(values: Array) -> Array:
    """Mean of each entry and its eight neighbours, counting zeros outside."""
    for axis in (0, 1):
        values = values + _shifted(values, axis, 1) + _shifted(values, axis, -1)
    return values / 9.0


def _shifted(values: Array, axis: int, step: int) -> Array:
    """Moved by one place along an axis, a line of zeros moving in."""
    xp = array_namespace(values)
    shape = list(values.shape)
    if shape[axis] == 0:
        return values
    shape[axis] = 1
    edge = xp.zeros(tuple(shape), dtype=values.dtype, device=device(values))
    if axis == 0:
        parts = [edge, values[:-1, :]] if step > 0 else [values[1:, :], edge]
    else:
        parts = [edge, values[:, :-1]] if step > 0 else [values[:, 1:], edge]
    return xp.concat(parts, axis=axis)
