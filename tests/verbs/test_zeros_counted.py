"""Zeros are counted in the weights; the mask is another number."""

from __future__ import annotations

import pytest
import torch

import fewer
from fewer.cli.prune import text
from fewer.verbs.reopen import reopen

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def twice():
    """Half of the weights dropped, then a fifth of the places of what is left."""
    return fewer.prune(fewer.prune(tiny_llama(), score="magnitude", keep=0.5), score="magnitude", keep=0.8)


def counted(done):
    weights = [layer.read() for layer in done.opened.layers]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def test_every_number_and_sentence_counts_zeros(twice):
    zeros, total = counted(twice)
    assert zeros == pytest.approx(total / 2, abs=len(twice.layers)) and twice.sparsity == zeros / total
    table = {"out": "x", "seconds": 0.0, **twice.to_dict()}
    assert table["sparsity"] == twice.sparsity and table["zeros"] == zeros and table["kept"] == round(0.8 * total)
    assert f"{zeros:,} of {total:,} weights are zero (50.0" in text(table)
    assert all(row["sparsity"] == pytest.approx(0.5, abs=0.01) for row in table["layers"])
    assert "already sparse: 50.0" in twice.notes[0]


def test_a_comparison_counts_zeros_and_what_packing_saves(twice):
    one, random = fewer.compare(tiny_llama(), twice, data=tokens(2)).candidates
    assert one.sparsity == twice.sparsity and random.sparsity == pytest.approx(0.2, abs=0.01)
    assert one.packed_bytes == one.bytes - 4 * counted(twice)[0] + sum(-(-row.total // 8) for row in one.layers)


def test_rounds_are_not_an_input_that_was_sparse():
    done = fewer.prune(tiny_llama(), score="magnitude", keep=0.5, steps=3)
    assert not done.notes and all(row.zeros_before == 0 for row in done.layers)


@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_the_directory_says_the_same(tmp_path, score):
    tiny_llama().save_pretrained(tmp_path / "dense")
    first = fewer.prune(tmp_path / "dense", score="magnitude", keep=0.5, out=tmp_path / "half")
    done = fewer.prune(tmp_path / "half", tokens(), score=score, keep=0.8, update="zero", out=tmp_path / "two")
    assert first.notes == () and "already sparse: 50.0" in done.notes[0]
    again = reopen(tmp_path / "two")
    assert again.layers == done.layers and again.sparsity == done.sparsity == pytest.approx(0.5, abs=0.001)


def test_packing_counts_the_zeros_inside_of_blocks():
    from fewer.verbs.pack import sizes

    layer = torch.nn.Linear(64, 64)
    layer.weight.data[:32] = 0.0
    layer.weight.data[40, :5] = 0.0
    packed = fewer.pack(torch.nn.Sequential(layer))
    assert sizes(packed).sparsity == int((layer.weight == 0).sum()) / 4096
