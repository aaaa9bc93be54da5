from __future__ import annotations

import math

import pytest
import torch

from fewer.method import FewerError
from fewer.verbs.evaluate import evaluate, evaluate_all

from .models import tiny_llama, tokens


def literal(model, rows):
    """Per-token losses and log-probabilities, one token at a time in float64."""
    losses, logs = [], []
    for row in rows:
        logits = model(input_ids=row[None]).logits[0].double()
        for place in range(len(row) - 1):
            log_q = logits[place] - torch.logsumexp(logits[place], 0)
            losses.append(-float(log_q[row[place + 1]]))
            logs.append(log_q)
    return losses, logs


@torch.no_grad()
def test_equals_a_token_by_token_loop():
    dense, other, rows = tiny_llama(0), tiny_llama(1), tokens()
    found = evaluate(other, rows, against=dense, batch=3)
    (_, logs_p), (losses, logs_q) = literal(dense, rows), literal(other, rows)
    kl = sum(float((p.exp() * (p - q)).sum()) for p, q in zip(logs_p, logs_q, strict=True)) / len(losses)
    agree = sum(int(p.argmax() == q.argmax()) for p, q in zip(logs_p, logs_q, strict=True)) / len(losses)
    assert found.tokens == len(losses) == 8 * 23
    assert found.nll == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.nll))
    assert found.kl == pytest.approx(kl, rel=1e-4)
    assert found.top1_agreement == pytest.approx(agree)


def test_worst_slice_is_the_worst_contiguous_part():
    model, rows = tiny_llama(), tokens(rows=9)
    found = evaluate(model, rows, slices=4)
    apart = [evaluate(model, part).perplexity for part in (rows[0:2], rows[2:4], rows[4:6], rows[6:9])]
    assert list(found.slices) == ["windows 0-1", "windows 2-3", "windows 4-5", "windows 6-8"]
    assert list(found.slices.values()) == pytest.approx(apart, rel=1e-5)
    assert found.worst_slice_perplexity == max(found.slices.values()) == found.slices[found.worst_slice]


def test_a_model_against_itself_has_no_divergence():
    model = tiny_llama()
    found = evaluate(model, tokens(), against=model)
    assert found.kl == 0.0 and found.top1_agreement == 1.0


def test_batch_size_changes_nothing():
    model, dense = tiny_llama(1), tiny_llama(0)
    one, many = (evaluate(model, tokens(), against=dense, batch=size) for size in (1, 8))
    assert one.nll == pytest.approx(many.nll, rel=1e-6) and one.kl == pytest.approx(many.kl, rel=1e-5)


def test_dense_is_measured_once_beside_the_others():
    dense = tiny_llama(0)
    found = evaluate_all({"a": tiny_llama(1), "b": tiny_llama(2)}, tokens(), dense=dense)
    assert set(found) == {"a", "b", "dense"} and found["dense"].kl is None
    assert found["dense"].nll == pytest.approx(evaluate(dense, tokens()).nll)


def test_a_long_row_of_tokens_is_cut_into_windows():
    row = tokens(rows=1, length=70)[0]
    found = evaluate(tiny_llama(), row, context=16)
    assert (found.context, found.tokens) == (16, 4 * 15)


def test_chunks_change_nothing(monkeypatch):
    model, dense = tiny_llama(1), tiny_llama(0)
    whole = evaluate(model, tokens(), against=dense)
    monkeypatch.setattr("fewer.verbs.evaluate._CHUNK", 96 * 5)
    parts = evaluate(model, tokens(), against=dense)
    assert parts.kl == pytest.approx(whole.kl, rel=1e-6) and parts.nll == pytest.approx(whole.nll, rel=1e-6)


def test_padding_does_not_count():
    model, rows = tiny_llama(), tokens(rows=2)
    mask = torch.ones_like(rows)
    mask[1, 12:] = 0
    padded = evaluate(model, [{"input_ids": rows, "attention_mask": mask}])
    short = evaluate_all({"m": model}, [{"input_ids": rows[:1]}, {"input_ids": rows[1:, :12]}])["m"]
    assert padded.tokens == 23 + 11 and padded.nll == pytest.approx(short.nll, rel=1e-5)


def test_training_mode_comes_back():
    model = tiny_llama()
    model.train()
    model.model.norm.eval()
    evaluate(model, tokens())
    assert model.training and not model.model.norm.training


def test_a_plain_module_is_compared_by_its_outputs():
    torch.manual_seed(0)
    dense, other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    x = torch.randn(10, 4)
    found = evaluate(other, x, against=dense)
    error = (other(x) - dense(x)).norm() / dense(x).norm()
    assert found.output_error == pytest.approx(float(error.detach()), rel=1e-5)
    assert found.kl is None and math.isnan(found.perplexity) and found.tokens == 10


@pytest.mark.parametrize(
    ("data", "context", "words"),
    [
        (torch.zeros(5, dtype=torch.long), 8, "too few for one window of 8"),
        (torch.zeros(2, 12, dtype=torch.long), 5, "does not divide"),
        (torch.zeros(2, 12, dtype=torch.long), 1, "context is 1; it must be at least 2"),
        (torch.zeros(2, 12, dtype=torch.long), 0, "context is 0; it must be at least 2"),
        (torch.zeros(0, 12, dtype=torch.long), None, "no data"),
    ],
)
def test_bad_data_is_one_line(data, context, words):
    with pytest.raises(FewerError, match=words) as caught:
        evaluate(tiny_llama(), data, context=context)
    assert "\n" not in str(caught.value)


def test_nan_logits_are_refused():
    model = tiny_llama()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(FewerError, match="NaN or infinite"):
        evaluate(model, tokens())


def test_a_fault_in_the_outputs_names_batch_and_layer():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    torch.nn.init.constant_(net[2].weight, 1e30)
    torch.nn.init.constant_(net[0].weight, 1.0)
    data = [torch.ones(2, 4), torch.full((2, 4), 1e20)]
    with pytest.raises(FewerError, match="in batch 1, first out of layer '2'"):
        evaluate(net, data)
