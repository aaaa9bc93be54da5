"""What a cut costs the whole model: curves of single layers, and the losses of whole allocations.

Some budgets ask for losses instead of scores. They are measured on a few calibration windows: the layers in question
are solved from the evidence of the dense model as the recipe says, the model is run, the dense weights are put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fewer.method import FewerError
from fewer.verbs._given import call

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fewer.adapt import Layer, Opened
    from fewer.adapt.data import Batches
    from fewer.verbs._solve import Job

__all__ = ["LOSSES", "Losses"]

#: What a budget may ask for that is a loss of the whole model.
LOSSES = frozenset({"curve", "measure", "slices"})
#: Shares at which the curve of a layer is measured, and how many windows it is measured on.
_LEVELS = (0.8, 0.6, 0.45, 0.3, 0.2, 0.1)
_WINDOWS = 16
#: Groups of windows, from those that the dense model finds easiest to the hardest, that `slices` tells apart.
_GROUPS = ("easiest", "easier", "harder", "hardest")


class Losses:
    """Measures what cuts cost a model, on some windows of its calibration data.

    Losses are counted from the model as it is now. For a causal language model a curve holds KL(now || cut) in nats
    per token, `rise` the rise of the negative log-likelihood; for any other model both are the relative squared
    change of the outputs.
    """

    def __init__(
        self,
        opened: Opened,
        job: Job,
        layers: Sequence[Layer],
        evidence: Mapping[str, Mapping[str, Tensor]],
        batches: Batches,
        told: Callable[[int, int, str], None] | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        from fewer.adapt.computing import dtype_of

        self._opened, self._job, self._evidence, self._told = opened, job, evidence, told
        self._dtype = dtype or dtype_of(opened.module)
        self._layers = {layer.name: layer for layer in layers}
        self._batches = list(_first(batches, _WINDOWS))
        self._dense, self.unreached = self._begin(layers)
        self._curve: dict[str, dict[float, list[float]]] = {}
        self._trials = 0

    def _begin(self, layers: Sequence[Layer]) -> tuple[list[tuple[Tensor, float | None]], set[str]]:
        """Outputs of the model as it is, and the layers that no token of these windows reached, or zeros alone."""
        from fewer.adapt.capture import Tap
        from fewer.adapt.run import mask_of

        watched = [layer for layer in layers if layer.kind != "embedding"]
        unreached = {layer.name for layer in watched}

        def seen(layer: Layer, rows: Any) -> None:
            if layer.name in unreached and bool(rows.values.any()):
                unreached.discard(layer.name)

        found = []
        with Tap(watched, on_input=seen) as tap:
            for batch in self._batches:
                tap.forget()
                tap.mask = mask_of(batch)
                found += list(self._outputs(batch))
        if not found:
            raise FewerError("no window of the data has a token to predict: losses of cuts cannot be measured")
        return found, unreached

    def supply(self, names: set[str], keep: float) -> dict[str, Any]:
        """What a budget asks for, by name; the curve is measured once, however many budgets ask for it."""
        given: dict[str, Any] = {}
        if "measure" in names:
            given["measure"] = self.rise
        if {"curve", "slices"} & names:
            self._measure_curve(keep)
            groups = self._groups()
            everything = list(range(len(self._dense)))
            given["curve"] = self._mean(everything)
            given["slices"] = {name: self._mean(rows) for name, rows in groups.items()}
        return given

    def rise(self, counts: Mapping[str, int]) -> float:
        """Rise of the loss where every layer keeps so many units."""
        grids = {name: self._units(name) for name in counts}
        with self._cut({name: count for name, count in counts.items() if count < grids[name]}):
            loss = sum(rise for _, rise in self._losses()) / len(self._dense)
        self._trials += 1
        if self._told is not None:
            self._told(self._trials, 0, "trials")
        return loss

    def _units(self, name: str) -> int:
        rows, columns = self._job.pattern.grid(self._layers[name].shape)
        return rows * columns

    def _measure_curve(self, keep: float) -> None:
        """KL of every window with one layer cut, at every level; a level below `keep` is always there."""
        levels = _LEVELS if keep > _LEVELS[-1] else (*_LEVELS, keep / 2)
        for place, name in enumerate(self._layers):
            found = self._curve.setdefault(name, {})
            units = self._units(name)
            for count in sorted({max(1, round(level * units)) for level in levels}):
                if count < units and count / units not in found:
                    with self._cut({name: count}):
                        found[count / units] = [loss for loss, _ in self._losses()]
            if self._told is not None:
                self._told(place + 1, len(self._layers), "layers")

    def _mean(self, rows: Sequence[int]) -> dict[str, dict[float, float]]:
        return {
            name: {level: sum(losses[row] for row in rows) / len(rows) for level, losses in levels.items()}
            for name, levels in self._curve.items()
        }

    def _groups(self) -> dict[str, list[int]]:
        """Windows in groups of equal size by the dense model's own loss; outputs without tokens by their order."""
        own = [nll or 0.0 for _, nll in self._dense]
        order = sorted(range(len(own)), key=own.__getitem__)
        number = min(len(_GROUPS), len(order))
        edges = [len(order) * part // number for part in range(number + 1)]
        names = _GROUPS[:number]
        return {name: order[a:b] for name, a, b in zip(names, edges, edges[1:], strict=False)}

    @contextmanager
    def _cut(self, counts: Mapping[str, int]) -> Iterator[None]:
        """Some layers solved for these counts, until the block ends."""
        held = {name: self._layers[name].read() for name in counts}
        try:
            for name, count in counts.items():
                solved = self._job.solve(name, held[name], self._evidence.get(name, {}), count)
                self._layers[name].write(solved.weight)
            yield
        finally:
            for name, weight in held.items():
                self._layers[name].write(weight)

    def _losses(self) -> list[tuple[float, float]]:
        """(KL or relative change, rise of the loss) of every window."""
        found, dense = [], iter(self._dense)
        for batch in self._batches:
            for (cut, now), (before, nll) in zip(self._outputs(batch), dense, strict=False):
                if nll is None or now is None:
                    change = float((cut - before).square().sum() / before.square().sum().clamp(min=1e-30))
                    found.append((change, change))
                else:
                    found.append((float((before.exp() * (before - cut)).sum(-1).double().mean()), now - nll))
        return found

    def _outputs(self, batch: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, float | None]]:
        """Log-probabilities and mean negative log-likelihood of every window; or plain outputs and None."""
        import torch

        from fewer.adapt.computing import computing
        from fewer.adapt.run import evaluating, predicts_next

        module, blocks = self._opened.module, self._opened.blocks
        with torch.inference_mode(), evaluating(module), computing(module, self._dtype, blocks):
            out = call(module, batch).float()
        if not bool(out.isfinite().all()):
            raise FewerError("the model gives NaN or infinite outputs while losses of cuts are measured")
        text = predicts_next(module, out, batch)
        for row in range(out.shape[0]):
            if not text:
                yield out[row], None
            elif bool(_live(batch, row).any()):
                yield _token_losses(out[row], batch, row)


def _first(batches: Batches, windows: int) -> Iterator[Mapping[str, Tensor]]:
    """The first windows of some batches, still in batches."""
    for batch in batches:
        if windows <= 0:
            return
        yield {key: value[:windows] for key, value in batch.items()}
        windows -= len(next(iter(batch.values())))


def _token_losses(out: Tensor, batch: Mapping[str, Tensor], row: int) -> tuple[Tensor, float]:
    """Log-probabilities of the next token at every real position of a window, and their mean loss."""
    import torch

    tokens, live = batch["input_ids"][row], _live(batch, row)
    logs = torch.log_softmax(out[:-1][live], dim=-1)
    own = -logs.gather(1, tokens[1:][live].to(logs.device)[:, None])
    return logs, float(own.double().mean())


def _live(batch: Mapping[str, Tensor], row: int) -> Tensor:
    """Which next tokens of a window count."""
    import torch

    from fewer.adapt.run import next_tokens

    live = next_tokens(batch)
    return torch.ones(batch["input_ids"].shape[1] - 1, dtype=torch.bool) if live is None else live[row]
