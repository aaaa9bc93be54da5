"""Losses with several parameters a row, or that tie rows together: multinomial, ordinal, Cox.

Same shape as in `losses`: value, slope, bend, conjugate (or a floor), mean, check, width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Range, check_fields
from fewer.linear.arrays import numbers_of
from fewer.linear.losses import _numbers, _sigmoid, _xlogx
from fewer.method import FewerError

__all__ = ["Cox", "Multinomial", "Ordinal"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Multinomial:
    """log sum_k e^eta_k - eta_y: one linear predictor per class.

    Args:
        classes: number of classes; targets are codes 0 .. classes - 1.
    """

    classes: Annotated[int, Range(2, 2**31 - 1)] = 3
    intercept: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the number of classes."""
        check_fields(self)

    @property
    def width(self) -> int:
        """The number of classes."""
        return self.classes

    def check(self, y: Any) -> Vector:
        """Codes, at least two of them present."""
        out = _numbers(y, "multinomial loss", lambda v: (v >= 0) & (v < self.classes) & (v == np.floor(v)))
        if len(np.unique(out)) < 2:
            raise FewerError("multinomial loss: every target is of one class; two are needed")
        return out

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum."""
        top = eta.max(axis=1)
        total = top + np.log(np.exp(eta - top[:, None]).sum(axis=1))
        return float(s @ (total - eta[np.arange(len(y)), y.astype(np.int64)]))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Probabilities minus the indicator."""
        out = self.mean(eta)
        out[np.arange(len(y)), y.astype(np.int64)] -= 1.0
        return out * s[:, None]

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """P (1 - p), the diagonal."""
        p = self.mean(eta)
        return np.maximum(p * (1 - p), 1e-6) * s[:, None]

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """Entropy at v + indicator."""
        on = s > 0
        u = v[on] / s[on, None]
        u[np.arange(len(u)), y[on].astype(np.int64)] += 1.0
        return float(s[on] @ _xlogx(np.clip(u, 0.0, 1.0)).sum(axis=1))

    def mean(self, eta: Vector) -> Vector:
        """Probabilities (n, classes)."""
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Ordinal:
    """Cumulative logit: P(y <= k) = 1 / (1 + e^-(c_k - eta)), cut points c fitted with the coefficients.

    The solver sees eta shifted by nothing: the cut points are a parameter of the loss, refitted at every step.

    Args:
        classes: number of ordered classes; targets are codes 0 .. classes - 1.
        cuts: (classes - 1,) increasing cut points; None before fitting.
    """

    classes: Annotated[int, Range(2, 2**31 - 1)] = 3
    cuts: tuple[float, ...] | None = None
    width: ClassVar[int] = 1
    intercept: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the number of classes and of cut points."""
        check_fields(self)
        if self.cuts is not None and len(self.cuts) != self.classes - 1:
            raise FewerError(
                f"ordinal loss: {len(self.cuts)} cuts for {self.classes} classes; give one less than classes"
            )

    def check(self, y: Any) -> Vector:
        """Codes, every one present."""
        out = _numbers(y, "ordinal loss", lambda v: (v >= 0) & (v < self.classes) & (v == np.floor(v)))
        if len(np.unique(out)) < self.classes:
            raise FewerError(f"ordinal loss: some of the {self.classes} classes never occur; recode the target")
        return out

    def _edges(self, eta: Vector, y: Vector) -> tuple[Vector, Vector]:
        cuts = np.concatenate([[-np.inf], self.cuts or (), [np.inf]])
        k = y.astype(np.int64)
        return cuts[k + 1] - eta, cuts[k] - eta

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Minus the log probabilities."""
        a, b = self._edges(eta, y)
        # log(F(a) - F(b)) = log(1 - e^(b - a)) - log(1 + e^-a) - log(1 + e^b)
        gap = np.where(np.isfinite(a) & np.isfinite(b), b - a, -np.inf)
        return float(-s @ (np.log(-np.expm1(gap)) - np.logaddexp(0, -a) - np.logaddexp(0, b)))

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """1 - F(a) - F(b)."""
        a, b = self._edges(eta, y)
        return s * (1 - _sigmoid(a) - _sigmoid(b))

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """F(a)(1 - F(a)) + F(b)(1 - F(b)), the second derivative."""
        a, b = _sigmoid(np.stack(self._edges(eta, y)))
        return np.asarray(s * np.maximum(a * (1 - a) + b * (1 - b), 1e-9))

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """No short form."""
        return None

    def floor(self, y: Vector, s: Vector) -> float:
        """Minus a log probability is never negative."""
        return 0.0

    def refit(self, eta: Vector, y: Vector, s: Vector) -> Ordinal:
        """The cut points that minimise the loss given eta, by damped Newton from where they stand."""
        loss = self
        if loss.cuts is None:
            shares = np.cumsum(np.bincount(y.astype(np.int64), weights=s, minlength=self.classes))[:-1] / s.sum()
            shares = np.clip(shares, 1e-9, 1 - 1e-9)
            loss = replace(self, cuts=tuple(np.log(shares / (1 - shares)) + float(s @ eta) / float(s.sum())))
        k = y.astype(np.int64)
        value = loss.value(eta, y, s)
        for _ in range(50):
            a, b = loss._edges(eta, y)
            pa, pb = _sigmoid(a), _sigmoid(b)
            both = np.isfinite(a) & np.isfinite(b)
            t = np.where(both, 1 / -np.expm1(np.where(both, b - a, -1.0)), 0.0)  # e^a / (e^a - e^b)
            da = np.where(np.isfinite(a), pa - np.where(both, t, 1.0), 0.0)
            db = np.where(np.isfinite(b), pb + np.where(both, t - 1, 0.0), 0.0)
            cross = np.where(both, t * (t - 1), 0.0)
            m = self.classes - 1
            grad = np.bincount(k, s * da, m + 1)[:m] + np.bincount(k, s * db, m + 1)[1:]
            main = np.bincount(k, s * (pa * (1 - pa) + cross), m + 1)[:m]
            main = main + np.bincount(k, s * (pb * (1 - pb) + cross), m + 1)[1:]
            off = -np.bincount(k, s * cross, m + 1)[1:m]
            H = np.diag(main) + np.diag(off, 1) + np.diag(off, -1)
            if np.abs(grad).max() <= 1e-14 * s.sum():
                break
            step, size = -np.linalg.solve(H, grad), 1.0
            if -float(grad @ step) <= 1e-15 * abs(value):  # what is left to gain is rounding
                loss = replace(loss, cuts=tuple(np.asarray(loss.cuts) + step))
                break
            while size > 1e-10:
                cuts = np.asarray(loss.cuts) + size * step
                if np.all(np.diff(cuts) > 0):
                    new = replace(loss, cuts=tuple(cuts))
                    then = new.value(eta, y, s)
                    if then <= value:
                        break
                size *= 0.5
            else:
                break
            loss, value = new, then
        return loss

    def mean(self, eta: Vector) -> Vector:
        """Probabilities (n, classes)."""
        edges = _sigmoid(np.asarray(self.cuts)[None, :] - eta[:, None])
        below = np.concatenate([np.zeros((len(eta), 1)), edges, np.ones((len(eta), 1))], axis=1)
        return np.asarray(np.diff(below, axis=1))


@dataclass(frozen=True)
class Cox:
    """Minus the log partial likelihood of proportional hazards; rows of the target are (time, event).

    Args:
        ties: "breslow" or "efron". Weighted ties follow Efron with the mean weight of the tied events.
    """

    ties: Literal["breslow", "efron"] = "breslow"
    width: ClassVar[int] = 1
    columns: ClassVar[int] = 2  # of the target
    intercept: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the rule for ties."""
        check_fields(self)

    def check(self, y: Any) -> Vector:
        """(n, 2): finite times, events 0 or 1, at least one event."""
        out = numbers_of(y, "cox loss: y")
        if out.ndim != 2 or out.shape[1] != 2 or not np.all(np.isfinite(out)):
            raise FewerError(f"cox loss: y has shape {out.shape}; give finite (time, event) rows")
        if not np.all((out[:, 1] == 0) | (out[:, 1] == 1)) or not out[:, 1].any():
            raise FewerError("cox loss: events must be 0 or 1, and at least one must be 1")
        return out

    def _risk(self, eta: Vector, y: Vector, s: Vector) -> dict[str, Any]:
        """Sums over risk sets, latest time first; one entry per distinct event time (per tied event for Efron)."""
        order = np.argsort(-y[:, 0], kind="stable")
        time, event, w, e = y[order, 0], (y[order, 1] > 0) & (s[order] > 0), s[order], eta[order]
        top = float(e.max())
        risk = w / s.mean() * np.exp(e - top)
        fresh = np.concatenate([[True], time[1:] != time[:-1]])
        group = np.cumsum(fresh) - 1
        size = int(group[-1]) + 1
        tails = np.concatenate([np.flatnonzero(fresh)[1:], [len(time)]]) - 1
        dead = np.bincount(group, weights=risk * event, minlength=size)
        mass = np.bincount(group, weights=w * event, minlength=size)
        count = np.bincount(group, weights=event, minlength=size).astype(np.int64)
        times = count if self.ties == "efron" else np.minimum(count, 1)
        owner = np.repeat(np.arange(size), times)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(times) - times, times)
        share = place / np.maximum(count[owner], 1) if self.ties == "efron" else np.zeros(len(owner))
        each = mass[owner] / np.maximum(times[owner], 1)
        below = np.cumsum(risk)[tails][owner] - share * dead[owner]
        return {
            "order": order, "event": event, "w": w, "e": e, "top": top, "risk": risk, "group": group, "size": size,
            "tails": tails, "owner": owner, "share": share, "each": each, "below": below,
        }  # fmt: skip

    def _parts(self, eta: Vector, y: Vector, s: Vector) -> tuple[float, Vector, Vector]:
        """Value, slope, and the diagonal of the curvature."""
        r = self._risk(eta, y, s)
        owner, each, below, risk, event, group = (r[k] for k in ("owner", "each", "below", "risk", "event", "group"))
        value = _likelihood(r)
        slope, bend = np.empty_like(risk), np.empty_like(risk)
        moments = []
        for power in (1, 2):
            whole = np.bincount(owner, weights=each / below**power, minlength=r["size"])
            own = np.bincount(owner, weights=each * ((1 - r["share"]) / below) ** power, minlength=r["size"])
            # A row is at risk at its own time and at all earlier ones: later groups in this order.
            after = np.cumsum(whole[::-1])[::-1] - whole
            moments.append(after[group] + np.where(event, own[group], whole[group]))
        slope[r["order"]] = risk * moments[0] - r["w"] * event
        bend[r["order"]] = np.maximum(risk * moments[0] - risk**2 * moments[1], 1e-9 * r["w"])
        return value, slope, bend

    def gram(self, eta: Vector, y: Vector, s: Vector, X: Vector) -> Vector:
        """X' H X with the whole second derivative H: one mean of X per risk set."""
        r = self._risk(eta, y, s)
        owner, each, below, risk, event, group = (r[k] for k in ("owner", "each", "below", "risk", "event", "group"))
        Z = X[r["order"]]
        weighted = Z * risk[:, None]
        sums = np.cumsum(weighted, axis=0)[r["tails"]][owner]
        dead = np.zeros((r["size"], X.shape[1]))
        np.add.at(dead, group[event], weighted[event])
        means = (sums - r["share"][:, None] * dead[owner]) / below[:, None]
        whole = np.bincount(owner, weights=each / below, minlength=r["size"])
        own = np.bincount(owner, weights=each * (1 - r["share"]) / below, minlength=r["size"])
        after = np.cumsum(whole[::-1])[::-1] - whole
        main = risk * (after[group] + np.where(event, own[group], whole[group]))
        return np.asarray((Z * main[:, None]).T @ Z - (means * each[:, None]).T @ means)

    def value(self, eta: Vector, y: Vector, s: Vector) -> float:
        """Weighted sum over events."""
        return _likelihood(self._risk(eta, y, s))

    def held_out(self, eta: Vector, y: Vector, s: Vector, seen: NDArray[np.bool_]) -> float:
        """What the rows that are not `seen` add: the loss of all rows minus that of the seen ones.

        The rows left out alone would lose their risk sets; a single one would have loss 0 whatever eta says.

        Reference: Verweij and van Houwelingen (1993), "Cross-validation in survival analysis", equation 5.
        """
        on = seen & (s > 0)
        # `value` measures risk sets in units of the mean weight, which is another one for the seen rows.
        units = float(np.log(s[seen].mean() / s.mean())) * float(s[on] @ (y[on, 1] > 0))
        return self.value(eta, y, s) - self.value(eta[seen], y[seen], s[seen]) - units

    def slope(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Expected minus observed events."""
        return self._parts(eta, y, s)[1]

    def bend(self, eta: Vector, y: Vector, s: Vector) -> Vector:
        """Diagonal of the second derivative."""
        return self._parts(eta, y, s)[2]

    def conjugate(self, v: Vector, y: Vector, s: Vector) -> float | None:
        """No short form."""
        return None

    def floor(self, y: Vector, s: Vector) -> float:
        """Every event's risk set holds the event itself; tied events share theirs."""
        total = 0.0
        on = (y[:, 1] > 0) & (s > 0)
        for time in np.unique(y[on, 0]):
            w = s[on & (y[:, 0] == time)]
            d, mass = len(w), float(w.sum())
            total += float(w @ np.log(w / s.mean())) - float(w @ np.log(w / mass))
            if self.ties == "efron":
                total += mass / d * float(np.sum(np.log(1 - np.arange(d) / d)))
        return total

    def mean(self, eta: Vector) -> Vector:
        """Relative hazard e^eta."""
        return np.asarray(np.exp(eta))


def _likelihood(r: dict[str, Any]) -> float:
    """Minus the log partial likelihood, from sums over risk sets."""
    return float(r["each"] @ (np.log(r["below"]) + r["top"]) - (r["w"] * r["e"]) @ r["event"])
