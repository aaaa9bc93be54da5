"""Calibration and evaluation data: batches of tensors, from a text file, from tokens, or from any iterable.

A tokenizer is needed for text only. Batches are kept in memory (token ids are small) and carry a hash of their
content, so that stored evidence can say what it was measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.adapt.documents import documents
from fewer.adapt.items import check_item
from fewer.adapt.rows import entries, input_name, tensor_of
from fewer.adapt.shards import bytes_of
from fewer.arguments import checked
from fewer.method import FewerError

__all__ = ["Batches", "batches", "text", "tokens"]


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of named tensors; iterate over it, or index it.

    `tokens` counts the tokens that are not padding (samples, for data that is not tokens), `length` is the longest
    sequence, `hash` identifies the content, `source` says in words where it comes from.
    """

    items: tuple[dict[str, Tensor], ...]
    source: str
    tokens: int
    length: int
    hash: str

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.items[index]

    @property
    def samples(self) -> int:
        """Number of samples (sequences, images) in all batches."""
        return sum(_rows(item) for item in self.items)

    def part(self, index: int, count: int) -> Batches:
        """Every `count`-th batch from `index` on: the share of one of `count` processes.

        >>> whole = batches(torch.arange(32).reshape(8, 4), batch=2)
        >>> [len(whole.part(i, 3)) for i in range(3)]
        [2, 1, 1]
        """
        return _assembled(self.items[index::count], f"{self.source} (part {index + 1} of {count})")

    def spread(self, step: int) -> Batches:
        """Every `step`-th sample, in batches of the same size: as much as so large a part of the data can say.

        >>> whole = batches(torch.arange(40).reshape(10, 4), batch=2)
        >>> [item["input_ids"][:, 0].tolist() for item in whole.spread(4)]
        [[0, 16], [32]]
        """
        taken, size = list(self.singles())[::step], _rows(self.items[0])
        keys = self.items[0].keys()
        items = [
            {key: torch.cat([one[key] for one in taken[start : start + size]]) for key in keys}
            for start in range(0, len(taken), size)
        ]
        return _assemble(items, f"{self.source}, {len(taken)} of them evenly spread")

    def singles(self) -> Iterator[dict[str, Tensor]]:
        """One sample at a time, for statistics that are defined per sample."""
        for item in self.items:
            for row in range(_rows(item)):
                yield {key: value[row : row + 1] for key, value in item.items()}


@checked
def batches(data: Any, *, batch: int = 8, source: str = "batches") -> Batches:
    """Make batches of a token tensor, a tensor of inputs, or any iterable of batches.

    Integer tensors of one or two dimensions are token ids (samples, length); any other tensor is model input, one
    sample a row. An iterable may hold mappings of tensors (used as they are), tensors, lists of token ids, or
    (inputs, labels) pairs; each item is one batch. It may also hold rows, such as those of `datasets`: mappings whose
    `input_ids` is one list; `batch` of one length that follow one another are put together. A one-shot iterable is
    read to its end.

    Args:
        data: the tensors.
        batch: samples per batch when one tensor, or rows, are given.
        source: what reports say about where the data comes from.

    Raises:
        FewerError: no data, nothing but padding, or an item that is none of these.

    >>> batches(torch.zeros(5, 16, dtype=torch.long), batch=2).tokens
    80
    """
    if isinstance(data, Batches):
        return data
    if isinstance(data, Mapping):
        data = [data]
    array = tensor_of(data) if hasattr(data, "__array_interface__") else None
    data = data if array is None else array
    if isinstance(data, Tensor):
        if data.ndim == 0:
            raise FewerError("data is a single number; it must be a tensor with one sample a row")
        if data.layout != torch.strided:
            raise FewerError(f"data is a {data.layout} tensor; it must be an ordinary (dense) one")
        name = input_name(data)
        rows = data[None] if name == "input_ids" and data.ndim == 1 else data
        parts = torch.split(rows, batch) if rows.numel() else ()
        return _assemble([{name: part} for part in parts], source)
    try:
        given = iter(data)
    except TypeError:
        raise FewerError(f"data must be a tensor or an iterable of batches, not {type(data).__name__}") from None
    return _assemble(entries(given, batch), source)


@checked
def text(
    path: str | Path,
    model: Any,
    *,
    samples: int | None = 128,
    length: int = 256,
    seed: int = 0,
    batch: int = 8,
    field: str = "",
) -> Batches:
    """Windows of a text file, as token ids of the model's own tokenizer (no special tokens are added).

    Documents (see `documents`) stand one after another, with the tokenizer's end-of-text token between them, or a blank
    line where it has none; a window may hold parts of several. The text is cut into consecutive windows of `length`
    tokens; `samples` of them are drawn without repetition in an order fixed by `seed` (from random starts instead, when
    the text has fewer). With `samples=None` all windows come in order, as an evaluation needs them. For an
    encoder-decoder the first half of a window is what the encoder reads, the second half what the decoder has to
    predict (the labels).

    Args:
        path: plain text, or a file of documents (.jsonl, .json, .csv, .tsv, .parquet); "demo" is the calibration text
            that ships with fewer, "demo:evaluation" the other one.
        model: an `Opened` model, or a tokenizer.
        samples: number of windows; None for all.
        length: tokens per window.
        seed: fixes the draw.
        batch: windows per batch.
        field: the column of the documents; by default `text`, else `messages`, else the only column of texts.

    Raises:
        FewerError: no such file, one without text, no such column, no tokenizer, no template for a chat, or a text
            shorter than one window.
    """
    if length < 2:
        raise FewerError(f"length must be at least 2 tokens, not {length}")
    ids = torch.tensor(tokens(path, model, field), dtype=torch.long)
    if len(ids) < length:
        raise FewerError(f"'{path}' has {len(ids)} tokens: too short for one window of {length}; shorten the length")
    windows = len(ids) // length
    draw = torch.Generator().manual_seed(seed)
    if samples is None:
        starts = torch.arange(windows) * length
    elif windows >= samples:
        starts = torch.randperm(windows, generator=draw)[:samples] * length
    else:
        starts = torch.randint(0, len(ids) - length + 1, (samples,), generator=draw)
    rows = torch.stack([ids[start : start + length] for start in starts.tolist()])
    label = f"{path}: {len(rows)} windows of {length} tokens" + ("" if samples is None else f", seed {seed}")
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return batches(rows, batch=batch, source=label)
    half = length // 2
    pairs = ({"input_ids": part[:, :half], "labels": part[:, half:]} for part in torch.split(rows, batch))
    return batches(
        pairs, source=f"{label}, read by the encoder up to token {half}, predicted by the decoder from there"
    )


def tokens(path: str | Path, model: Any, field: str = "") -> list[int]:
    """The token ids of a whole text file; see `text` for the arguments and errors."""
    reads = getattr(getattr(model, "module", None), "main_input_name", "input_ids")
    if reads != "input_ids":
        raise FewerError(f"'{path}' is text; {type(model.module).__name__} reads {reads}: give data of that kind")
    place = _text_path(path)
    found = documents(place, field)
    tokenizer: Callable[..., Any] = model.tokenizer() if hasattr(model, "hash") else model
    texts = [item if isinstance(item, str) else _chat(place, item, tokenizer) for item in found]

    def ids(content: str) -> list[int]:
        try:
            made = tokenizer(content, add_special_tokens=False, return_attention_mask=False, verbose=False)
            return list(made["input_ids"])
        except (TypeError, KeyError, AttributeError):
            what = type(model).__name__
            raise FewerError(f"model is a {what}; text needs a model opened from a directory, or a tokenizer") from None

    end = getattr(tokenizer, "eos_token_id", None)
    if len(texts) == 1 or end is None:
        return ids("\n\n".join(texts))
    made = ids(texts[0])
    for content in texts[1:]:
        made += ids(content) if made[-1:] == [end] else [end, *ids(content)]
    return made


def _chat(path: Path, messages: list[dict[str, Any]], tokenizer: Any) -> str:
    """The text of a chat by the tokenizer's own template."""
    if not getattr(tokenizer, "chat_template", None):
        raise FewerError(f"'{path}' holds chats, and the tokenizer has no chat template: give plain texts")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise FewerError(f"'{path}': the tokenizer's chat template refuses a chat: {said[0]}") from None


def _text_path(path: str | Path) -> Path:
    if str(path) not in ("demo", "demo:calibration", "demo:evaluation"):
        return Path(path)
    from fewer import demo

    return demo.evaluation_path() if str(path) == "demo:evaluation" else demo.calibration_path()


def _rows(item: Mapping[str, Tensor]) -> int:
    return int(next(iter(item.values())).shape[0])


def _assemble(items: Iterable[dict[str, Tensor]], source: str) -> Batches:
    """Batches in which at least one token is real."""
    made = _assembled(items, source)
    if not made.tokens:
        raise FewerError(f"no data: every token of {source} is padding (its attention_mask is 0 everywhere)")
    return made


def _assembled(items: Iterable[dict[str, Tensor]], source: str) -> Batches:
    kept = tuple(check_item(item, place) for place, item in enumerate(items))
    if not kept or any(not value.numel() for item in kept for value in item.values()):
        raise FewerError(f"no data: {source} holds {'an empty batch' if kept else 'no batch'}")
    digest = hashlib.sha256()
    count = longest = 0
    for item in kept:
        ids, mask = item.get("input_ids"), item.get("attention_mask")
        masked = mask is not None and mask.ndim == 2
        count += (
            int(mask.bool().sum()) if mask is not None and masked else (_rows(item) if ids is None else ids.numel())
        )
        longest = max(longest, 1 if ids is None else int(ids.shape[-1]))
        for key in sorted(item):
            value = item[key].detach().cpu().contiguous()
            digest.update(f"{key}:{value.dtype}:{tuple(value.shape)}:".encode())
            digest.update(bytes_of(value))
    return Batches(kept, source, count, longest, digest.hexdigest())
