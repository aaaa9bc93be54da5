"""Checkpoints in and out: safetensors only, no code from the model, every fault one line naming the file."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import candidates_of, find_blocks
from fewer.adapt.computing import name_of
from fewer.adapt.headers import check_content, check_unpacked, model_path, read_json
from fewer.adapt.naming import parts_of
from fewer.adapt.number_types import computed
from fewer.adapt.opened import Opened, kind_of, tensors_of
from fewer.adapt.origin import Origins, retype
from fewer.adapt.outlines import Outline
from fewer.adapt.output import Extra, check_space, copy_beside, whole, write_extras
from fewer.adapt.quantised import check_config, check_stored
from fewer.adapt.reserve import reserved
from fewer.adapt.shards import Shards, all_finite
from fewer.adapt.wrappers import check_names, unwrap
from fewer.events import noted, working
from fewer.method import FewerError

__all__ = [
    "blank",
    "build_outline",
    "model_class",
    "model_path",
    "open_directory",
    "quiet",
    "read",
    "read_config",
    "rehearse",
    "save",
]


#: Files that tokenizers are read from.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "spiece.model", "sentencepiece.bpe.model", "*.tiktoken")


def read_config(path: Path) -> Any:
    """The transformers configuration of a directory.

    Raises:
        FewerError: no config.json, a model that needs its own code or is quantised, or an unknown architecture.
    """
    raw = read_json(path / "config.json")
    if "auto_map" in raw:
        raise FewerError(
            f"'{path / 'config.json'}' asks for code of its own (auto_map), which fewer never runs; if transformers "
            "has the architecture built in, remove auto_map"
        )
    check_config(raw, path)
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise FewerError(f"'{path / 'config.json'}' is not a model configuration: {_first_line(error)}") from None


def model_class(config: Any, path: Path) -> Any:
    """The class that `config.json` names, from transformers alone.

    Raises:
        FewerError: transformers has no such class.
    """
    import transformers

    named = list(getattr(config, "architectures", None) or [])
    for name in named:
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    if named:
        raise FewerError(f"'{path / 'config.json'}' names the class '{named[0]}', which transformers does not have")
    causal = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    return causal[type(config)] if type(config) in causal else transformers.MODEL_MAPPING[type(config)]


def blank(config: Any, shards: Shards, path: Path) -> nn.Module:
    """The model without memory for its weights, its size compared with what the shards hold.

    Raises:
        FewerError: the configuration describes no model, or one far larger than its weights, or the weights are
            quantised; nothing was allocated.
    """
    kind = model_class(config, path)
    stored = sum(math.prod(tensor.shape) for tensor in shards.tensors.values())
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > len(shards.tensors):
        raise FewerError(
            f"'{path / 'config.json'}' asks for {layers} layers; the shards hold {len(shards.tensors)} tensors"
        )
    try:
        with quiet(), torch.device("meta"):
            module: nn.Module = kind(config)
    except Exception as error:
        raise FewerError(f"'{path / 'config.json'}' describes no {kind.__name__}: {_first_line(error)}") from None
    check_stored(shards.tensors, path)
    check_names(shards.tensors, path)
    wanted = sum(value.numel() for value in tensors_of(module).values())
    if wanted > 2 * stored:
        raise FewerError(f"'{path / 'config.json'}' asks for {wanted:,} numbers; the shards hold {stored:,}")
    return module


def open_directory(path: Path, dtype: torch.dtype | None) -> Opened:
    """Load a checkpoint directory into memory, checked first.

    Without a type of the caller's choice the stored values are kept at hand where the model rounds them.
    """
    check_unpacked(path)
    config = read_config(path)
    shards = Shards.scan(path)
    kind: Any = type(blank(config, shards, path))
    try:
        with quiet():
            working("loading")
            model, report = kind.from_pretrained(
                path, config=config, dtype=dtype or computed(config, shards), local_files_only=True,
                use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
    except FewerError:
        raise
    except Exception as error:
        raise FewerError(f"cannot load '{path}' as {kind.__name__}: {_first_line(error)}") from None
    missing = sorted(report["missing_keys"]) + [str(entry) for entry in report["mismatched_keys"]]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FewerError(f"'{path}' does not fit {kind.__name__}: {missing[0]}{more} missing or of another shape")
    for name, value in tensors_of(model).items():
        if value.is_floating_point() and not all_finite(value):
            file = shards.tensors[name].file if name in shards.tensors else "its checkpoint"
            raise FewerError(f"'{path / file}': tensor '{name}' holds NaN or infinity")
    model.eval()
    return Opened(model, path, _origins(model, shards) if dtype is None else None)


def _origins(model: nn.Module, shards: Shards) -> Origins | None:
    """The stored values of a model some of whose tensors are stored in other types than it computes in."""
    stored = {tensor.dtype for tensor in shards.tensors.values()}
    if stored == {value.dtype for value in tensors_of(model).values()} and len(stored) == 1:
        return None
    try:
        parts = parts_of(model, shards)
    except FewerError:
        noted("the layout of these weights is not known part by part: they are written in the type they compute in")
        return None
    same = all(parts.dtype(name) == value.dtype for name, value in tensors_of(model).items())
    return None if same else Origins(parts)


def build_outline(path: Path) -> Outline:
    """Names, shapes, types and blocks of a directory, from a model that transformers builds without its weights."""
    config = read_config(path)
    shards = Shards.scan(path)
    module = blank(config, shards, path)
    blocks = find_blocks(module)
    layers, computes = candidates_of(module, blocks), name_of(computed(config, shards))
    return Outline.of(module, kind_of(module), layers, blocks, path, shards.tensors, computes)


def read_tokenizer(path: Path | None) -> Any:
    """The tokenizer in a directory.

    Raises:
        FewerError: there is none, or it needs its own code.
    """
    if path is None:
        raise FewerError("this model has no directory, so no tokenizer: give token ids instead of text")
    settings = path / "tokenizer_config.json"
    if settings.is_file() and "auto_map" in read_json(settings):
        raise FewerError(f"'{settings}' asks for code of its own (auto_map), which fewer never runs")
    held = [file for name in _TOKENIZERS for file in path.glob(name)]
    for file in held:
        check_content(file)
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:
        if not held:
            names = ", ".join(_TOKENIZERS[:3])
            hint = "copy its files there, or give token ids"
            raise FewerError(f"'{path}' has no tokenizer ({names}, ...): {hint}") from None
        raise FewerError(f"'{path}' has no tokenizer that can be loaded: {_first_line(error)}") from None


def read(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors directory by name, checked (for a plain module's `load_state_dict`)."""
    shards = Shards.scan(Path(path))
    return {name: shards.read(name) for name in shards.tensors}


def save(
    model: Opened | nn.Module,
    out: str | Path,
    *,
    extras: Mapping[str, Extra] | None = None,
    mark: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model directory whole or not at all: weights, configuration, tokenizer, extras and our mark.

    A transformers model reloads with plain `from_pretrained`; a plain module's weights with `read` and
    `load_state_dict`. Tied weights are stored once. What came from a directory is written in the number types that it
    had there.

    Args:
        model: what `open` returned (its tokenizer files are copied), or a module.
        out: the directory; it must not exist, be empty, or be one that fewer wrote.
        extras: more files to put in, by plain file name: text, or a function that writes the file at a path.
        mark: what to say in `fewer.json` (recipe, versions).

    Raises:
        FewerError: `out` is not ours, a weight is not finite, or no space is left.
    """
    opened = model if isinstance(model, Opened) else Opened(unwrap(model))
    module, target = opened.module, Path(out)
    state = tensors_of(module)
    _check_finite(state)
    from safetensors.torch import save_model

    from fewer import __version__

    with reserved(target, opened.path), whole(target, sum(value.nbytes for value in state.values())) as partial:
        if hasattr(module, "save_pretrained"):
            working("saving")
            _told(lambda: module.save_pretrained(partial), type(module).__name__)  # type: ignore[operator]
            if opened.origins is not None:
                retype(partial, opened.origins, state)
        else:
            save_model(module, str(partial / "model.safetensors"))
        copy_beside(opened.path, partial)
        write_extras(partial, extras or {}, {"fewer": __version__, **(mark or {})})
    return target


def rehearse(opened: Opened, out: Path) -> None:
    """Try whatever can stop `save`, before there is anything to lose: nothing stays on the disk.

    Raises:
        FewerError: a configuration that transformers does not write, a number that is not finite, no space left.
    """
    state = tensors_of(opened.module)
    _check_finite(state)
    check_space(out, sum(value.nbytes for value in state.values()))
    with tempfile.TemporaryDirectory(prefix="fewer-") as folder:
        for part in ("config", "generation_config"):
            settings = getattr(opened.module, part, None)
            if hasattr(settings, "save_pretrained"):
                _told(lambda settings=settings: settings.save_pretrained(folder), f"its {part}")  # type: ignore[misc]


def _told(write: Callable[[], object], what: str) -> None:
    """Run what writes a part of a model; a library's refusal becomes one line."""
    try:
        with quiet():
            write()
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise FewerError(f"this model cannot be saved: {what} is refused: {_first_line(error)}") from None


def _check_finite(state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not all_finite(value.detach()):
            raise FewerError(f"refusing to save: tensor '{name}' holds NaN or infinity")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing progress bars and advice while it works for us."""
    from transformers.utils import logging as voices

    bars, level = voices.is_progress_bar_enabled(), voices.get_verbosity()
    voices.disable_progress_bar()
    voices.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        voices.set_verbosity(level)
        if bars:
            voices.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    """What an error says in one line; a library's advice below it is left out."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return f"{first} {lines[1]}" if first.endswith(":") and len(lines) > 1 else first
