from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import zoo

from fewer import adapt, evidence
from fewer.method import FewerError

NAMES = ["input_gram", "input_norm", "input_mean", "input_var", "grad_sq", "block_similarity"]


@pytest.fixture(scope="module")
def measured():
    model = adapt.open(zoo.make("llama"))
    data = adapt.data.batches(zoo.sample("llama", padded=True, count=8))
    return model, data, evidence.collect(model, data, NAMES, precision="float64")


def same(one, two, **tolerance):
    assert list(one) == list(two) and one.tokens == two.tokens
    for layer in one:
        for name in one[layer]:
            torch.testing.assert_close(one[layer][name], two[layer][name], **tolerance)


def test_saved_and_loaded_is_the_same(measured, tmp_path):
    model, data, store = measured
    store.save(tmp_path / "ev")
    loaded = evidence.Store.load(tmp_path / "ev", model=model.hash(), data=data.hash)
    same(store, loaded, rtol=0, atol=0)
    store.save(tmp_path / "ev")  # our own directory may be replaced


def test_evidence_of_another_model_or_other_data_is_refused(measured, tmp_path):
    measured[2].save(tmp_path / "ev")
    with pytest.raises(FewerError, match="was measured on model"):
        evidence.Store.load(tmp_path / "ev", model="f" * 64)
    with pytest.raises(FewerError, match="was measured on data"):
        evidence.Store.load(tmp_path / "ev", data="f" * 64)


def test_parts_merged_are_the_whole(measured):
    model, data, whole = measured
    parts = [evidence.collect(model, data.part(i, 3), NAMES, precision="float64") for i in range(3)]
    same(whole, parts[2].merge(parts[0]).merge(parts[1]), rtol=1e-6, atol=1e-12)


def test_merging_refuses_what_does_not_belong_together(measured):
    model, data, whole = measured
    with pytest.raises(FewerError, match="counted twice"):
        whole.merge(whole)
    with pytest.raises(FewerError, match="different layers or kinds"):
        whole.merge(evidence.collect(model, data.part(0, 2), ["input_norm"]))
    other = evidence.collect(zoo.make("llama", seed=1), data.part(0, 2), NAMES)
    with pytest.raises(FewerError, match="of model"):
        whole.merge(other)


@pytest.mark.parametrize("fault", ["json", "format", "count", "name", "truncated", "missing"])
def test_damaged_stores_are_refused(measured, tmp_path, fault):
    place = measured[2].save(tmp_path / "ev")
    about, tensors = place / "evidence.json", place / "evidence.safetensors"
    content = json.loads(about.read_text())
    entry = content["entries"][0]
    if fault == "json":
        about.write_text("{")
    elif fault == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-3])
    elif fault == "missing":
        tensors.unlink()
    else:
        {"format": content, "count": entry, "name": entry}[fault][fault] = "x"
        about.write_text(json.dumps(content))
    with pytest.raises(FewerError, match="evidence"):
        evidence.Store.load(place)


def test_a_missing_name_says_what_there_is(measured):
    with pytest.raises(KeyError, match=r"no grad was measured .* input_gram"):
        measured[2]["model.layers.0.mlp.up_proj"]["grad"]


RANK = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import zoo
from fewer import adapt, evidence
rank, place, names = int(sys.argv[2]), sys.argv[3], sys.argv[4].split(",")
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + place + "/meet", rank=rank, world_size=2)
model = adapt.open(zoo.make("llama"))
data = adapt.data.batches(zoo.sample("llama", padded=True, count=8))
store = evidence.collect(model, data.part(rank, 2), names, precision="float64")
evidence.all_reduce(store).save(place + "/ev" + str(rank))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(measured, tmp_path):
    folder = zoo.__file__.rsplit("/", 1)[0]
    arguments = [sys.executable, "-W", "ignore", "-c", RANK, folder]
    running = [subprocess.Popen([*arguments, str(r), str(tmp_path), ",".join(NAMES)]) for r in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    stores = [evidence.Store.load(tmp_path / f"ev{rank}") for rank in range(2)]
    same(stores[0], stores[1], rtol=0, atol=0)
    same(measured[2], stores[0], rtol=1e-6, atol=1e-12)


def test_one_process_is_left_as_it_is(measured):
    assert evidence.all_reduce(measured[2]) is measured[2]
