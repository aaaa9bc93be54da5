import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fewer import adapt, maskfile
from fewer.method import FewerError
from fewer.select import rule


def model(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return adapt.open(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).to(dtype))


def masks(opened, seed=0, **how):
    rng = np.random.default_rng(seed)
    layers = opened.candidates
    return {
        x.name: rule(x.shape, 0.5, **how).select(rng.random(x.shape)) for x in layers if x.shape[1] % 4 == 0 or not how
    }


@pytest.fixture
def dense():
    return model()


def pruned(chosen, change=False):
    """The dense model with masks applied, kept weights changed if asked."""
    opened = model()
    for layer in opened.candidates:
        value = layer.read() * (1.5 if change else 1.0)
        layer.write(value * torch.from_numpy(chosen[layer.name]))
    return opened


def test_a_file_comes_back_equal(dense, tmp_path):
    made = maskfile.make(masks(dense), dense, provenance={"method": "wanda", "keep": 0.5, "data": "abc"})
    again = maskfile.read(made.save(tmp_path / "m.safetensors"))
    assert again.to_dict() == made.to_dict()
    for name, mask in masks(dense).items():
        np.testing.assert_array_equal(again.layers[name].unpack(), mask)
    assert again.density == 0.5
    assert json.loads(json.dumps(again.to_dict()))["provenance"]["method"] == "wanda"


def test_a_file_is_one_bit_a_weight(dense, tmp_path):
    path = maskfile.make(masks(dense), dense).save(tmp_path / "m.safetensors")
    assert sum(value.numel() for value in load_file(path).values()) == (48 + 24) // 8


def test_the_same_mask_gives_the_same_bytes(dense, tmp_path):
    files = [maskfile.make(masks(dense), dense).save(tmp_path / name).read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_apply_zeroes_what_is_dropped_and_nothing_else(dense):
    chosen = masks(dense)
    maskfile.apply(maskfile.make(chosen, dense), opened := model())
    for layer, before in zip(opened.candidates, model().candidates, strict=True):
        assert torch.equal(layer.read(), before.read() * torch.from_numpy(chosen[layer.name]))


@pytest.mark.parametrize("change", [False, True])
def test_undo_from_the_complement_is_exact(dense, change, tmp_path):
    chosen = masks(dense)
    after = pruned(chosen, change)
    path = maskfile.make(chosen, dense, complement_of=after).save(tmp_path / "m.safetensors")
    assert (len(load_file(path)) == 4) is not change
    maskfile.undo(maskfile.read(path), after)
    assert after.hash() == dense.hash()


def test_undo_from_the_dense_model_is_exact(dense):
    chosen = masks(dense)
    after = pruned(chosen, change=True)
    maskfile.undo(maskfile.make(chosen, dense), after, dense)
    assert after.hash() == dense.hash()


def test_undo_keeps_half_precision_to_the_bit():
    dense = model(dtype=torch.bfloat16)
    chosen = masks(dense)
    maskfile.apply(
        content := maskfile.make(chosen, dense, complement_of=model(1, torch.bfloat16)),
        after := model(dtype=torch.bfloat16),
    )
    maskfile.undo(content, after)
    assert after.hash() == dense.hash()


def test_undo_refuses_and_restores_where_something_else_differs(dense):
    chosen = masks(dense)
    after = pruned(chosen)
    after.module[0].bias.data += 1
    before = after.hash()
    with pytest.raises(FewerError, match="nothing was undone"):
        maskfile.undo(maskfile.make(chosen, dense), after, dense)
    assert after.hash() == before


def test_undo_says_what_it_needs(dense):
    with pytest.raises(FewerError, match="dense checkpoint"):
        maskfile.undo(maskfile.make(masks(dense), dense), dense)


def test_diff_intersect_and_union_agree_with_sets(dense):
    first, second = (maskfile.make(masks(dense, seed), dense) for seed in (0, 1))
    both, either = maskfile.intersect(first, second), maskfile.union(first, second)
    for name, row in maskfile.diff(first, second).items():
        one, two = first.layers[name].unpack(), second.layers[name].unpack()
        assert (row.both, row.first, row.second) == ((one & two).sum(), (one & ~two).sum(), (two & ~one).sum())
        assert row.both + row.first + row.second + row.neither == one.size
        np.testing.assert_array_equal(both.layers[name].unpack(), one & two)
        np.testing.assert_array_equal(either.layers[name].unpack(), one | two)
    assert all(row.overlap == 1 for row in maskfile.diff(first, first).values())


def test_a_layer_that_one_file_lacks_counts_as_kept_whole(dense):
    chosen = masks(dense)
    first = maskfile.make({"0": chosen["0"]}, dense)
    second = maskfile.make({"2": chosen["2"]}, dense)
    assert set(maskfile.intersect(first, second).layers) == {"0", "2"}
    np.testing.assert_array_equal(maskfile.intersect(first, second).layers["2"].unpack(), chosen["2"])
    assert maskfile.union(first, second).density == 1.0


def test_a_mask_of_another_model_is_refused(dense):
    content = maskfile.make(masks(dense), dense)
    other = model(1)
    before = other.hash()
    for call in (lambda: maskfile.apply(content, other), lambda: maskfile.undo(content, dense, other)):
        with pytest.raises(FewerError, match="model"):
            call()
    with pytest.raises(FewerError, match="different models"):
        maskfile.diff(content, maskfile.make(masks(other), other))
    assert other.hash() == before
    with pytest.raises(FewerError, match="another model"):
        maskfile.apply(content, adapt.open(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))))


def test_a_mask_that_breaks_its_pattern_is_refused(dense, tmp_path):
    chosen = masks(dense, pattern="2:4")
    path = maskfile.make(chosen, dense, pattern="2:4").save(tmp_path / "m.safetensors")
    assert maskfile.read(path).layers["0"].pattern == "2:4"
    flipped = {name: np.roll(mask, 1, axis=1) for name, mask in chosen.items()}
    with pytest.raises(FewerError, match="2:4"):
        maskfile.make(flipped, dense, pattern="2:4")
    rows = np.ones((6, 8), dtype=bool)
    rows[1, 2] = False
    with pytest.raises(FewerError, match="row"):
        maskfile.make({"0": rows}, dense, pattern="row")


def rewrite(path, edit):
    """Change the description inside a file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta = file.metadata()
    about = json.loads(meta["fewer-mask"])
    edit(about)
    save_file(load_file(path), path, {"fewer-mask": json.dumps(about)})


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda a: a.update(version=2), "version 2"),
        (lambda a: a.pop("dense"), "corrupt"),
        (lambda a: a["layers"]["0"].update(kept=3), "says it keeps 3"),
        (lambda a: a["layers"]["0"].update(shape=[6, 80]), "do not fit"),
        (lambda a: a["layers"]["0"].update(shape=[-6, -8]), "corrupt"),
        (lambda a: a["layers"]["0"].update(pattern="2:4"), "breaks the pattern"),
        (lambda a: a["layers"].pop("0"), "does not describe"),
        (lambda a: a["layers"].update(x={"shape": [1, 1], "kept": 0, "pattern": "row"}), "layer 'x'"),
        (lambda a: a.update(layers=3), "corrupt"),
    ],
)
def test_a_tampered_file_is_one_clear_line(dense, tmp_path, edit, says):
    path = maskfile.make(masks(dense), dense).save(tmp_path / "m.safetensors")
    rewrite(path, edit)
    with pytest.raises(FewerError, match=says) as caught:
        maskfile.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_refused(dense, tmp_path):
    path = maskfile.make(masks(dense), dense).save(tmp_path / "m.safetensors")
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    for stop in (0, 5, 8, 8 + length // 2, 8 + length, len(data) - 1):
        path.write_bytes(data[:stop])
        with pytest.raises(FewerError):
            maskfile.read(path)


def test_other_safetensors_files_are_not_mask_files(tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(FewerError, match="not a mask file"):
        maskfile.read(tmp_path / "x.safetensors")
    with pytest.raises(FewerError, match="does not exist"):
        maskfile.read(tmp_path / "none")


def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(dense, tmp_path):
    path = maskfile.make(masks(dense), dense, complement_of=pruned(masks(dense))).save(tmp_path / "m")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(bytes(data[: rng.integers(0, len(data))] if rng.random() < 0.1 else data))
        try:
            maskfile.read(path).to_dict()
        except FewerError as error:
            refused += "\n" not in str(error)
    assert refused > 200


@pytest.mark.parametrize("value", [None, 0, -1, 1e99, "x", [], {}, True, [[[1]]], 10**30, "\x1b[2J"])
def test_wrong_values_in_the_description_are_refused(dense, tmp_path, value):
    for key in ("version", "dense", "provenance", "layers"):
        path = maskfile.make(masks(dense), dense).save(tmp_path / "m")
        if type(value) is type(json.loads(json.dumps(maskfile.read(path).to_dict()))[key]):
            continue
        rewrite(path, lambda about, key=key: about.update({key: value}))
        with pytest.raises(FewerError):
            maskfile.read(path)


@pytest.mark.parametrize("field", ["shape", "kept", "pattern"])
@pytest.mark.parametrize("value", [None, -1, 1e99, "x", [], {}, [1, 2, 3], [10**30, 10**30], [0, -5]])
def test_wrong_values_in_the_description_of_a_layer_are_refused(dense, tmp_path, field, value):
    path = maskfile.make(masks(dense), dense).save(tmp_path / "m")
    rewrite(path, lambda about: about["layers"]["0"].update({field: value}))
    with pytest.raises(FewerError):
        maskfile.read(path)


def test_a_layer_name_that_would_move_the_cursor_is_refused(dense, tmp_path):
    path = maskfile.make(masks(dense), dense).save(tmp_path / "m")
    rewrite(path, lambda about: about["layers"].update({"\x1b[2J": about["layers"]["0"]}))
    with pytest.raises(FewerError, match=r"of layer '\\x1b\[2J'"):
        maskfile.read(path)
