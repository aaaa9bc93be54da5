"""Which sets of weights may be kept: elements, N:M groups, blocks, rows, columns, whole layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method, nearest
from fewer.types import Array, Mask

__all__ = ["NM", "Block", "Columns", "Pattern", "Rows", "Unstructured", "Whole", "parse"]


class _Grid:
    """What every pattern shares: a layer (out, in) is a grid of units of `size(shape)` weights each."""

    unit: ClassVar[str]
    keep: float | None = None

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one unit."""
        return (1, 1)

    def check(self, shape: tuple[int, int], where: str = "") -> None:
        """Raise `FewerError` where the pattern does not divide the shape."""
        height, width = self.size(shape)
        if (height and shape[0] % height) or (width and shape[1] % width):
            place = f" of {where}" if where else ""
            raise FewerError(f"pattern '{self}' does not divide the shape {tuple(shape)}{place}")

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of units."""
        height, width = self.size(shape)
        return (shape[0] // height if height else 0, shape[1] // width if width else 0)

    def pool(self, scores: Array) -> Array:
        """Scores of units: the sum over the weights of each."""
        shape = tuple(scores.shape)
        height, width = self.size(shape)
        if (height, width) == (1, 1):
            return scores
        self.check(shape)
        rows, columns = self.grid(shape)
        xp = array_namespace(scores)
        return xp.sum(xp.reshape(scores, (rows, height, columns, width)), axis=(1, 3))

    def spread(self, mask: Mask, shape: tuple[int, int]) -> Mask:
        """The mask over weights that a mask over units stands for."""
        height, width = self.size(shape)
        if (height, width) == (1, 1):
            return mask
        xp = array_namespace(mask)
        rows, columns = self.grid(shape)
        wide = xp.broadcast_to(mask[:, None, :, None], (rows, height, columns, width))
        return xp.reshape(wide, shape)


@method("pattern", "unstructured", formula="any set of weights", unit="weight", status="ours")
@dataclass(frozen=True, slots=True)
class Unstructured(_Grid):
    """Any set of single weights.

    >>> str(Unstructured()), Unstructured().grid((2, 3))
    ('unstructured', (2, 3))
    """

    unit: ClassVar[str] = "weight"

    def __str__(self) -> str:
        """Canonical text."""
        return "unstructured"


@method(
    "pattern",
    "n-m",
    papers=[Paper("Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", 2021, "2102.04010")],
    formula="n of every m consecutive inputs of a row",
    unit="weight",
)
@dataclass(frozen=True, slots=True)
class NM(_Grid):
    """Exactly n weights of every m consecutive inputs of a row.

    >>> str(NM(2, 4)), NM(2, 4).keep
    ('2:4', 0.5)
    """

    n: int
    m: int
    unit: ClassVar[str] = "weight"

    def __post_init__(self) -> None:
        """Refuse counts that are no pattern."""
        if not 0 < self.n <= self.m:
            raise FewerError(f"pattern '{self.n}:{self.m}' must keep between 1 and {self.m} of {self.m}")

    @property
    def keep(self) -> float:  # type: ignore[override]
        """The one share that it allows."""
        return self.n / self.m

    def check(self, shape: tuple[int, int], where: str = "") -> None:
        """Raise `FewerError` unless m divides the number of inputs."""
        if shape[1] % self.m:
            place = f" of {where}" if where else ""
            raise FewerError(f"pattern '{self}' does not divide the {shape[1]} inputs{place}, shape {tuple(shape)}")

    def __str__(self) -> str:
        """Canonical text."""
        return f"{self.n}:{self.m}"


@method("pattern", "block", formula="blocks of h rows by w columns, kept or dropped whole", unit="block", status="ours")
@dataclass(frozen=True, slots=True)
class Block(_Grid):
    """Blocks of h rows by w columns.

    >>> Block(2, 1).grid((4, 3))
    (2, 3)
    """

    h: int
    w: int
    unit: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        """Refuse sizes that are no block."""
        if self.h < 1 or self.w < 1:
            raise FewerError(f"block '{self.h}x{self.w}' must have at least one row and one column")

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one unit."""
        return (self.h, self.w)

    def __str__(self) -> str:
        """Canonical text."""
        return f"{self.h}x{self.w}"


@method("pattern", "row", formula="whole rows: output units", unit="row", status="ours")
@dataclass(frozen=True, slots=True)
class Rows(_Grid):
    """Whole rows.

    >>> Rows().grid((4, 3))
    (4, 1)
    """

    unit: ClassVar[str] = "row"

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one unit."""
        return (1, shape[1])

    def __str__(self) -> str:
        """Canonical text."""
        return "row"


@method("pattern", "column", formula="whole columns: input units", unit="column", status="ours")
@dataclass(frozen=True, slots=True)
class Columns(_Grid):
    """Whole columns.

    >>> Columns().grid((4, 3))
    (1, 3)
    """

    unit: ClassVar[str] = "column"

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one unit."""
        return (shape[0], 1)

    def __str__(self) -> str:
        """Canonical text."""
        return "column"


@method("pattern", "layer", formula="the whole layer", unit="layer", status="ours")
@dataclass(frozen=True, slots=True)
class Whole(_Grid):
    """The whole layer at once.

    >>> Whole().grid((4, 3))
    (1, 1)
    """

    unit: ClassVar[str] = "layer"

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of one unit."""
        return (shape[0], shape[1])

    def __str__(self) -> str:
        """Canonical text."""
        return "layer"


Pattern: TypeAlias = Unstructured | NM | Block | Rows | Columns | Whole
_WORDS = {str(made): made for made in (Unstructured(), Rows(), Columns(), Whole())}


def parse(text: str | Pattern) -> Pattern:
    """The pattern that a text names: `unstructured`, `2:4`, `16x1`, `row`, `column`, `layer`.

    >>> parse("16x1")
    Block(h=16, w=1)

    Raises:
        FewerError: no such pattern; the message lists the forms.
    """
    if not isinstance(text, str):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if found := re.fullmatch(r"(\d+):(\d+)", text):
        return NM(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"(\d+)x(\d+)", text):
        return Block(int(found[1]), int(found[2]))
    forms = "unstructured, 2:4, 16x1, row, column, layer"
    raise FewerError(f"unknown pattern '{text}'{nearest(text, _WORDS)}; the forms are {forms}")
