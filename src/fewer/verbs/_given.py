"""What the verbs accept as a model and as data, turned into one form each."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.method import FewerError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fewer.adapt import Opened
    from fewer.adapt.data import Batches
    from fewer.recipe import DataSettings, Recipe

__all__ = [
    "Cut", "call", "calibration", "copy_of", "held_out", "load", "module_of", "opened_of", "source_of", "text",
    "windows", "writable",
]  # fmt: skip

#: Tokens in a window of text when nobody says.
CONTEXT = 256


@checked
def load(path: str | Path, *, dtype: Any = None) -> Opened:
    """Open a checkpoint directory, or "demo" for the small model that ships with fewer.

    Args:
        path: directory with `config.json` and safetensors, or "demo"; packed layers and cuts of inputs beside the
            weights are honoured.
        dtype: element type to load in; by default the stored one.

    Returns:
        The opened model: `.module` is the transformers model, `.layers` its weight matrices, `.tokenizer()` its
        tokenizer. Every verb takes it as it is.

    Raises:
        FewerError: not a checkpoint, damaged, a pickle, or one that needs code of its own.
    """
    from fewer.runtime import open_as_stored

    return open_as_stored(path, dtype=dtype)


@checked
def text(
    path: str | Path,
    model: Any,
    *,
    samples: int | None = 128,
    length: int = CONTEXT,
    seed: int = 0,
    batch: int = 8,
    text_field: str = "",
) -> Batches:
    """Calibration windows of a text file, cut with the model's own tokenizer.

    In a file of many documents (JSON lines, JSON, CSV, TSV, Parquet) they stand one after another, with the tokenizer's
    end-of-text token between them, or a blank line where it has none. Chats (`messages`) are put into words by the
    tokenizer's own template.

    Args:
        path: a file (plain text in UTF-8, .jsonl, .json, .csv, .tsv, .parquet), "demo" (calibration text) or
            "demo:evaluation".
        model: an opened model, a transformers model loaded from a directory, or a tokenizer.
        samples: number of windows, drawn without repetition; None for all of them in order.
        length: tokens in a window.
        seed: fixes the draw.
        batch: windows a batch.
        text_field: the column of the documents; by default `text`, else `messages`, else the only column of texts.

    Returns:
        Batches of token ids that know their source and hash.

    Raises:
        FewerError: no such file, one that holds no text, no such column, no tokenizer or chat template, or a text too
            short for one window.
    """
    from torch import nn

    from fewer.adapt import data

    source = opened_of(model) if isinstance(model, nn.Module) else model
    return data.text(path, source, samples=samples, length=length, seed=seed, batch=batch, field=text_field)


def opened_of(model: Any) -> Opened:
    """An opened model from whatever the user has: one already, a directory, a module, a pruning result."""
    from fewer import adapt

    if isinstance(model, adapt.Opened):
        return model
    inner = getattr(model, "opened", None)
    if isinstance(inner, adapt.Opened):
        return inner
    return load(model) if isinstance(model, str | Path) else adapt.open(model)


def module_of(model: Any) -> nn.Module:
    """The torch module behind a module, an opened model, a pruning result or a directory."""
    from torch import nn

    from fewer.adapt.wrappers import unwrap

    if isinstance(model, nn.Module):
        return unwrap(model)
    for attribute in ("module", "model"):
        inner = getattr(model, attribute, None)
        if isinstance(inner, nn.Module):
            return unwrap(inner)
    return opened_of(model).module


def writable() -> Any:
    """A context in which weights can be written and differentiated, also for a caller in inference mode."""
    import torch

    return torch.inference_mode(False)


def source_of(model: Any) -> Path | None:
    """The directory that a model was read from, if it was read from one."""
    if isinstance(model, str | Path):
        return None if str(model) == "demo" else Path(model)
    for part in (model, getattr(model, "opened", None)):
        path = getattr(part, "path", None)
        if isinstance(path, Path):
            return path
    named = getattr(getattr(model, "config", None), "_name_or_path", None)
    return Path(named) if isinstance(named, str) and named else None


def copy_of(opened: Opened) -> Opened:
    """A second model with the same weights, so that the first stays as it is."""
    from fewer.adapt import Opened

    origins = None if opened.origins is None else opened.origins.copy()
    return Opened(copy.deepcopy(opened.module), opened.path, origins)


@dataclass(frozen=True, slots=True)
class Cut:
    """Evaluation data cut into windows of one length, in order."""

    batches: tuple[Mapping[str, Tensor], ...]
    context: int
    source: str


def calibration(data: Any, model: Any, cut: DataSettings) -> Batches | None:
    """Calibration batches from a text file or "demo", from tensors, or from an iterable; None stays None."""
    if data is None:
        return None
    if isinstance(data, str | Path):
        source = model if hasattr(model, "tokenizer") else opened_of(model)
        return text(data, source, samples=cut.samples, length=cut.length, seed=cut.seed, text_field=cut.text_field)
    from fewer.adapt.data import batches

    return batches(data)


def reference_of(reference: Any, recipe: Recipe, needs: Iterable[str], model: Any) -> Batches | None:
    """The second data set, where something that is needed is measured on it; the argument wins over the recipe.

    Raises:
        FewerError: it is needed and there is none.
    """
    wanted = [name for name in needs if name.startswith("reference_")]
    if not wanted:
        return None
    cut = recipe.reference if recipe.reference.text else recipe.data
    source = reference if reference is not None else (recipe.reference.text or None)
    found = calibration(source, model, cut)
    if found is None:
        raise FewerError(f"score '{recipe.score}' needs {', '.join(wanted)}: give a second data set (reference)")
    return found


def shape_alone(needs: Iterable[str], opened: Opened, length: int) -> Batches | None:
    """One window of blank tokens, where all that is needed of the data is its shape and that is known without it."""
    import torch

    from fewer.adapt.data import batches

    if tuple(needs) != ("synflow_grad",) or opened.kind not in ("causal-lm", "encoder"):
        return None
    return batches(torch.zeros(1, length, dtype=torch.long), source="")


def held_out(data: Any, model: Any, context: int | None, text_field: str) -> Any:
    """Held-out data as it was given; windows of a file whose column of texts is named."""
    if not text_field or not isinstance(data, str | Path):
        return data
    return text(data, opened_of(model), samples=None, length=context or CONTEXT, text_field=text_field)


def windows(data: Any, model: Any, context: int | None, batch: int) -> Cut:
    """Evaluation data as consecutive windows of `context` tokens, `batch` of them at a time."""
    from torch import Tensor

    from fewer.adapt.data import batches

    if isinstance(data, str | Path):
        path = "demo:evaluation" if str(data) == "demo" else data
        context = context or CONTEXT
        found = text(path, opened_of(model), samples=None, length=context, batch=batch)
        return Cut(tuple(found), context, f"{found.source} (sha256 {found.hash[:12]})")
    if isinstance(data, Tensor) and data.ndim == 1 and not data.is_floating_point():
        found = batches(_rows(data, context or min(CONTEXT, data.numel())), batch=batch, source="tokens")
    else:
        found = batches(data, batch=batch)
    if context is None or context == found.length or "input_ids" not in found[0]:
        return Cut(tuple(found), found.length, f"{found.source} (sha256 {found.hash[:12]})")
    cut = [{"input_ids": _split(item, found.length, context)} for item in found]
    return Cut(tuple(cut), context, f"{found.source}, cut to {context} (sha256 {found.hash[:12]})")


def _rows(tokens: Tensor, context: int) -> Tensor:
    if tokens.numel() < context:
        raise FewerError(f"the data has {tokens.numel()} tokens: too few for one window of {context}")
    count = tokens.numel() // context
    return tokens[: count * context].reshape(count, context)


def _split(item: Mapping[str, Tensor], length: int, context: int) -> Tensor:
    if length % context or set(item) != {"input_ids"} or item["input_ids"].shape[-1] != length:
        raise FewerError(f"the data comes in windows of {length} tokens, which context {context} does not divide")
    return item["input_ids"].reshape(-1, context)


def call(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The logits, or the first output, of one forward pass."""
    from torch import Tensor

    from fewer.adapt import run

    out = run.call(module, inputs)
    for attribute in ("logits", "last_hidden_state"):
        value = getattr(out, attribute, None)
        if isinstance(value, Tensor):
            return value
    first = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(first, Tensor):
        raise FewerError(f"the model returns {type(first).__name__}; evaluation needs logits or one tensor")
    return first
