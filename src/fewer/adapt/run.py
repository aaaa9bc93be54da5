"""Running a model on one batch: which names its inputs have, and what its loss is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.method import FewerError

__all__ = [
    "Enough", "call", "evaluating", "forward", "has_target", "loss", "mask_of", "next_tokens", "predicts_next",
    "scores_classes", "vocabulary_of",
]  # fmt: skip


class Enough(Exception):
    """Raised by a hook that has seen all it wants of a batch; whoever runs the model goes on with the next one."""


def call(module: nn.Module, batch: Mapping[str, Tensor]) -> Any:
    """The model's output on a batch (labels left out).

    A transformers model gets the batch by name, without a cache; `inputs` stands for its main input. Any other
    module gets `inputs` (or `input_ids`) by position and the rest by name.
    """
    device = _device(module)
    named = {key: value.to(device) for key, value in batch.items() if key != "labels"}
    _check_tokens(module, named.get("input_ids"))
    _check_length(module, named.get("input_ids"))
    _give_decoder(module, named, batch.get("labels"))
    if hasattr(module, "main_input_name"):
        if "inputs" in named:
            named[str(module.main_input_name)] = named.pop("inputs")
        _check_main(module, named)
        return forward(module, (), named | ({"use_cache": False} if hasattr(module.config, "use_cache") else {}))
    first = next((named.pop(key) for key in ("inputs", "input_ids") if key in named), None)
    return forward(module, () if first is None else (first,), named)


def forward(module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """One forward pass; what the model itself says of inputs that do not fit it becomes one line."""
    try:
        return module(*args, **named)
    except FewerError:
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
        given = [(key, x) for key, x in [*enumerate(args), *named.items()] if isinstance(x, Tensor)]
        shapes = ", ".join(f"{key} {tuple(x.shape)} {str(x.dtype)[6:]}" for key, x in given) or "no tensors"
        said = " ".join((str(error).strip().splitlines() or [""])[0].split()) or type(error).__name__
        raise FewerError(f"{type(module).__name__} cannot be run on this data ({shapes}): {said}") from error


def _check_main(module: nn.Module, named: Mapping[str, Tensor]) -> None:
    """Refuse data of another kind than the model reads."""
    main = str(module.main_input_name)
    if main not in named and "inputs_embeds" not in named:
        held = ", ".join(named) or "labels alone"
        raise FewerError(f"{type(module).__name__} reads {main}; the data holds {held}: give data of that kind")
    value = named.get(main)
    if main != "input_ids" or value is None:
        return
    if value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise FewerError(f"{type(module).__name__} reads token ids (whole numbers); the data is of type {kind}")
    if value.ndim != 2:
        shape = tuple(value.shape)
        raise FewerError(f"{type(module).__name__} reads token ids (samples, length); the data has shape {shape}")


def loss(module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The scalar loss whose gradient is evidence.

    Tokens without labels: mean cross entropy of the next token in nats, positions that are padding left out; only of a
    model that predicts the next token.
    Labels: cross entropy for class indices (-100 is ignored), mean squared error for floating-point targets; a model
    output that carries its own loss is asked for it instead.

    Raises:
        FewerError: no labels and no tokens, or outputs that do not fit the labels.
    """
    labels = batch.get("labels")
    if labels is not None and hasattr(module, "main_input_name"):
        return _own_loss(module, batch, labels)
    output = call(module, batch)
    scores = output.logits if hasattr(output, "logits") else output
    if labels is None and not (isinstance(scores, Tensor) and predicts_next(module, scores, batch)):
        name = type(module).__name__
        raise FewerError(f"{name} does not predict the next token: gradient evidence needs labels in every batch")
    if not isinstance(scores, Tensor):
        raise FewerError(f"gradient evidence needs a tensor or .logits as output, not {type(output).__name__}")
    if labels is None:
        return _next_token(scores, batch)
    labels = labels.to(scores.device)
    if labels.is_floating_point():
        return functional.mse_loss(scores.float(), labels.float())
    return functional.cross_entropy(scores.float().reshape(-1, scores.shape[-1]), labels.reshape(-1))


def predicts_next(module: nn.Module, scores: Tensor, batch: Mapping[str, Tensor]) -> bool:
    """Whether outputs are scores of the next token: by what the model is, for their shape is that of other scores too.

    A masked language model sees the token that it would be asked for, an encoder gives hidden states, an
    encoder-decoder answers about other tokens. A module that is not from transformers is taken by its shape alone.
    """
    from fewer.adapt.opened import kind_of

    ids = batch.get("input_ids")
    if ids is None or scores.ndim != 3 or scores.shape[:2] != ids.shape:
        return False
    kind = kind_of(module)
    return kind == "module" or (kind == "causal-lm" and not _sees_both_ways(getattr(module, "config", None)))


def _sees_both_ways(config: Any) -> bool:
    """Whether a model of a causal class was made to look at later tokens too."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if getattr(config, "attn_type", "") == "bi":
        return True
    masked = getattr(config, "model_type", "") in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return masked and not (getattr(config, "is_decoder", False) or getattr(config, "causal", False))


def scores_classes(module: nn.Module, scores: Tensor) -> bool:
    """Whether the last dimension of a model's outputs are classes (or words), so that they make a distribution."""
    headless = getattr(module, "base_model", module) is module
    if (headless and getattr(module, "get_output_embeddings", lambda: None)() is None) or scores.shape[-1] < 2:
        return False
    return getattr(getattr(module, "config", None), "problem_type", None) != "regression"


def has_target(batch: Mapping[str, Tensor]) -> bool:
    """Whether a batch has anything for a loss: a label that counts, or a real token after a real one."""
    labels = batch.get("labels")
    if labels is not None:
        return labels.is_floating_point() or bool((labels != -100).any())
    live = next_tokens(batch)
    return live is None or not live.shape[1] or bool(live.any())


def mask_of(batch: Mapping[str, Tensor]) -> Tensor | None:
    """Which tokens are real, (samples, length) boolean; None when all are."""
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or bool((mask != 0).all()):
        return None
    return mask != 0


def next_tokens(batch: Mapping[str, Tensor]) -> Tensor | None:
    """Which next tokens are real and predicted from a real one, (samples, length - 1) boolean; None when all are."""
    mask = mask_of(batch)
    return None if mask is None else mask[:, 1:] & mask[:, :-1]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout and batch statistics off; every module's own mode is restored afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _give_decoder(module: nn.Module, named: dict[str, Tensor], labels: Tensor | None) -> None:
    """An encoder-decoder reads its targets too: those given, or the labels shifted as in its training."""
    config = getattr(module, "config", None)
    if not getattr(config, "is_encoder_decoder", False) or "decoder_input_ids" in named:
        return
    shift = getattr(module, "prepare_decoder_input_ids_from_labels", None)
    if labels is None or shift is None:
        raise FewerError(f"{type(module).__name__} is an encoder-decoder: batches need decoder_input_ids or labels")
    named["decoder_input_ids"] = shift(labels=labels.to(_device(module)))


def _own_loss(module: nn.Module, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    named = {("inputs" if key == "inputs" else key): value for key, value in batch.items() if key != "labels"}
    if "inputs" in named:
        named[str(module.main_input_name)] = named.pop("inputs")
    device = _device(module)
    _check_main(module, named)
    named["labels"] = labels
    output = forward(module, (), {key: value.to(device) for key, value in named.items()})
    value = getattr(output, "loss", None)
    if not isinstance(value, Tensor):
        raise FewerError(f"{type(module).__name__} returns no loss for these labels")
    return value


def _next_token(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    ids = batch["input_ids"]
    if ids.shape[1] < 2:
        raise FewerError("gradient evidence needs at least 2 tokens a sample, to predict the second from the first")
    target = ids[:, 1:].to(logits.device).clone()
    live = next_tokens(batch)
    if live is not None:
        target[~live.to(target.device)] = -100
    return functional.cross_entropy(logits[:, :-1].float().reshape(-1, logits.shape[-1]), target.reshape(-1))


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters() if p.device.type != "meta"), torch.device("cpu"))


def vocabulary_of(module: nn.Module) -> int | None:
    """How many tokens a model knows: what its configuration says, or the part of it that is about text."""
    config: Any = getattr(module, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None)
    return size if isinstance(size, int) else None


def _check_tokens(module: nn.Module, ids: Tensor | None) -> None:
    size = vocabulary_of(module)
    if ids is None or size is None:
        return
    worst = int(ids.max())
    if worst >= size or int(ids.min()) < 0:
        raise FewerError(f"token {worst} is outside the model's vocabulary of {size}: was another tokenizer used?")


#: Names under which transformers keeps a table of learned positions, which ends; rotary positions do not.
_POSITIONS = {"wpe", "embed_positions", "position_embeddings"}


def _check_length(module: nn.Module, ids: Tensor | None) -> None:
    limit = getattr(getattr(module, "config", None), "max_position_embeddings", None)
    if ids is None or not isinstance(limit, int) or ids.shape[-1] <= limit:
        return
    if any(isinstance(m, nn.Embedding) and name.split(".")[-1] in _POSITIONS for name, m in module.named_modules()):
        raise FewerError(f"windows of {ids.shape[-1]} tokens are longer than the model's {limit} positions")
