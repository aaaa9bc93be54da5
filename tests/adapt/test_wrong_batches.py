"""Batches that do not fit a model or themselves: one line that says what would be right, or the batch put right."""

from __future__ import annotations

import pytest
import torch
import zoo

import fewer
from fewer.adapt.data import batches
from fewer.method import FewerError
from fewer.verbs.evaluate import evaluate

IDS = torch.arange(3, 15).reshape(2, 6)

REFUSED = {
    "input_ids of batch 0 is of type float32; token ids are whole numbers": {"input_ids": IDS.float()},
    "input_ids of batch 0 is of type bool": {"input_ids": IDS > 5},
    r"input_ids of batch 0 has shape \(1, 2, 6\); token ids are \(samples, length\)": {"input_ids": IDS[None]},
    r"attention_mask of batch 0 has shape \(2, 5\)": {"input_ids": IDS, "attention_mask": torch.ones(2, 5)},
    "labels of batch 0 are for 3 samples; the token ids are 2": {"input_ids": IDS, "labels": torch.ones(3)},
    "labels of batch 0 is a single number": {"input_ids": IDS, "labels": torch.tensor(3)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_batch_that_does_not_fit_itself(message):
    with pytest.raises(FewerError, match=message):
        batches([REFUSED[message]])


def test_small_types_and_single_sequences_become_batches_of_token_ids():
    assert batches([{"input_ids": IDS.to(torch.uint8)}])[0]["input_ids"].dtype == torch.long
    single = batches([{"input_ids": IDS[0], "attention_mask": torch.ones(6)}])[0]
    assert {name: tuple(value.shape) for name, value in single.items()} == {
        "input_ids": (1, 6),
        "attention_mask": (1, 6),
    }


@pytest.mark.parametrize(
    ("family", "data", "message"),
    [
        ("vit", IDS, "reads pixel_values; the data holds input_ids: give data of that kind"),
        ("llama", torch.ones(2, 6), r"reads token ids \(whole numbers\); the data is of type float32"),
        ("llama", IDS[None], r"reads token ids \(samples, length\); the data has shape \(1, 2, 6\)"),
        ("llama", IDS.to_sparse(), "data is a torch.sparse_coo tensor; it must be an ordinary"),
        ("vit", "demo", "is text; ViTForImageClassification reads pixel_values: give data of that kind"),
        ("cnn", torch.ones(2, 5), r"Cnn cannot be run on this data \(0 \(2, 5\) float32\): "),
    ],
)
@pytest.mark.parametrize("verb", [evaluate, fewer.prune])
def test_data_that_does_not_fit_the_model(verb, family, data, message):
    with pytest.raises(FewerError, match=message):
        verb(zoo.make(family), data)


@pytest.mark.parametrize("make", [lambda: zoo.make("bert"), zoo.t5, lambda: zoo.make("vit")])
def test_what_generates_no_text_has_no_speed_of_decoding(make):
    with pytest.raises(FewerError, match="bench times the decoding of causal language models"):
        fewer.bench(make(), inputs="")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pattern": (2, 4)}, r"pattern is \(2, 4\); it must be text"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"only": [3]}, r"only is \[3\]; it must be a list of texts"),
        ({"samples": "a"}, "samples is 'a'; it must be a whole number"),
        ({"out": 123}, "out is 123; it must be text or a path or None"),
        ({"sparsity": 0.7}, "prune has no argument 'sparsity'; did you mean keep=0.3"),
    ],
)
def test_arguments_are_named(given, message):
    with pytest.raises(FewerError, match=message):
        fewer.prune(zoo.make("cnn"), score="magnitude", **given)


def test_numbers_of_numpy_are_written_as_plain_ones():
    import numpy as np

    recipe = fewer.Recipe(keep=np.float64(0.25), steps=np.int64(2))
    assert {"keep = 0.25", "steps = 2"} <= set(recipe.to_toml().splitlines())
