"""Packed models on disk: one safetensors file with a versioned header, beside the model's configuration.

Reading trusts nothing: the header and every size are checked before memory is taken, and every array before a kernel
may see it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.checkpoint import model_class, quiet, read_config
from fewer.adapt.headers import SINGLE
from fewer.adapt.layers import is_a
from fewer.adapt.opened import tensors_of
from fewer.adapt.output import copy_beside, whole, write_extras
from fewer.adapt.shards import Shards
from fewer.adapt.skeleton import hollow
from fewer.arguments import checked
from fewer.method import FewerError
from fewer.runtime.format import DTYPES, Packed
from fewer.runtime.linear import GemvLinear, PackedLinear
from fewer.runtime.skipping import ActivationSparseLinear, Cut, GatedCut, PackedSkippingLinear, SkippingLinear

__all__ = ["distinct", "is_packed", "load_packed", "save", "write_directory"]

FORMAT, VERSION = "fewer-packed", "1"
_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in (*DTYPES, torch.float16, torch.float64)}
_KINDS: dict[type, str] = {
    PackedLinear: "packed",
    GemvLinear: "gemv",
    ActivationSparseLinear: "inputs",
    PackedSkippingLinear: "both",
    GatedCut: "gate",
}
_SKIPPING: dict[str, type] = {
    "rows": int, "cols": int, "dtype": str, "norms": bool, "bias": bool, "count": int, "group": int, "observed": float,
}  # fmt: skip
#: What a layer's entry in the header must have, by kind.
_FIELDS: dict[str, dict[str, type]] = {
    "packed": {"rows": int, "cols": int, "height": int, "dtype": str, "prefill": str, "bias": bool},
    "inputs": _SKIPPING,
    "both": _SKIPPING,
    "gemv": {},
    "gate": {},
}


@checked
def save(model: nn.Module, out: str | Path) -> Path:
    """Write a model with packed or input-sparse layers, whole or not at all.

    Args:
        model: a module that `pack` or `sparsify_inputs` changed.
        out: the directory; it must not exist, be empty, or be one that fewer wrote.

    Returns:
        The directory.

    Raises:
        FewerError: `out` is not ours, a number is not finite, or no space is left.
    """
    state = distinct(tensors_of(model))
    layers = {
        name: _describe(layer) for name, layer in model.named_modules(remove_duplicate=False) if type(layer) in _KINDS
    }
    if not layers:
        raise FewerError("the model has no packed layer: pack it first, or save it with `fewer.adapt.checkpoint.save`")
    for name, layer in model.named_modules(remove_duplicate=False):
        if _describes(layers.get(name)):  # A layer that stands in two places is read in each.
            for key, value in layer.state_dict(keep_vars=True).items():
                state.setdefault(f"{name}.{key}", value.detach().clone())
    header = {"format": FORMAT, "version": VERSION, "layers": json.dumps(layers, sort_keys=True)}
    mark = {"format": FORMAT, "version": VERSION}
    return write_directory(model, state, Path(out), header, {}, mark)


def write_directory(
    model: nn.Module,
    state: Mapping[str, Tensor],
    target: Path,
    header: Mapping[str, str],
    extras: Mapping[str, str],
    mark: Mapping[str, Any],
) -> Path:
    """Write tensors in one file beside the model's configuration, tokenizer and licence, whole or not at all.

    Raises:
        FewerError: the directory is not ours, a number is not finite, or no space is left.
    """
    from safetensors.torch import save_file

    from fewer import __version__

    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FewerError(f"refusing to save: tensor '{name}' holds NaN or infinity")
    with whole(target, sum(value.nbytes for value in state.values())) as partial:
        save_file(dict(state), str(partial / SINGLE), metadata=dict(header))
        for part in (getattr(model, "config", None), getattr(model, "generation_config", None)):
            if part is not None and hasattr(part, "save_pretrained"):
                with quiet():
                    part.save_pretrained(partial)
        source = Path(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
        copy_beside(source if source.is_dir() and str(source) != "." else None, partial)
        write_extras(partial, extras, {"fewer": __version__, **mark})
    return target


def is_packed(path: Path) -> bool:
    """Whether a directory holds a file that `save` wrote; damage is left for the reader to name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path / SINGLE), framework="pt") as opened:
            return (opened.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError):
        return False


def load_packed(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """Read a model that `save` wrote.

    Args:
        path: the directory.
        into: a module of the same make whose layers are replaced and filled; None builds the transformers model that
            the directory's configuration names.

    Returns:
        The model, in evaluation mode.

    Raises:
        FewerError: anything in the directory that is missing, damaged, of another version or does not fit.
    """
    place = Path(path)
    shards = Shards.scan(place)
    layers = _read_header(place / SINGLE)
    state = dict.fromkeys(shards.tensors)
    module = into if into is not None else _skeleton(place)
    dense: dict[str, nn.Module] = {}
    for name, entry in layers.items():
        if _describes(entry):
            _put(module, name, _layer(shards, name, entry, place))
            for key in [key for key in state if key.startswith(f"{name}.")]:
                del state[key]
        elif entry["kind"] == "gate":
            _put_gate(module, name, shards, place)
            state.pop(f"{name}.threshold", None)
    rest = {name: _finite(shards, name, place) for name in state}
    _fill(module, rest, place)
    for name, entry in layers.items():
        if entry["kind"] == "gemv":
            layer = _at(module, name, place)
            if type(layer) is not nn.Linear or layer.weight.dtype not in (torch.float32, torch.bfloat16):
                raise FewerError(f"'{place / SINGLE}': layer '{name}' is not a linear layer of float32 or bfloat16")
            dense[name] = GemvLinear(layer.weight, layer.bias)
    for name, layer in dense.items():
        _put(module, name, layer)
    return module.eval()


def distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor once, in its own memory: an own dense layer may share its weight with an embedding."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        place = (value.data_ptr(), tuple(value.shape))
        if value.numel() and place in seen:
            continue
        seen.add(place)
        state[name] = value.detach().contiguous()
    return state


def _describes(entry: Mapping[str, Any] | None) -> bool:
    """Whether an entry stands for a layer that is read from tensors of its own name."""
    return entry is not None and entry["kind"] in ("packed", "inputs", "both")


def _describe(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, GemvLinear | GatedCut):
        return {"kind": _KINDS[type(layer)]}
    assert isinstance(layer, PackedLinear | SkippingLinear)
    entry = {
        "rows": layer.out_features, "cols": layer.in_features, "bias": layer.bias is not None,
        "dtype": str(layer.dtype).removeprefix("torch."),
    }  # fmt: skip
    if isinstance(layer, PackedLinear):
        return {"kind": "packed", **entry, "height": layer.height, "prefill": layer.prefill}
    shares = {"observed": 1.0 if layer.observed is None else layer.observed}
    cut = {"norms": layer.norms is not None, "count": layer.count, "group": layer.group}
    return {"kind": _KINDS[type(layer)], **entry, **cut, **shares}


def _read_header(file: Path) -> dict[str, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            header = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise FewerError(f"'{file}' cannot be read: {str(error).splitlines()[0]}") from None
    if header.get("format") != FORMAT:
        raise FewerError(f"'{file}' is not a packed model: its header says format '{header.get('format')}'")
    if header.get("version") != VERSION:
        raise FewerError(f"'{file}' has version '{header.get('version')}', this fewer reads version '{VERSION}'")
    try:
        layers = json.loads(header.get("layers", ""))
    except (json.JSONDecodeError, RecursionError):
        raise FewerError(f"'{file}': the list of layers in the header is not JSON") from None
    if not isinstance(layers, dict) or not layers:
        raise FewerError(f"'{file}': the header names no layers")
    for name, entry in layers.items():
        _check_entry(file, name, entry)
    return layers


def _check_entry(file: Path, name: str, entry: Any) -> None:
    fields = _FIELDS.get(entry.get("kind") if isinstance(entry, dict) else None)  # type: ignore[arg-type]
    if fields is None:
        raise FewerError(f"'{file}': layer '{name}' is of no known kind")
    for field, kind in fields.items():
        value = entry.get(field)
        if type(value) is not kind or (isinstance(value, int | float) and not 0 <= value < 2**31):
            raise FewerError(f"'{file}': layer '{name}' has no valid '{field}'")
    if set(entry) - set(fields) - {"kind"}:
        raise FewerError(f"'{file}': layer '{name}' has unknown entries")
    if "dtype" in fields and entry["dtype"] not in _NAMES:
        raise FewerError(f"'{file}': layer '{name}' has the unknown number type '{entry['dtype']}'")


def _layer(shards: Shards, name: str, entry: Mapping[str, Any], place: Path) -> nn.Module:
    where = f"'{place / SINGLE}': layer '{name}'"

    def take(part: str) -> Tensor:
        if f"{name}.{part}" not in shards.tensors:
            raise FewerError(f"{where} has no tensor '{part}'")
        return _finite(shards, f"{name}.{part}", place)

    rows, cols, dtype = entry["rows"], entry["cols"], _NAMES[entry["dtype"]]
    bias = take("bias") if entry["bias"] else None
    if bias is not None and tuple(bias.shape) != (rows,):
        raise FewerError(f"{where}: bias has shape {tuple(bias.shape)}, expected ({rows},)")
    if entry["kind"] == "packed":
        scale = take("scale") if f"{name}.scale" in shards.tensors else None
        packed = Packed(rows, cols, entry["height"], take("mask"), take("values"), take("offsets"), scale)
        try:
            return PackedLinear(packed, bias, prefill=entry["prefill"], dtype=dtype)
        except FewerError as error:
            raise FewerError(f"{where}: {error}") from None
    try:
        return _skipping(entry, take, (rows, cols), dtype, bias)
    except FewerError as error:
        raise FewerError(f"{where}: {str(error).removeprefix(f'{where} ')}") from None


def _skipping(
    entry: Mapping[str, Any],
    take: Callable[[str], Tensor],
    shape: tuple[int, int],
    dtype: torch.dtype,
    bias: Tensor | None,
) -> SkippingLinear:
    """A layer that leaves inputs out, its weight dense or packed."""
    (rows, cols), threshold = shape, take("threshold")
    if threshold.numel() != 1 or not 0 <= entry["observed"] <= 1:
        raise FewerError(f"threshold has shape {tuple(threshold.shape)}, expected one number, and a share observed")
    norms = take("norms") if entry["norms"] else None
    cut = Cut(float(threshold), entry["count"], entry["group"])
    layer: SkippingLinear
    if entry["kind"] == "both":
        packed_t = Packed(cols, rows, 1, take("mask"), take("values"), take("offsets"))
        layer = PackedSkippingLinear(packed_t, cut, norms=norms, bias=bias)
    else:
        weight_t = take("weight_t")
        if tuple(weight_t.shape) != (cols, rows) or weight_t.dtype != dtype:
            raise FewerError(f"weight has {weight_t.dtype} {tuple(weight_t.shape)}, expected ({cols}, {rows})")
        layer = ActivationSparseLinear(weight_t.T, cut, norms=norms, bias=bias)
    layer.observed = entry["observed"]
    return layer


def _put_gate(module: nn.Module, name: str, shards: Shards, place: Path) -> None:
    """Put the cut around the activation of a gate."""
    key = f"{name}.threshold"
    if key not in shards.tensors or shards.read(key).numel() != 1:
        raise FewerError(f"'{place / SINGLE}': gate '{name}' has no single tensor 'threshold'")
    activation = _at(module, name, place)
    parent, _, child = name.rpartition(".")
    if isinstance(activation, nn.Linear) or any(True for _ in activation.parameters()):
        raise FewerError(f"'{place / SINGLE}': '{name}' is not the activation of a gate")
    try:
        gate = GatedCut(activation, float(_finite(shards, key, place)))
    except FewerError as error:
        raise FewerError(f"'{place / SINGLE}': gate '{name}': {error}") from None
    setattr(module.get_submodule(parent), child, gate)


def _finite(shards: Shards, name: str, place: Path) -> Tensor:
    value = shards.read(name)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise FewerError(f"'{place / SINGLE}': tensor '{name}' holds NaN or infinity")
    return value


def _skeleton(place: Path) -> nn.Module:
    config = read_config(place)
    kind = model_class(config, place)
    dtype = getattr(config, "dtype", None) or torch.float32
    with hollow(dtype), quiet():
        model = kind(config)
    if (place / "generation_config.json").is_file():
        from transformers import GenerationConfig

        with quiet():
            model.generation_config = GenerationConfig.from_pretrained(place)
    assert isinstance(model, nn.Module)
    return model


def _fill(module: nn.Module, state: Mapping[str, Tensor], place: Path) -> None:
    try:
        _, unexpected = module.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise FewerError(f"'{place / SINGLE}' does not fit the model: {str(error).splitlines()[-1].strip()}") from None
    if unexpected:
        raise FewerError(f"'{place / SINGLE}' holds the tensor '{unexpected[0]}', which the model does not have")
    tie = getattr(module, "tie_weights", None)
    if callable(tie):
        tie()
    for name, value in module.state_dict().items():
        if value.is_meta:
            raise FewerError(f"'{place / SINGLE}' lacks the tensor '{name}'")


def _at(module: nn.Module, name: str, place: Path) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        raise FewerError(f"'{place / SINGLE}' names the layer '{name}', which the model does not have") from None


def _put(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    try:
        owner = module.get_submodule(parent)
        former = owner.get_submodule(child)
    except AttributeError:
        raise FewerError(f"the file names the layer '{name}', which the model does not have") from None
    if is_a(former, "Conv1D"):
        wanted: tuple[Any, ...] = tuple(former.weight.shape)[::-1]
    else:
        wanted = (getattr(former, "out_features", None), getattr(former, "in_features", None))
    if wanted != (layer.out_features, layer.in_features):
        raise FewerError(f"layer '{name}' is {layer.out_features} x {layer.in_features}, the model's is {wanted}")
    setattr(owner, child, layer)
