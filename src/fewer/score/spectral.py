"""Scores that mind the singular values of the weight matrix."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.score.combine import sample
from fewer.score.weights import magnitude
from fewer.types import Array

__all__ = ["lift", "spectrum"]


@method(
    "score",
    "lift",
    papers=[
        Paper(
            "LIFT the Veil for the Truth: Principal Weights Emerge after Rank Reduction for Reasoning-Focused "
            "Supervised Fine-Tuning",
            2025,
            "2506.00772",
        )
    ],
    formula="|U_r S_r V_r'|, the weight's best approximation of rank r",
    unit="weight",
)
def lift(weight: Array, /, *, rank: int = 128) -> Array:
    """Magnitude after the small singular values have been taken away.

    Formula: s_ij = |sum_{k <= rank} u_ik sigma_k v_jk|

    Args:
        weight: (out, in).
        rank: singular values that count; from min(out, in) on it is plain magnitude.

    Returns:
        (out, in) scores.

    Raises:
        FewerError: a rank below 1.

    >>> import numpy as np
    >>> lift(np.array([[3.0, 0.0], [0.0, -1.0]]), rank=1)
    array([[3., 0.],
           [0., 0.]])

    Reference: Liu et al. 2025; the exact decomposition of the authors' code, which also has a randomised
    one. They train the weights of highest score (about 5 %) instead of keeping them alone.
    """
    if rank < 1:
        raise FewerError(f"rank of score 'lift' is {rank}; it must be at least 1")
    if rank >= min(weight.shape):
        return magnitude(weight)
    xp = array_namespace(weight)
    left, values, right = xp.linalg.svd(weight, full_matrices=False)
    return xp.abs((left[:, :rank] * values[None, :rank]) @ right[:rank, :])


@method(
    "score",
    "spectrum",
    papers=[Paper("Neural Network Pruning as Spectrum Preserving Process", 2023, "2307.08982")],
    formula="|w|^power / u, u ~ Uniform(0, 1]",
    unit="weight",
    note="truncation and sampling in one draw (priority sampling); kept weights are not rescaled by 1 / p",
    status="variant",
)
def spectrum(weight: Array, /, *, power: float = 2.0, seed: int = 0) -> Array:
    """Keep large weights for certain and small ones by chance, so that the singular values move little.

    Formula: s_ij = |w_ij|^power / u_ij. Of the largest scores, a weight is kept with probability
    min(1, |w_ij|^power / tau) given the largest score tau of the others that is dropped: large weights (nearly)
    always, small ones in proportion. Chance keeps the error free of structure, so that its spectral norm stays small.

    Args:
        weight: (out, in).
        power: 2 samples by energy, 1 by size; the larger, the nearer to magnitude.
        seed: of the draw.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> float(spectrum(np.array([[0.0, 2.0]]))[0, 0])
    0.0

    Reference: Yao et al. 2023, which samples entries with probabilities that grow with their squares and truncates;
    the equivalence of one draw and the two steps is priority sampling (Duffield et al. 2007), whose unbiased estimate
    was checked on 3,000 draws. The paper publishes no code.
    """
    return sample(magnitude(weight, power=power), seed=seed)
