"""Packed models on disk: the same model back, and every damage one clear error."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from fewer.method import FewerError
from fewer.runtime import load, pack, save, sparsify_inputs


def small() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 70), nn.Linear(70, 8))
    for part, keep in ((0, 0.4), (2, 0.2), (3, 1.0)):
        model[part].weight.data.mul_(torch.rand_like(model[part].weight) < keep)
    return model.eval()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return save(pack(small()), tmp_path / "packed")


def split(file: Path) -> tuple[dict, bytes]:
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join(file: Path, header: dict, body: bytes) -> None:
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.int8])
def test_a_plain_module_comes_back(dtype: torch.dtype | None, tmp_path: Path) -> None:
    packed = pack(small(), dtype=dtype, prefill="rebuild")
    again = load(save(packed, tmp_path / "out"), into=small())
    x = torch.randn(1, 40)
    assert torch.equal(again(x), packed(x)) and [type(p) for p in again] == [type(p) for p in packed]
    assert again[0].prefill == "rebuild"


def test_thresholds_are_saved_beside_the_weights(tmp_path: Path) -> None:
    sparse = sparsify_inputs(small(), [torch.randn(64, 40)], keep=0.5).model
    again = load(save(sparse, tmp_path / "out"), into=small())
    x = torch.randn(1, 40)
    assert torch.equal(again(x), sparse(x)) and float(again[0].threshold) == float(sparse[0].threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_with_cuts_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    data = [torch.randn(64, 40).to(dtype)]
    both = pack(sparsify_inputs(small().to(dtype), data, keep=0.5, skip=()).model)
    assert [type(part).__name__ for part in both][::2] == ["PackedSkippingLinear", "PackedSkippingLinear"]
    again = load(save(both, tmp_path / "out"), into=small().to(dtype))
    for x in (data[0][:1], data[0]):
        assert torch.equal(again(x), both(x))
    assert again[0].observed == both[0].observed and torch.equal(again[2].weight, small().to(dtype)[2].weight)


def test_saving_replaces_only_what_is_ours(stored: Path, tmp_path: Path) -> None:
    save(pack(small()), stored)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").write_text("mine")
    with pytest.raises(FewerError, match="not written by fewer"):
        save(pack(small()), tmp_path / "other")
    with pytest.raises(FewerError, match="no packed layer"):
        save(small(), tmp_path / "plain")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "packed"]


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    packed = pack(small())
    packed[0].bias.data[0] = float("nan")
    with pytest.raises(FewerError, match="NaN or infinity"):
        save(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, layers: m.update(version="2"), "version '2'"),
        (lambda m, layers: m.update(format="other"), "not a packed model"),
        (lambda m, layers: layers["0"].update(rows=31), "expected"),
        (lambda m, layers: layers["0"].update(cols=-4), "no valid 'cols'"),
        (lambda m, layers: layers["0"].update(height=16), "layer '0'"),
        (lambda m, layers: layers["0"].update(dtype="float99"), "unknown number type"),
        (lambda m, layers: layers["0"].update(code="x"), "unknown entries"),
        (lambda m, layers: layers["0"].update(kind="pickle"), "no known kind"),
        (lambda m, layers: layers.update(nine=layers["0"]), "layer 'nine'"),
        (lambda m, layers: layers.clear(), "names no layers"),
    ],
)
def test_a_header_that_lies(change, words: str, stored: Path) -> None:
    file = stored / "model.safetensors"
    header, body = split(file)
    layers = json.loads(header["__metadata__"]["layers"])
    change(header["__metadata__"], layers)
    header["__metadata__"]["layers"] = json.dumps(layers)
    join(file, header, body)
    with pytest.raises(FewerError, match=words):
        load(stored, into=small())


@pytest.mark.parametrize("length", [0, 4, 8, 100, 2000, -1, -300])
def test_a_truncated_file(length: int, stored: Path) -> None:
    file = stored / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(FewerError):
        load(stored, into=small())


@pytest.mark.parametrize("cut", [False, True])
def test_fuzzed_bytes_never_crash(cut: bool, stored: Path) -> None:
    """A changed file is one FewerError, or a model that still runs: never another exception or a bad read."""
    if cut:
        save(pack(sparsify_inputs(small(), [torch.randn(64, 40)], skip=()).model), stored)
    file = stored / "model.safetensors"
    raw, chance, refused = file.read_bytes(), random.Random(0), 0
    (length,) = struct.unpack("<Q", raw[:8])
    for turn in range(300):
        data = bytearray(raw)
        for _ in range(chance.choice([1, 1, 2, 8])):
            place = chance.randrange(8 + length) if turn % 2 else chance.randrange(len(data))
            data[place] = chance.randrange(256)
        file.write_bytes(data)
        try:
            load(stored, into=small())(torch.randn(1, 40))
        except FewerError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
