"""Budgets: how many units stay in each layer.

Signature of every budget: what it must know of the layers, positional-only, as mappings by layer name, then `keep`;
knobs after it; a dict of whole numbers comes back that adds up to round(keep * units) exactly and stays within each
layer's size.

    shapes   (rows, columns) of each layer's grid of units
    scores   the units' scores
    weights  the weights (out, in)
    blocks   index of the block that a layer belongs to, or None
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, matches, method
from fewer.types import Array

__all__ = ["Counts", "er", "erk", "global_", "lamp", "owl", "set_aside", "table", "thinned", "uniform"]

Shapes = Mapping[str, tuple[int, ...]]


class Counts(dict[str, int]):
    """Whole numbers by layer, and the `shares` of the layers that they were rounded from, where the budget has them.

    A published implementation that floors every row starts from the share; from the count it could land a row beside.
    """

    def __init__(self, counts: Mapping[str, int], shares: Mapping[str, float] | None = None) -> None:
        super().__init__(counts)
        self.shares = dict(shares or {})


def set_aside(shapes: Shapes, unknown: Collection[str], keep: float | None) -> tuple[dict[str, int], float | None]:
    """Counts of layers that a budget cannot judge, and the share that is left for all other layers.

    Args:
        shapes: grid of units of every layer.
        unknown: layers that nothing was measured about.
        keep: share of all units that stays; None for a budget that finds it.

    Returns:
        For every unknown layer the uniform share (all units where there is no `keep`), and the share of the others
        with which the total over all layers is met.

    >>> set_aside({"a": (4, 4), "b": (4, 4)}, ["b"], 0.5)
    ({'b': 8}, 0.5)
    """
    if keep is None:
        return {name: prod(shapes[name]) for name in shapes if name in unknown}, None
    even = uniform(shapes, keep)
    left = sum(prod(shape) for name, shape in shapes.items() if name not in unknown)
    rest = sum(count for name, count in even.items() if name not in unknown)
    return {name: even[name] for name in shapes if name in unknown}, rest / left if left else keep


def thinned(counts: Mapping[str, int], before: Mapping[str, int]) -> Counts:
    """Counts of which none is above that of an earlier round; what that cuts off goes to layers that have room.

    Args:
        counts: units of every layer, as a budget gave them out.
        before: units that an earlier round left.

    >>> thinned({"a": 6, "b": 4}, {"a": 5, "b": 9})
    {'a': 5, 'b': 5}
    """
    bounds = {name: before.get(name, count) for name, count in counts.items()}
    if all(count <= bounds[name] for name, count in counts.items()):
        return counts if isinstance(counts, Counts) else Counts(counts)
    goal, most = sum(counts.values()), sum(bounds.values())
    return Counts(_round({name: float(count) for name, count in counts.items()}, bounds, min(goal / most, 1.0)))


@method("budget", "uniform", formula="the same share everywhere", unit="layer", status="ours")
def uniform(shapes: Shapes, keep: float, /) -> dict[str, int]:
    """The same share in every layer, whole numbers within one of it.

    Formula: k_l = keep * n_l.

    Args:
        shapes: grid of units of every layer.
        keep: share of all units that stays.

    Returns:
        Units that stay in every layer.

    >>> uniform({"a": (3, 3), "b": (1, 9)}, 0.5)
    {'a': 5, 'b': 4}
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    return _round({name: keep * size for name, size in sizes.items()}, sizes, keep)


@method(
    "budget",
    "er",
    papers=[
        Paper(
            "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by network "
            "science",
            2018,
            "1707.04780",
        ),
        Paper(
            "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training",
            2022,
            "2202.02643",
        ),
    ],
    formula="density ~ (n_out + n_in) / (n_out n_in)",
    unit="layer",
)
def er(shapes: Shapes, keep: float, /) -> dict[str, int]:
    """Erdos-Renyi: small layers stay denser.

    Formula: the share of a layer is proportional to (n_out + n_in) / (n_out n_in), cut at 1; what is cut off goes
    to the others in the same proportion.

    Args:
        shapes: grid of units of every layer.
        keep: share of all units that stays.

    Returns:
        Units that stay in every layer.

    >>> er({"small": (2, 2), "large": (8, 8)}, 0.5)
    {'small': 4, 'large': 30}

    Reference: Mocanu et al. 2018; cutting at 1 and sharing out as in the code of Liu et al. 2022.
    """
    return _proportional({name: sum(shape[:2]) / prod(shape[:2]) for name, shape in shapes.items()}, shapes, keep)


@method(
    "budget",
    "erk",
    papers=[Paper("Rigging the Lottery: Making All Tickets Winners", 2020, "1911.11134")],
    formula="density ~ sum(dimensions) / prod(dimensions), kernel sizes among them",
    unit="layer",
    note="a linear layer has no kernel dimensions: there it equals er; the kernel counts where single weights are kept",
)
def erk(shapes: Shapes, keep: float, /) -> dict[str, int]:
    """Erdos-Renyi kernel: as `er`, with the kernel sizes of a convolution among the dimensions.

    Formula: the share of a layer is proportional to (n_out + n_in + k_h + k_w) / (n_out n_in k_h k_w).

    Args:
        shapes: of every layer, kernel dimensions last.
        keep: share of all units that stays.

    Returns:
        Units that stay in every layer.

    >>> erk({"a": (4, 4, 3, 3), "b": (16, 36)}, 0.25)
    {'a': 38, 'b': 142}

    Reference: Evci et al. 2020, appendix on sparsity distributions; equal to the allocation in the code of the LAMP
    paper, up to its rounding.
    """
    return _proportional({name: sum(shape) / prod(shape) for name, shape in shapes.items()}, shapes, keep)


@method("budget", "global", formula="one threshold over all layers", unit="layer", status="ours")
def global_(scores: Mapping[str, Array], keep: float, /) -> dict[str, int]:
    """All units of the model compete with each other; ties go to earlier layers.

    Formula: k_l = how many of the layer's units are among the round(keep * units) largest scores of the model.

    Args:
        scores: of the units of every layer.
        keep: share of all units that stays.

    Returns:
        Units that stay in every layer.

    >>> import numpy as np
    >>> global_({"a": np.array([[1.0, 5.0]]), "b": np.array([[4.0, 3.0]])}, 0.5)
    {'a': 1, 'b': 1}
    """
    from fewer.select import top

    if not scores:
        return {}
    xp = array_namespace(*scores.values())
    flat = [xp.reshape(values, (-1,)) for values in scores.values()]
    total = sum(int(values.shape[0]) for values in flat)
    mask = top(xp.concat(flat), round(keep * total))
    counts, start = {}, 0
    for name, values in zip(scores, flat, strict=True):
        stop = start + int(values.shape[0])
        counts[name] = int(xp.sum(xp.astype(mask[start:stop], xp.int64)))
        start = stop
    return counts


@method(
    "budget",
    "lamp",
    papers=[Paper("Layer-adaptive sparsity for the Magnitude-based Pruning", 2021, "2010.07611")],
    formula="one threshold over w_u^2 / sum of w_v^2 with |w_v| >= |w_u|, in the same layer",
    unit="layer",
)
def lamp(weights: Mapping[str, Array], keep: float, /) -> dict[str, int]:
    """Layer-adaptive magnitude: squared weights, relative to what would survive in their layer, compete globally.

    Formula: score(u) = w_u^2 / sum_{v >= u} w_v^2, the weights of a layer sorted upwards.

    Args:
        weights: (out, in) of every layer.
        keep: share of all weights that stays.

    Returns:
        Weights that stay in every layer.

    >>> import numpy as np
    >>> lamp({"a": np.array([[1.0, 1.0]]), "b": np.array([[9.0, 0.1]])}, 0.5)
    {'a': 1, 'b': 1}

    Reference: Lee et al. 2021, equation 3; counts equal the authors' code.
    """
    scores = {}
    for name, weight in weights.items():
        xp = array_namespace(weight)
        square = xp.sort(xp.reshape(xp.astype(weight, xp.float64), (-1,)) ** 2)
        survive = xp.flip(xp.cumulative_sum(xp.flip(square)))
        # Sorted upwards and flipped: the largest weight comes first, so that ties keep it.
        scores[name] = xp.flip(square / xp.where(survive > 0, survive, xp.ones_like(survive)))
    return global_(scores, keep)


@method(
    "budget",
    "owl",
    papers=[
        Paper(
            "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity",
            2024,
            "2310.05175",
        )
    ],
    formula="keep_b = keep + centred rescaled share of scores above m * mean score in block b",
    unit="layer",
    note="the range of shares is 2 * lam, as in the authors' code; counts are exact",
)
def owl(
    scores: Mapping[str, Array], blocks: Mapping[str, int | None], keep: float, /, *, m: float = 5.0, lam: float = 0.08
) -> dict[str, int]:
    """Blocks with more outlying scores keep more.

    Formula: D_b = share of the scores of block b above m times their mean; the shares are rescaled linearly to a
    range of 2 * lam and centred on `keep`.

    Args:
        scores: of every layer; the paper uses Wanda's.
        blocks: which layers are decided together; a layer without a block is its own.
        keep: mean share over blocks.
        m: how many times the mean makes an outlier.
        lam: half the range of shares.

    Returns:
        Units that stay in every layer.

    >>> import numpy as np
    >>> a, b = np.array([[1.0, 1, 1, 1, 1, 1, 1, 99]]), np.ones((1, 8))
    >>> owl({"a": a, "b": b}, {"a": 0, "b": 1}, 0.5, lam=0.25)
    {'a': 6, 'b': 2}

    Reference: Yin et al. 2024, section 3; the rescaling is that of the authors' code (`Lamda`, `Hyper_m`).
    """
    members: dict[Any, list[str]] = {}
    for name in scores:
        block = blocks.get(name)
        members.setdefault(name if block is None else block, []).append(name)
    share: dict[str, float] = {}
    for names in members.values():
        xp = array_namespace(scores[names[0]])
        every = xp.concat([xp.reshape(scores[name], (-1,)) for name in names])
        found = float(xp.sum(xp.astype(every > m * xp.mean(every), xp.int64))) / max(int(every.shape[0]), 1)
        share.update(dict.fromkeys(names, found))
    by_block = [share[names[0]] for names in members.values()]
    low, wide = min(by_block, default=0.0), max(by_block, default=0.0) - min(by_block, default=0.0)
    scaled = {name: (value - low) / wide * 2 * lam if wide else 0.0 for name, value in share.items()}
    middle = sum(scaled[names[0]] for names in members.values()) / max(len(members), 1)
    sizes = {name: prod(values.shape) for name, values in scores.items()}
    wanted = {name: (scaled[name] - middle + keep) * sizes[name] for name in sizes}
    return _round(wanted, sizes, keep)


@method("budget", "table", formula="an explicit share for each layer", unit="layer", status="ours")
def table(shapes: Shapes, keep: float, /, *, shares: Mapping[str, float] | None = None) -> dict[str, int]:
    """An explicit share by name: the first glob that matches wins, all other layers get `keep`.

    The total is what the table says, not keep times the units: the table is the allocation.

    Args:
        shapes: grid of units of every layer.
        keep: share of the layers that no glob matches.
        shares: share by glob of layer names.

    Returns:
        Units that stay in every layer.

    Raises:
        FewerError: a share outside 0 to 1.

    >>> table({"a": (2, 2), "b": (2, 2)}, 0.5, shares={"a": 1.0})
    {'a': 4, 'b': 2}
    """
    shares = shares or {}
    for pattern, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise FewerError(f"budget 'table': share of '{pattern}' is {share:g}; it must be in 0 to 1")
    found = {name: next((s for p, s in shares.items() if matches(name, p)), keep) for name in shapes}
    return {name: round(found[name] * prod(shape)) for name, shape in shapes.items()}


def _proportional(densities: Mapping[str, float], shapes: Shapes, keep: float) -> dict[str, int]:
    """Shares proportional to `densities`, cut at one, the rest scaled up until the total is met."""
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    total = keep * sum(sizes.values())
    full: set[str] = set()
    while True:
        free = {name: densities[name] * sizes[name] for name in sizes if name not in full}
        left = total - sum(sizes[name] for name in full)
        scale = left / sum(free.values()) if free and sum(free.values()) else 0.0
        over = {name for name in free if scale * densities[name] > 1.0}
        if not over:
            break
        full |= over
    wanted = {name: float(sizes[name]) if name in full else scale * free[name] for name in sizes}
    return _round(wanted, sizes, keep)


def _round(wanted: Mapping[str, float], sizes: Mapping[str, int], keep: float) -> dict[str, int]:
    """Whole numbers that add up to round(keep * units) exactly, within one of what is wanted where bounds allow.

    Wishes are cut to the layer and rounded down; what is missing goes to the largest remainders, earlier layers
    first. What bounds cut off, if it is more than that, is shared out in proportion to the room that is left.
    """
    goal = round(keep * sum(sizes.values()))
    if not 0 <= goal <= sum(sizes.values()):
        raise FewerError(f"keep is {keep:g}; the share that stays must be in (0, 1]")
    bounded = {name: min(max(wanted[name], 0.0), float(sizes[name])) for name in sizes}
    # A wish that is whole but for rounding stays whole.
    counts = {name: min(int(value + 1e-9 * max(value, 1.0)), sizes[name]) for name, value in bounded.items()}
    missing = goal - sum(counts.values())
    sign = 1 if missing > 0 else -1
    room = {name: sizes[name] - counts[name] if missing > 0 else counts[name] for name in sizes}
    if abs(missing) > len(sizes):
        total = sum(room.values())
        shares = {name: abs(missing) * room[name] // total for name in sizes}
        counts = {name: counts[name] + sign * shares[name] for name in sizes}
        room = {name: room[name] - shares[name] for name in sizes}
        missing -= sign * sum(shares.values())
    order = sorted(sizes, key=lambda name: sign * (counts[name] - bounded[name]))
    while missing:
        for name in order:
            if missing and room[name]:
                counts[name] += sign
                room[name] -= 1
                missing -= sign
    return Counts(counts, {name: bounded[name] / sizes[name] for name in sizes if sizes[name]})
