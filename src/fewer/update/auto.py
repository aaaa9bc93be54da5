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
from fewer.update._compiled import can_run
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
    """A solver, its label, its floating-point work on a (rows, columns) layer, and about how many array operations."""

    label: str
    run: Callable[..., Updated]
    work: float
    calls: float

    def seconds(self, speed: float, call: float) -> float:
        """Predicted time at so many operations a second, and so many seconds for an operation on next to nothing."""
        return self.work / speed + self.calls * call


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

    Formula: predicted time = work / speed + calls * overhead. Candidates, best first: `alps` with penalty growth 1.05,
    1.1, 1.3 (1.6 for N:M), then `sweep`, then `zero`; on a fixed mask: `least-squares`, the refit of `alps`, `sweep`,
    `zero`.

    Args:
        weight: (out, in).
        mask: (out, in) bool; kept when `rule` is None.
        input_gram: (in, in) second moment of the inputs.
        rule: what to keep.
        seconds: time for this layer; the machine's speed is measured once. 0 allows a fixed amount of work (up to
            `alps` at the last growth), so that equal inputs give equal results on every machine.

    Returns:
        What the chosen solver returns; the notes say which it was, what it was predicted to cost, and what it cost.

    Raises:
        FewerError: a negative time.

    Example:
        >>> import numpy as np
        >>> from fewer.select import rule
        >>> weight = np.array([[0.3, 1.1, 0.8]])
        >>> auto(weight, weight > 0, np.eye(3), rule=rule((1, 3), count=2)).notes["solver"]
        'alps, growth 1.3'

    Reference: ours; errors and times of the candidates are in benchmarks/solvers.
    """
    if not seconds >= 0:
        raise FewerError(f"auto: seconds is {seconds}; it must be 0 or more")
    rows, columns = weight.shape
    choices = _refits(mask, rows, columns) if rule is None else _searches(rows, columns, rule)
    if seconds == 0:
        choices = [choice for choice in choices if choice.label not in ("alps, growth 1.05", "alps, growth 1.1")]
        cost = {choice.label: choice.work / _DEFAULT_WORK for choice in choices}
    else:
        speed, call = _speed(input_gram)
        cost = {choice.label: choice.seconds(speed, call) / seconds for choice in choices}
    chosen = next((choice for choice in choices if cost[choice.label] <= 1), choices[-1])
    started = time.perf_counter()
    made = chosen.run(weight, mask, input_gram)
    notes: dict[str, float | str] = {"solver": chosen.label}
    if seconds:
        notes |= {"predicted seconds": cost[chosen.label] * seconds, "seconds": time.perf_counter() - started}
    return Updated(made.weight, made.mask, made.notes | notes, made.bias)


def _searches(rows: int, columns: int, rule: Rule) -> list[_Choice]:
    """Solvers that choose the support themselves, best first."""
    found = []
    from fewer.pattern import NM

    # Within small groups the support is found sooner (the KL of whole models grows by 3 to 13 %).
    quick = (1.6, 24, 6) if isinstance(rule.pattern, NM) else (1.3, 36, 12)
    for growth, steps, refit in ((1.05, 220, 12), (1.1, 120, 12), quick):
        run = partial(alps, rule=rule, growth=growth, steps=2 * steps, refit=refit)
        found.append(_Choice(f"alps, growth {growth}", run, _alps_work(rows, columns, steps), 200 + 30 * steps))
    found.append(_Choice("sweep", partial(sweep, rule=rule), _sweep_work(rows, columns), _sweep_calls(columns)))
    found.append(_Choice("zero", _zero, 0.0, 5))
    return found


def _refits(mask: Mask, rows: int, columns: int) -> list[_Choice]:
    """Solvers on a fixed support, best first."""
    xp = array_namespace(mask)
    kept = float(xp.sum(xp.astype(mask, xp.int64))) / max(1, rows)
    exact = _exact_work(rows, columns, min(kept, columns - kept), can_run(mask))
    return [
        _Choice("least-squares", partial(least_squares, damping=0.01), exact, 230),
        _Choice("alps, refit", alps, _alps_work(rows, columns, 0), 400),
        _Choice("sweep", sweep, _sweep_work(rows, columns), _sweep_calls(columns)),
        _Choice("zero", _zero, 0.0, 5),
    ]


def _zero(weight: Array, mask: Mask, _gram: Array) -> Updated:
    return zero(weight, mask)


def _alps_work(rows: int, columns: int, steps: int) -> float:
    """Eigenbasis (as dear as six products), one product per iteration and refit step, a new inverse every third."""
    return 12.0 * columns**3 + 2.4 * (steps + 12) * rows * columns**2 + steps / 3 * 1.4 * columns**3


def _sweep_calls(columns: int) -> float:
    """A few operations for every column of a block, and some for each block."""
    return 400 + 12.0 * columns


def _exact_work(rows: int, columns: int, unknowns: float, compiled: bool) -> float:
    """One system a row (short ones are bound by their gathering), products and factorisations in float64."""
    one = 0.7 * unknowns**3 + 120 * unknowns**2 if compiled else 2.5 * unknowns**3 + 900 * unknowns**2
    return rows * one + 6.0 * rows * columns**2 + 8.0 * columns**3 + 4e3 * columns**2


def _sweep_work(rows: int, columns: int) -> float:
    """Factorisation, products, and the steps inside blocks, which are bound by memory."""
    return 5.0 * columns**3 + 9.0 * rows * columns**2


_speeds: dict[tuple[str, ...], tuple[float, float]] = {}


def _speed(sample: Array) -> tuple[float, float]:
    """Operations per second of a matrix product, and seconds of an operation on next to nothing.

    Measured once for each library, dtype and device.
    """
    xp: Any = array_namespace(sample)
    key = (xp.__name__, str(sample.dtype), str(device(sample)))
    if key not in _speeds:
        square, small = (xp.ones((size, size), dtype=sample.dtype, device=device(sample)) for size in (384, 2))
        product = _best(lambda: float((square @ square)[0, 0]), 3)
        call = _best(lambda: float(xp.sum(xp.where(small > 0, small, small) * small)), 20) / 5
        _speeds[key] = 2.0 * 384**3 / product, call
    return _speeds[key]


def _best(run: Callable[[], object], times: int) -> float:
    """The shortest of some runs, in seconds."""
    best = math.inf
    for _ in range(times):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best
