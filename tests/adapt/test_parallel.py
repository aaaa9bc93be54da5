from __future__ import annotations

import threading

import pytest
import torch
import zoo
from torch import nn

from fewer import adapt, evidence
from fewer.adapt.parallel import each, side_by_side
from fewer.method import FewerError
from fewer.verbs.evaluate import evaluate


@pytest.fixture(params=[1, 3])
def threads(request):
    former = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(former)


def test_calls_run_side_by_side_on_one_thread_each_and_come_back_in_order(threads):
    barrier = threading.Barrier(threads)

    def run(index):
        barrier.wait(20)
        return index, torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        assert list(each(run, 6, apart=True)) == [(i, 1, False, True) for i in range(6)]
    assert torch.is_grad_enabled()


def test_the_first_fault_in_order_is_the_one_that_is_told(threads):
    def run(index):
        if index in (2, 3):
            raise FewerError(f"batch {index}")
        return index

    done = []
    with pytest.raises(FewerError, match="batch 2"):
        done.extend(each(run, 6, apart=True))


def test_models_that_may_keep_what_they_saw_are_run_one_batch_after_another():
    model = zoo.make("llama")
    assert side_by_side(model) and not side_by_side(nn.Sequential(nn.Linear(2, 2)))
    handle = model.model.layers[0].register_forward_hook(lambda *_: None)
    assert not side_by_side(model)
    handle.remove()
    assert side_by_side(model)


@pytest.mark.parametrize("family", ["llama", "gemma3", "mixtral", "bert"])
@pytest.mark.parametrize("padded", [False, True])
def test_evidence_does_not_depend_on_the_threads(family, padded):
    model, data = zoo.make(family), zoo.sample(family, padded=padded, count=10)
    names = ["input_gram", "input_norm", "input_var_within", "input_sample", "block_similarity"]
    former, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            whole, seen = evidence.collect(model, data, names), {}
            evidence.sequential(model, data, names, lambda _, store, to=seen: to.update(store))
            found.append({(x, n): (whole[x][n], seen[x][n]) for x in whole for n in names})
    finally:
        torch.set_num_threads(former)
    one, three = found
    assert all(torch.equal(a, b) for key in one for a, b in zip(one[key], three[key], strict=True))


def test_quality_does_not_depend_on_the_threads():
    dense, other = zoo.make("llama"), zoo.make("llama")
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.mul_(0.5)
    ids, former, found = torch.randint(3, 64, (40, 12)), torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(evaluate(other, ids, against=dense))
    finally:
        torch.set_num_threads(former)
    assert found[0] == found[1] and found[0].kl > 0


def test_a_fault_is_that_of_the_first_batch_that_has_one(threads):
    model, data = zoo.make("llama"), zoo.sample("llama", count=10)
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = float("nan")
    for item in data:
        item["input_ids"][item["input_ids"] == 5] = 6
    data[3]["input_ids"][0, 0] = data[4]["input_ids"][0, 0] = 5
    with pytest.raises(FewerError, match="in batch 3"):
        evidence.collect(adapt.open(model), data, ["input_norm"])
