from __future__ import annotations

import errno
import json
import os
import shutil
import struct

import pytest
import torch
import transformers
import zoo
from torch import nn

from fewer import adapt
from fewer.adapt import output
from fewer.method import FewerError

CAUSAL_AND_OTHERS = sorted(set(zoo.MAKERS) - {"cnn"})


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A sharded llama checkpoint that must not be changed."""
    path = tmp_path_factory.mktemp("saved") / "llama"
    zoo.make("llama").save_pretrained(path, max_shard_size="20KB")
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def refuse(path, message):
    """Every reader says the same, in one line."""
    for read in (adapt.open, adapt.outline, lambda p: adapt.stream.Stream(p, p.parent / "out")):
        with pytest.raises(FewerError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", CAUSAL_AND_OTHERS)
def test_saved_models_reload_with_plain_from_pretrained(family, tmp_path):
    model = zoo.make(family)
    for layer in adapt.open(model).layers[::2]:
        weight = layer.read()
        layer.write(torch.where(weight.abs() > 0.1, weight, 0.0))
    adapt.checkpoint.save(model, tmp_path / "out")
    again = type(model).from_pretrained(tmp_path / "out")
    batch = {(model.main_input_name if k == "inputs" else k): v for k, v in zoo.sample(family)[0].items()}
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, again(**batch).logits)


@pytest.mark.parametrize("family", CAUSAL_AND_OTHERS)
def test_outlines_say_what_opening_says(family, tmp_path):
    zoo.make(family).bfloat16().save_pretrained(tmp_path / "m")
    opened, outline = adapt.open(tmp_path / "m"), adapt.outline(tmp_path / "m")
    assert opened.outline() == outline
    assert all(layer.dtype == torch.bfloat16 for layer in outline.layers)
    assert adapt.outline(opened.module).layers == outline.layers


def test_tied_weights_are_stored_once(tmp_path):
    adapt.checkpoint.save(zoo.make("llama"), tmp_path / "out")
    names = adapt.checkpoint.read(tmp_path / "out")
    assert "model.embed_tokens.weight" in names and "lm_head.weight" not in names


def test_a_plain_module_round_trips_with_shared_weights(tmp_path):
    model = zoo.make("cnn")
    model.twin = model.head
    adapt.checkpoint.save(model, tmp_path / "out")
    other = zoo.make("cnn", seed=1)
    other.load_state_dict(adapt.checkpoint.read(tmp_path / "out"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_what_lies_beside_the_weights_is_copied(copy, tmp_path):
    (copy / "tokenizer.json").write_text("{}")
    (copy / "tokenizer_code.py").write_text("")
    adapt.checkpoint.save(adapt.open(copy), tmp_path / "out", extras={"recipe.toml": "a = 1\n"}, mark={"seed": 3})
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "generation_config.json", "config.json", "recipe.toml", "fewer.json"} <= names
    assert "tokenizer_code.py" not in names
    assert json.loads((tmp_path / "out/fewer.json").read_text())["seed"] == 3


def test_only_our_own_directory_is_replaced(tmp_path):
    model = zoo.make("cnn")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "empty").mkdir()
    for name in ("theirs", "file", "no/where"):
        with pytest.raises(FewerError, match="output"):
            adapt.checkpoint.save(model, tmp_path / name)
    adapt.checkpoint.save(model, tmp_path / "empty")
    adapt.checkpoint.save(model, tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "theirs"]
    assert os.listdir(tmp_path / "theirs") == ["file"]


@pytest.mark.parametrize("family", ["cnn", "llama"])
def test_a_full_disk_leaves_nothing_behind(family, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output, "flush", full)
    with pytest.raises(FewerError, match="no space left"):
        adapt.checkpoint.save(zoo.make(family), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_fit_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(FewerError, match="no space left for"):
        adapt.checkpoint.save(zoo.make("cnn"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nan_is_never_saved(tmp_path):
    model = zoo.make("cnn")
    model.head.bias.data[0] = float("nan")
    with pytest.raises(FewerError, match=r"'head\.bias' holds NaN"):
        adapt.checkpoint.save(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def shard(path):
    return sorted(path.glob("*.safetensors"))[1]


def test_missing_shard(copy):
    shard(copy).unlink()
    refuse(copy, "shard '.*safetensors' is missing")


@pytest.mark.parametrize("cut", [-1, -1000, 4])
def test_truncated_shard(copy, cut):
    file = shard(copy)
    file.write_bytes(file.read_bytes()[:cut])
    refuse(copy, f"{file.name}' is truncated")


def test_longer_shard(copy):
    with shard(copy).open("ab") as file:
        file.write(b"\0")
    refuse(copy, "is corrupt: its header describes")


def header_of(file):
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def put_header(file, header, data):
    raw = json.dumps(header).encode() if isinstance(header, dict) else header
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def broken_headers(header):
    name = next(key for key in header if key != "__metadata__")
    yield b"\xff" * 40
    yield b"[1, 2]"
    yield b"[" * 5000
    for change in (
        {"dtype": "F99"}, {"shape": [1, 2]}, {"shape": [-1, 2]}, {"shape": [2.5]}, {"data_offsets": [0]},
        {"data_offsets": [5, 1]}, {"shape": [10**30]}, {"shape": [True, True]},
    ):  # fmt: skip
        yield {**header, name: {**header[name], **change}}
    yield {**header, name: 3}
    yield {**header, "again": header[name]}


@pytest.mark.parametrize("which", range(13))
def test_corrupt_header(copy, which):
    file = shard(copy)
    header, data = header_of(file)
    put_header(file, list(broken_headers(header))[which], data)
    refuse(copy, f"{file.name}' is corrupt")


def test_a_header_that_claims_to_be_huge_is_not_allocated(copy):
    file = shard(copy)
    file.write_bytes(struct.pack("<Q", 2**62) + file.read_bytes()[8:])
    refuse(copy, "does not fit the file")


@pytest.mark.parametrize("place", ["../evil.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x\\y", 3, "", "a\0"])
def test_an_index_that_leaves_its_directory(copy, place):
    index = copy / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][next(iter(content["weight_map"]))] = place
    index.write_text(json.dumps(content))
    refuse(copy, "a shard must be a plain file name beside it")


@pytest.mark.parametrize("name", ["shard", "config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_link_that_leaves_its_directory(copy, tmp_path, name):
    file = shard(copy) if name == "shard" else copy / name
    (tmp_path / "secret").write_bytes(file.read_bytes() if file.exists() else b"{}")
    file.unlink(missing_ok=True)
    file.symlink_to("../secret")
    refuse(copy, f"{file.name}' is a link to '.*secret', outside its directory")


def hub_cache(copy, root):
    """The layout of the hub's cache: a revision holds links into the blobs beside it."""
    revision = root / "models--org--name" / "snapshots" / "0123abc"
    (root / "models--org--name" / "blobs").mkdir(parents=True)
    revision.mkdir(parents=True)
    for place, file in enumerate(copy.iterdir()):
        file.rename(root / "models--org--name" / "blobs" / f"{place}")
        (revision / file.name).symlink_to(f"../../blobs/{place}")
    return revision


def test_a_revision_in_the_cache_of_the_hub_opens(saved, copy, tmp_path):
    revision = hub_cache(copy, tmp_path)
    assert adapt.open(revision).hash() == adapt.open(saved).hash()
    assert adapt.outline(revision).layers == adapt.outline(saved).layers
    config = revision / "config.json"
    (tmp_path / "elsewhere").write_bytes(config.read_bytes())
    config.unlink()
    config.symlink_to("../../../elsewhere")
    refuse(revision, "outside its directory")


def test_links_inside_the_directory_are_followed(copy):
    file = shard(copy)
    file.rename(copy / "part.data")
    file.symlink_to("part.data")
    assert adapt.outline(copy).layers


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {}}', "\xff"])
def test_a_broken_index(copy, content):
    (copy / "model.safetensors.index.json").write_text(content, "latin-1")
    refuse(copy, "index.json' (is not valid JSON|must hold|has no weight_map)")


def test_an_index_that_names_a_pickle(copy):
    index = copy / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(".safetensors", ".bin"))
    refuse(copy, "only safetensors shards are read")


def test_a_tensor_in_no_shard(copy):
    index = copy / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["ghost"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content))
    refuse(copy, "has no tensor 'ghost'")


def test_a_missing_tensor(copy):
    index = copy / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    file = content["weight_map"].pop("model.layers.1.mlp.up_proj.weight")
    header, data = header_of(copy / file)
    header["model.layers.1.mlp.other"] = header.pop("model.layers.1.mlp.up_proj.weight")
    put_header(copy / file, header, data)
    content["weight_map"]["model.layers.1.mlp.other"] = file
    index.write_text(json.dumps(content))
    for read in (adapt.open, lambda p: adapt.stream.Stream(p, p.parent / "out")):
        with pytest.raises(FewerError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
            read(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_tensor_and_the_file(tmp_path, value):
    model = zoo.make("llama")
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = value
    model.save_pretrained(tmp_path / "m")
    message = r"model\.safetensors': tensor 'model\.layers\.1\.mlp\.up_proj\.weight' holds NaN or infinity"
    with pytest.raises(FewerError, match=message):
        adapt.open(tmp_path / "m")
    with pytest.raises(FewerError, match=message):
        adapt.stream.Stream(tmp_path / "m", tmp_path / "out").hash()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_refused_with_advice(copy, name):
    for file in copy.glob("*.safetensors*"):
        file.unlink()
    (copy / name).write_bytes(b"\x80\x04.")
    refuse(copy, "convert it to safetensors")


def test_a_directory_without_weights(copy):
    for file in copy.glob("*.safetensors*"):
        file.unlink()
    refuse(copy, "holds no model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModel": "mine.Model"}}, "asks for code of its own"),
        ({"model_type": "never-heard-of"}, "is not a model configuration"),
        ({"architectures": ["NeverHeardOf"]}, "'NeverHeardOf', which transformers does not have"),
        ({"architectures": ["LlamaConfig"]}, "which transformers does not have"),
    ],
)
def test_models_that_need_more_than_transformers(copy, change, message):
    config = copy / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    refuse(copy, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 8_000_000}, "asks for .* numbers; the shards hold"),
        ({"vocab_size": 10**10}, "asks for .* numbers; the shards hold"),
        ({"num_hidden_layers": 10**6}, "asks for 1000000 layers; the shards hold"),
        ({"head_dim": -8}, "describes no LlamaForCausalLM"),
        ({"hidden_size": "big"}, "is not a model configuration: .*'hidden_size': .*int"),
    ],
)
def test_a_configuration_that_its_weights_belie_allocates_nothing(copy, change, message):
    config = copy / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    refuse(copy, message)


def test_no_configuration(copy):
    (copy / "config.json").unlink()
    refuse(copy, "config.json' does not exist")


def test_sources_that_are_no_directory(copy):
    refuse(copy / "config.json", "is a file")
    refuse(copy / "nothing", "does not exist")


def test_no_tokenizer(saved):
    with pytest.raises(FewerError, match="has no tokenizer"):
        adapt.open(saved).tokenizer()
    with pytest.raises(FewerError, match="no directory, so no tokenizer"):
        adapt.open(zoo.make("cnn")).tokenizer()


def test_nothing_is_printed_while_loading(saved, tmp_path, capfd):
    adapt.checkpoint.save(adapt.open(saved), tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_hash_follows_the_weights(saved):
    opened = adapt.open(saved)
    first = opened.hash()
    assert first == adapt.open(saved).hash()
    layer = opened.layers[0]
    layer.write(layer.read() * 0.5)
    assert opened.hash() != first


def test_a_type_can_be_asked_for(saved):
    opened = adapt.open(saved, dtype=torch.bfloat16)
    assert opened.module.dtype == torch.bfloat16 and opened.layers[0].dtype == torch.bfloat16
    assert adapt.open(nn.Sequential(nn.Linear(2, 2)), dtype=torch.float64).layers[0].dtype == torch.float64
