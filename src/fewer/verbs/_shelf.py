"""Where a sweep keeps its evidence until it is finished, so that what was measured once is not measured again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.events import Note, Progress, emit
from fewer.method import FewerError
from fewer.plan import Plan
from fewer.verbs._given import calibration as read
from fewer.verbs._given import reference_of

if TYPE_CHECKING:
    from fewer.adapt import Opened
    from fewer.evidence import Store

__all__ = ["Shelf", "stored"]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Evidence beside the directory `out` of an unfinished sweep; a finished one holds its own."""

    out: Path | None

    @property
    def place(self) -> Path:
        """Where it lies meanwhile."""
        assert self.out is not None
        return self.out.absolute().with_name(f"{self.out.name}.evidence")

    def find(self, opened: Opened, plans: Mapping[str, Plan], calibration: Any, told: Progress | None) -> Store | None:
        """Evidence of an earlier run with the same model, data, layers and kinds, if it is there."""
        from fewer.evidence import Store

        folders = [] if self.out is None else [self.place, self.out / "evidence"]
        folders = [folder for folder in folders if (folder / "evidence.json").is_file()]
        if not folders:
            return None
        names, layers = wanted(plans)
        digest = data_hash(opened, next(iter(plans.values())), names, calibration)
        if digest is None:
            return None
        for folder in folders:
            try:
                store = Store.load(folder, model=opened.hash(), data=digest)
            except FewerError:
                continue
            if store.compute != next(iter(plans.values())).compute:
                continue
            if all(layer in store and set(names) <= set(store[layer]) for layer in layers):
                emit(told, Note(f"evidence of an earlier run is used (data {digest[:12]})"))
                return store
        return None

    @contextmanager
    def holding(self, store: Store) -> Iterator[None]:
        """Keep evidence while the rest of a run goes on; only a run that is killed leaves it behind."""
        if self.out is None:
            yield
            return
        store.save(self.place)
        try:
            yield
        except Exception:
            self.clear()
            raise
        self.clear()

    def clear(self) -> None:
        """Take the evidence away."""
        shutil.rmtree(self.place, ignore_errors=True)


def wanted(plans: Mapping[str, Plan]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Kinds of evidence and names of layers that some levels need."""
    names = tuple(dict.fromkeys(name for plan in plans.values() for name in plan.evidence))
    return names, tuple(row.name for row in next(iter(plans.values())).rows)


def data_hash(opened: Opened, plan: Plan, names: Sequence[str], calibration: Any) -> str | None:
    """Identifies the data that a recipe's evidence would be measured on; None where there is none."""
    from fewer.evidence import data_hash as of

    cut = plan.recipe.data
    source = calibration if calibration is not None else (cut.text or None)
    batches = read(source, opened, cut)
    return None if batches is None else of(batches, reference_of(None, plan.recipe, names, opened), names)


def stored(folder: str | Path, opened: Opened, plan: Plan, calibration: Any = None) -> Store:
    """The evidence in a directory that `sweep` or `Store.save` wrote.

    Args:
        folder: the directory.
        opened: the model that it must have been measured on.
        plan: of a recipe that it is to serve.
        calibration: the data that it must have been measured on, where given.

    Raises:
        FewerError: no evidence, or that of another model or of other data.
    """
    from fewer.evidence import Store

    place = Path(folder)
    place = place / "evidence" if (place / "evidence").is_dir() else place
    if not (place / "evidence.json").is_file():
        raise FewerError(f"'{folder}' holds no evidence: give a directory that `fewer sweep` wrote")
    digest = None if calibration is None else data_hash(opened, plan, plan.evidence, calibration)
    return Store.load(place, model=opened.hash(), data=digest)
