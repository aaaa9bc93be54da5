"""Models that do not predict the next token: no perplexity, a loss that fits or labels asked for, no NaN in a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import nn

import fewer
from fewer.adapt.run import loss
from fewer.method import FewerError

IDS = torch.randint(0, 64, (4, 12), generator=torch.Generator().manual_seed(0))
SIZES = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


def bert(kind, **changes):
    torch.manual_seed(0)
    config = hf.RobertaConfig if "Roberta" in kind else hf.BertConfig
    return getattr(hf, kind)(config(max_position_embeddings=32, **SIZES, **changes)).eval()


MASKED = ["BertForMaskedLM", "RobertaForMaskedLM", "BertLMHeadModel"]
OTHER = ["BertModel", "BertForSequenceClassification"]


@pytest.mark.parametrize("kind", MASKED + OTHER)
def test_no_perplexity_but_error_and_agreement(kind):
    model = bert(kind)
    done = fewer.prune(model, IDS, score="wanda", keep=0.5)
    found = fewer.evaluate(done, IDS, against=model)
    assert found.perplexity != found.perplexity and found.nll != found.nll and not found.slices
    assert found.output_error > 0 and 0 <= found.top1_agreement <= 1
    assert (found.kl is None) == (kind == "BertModel")
    text = fewer.compare(model, done, data=IDS).to_text()
    assert "nan" not in text.lower() and "ppl" not in text


def test_the_kl_of_a_masked_model_is_over_real_tokens_alone():
    model = bert("BertForMaskedLM")
    done = fewer.prune(model, IDS, score="magnitude", keep=0.3)
    mask = torch.ones_like(IDS)
    mask[:, 8:] = 0
    batch = {"input_ids": IDS, "attention_mask": mask}
    with torch.no_grad():
        p, q = (m(**batch).logits[:, :8].double().log_softmax(-1) for m in (model, done.model))
    found = fewer.evaluate(done, [batch], against=model)
    assert found.tokens == 32
    assert found.kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)


def test_a_decoder_still_predicts_the_next_token():
    assert fewer.evaluate(bert("BertLMHeadModel", is_decoder=True), IDS).perplexity > 1


def test_the_first_token_after_padding_is_not_predicted_from_padding():
    model = bert("BertLMHeadModel", is_decoder=True)
    mask = torch.ones_like(IDS)
    mask[:, :4] = 0
    assert fewer.evaluate(model, [{"input_ids": IDS, "attention_mask": mask}]).tokens == 4 * 7


@pytest.mark.parametrize("kind", MASKED + OTHER)
def test_gradients_ask_for_labels(kind):
    with pytest.raises(FewerError, match=f"{kind} does not predict the next token: .* labels") as caught:
        fewer.prune(bert(kind), IDS, score="taylor", keep=0.5)
    assert "\n" not in str(caught.value)


def test_labels_give_the_loss_of_the_model():
    model, labels = bert("BertForMaskedLM"), torch.where(IDS % 3 == 0, IDS, -100)
    batch = {"input_ids": IDS, "labels": labels}
    assert torch.equal(loss(model, batch), model(**batch).loss)
    assert fewer.prune(model, [batch], score="taylor", keep=0.5).layers


def test_an_encoder_decoder_is_no_next_token_model():
    config = hf.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    model = hf.T5ForConditionalGeneration(config).eval()
    batch = {"input_ids": IDS, "decoder_input_ids": IDS}
    with pytest.raises(FewerError, match="does not predict the next token"):
        fewer.prune(model, [batch], score="taylor", keep=0.5)
    found = fewer.evaluate(fewer.prune(model, [batch], score="wanda"), [batch], against=model)
    assert found.perplexity != found.perplexity and found.kl > 0


def test_budgets_of_losses_and_tolerances():
    options = {"score": "wanda", "update": "zero", "keep": 0.5}
    assert fewer.prune(bert("BertForMaskedLM"), IDS, budget="sensitivity", **options).layers
    with pytest.raises(FewerError, match="predicts no next token"):
        fewer.prune(bert("BertForMaskedLM"), IDS, unit="input", score="magnitude", budget="tolerance")


def test_a_plain_module_is_taken_by_the_shape_of_its_outputs():
    model = nn.Sequential(nn.Embedding(64, 8), nn.Linear(8, 64))
    assert fewer.evaluate(model, IDS).perplexity > 1


def test_a_report_counts_the_distance_in_what_it_names(tmp_path):
    model = bert("BertForMaskedLM")
    done = fewer.prune(model, IDS, score="wanda", keep=0.5)
    found = fewer.compare(model, done, data=IDS)
    own, random = (c.quality.output_error for c in found.candidates)
    text, page = found.to_text(), Path(found.to_html(str(tmp_path / "x.html"))).read_text()
    times = f"{random / own:.1f}" if random / own < 10 else f"{random / own:.0f}"
    assert f"{times} times closer than random" in text
    assert "Change of the outputs" in page and ">nan<" not in page.lower() and '"nan' not in page.lower()
