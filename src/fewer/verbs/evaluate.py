"""Measure a model on held-out data: alone, and against the dense model that it came from."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.compute import AUTO
from fewer.events import EvidenceProgress, Progress, StageStarted, emit
from fewer.method import FewerError
from fewer.verbs._given import call, module_of, windows
from fewer.verbs.result import Quality

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["evaluate", "evaluate_all"]

#: Float32 numbers that one step of the log-softmax may hold: 64 MB, whatever the vocabulary.
_CHUNK = 1 << 24
SLICES = 8


@checked
def evaluate(
    model: Any,
    data: Any,
    *,
    against: Any = None,
    context: int | None = None,
    slices: int = SLICES,
    batch: int = 8,
    compute: str = AUTO,
    progress: Progress | None = None,
) -> Quality:
    """Measure one model on held-out data.

    Formula: perplexity = exp(mean nll), nll = -log q(next token); KL = mean sum_v p_v log(p_v / q_v) with p the
    dense model's next-token distribution and q the model's, in nats per token.

    Args:
        model: module, opened checkpoint, pruning result, or directory.
        data: the word "demo", a file of text, token windows (windows, context), one long row of tokens (tokens,), or
            an iterable of batches or rows. A file whose column of texts must be named:
            `fewer.text(path, model, samples=None, text_field=...)`. Windows do not overlap, and a window's first token
            is not predicted.
        against: the dense model; without it `kl` and `top1_agreement` are None.
        context: tokens in a window; by default the data's own length (256 for text and long rows).
        slices: number of contiguous parts of the data whose perplexities are compared.
        batch: windows that pass through the model at once.
        compute: number type of the forward passes: "auto" (the stored one, or float32 where the processor has no fast
            products of it), "float32", "bfloat16".
        progress: receives events.

    Returns:
        The measured quality. For a model that does not predict the next token (a masked language model, an
        encoder, an encoder-decoder) perplexity is NaN; `output_error` holds the relative error of its outputs, `kl`
        that of its classes.

    Raises:
        FewerError: no data, windows of unequal length, non-finite logits.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
        >>> model = LlamaForCausalLM(LlamaConfig(num_attention_heads=2, num_key_value_heads=2, **sizes))
        >>> evaluate(model, torch.arange(32).reshape(2, 16), against=model).kl
        0.0
    """
    models = {"model": model}
    found = evaluate_all(
        models, data, dense=against, context=context, slices=slices, batch=batch, compute=compute, progress=progress
    )
    return found["model"]


@checked
def evaluate_all(
    models: Mapping[str, Any],
    data: Any,
    *,
    dense: Any = None,
    context: int | None = None,
    slices: int = SLICES,
    batch: int = 8,
    compute: str = AUTO,
    progress: Progress | None = None,
) -> dict[str, Quality]:
    """Measure several models on the same windows, running the dense model once.

    With `dense`, the result holds its own quality too, under the name "dense" (unless a model has that name).

    Args:
        models: by name; as in `evaluate`.
        data: as in `evaluate`.
        dense: the model that the others are compared with.
        context: as in `evaluate`.
        slices: as in `evaluate`.
        batch: as in `evaluate`.
        compute: as in `evaluate`; each model's own where that differs.
        progress: receives events.

    Returns:
        One `Quality` a name.
    """
    import torch

    from fewer.adapt.blocks import find_blocks
    from fewer.adapt.computing import computing, dtype_of, name_of
    from fewer.adapt.parallel import each, side_by_side
    from fewer.adapt.run import evaluating

    if not models:
        raise FewerError("models is empty: give at least one model by its name")
    reference = None if dense is None else module_of(dense)
    runs = {name: module_of(model) for name, model in models.items()}
    first = reference if reference is not None else next(iter(runs.values()))
    dtypes = {module: dtype_of(module, compute) for module in [first, *runs.values()]}
    cut = windows(data, dense if dense is not None else next(iter(models.values())), context, batch)
    apart = all(side_by_side(module) for module in dtypes) and _logits(first, cut) <= 4 * _CHUNK
    tallies = {name: _Tally() for name in runs}
    base = _Tally()
    emit(progress, StageStarted("measuring", len(cut.batches)))
    with torch.inference_mode(), contextlib.ExitStack() as stack:
        for module, dtype in dtypes.items():
            stack.enter_context(evaluating(module))
            stack.enter_context(computing(module, dtype, () if apart else find_blocks(module)))
        measure = functools.partial(_measure_batch, reference, runs, cut.batches)
        for place, (dense_part, parts) in enumerate(each(measure, len(cut.batches), apart=apart)):
            base.join(dense_part)
            for name, part in parts.items():
                tallies[name].join(part)
            emit(progress, EvidenceProgress(place + 1, len(cut.batches)))
    types = {name: name_of(dtypes[module]) for name, module in runs.items()}
    against = reference is not None
    found = {name: t.quality(cut, slices, compared=against, compute=types[name]) for name, t in tallies.items()}
    if reference is not None:
        found.setdefault("dense", base.quality(cut, slices, compared=False, compute=name_of(dtypes[reference])))
    return found


@dataclass
class _Tally:
    """Sums over the windows seen so far; one entry a window, so that any slicing can be made later."""

    nll: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    kl: float = 0.0
    agree: int = 0
    error: float = 0.0
    size: float = 0.0
    language: bool = True
    classes: bool = False

    def join(self, later: _Tally) -> None:
        """Take in what later windows gave."""
        self.nll += later.nll
        self.count += later.count
        self.kl += later.kl
        self.agree += later.agree
        self.error += later.error
        self.size += later.size
        self.language = self.language and later.language
        self.classes = self.classes or later.classes

    def quality(self, cut: Any, slices: int, *, compared: bool, compute: str) -> Quality:
        """The means, and the perplexity of every contiguous slice."""
        tokens = sum(self.count)
        if not tokens:
            raise FewerError("the evaluation data is empty: at least one window of two tokens is needed")
        parts = _slices(self.nll, self.count, slices) if self.language else {}
        nll = sum(self.nll) / tokens if self.language else math.nan
        worst = max(parts, key=lambda name: parts[name]) if parts else ""
        return Quality(
            tokens=tokens,
            context=cut.context,
            nll=nll,
            perplexity=_exp(nll),
            worst_slice_perplexity=parts[worst] if worst else math.nan,
            worst_slice=worst,
            kl=self.kl / tokens if compared and (self.language or self.classes) else None,
            top1_agreement=self.agree / tokens if compared else None,
            slices=parts,
            data=cut.source,
            output_error=math.sqrt(self.error / self.size) if compared and self.size else None,
            compute=compute,
        )


def _slices(nll: Sequence[float], count: Sequence[int], slices: int) -> dict[str, float]:
    """Perplexity of contiguous, nearly equal runs of windows, by a name that says which windows."""
    number = max(1, min(slices, len(nll)))
    edges = [len(nll) * part // number for part in range(number + 1)]
    spans = [(a, b) for a, b in itertools.pairwise(edges) if sum(count[a:b])]
    return {f"windows {a}-{b - 1}": _exp(sum(nll[a:b]) / sum(count[a:b])) for a, b in spans}


def _exp(value: float) -> float:
    return math.exp(value) if not value > 700.0 else math.inf


def _measure_batch(
    reference: torch.nn.Module | None,
    runs: Mapping[str, torch.nn.Module],
    batches: Sequence[Mapping[str, Tensor]],
    place: int,
) -> tuple[_Tally, dict[str, _Tally]]:
    """One batch through the dense model once and through every candidate."""
    inputs, base, tallies = batches[place], _Tally(), {name: _Tally() for name in runs}
    expected = None if reference is None else _outputs(reference, inputs, "the dense model", place)
    targets = _Targets(inputs, expected)
    if reference is not None and expected is not None:
        _add(base, expected, _Targets(inputs, None), reference)
    for name, module in runs.items():
        same = module is reference and expected is not None
        got = expected if same and expected is not None else _outputs(module, inputs, f"'{name}'", place)
        _add(tallies[name], got, targets, module if reference is None else reference)
    return base, tallies


def _logits(module: torch.nn.Module, cut: Any) -> int:
    """How many numbers a language model gives for the first batch: each of the batches side by side holds as many."""
    from fewer.adapt.run import vocabulary_of

    tokens = cut.batches[0].get("input_ids")
    return 0 if tokens is None else tokens.numel() * (vocabulary_of(module) or 0)


def _outputs(module: torch.nn.Module, inputs: Mapping[str, Tensor], name: str, place: int) -> Tensor:
    """The logits (or first output) of a module, refused if any is NaN or infinite."""
    out = call(module, inputs)
    if not out.isfinite().all():
        where = _first_fault(module, inputs)
        raise FewerError(f"{name} gives NaN or infinite outputs in batch {place}{where}")
    return out


def _first_fault(module: torch.nn.Module, inputs: Mapping[str, Tensor]) -> str:
    """Which layer's output is the first that is not finite, found by running the batch once more."""
    from torch import Tensor

    faults: list[str] = []

    def watch(name: str) -> Any:
        def look(_module: Any, _inputs: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.is_floating_point() and not out.isfinite().all():
                faults.append(name)

        return look

    leaves = [(name, part) for name, part in module.named_modules() if name and not any(part.children())]
    hooks = [part.register_forward_hook(watch(name)) for name, part in leaves]
    try:
        call(module, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return f", first out of layer '{faults[0]}'" if faults else ""


class _Targets:
    """What the outputs on one batch are compared with; what depends on the dense model alone is computed once."""

    def __init__(self, inputs: Mapping[str, Tensor], expected: Tensor | None) -> None:
        from fewer.adapt.run import next_tokens

        self.tokens = inputs.get("input_ids")
        self.attention = inputs.get("attention_mask")
        self._live = next_tokens(inputs)
        self.expected = expected
        self._kept: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def real(self, outputs: Tensor) -> Tensor:
        """Outputs as rows, those of padding left out."""
        flat = outputs.reshape(-1, outputs.shape[-1]) if outputs.ndim > 1 else outputs.reshape(1, -1)
        mask = self.attention
        return flat[mask.reshape(-1).bool()] if mask is not None and mask.shape == outputs.shape[:-1] else flat

    def live(self, row: int) -> Tensor:
        """Which next tokens of a window count."""
        import torch

        assert self.tokens is not None
        return torch.ones(self.tokens.shape[1] - 1, dtype=torch.bool) if self._live is None else self._live[row]

    def dense(self, row: int, part: slice, use: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, probabilities and favourites of the dense model on a part of a window."""
        import torch

        assert self.expected is not None
        key = (row, part.start)
        if key in self._kept:
            return self._kept[key]
        log_p = torch.log_softmax(self.expected[row, :-1][part][use].float(), dim=-1)
        found = (log_p, log_p.exp(), log_p.argmax(-1))
        if self.expected.numel() <= 2 * _CHUNK:
            self._kept[key] = found
        return found


def _add(tally: _Tally, got: Tensor, targets: _Targets, module: torch.nn.Module) -> None:
    """Take in the outputs on one batch; what they mean is read off `module`."""
    from fewer.adapt.run import predicts_next, scores_classes

    if targets.tokens is not None and predicts_next(module, got, {"input_ids": targets.tokens}):
        _add_tokens(tally, got, targets.tokens, targets)
    else:
        _add_outputs(tally, got, targets, classes=scores_classes(module, got))


def _add_tokens(tally: _Tally, got: Tensor, tokens: Tensor, targets: _Targets) -> None:
    """Next-token losses of one batch of windows (windows, context, vocabulary)."""
    import torch

    rows, width, vocabulary = got.shape
    step = max(1, _CHUNK // vocabulary)
    for row in range(rows):
        live = targets.live(row)
        loss = 0.0
        for start in range(0, width - 1, step):
            part = slice(start, min(start + step, width - 1))
            use = live[part]
            target = tokens[row, 1:][part][use].to(got.device)
            log_q = torch.log_softmax(got[row, :-1][part][use].float(), dim=-1)
            loss -= float(log_q.gather(1, target[:, None]).double().sum())
            if targets.expected is not None:
                log_p, p, first = targets.dense(row, part, use)
                tally.kl += float((p * (log_p - log_q)).sum(-1).double().sum())
                tally.agree += int((first == log_q.argmax(-1)).sum())
        tally.nll.append(loss)
        tally.count.append(int(live.sum()))


def _add_outputs(tally: _Tally, got: Tensor, targets: _Targets, *, classes: bool) -> None:
    """Outputs that predict no next token: relative error, agreement of the largest entry, KL of classes."""
    import torch

    tally.language = False
    flat = targets.real(got)
    tally.nll.append(0.0)
    tally.count.append(flat.shape[0])
    if targets.expected is None:
        return
    wanted = targets.real(targets.expected).double()
    tally.error += float((flat.double() - wanted).square().sum())
    tally.size += float(wanted.square().sum())
    tally.agree += int((flat.argmax(-1) == wanted.argmax(-1)).sum())
    if classes:
        tally.classes = True
        log_p, log_q = torch.log_softmax(wanted, dim=-1), torch.log_softmax(flat.double(), dim=-1)
        tally.kl += float((log_p.exp() * (log_p - log_q)).sum())
