"""The best solver that fits a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace, device

from fewer.method import FewerError, method
from fewer.types import Array, Mask
from fewer.update._compiled import can_solve
from fewer.update.alps import alps
from fewer.update.least_squares import least_squares
from fewer.update.sweep import sweep
from fewer.update.updated import Updated
from fewer.update.zero import zero

if TYPE_CHECKING:
    from fewer.select import Rule

__all__ = ["auto"]

#: Work allowed for one layer where no time is stated: a minute at 100 GFLOP/s. A fixed amount of work, so that the
#: choice, and with it the result, does not depend on how busy the machine is.
_DEFAULT_WORK = 6e12


@dataclass(frozen=True, slots=True)
class _Choice:
    """A solver, its label, and its floating-point work on a (rows, columns) layer."""

    label: str
    run: Callable[..., Updated]
    work: float


@method(
    "update",
    "auto",
    formula="the first of alps (slow, medium, quick), sweep, zero whose predicted time fits",
    unit="weight",
    status="ours",
    note="work counted in matrix products, which are timed on the machine if `seconds` is given",
)
def auto(weight: Array, mask: Mask, input_gram: Array, /, *, rule: Rule | None = None, seconds: float = 0.0) -> Updated:
    """Solve the layer with the best solver whose predicted time fits.

    Formula: predicted time = work / speed. Candidates, best first: `alps` with penalty growth 1.05, 1.1, 1.3, then
    `sweep`, then `zero`; on a fixed mask: `least-squares`, the refit of `alps`, `sweep`, `zero`.

    Args:
        weight: (out, in).
        mask: (out, in) bool; kept when `rule` is None.
        input_gram: (in, in) second moment of the inputs.
        rule: what to keep.
        seconds: time for this layer; the machine's speed is measured once. 0 allows a fixed amount of work (up to
            `alps` at growth 1.3), so that equal inputs give equal results on every machine.

    Returns:
        What the chosen solver returns; the notes say which it was, what it was predicted to cost, and what it cost.

    Raises:
        FewerError: a negative time.

    Example:
        >>> import numpy as np
        >>> from fewer.select import rule
        >>> weight = np.array([[0.3, 1.1, 0.8]])
        >>> auto(weight, weight > 0, np.eye(3), rule=rule((1, 3), 2)).notes["solver"]
        'alps, growth 1.3'

    Reference: ours; errors and times of the candidates are in benchmarks/solvers.
    """
    if not seconds >= 0:
        raise FewerError(f"auto: seconds is {seconds}; it must be 0 or more")
    rows, columns = weight.shape
    choices = _refits(mask, rows, columns) if rule is None else _searches(rows, columns, rule)
    if seconds == 0:
        choices = [choice for choice in choices if choice.label not in ("alps, growth 1.05", "alps, growth 1.1")]
    limit, speed = (_DEFAULT_WORK, 0.0) if seconds == 0 else (0.0, _speed(input_gram))
    limit = limit or seconds * speed
    chosen = next((choice for choice in choices if choice.work <= limit), choices[-1])
    started = time.perf_counter()
    made = chosen.run(weight, mask, input_gram)
    notes: dict[str, float | str] = {"solver": chosen.label}
    if seconds:
        notes |= {"predicted seconds": chosen.work / speed, "seconds": time.perf_counter() - started}
    return Updated(made.weight, made.mask, made.notes | notes, made.bias)


def _searches(rows: int, columns: int, rule: Rule) -> list[_Choice]:
    """Solvers that choose the support themselves, best first."""
    found = []
    for growth, steps in ((1.05, 220), (1.1, 120), (1.3, 45)):
        run = partial(alps, rule=rule, growth=growth, steps=2 * steps)
        found.append(_Choice(f"alps, growth {growth}", run, _alps_work(rows, columns, steps)))
    found.append(_Choice("sweep", partial(sweep, rule=rule), _sweep_work(rows, columns)))
    found.append(_Choice("zero", _zero, 0.0))
    return found


def _refits(mask: Mask, rows: int, columns: int) -> list[_Choice]:
    """Solvers on a fixed support, best first."""
    xp = array_namespace(mask)
    kept = float(xp.sum(xp.astype(mask, xp.int64))) / max(1, rows)
    exact = _exact_work(rows, columns, min(kept, columns - kept), can_solve(mask))
    return [
        _Choice("least-squares", partial(least_squares, damping=0.01), exact),
        _Choice("alps, refit", alps, _alps_work(rows, columns, 0)),
        _Choice("sweep", sweep, _sweep_work(rows, columns)),
        _Choice("zero", _zero, 0.0),
    ]


def _zero(weight: Array, mask: Mask, _gram: Array) -> Updated:
    return zero(weight, mask)


def _alps_work(rows: int, columns: int, steps: int) -> float:
    """Eigenbasis (as dear as ten products), one product per iteration and refit step, a new inverse every third."""
    return 20.0 * columns**3 + 2.0 * (steps + 12) * rows * columns**2 + steps / 3 * 2.0 * columns**3


def _exact_work(rows: int, columns: int, unknowns: float, compiled: bool) -> float:
    """One system a row (short ones are bound by their gathering), products and factorisations in float64."""
    one = 0.7 * unknowns**3 + 120 * unknowns**2 if compiled else 2.5 * unknowns**3 + 900 * unknowns**2
    return rows * one + 6.0 * rows * columns**2 + 8.0 * columns**3 + 4e3 * columns**2


def _sweep_work(rows: int, columns: int) -> float:
    """Factorisation, products, and the steps inside blocks, which are bound by memory."""
    return 3.0 * columns**3 + 4.0 * rows * columns**2


_speeds: dict[tuple[str, ...], float] = {}


def _speed(sample: Array) -> float:
    """Floating-point operations per second of a matrix product in this library, dtype and device, measured once."""
    xp: Any = array_namespace(sample)
    key = (xp.__name__, str(sample.dtype), str(device(sample)))
    if key not in _speeds:
        square = xp.ones((384, 384), dtype=sample.dtype, device=device(sample))
        best = math.inf
        for _ in range(3):
            started = time.perf_counter()
            float((square @ square)[0, 0])
            best = min(best, time.perf_counter() - started)
        _speeds[key] = 2.0 * 384**3 / best
    return _speeds[key]
