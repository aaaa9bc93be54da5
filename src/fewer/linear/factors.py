"""Penalty factors: how dear each column is, from hand, from a pilot fit, or from somebody's belief.

A factor of 0 leaves a column free, infinity excludes it, and no factor is rescaled behind the user's back. An object
with factors answers one question, `candidates(X, y, weights, names, loss)`: a list of factor vectors, each with a
label. More than one vector means that cross-validation chooses; beliefs always offer "no belief" among them, so that
bad advice costs nothing but its place in the list. An object whose vectors depend on the target says so with
`learnt = True`: cross-validation then makes them anew in every fold, from the rows that the fold may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import NotNegative, Positive, check_fields
from fewer.linear.arrays import numbers_of
from fewer.method import FewerError, Paper, method, nearest

__all__ = ["Adaptive", "Candidate", "Factors", "Manual", "Prior", "as_factors"]

Vector = NDArray[np.float64]
#: Tolerance of a pilot fit: what it misses, every answer with its factors misses too, however exact.
PILOT = 1e-10


@dataclass(frozen=True, eq=False)
class Candidate:
    """One vector of penalty factors and what it stands for."""

    label: str
    factors: Vector


class Factors(Protocol):
    """What turns data and names into vectors of penalty factors."""

    def candidates(self, X: Any, y: Any, weights: Any, names: Sequence[str], loss: Any) -> list[Candidate]:
        """The vectors to choose from."""


@method("factors", "manual", formula="f_j as given", unit="feature", status="ours")
@dataclass(frozen=True, eq=False)
class Manual:
    """Factors by position or by name; columns that are not named get 1.

    >>> Manual({"age": 0.0}).candidates(None, None, None, ["age", "bmi"], None)[0].factors
    array([0., 1.])
    """

    factors: Any

    def candidates(self, X: Any, y: Any, weights: Any, names: Sequence[str], loss: Any) -> list[Candidate]:
        """The one vector."""
        if isinstance(self.factors, Mapping):
            for name in self.factors:
                if name not in names:
                    raise FewerError(f"penalty factor for '{name}': no such column{nearest(str(name), names)}")
            values = numbers_of([self.factors.get(name, 1.0) for name in names], "penalty_factors")
        else:
            values = numbers_of(self.factors, "penalty_factors")
        return [Candidate("manual", check_factors(values, len(names)))]


@method(
    "factors",
    "adaptive",
    papers=[Paper("The Adaptive Lasso and Its Oracle Properties", 2006)],
    formula="f_j = 1 / |pilot_j|^gamma",
    unit="feature",
)
@dataclass(frozen=True, slots=True)
class Adaptive:
    """Columns that a first fit finds large become cheap.

    Formula: f_j = f0_j / |b_j|^gamma with b a pilot fit at f0; infinite where the pilot is zero.

    Attributes:
        pilot: `ridge` (a small ridge penalty; no column is excluded) or `lasso` (columns it drops stay out).
        gamma: exponent, positive; several give one vector each, to choose from.
        strength: penalty of the pilot as a share of lambda_max.
        base: f0, None for 1: 0 leaves a column free and infinity excludes it, whatever the pilot says.

    Reference: Zou 2006, equation 4.

    >>> Adaptive(gamma=2.0).gamma
    2.0
    """

    pilot: Literal["ridge", "lasso"] = "ridge"
    gamma: Positive | Sequence[Positive] = 1.0
    strength: Positive = 1e-2
    base: Any = None
    learnt: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options."""
        check_fields(self)
        if self.gamma == ():
            raise FewerError("gamma is empty; give one exponent, or several")

    def candidates(self, X: Any, y: Any, weights: Any, names: Sequence[str], loss: Any) -> list[Candidate]:
        """One vector an exponent."""
        gammas = np.atleast_1d(np.asarray(self.gamma, dtype=np.float64))
        mix, first = 0.0 if self.pilot == "ridge" else 1.0, self._base(X, y, weights, names, loss)
        coef = np.abs(pilot_coefficients(X, y, weights, loss, mix, self.strength, first))
        made = []
        for gamma in gammas:
            with np.errstate(divide="ignore", over="ignore"):
                factors = np.where(coef > 0, coef**-gamma, np.inf)
            if first is not None:
                factors = np.where(first > 0, factors * np.where(first > 0, first, 1.0), 0.0)
            made.append(Candidate(f"adaptive ({self.pilot}, gamma {gamma:g})", factors))
        return made

    def _base(self, X: Any, y: Any, weights: Any, names: Sequence[str], loss: Any) -> Vector | None:
        """f0 as a vector."""
        given = as_factors(self.base)
        if given is None:
            return None
        first = given.candidates(X, y, weights, names, loss)
        if len(first) > 1:
            raise FewerError(f"adaptive factors stand on one vector of penalty factors; {len(first)} were given")
        return first[0].factors


@method(
    "factors",
    "prior",
    papers=[Paper("LLM-Lasso: A Robust Framework for Domain-Informed Feature Selection and Regularization", 2025)],
    formula="f_j = (belief_j / mean belief)^trust, trust in a grid that contains 0",
    unit="feature",
    note="the exponent is chosen by cross-validation, as in the paper; 0 gives the plain lasso back",
)
@dataclass(frozen=True, eq=False)
class Prior:
    """Factors from beliefs: a table, or any callable that answers for a list of names (a language model, say).

    A belief is a positive number, larger for columns that are thought not to matter. Each exponent of `trust` gives
    one vector; 0 is always among them.

    Attributes:
        beliefs: mapping from name to belief, a sequence, or a callable from names to a sequence or mapping.
        trust: exponents to try.

    >>> [c.label for c in Prior({"a": 1.0, "b": 4.0}, trust=(1.0,)).candidates(None, None, None, ["a", "b"], None)]
    ['trust 0', 'trust 1']
    """

    beliefs: Any
    trust: Sequence[NotNegative] = (0.0, 0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        """Check the exponents; what is believed is checked against the columns."""
        check_fields(self)

    def candidates(self, X: Any, y: Any, weights: Any, names: Sequence[str], loss: Any) -> list[Candidate]:
        """One vector an exponent, the plain lasso first."""
        answer = self.beliefs(list(names)) if callable(self.beliefs) else self.beliefs
        if isinstance(answer, Mapping):
            missing = [name for name in names if name not in answer]
            if missing:
                raise FewerError(f"no belief about '{missing[0]}' ({len(missing)} of {len(names)} columns have none)")
            answer = [answer[name] for name in names]
        values = numbers_of(answer, "beliefs")
        if values.shape != (len(names),) or not np.isfinite(values).all() or (values <= 0).any():
            raise FewerError(f"beliefs must be {len(names)} positive numbers, one a column")
        scaled = values / values.mean()
        return [Candidate(f"trust {t:g}", scaled**t) for t in sorted({0.0, *self.trust})]


def as_factors(value: Any) -> Factors | None:
    """A factors object from what users pass: None, an array, a mapping by name, or such an object."""
    if value is None or hasattr(value, "candidates"):
        return value  # type: ignore[no-any-return]
    return Manual(value)


def check_factors(values: Vector, columns: int) -> Vector:
    """Refuse vectors of the wrong length, NaN and negative factors."""
    if values.shape != (columns,):
        raise FewerError(f"penalty_factors have shape {values.shape}; give one for each of {columns} columns")
    if np.isnan(values).any() or (values < 0).any():
        raise FewerError("penalty_factors must be in [0, inf]: 0 leaves a column free, inf excludes it")
    return values


def pilot_coefficients(
    X: Any, y: Any, weights: Any, loss: Any, mix: float, strength: float, factors: Vector | None
) -> Vector:
    """A first fit, ridge (mix 0) or lasso (mix 1), with a penalty relative to the lasso's largest."""
    if loss is None:
        from fewer.linear import lambda_max, path

        lam = strength * lambda_max(X, y, weights=weights, factors=factors)
        return path(X, y, lams=[lam], mix=mix, weights=weights, factors=factors, tol=PILOT)[0].coef
    from fewer.linear import glm_path

    top = glm_path(X, y, loss, count=1, weights=weights, factors=factors).lam_max
    coef = glm_path(X, y, loss, lams=[strength * top], mix=mix, weights=weights, factors=factors, tol=PILOT)[0].coef
    return coef if coef.ndim == 1 else np.asarray(np.linalg.norm(coef, axis=1))
