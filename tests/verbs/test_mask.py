from __future__ import annotations

import pytest
import torch

import fewer
from fewer import maskfile
from fewer.method import FewerError
from fewer.verbs.mask import apply_mask, combine_masks, diff_masks, save_mask, show_mask, undo_mask

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def dense():
    return tiny_llama()


@pytest.fixture(scope="module")
def sparse(dense):
    return fewer.prune(dense, tokens(), score="wanda", update="zero", pattern="2:4")


def same(one, two):
    expected = two.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())


def test_a_masks_way_to_disk_and_back(dense, sparse, tmp_path):
    save_mask(sparse, dense, tmp_path / "m")
    assert same(apply_mask(dense, tmp_path / "m").module, sparse.model) and same(dense, tiny_llama())
    about = show_mask(tmp_path / "m")
    assert about["provenance"]["method"] == "wanda, zero" and about["density"] == 0.5
    assert about["provenance"]["data"] == sparse.calibration_hash


def test_undo_needs_the_dense_model_or_the_complement(dense, sparse, tmp_path):
    save_mask(sparse, dense, tmp_path / "m")
    save_mask(sparse, dense, tmp_path / "c", complement=True)
    assert same(undo_mask(sparse, tmp_path / "m", dense=dense).module, dense)
    assert same(undo_mask(sparse, tmp_path / "c", tmp_path / "out").module, dense)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    with pytest.raises(FewerError, match="give the dense checkpoint"):
        undo_mask(sparse, tmp_path / "m")


def test_a_directory_that_prune_wrote(dense, tmp_path):
    dense.save_pretrained(tmp_path / "dense")
    fewer.prune(tmp_path / "dense", tokens(), score="wanda", keep=0.5, out=tmp_path / "out")
    made = save_mask(tmp_path / "out", tmp_path / "dense", tmp_path / "m")
    assert made.density == pytest.approx(0.5, abs=1e-4)
    assert same(apply_mask(tmp_path / "dense", tmp_path / "m").module, fewer.load(tmp_path / "out").module)


def test_combining(dense, sparse, tmp_path):
    other = fewer.prune(dense, score="magnitude", pattern="2:4")
    save_mask(sparse, dense, tmp_path / "a")
    save_mask(other, dense, tmp_path / "b")
    rows = diff_masks(tmp_path / "a", tmp_path / "b")
    both = combine_masks(tmp_path / "a", tmp_path / "b", "intersect", tmp_path / "i")
    either = combine_masks(tmp_path / "a", tmp_path / "b", "union", tmp_path / "u")
    for name, row in rows.items():
        assert (both.layers[name].kept, either.layers[name].kept) == (row.both, row.both + row.first + row.second)
    assert maskfile.read(tmp_path / "u").density > 0.5
    with pytest.raises(FewerError, match="intersect or union"):
        combine_masks(tmp_path / "a", tmp_path / "b", "xor", tmp_path / "x")


def test_masks_of_another_model_are_refused(dense, sparse, tmp_path):
    save_mask(sparse, dense, tmp_path / "m")
    with pytest.raises(FewerError, match="this model is"):
        apply_mask(tiny_llama(seed=7), tmp_path / "m")
    with pytest.raises(FewerError, match="not the dense model"):
        save_mask(sparse, tiny_llama(seed=7), tmp_path / "n")
    assert not (tmp_path / "n").exists()
