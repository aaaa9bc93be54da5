"""OWL, RIA, GBLM and DSnoT on whole models, each against the loop that its authors' script amounts to."""

import numpy as np
import pytest
import torch
from scripted import TOKENS, block_inputs, literally, lowest_of_rows, model

import fewer
from fewer import adapt

LENGTH = TOKENS.shape[1]


def wanda_score(weight, inputs):
    return weight.abs() * (inputs.square().sum(0) / len(TOKENS)).sqrt()


def pruned(dtype=torch.float32, **options):
    return fewer.prune(adapt.open(model(dtype)), TOKENS, compat="wanda", **options).model.state_dict()


def assert_equal(made, expected):
    for name, weight in expected.items():
        assert torch.equal(made[name], weight), name


def outlier_ratios(m):
    """The scripts' share of scores above m times the mean, in per cent, of every block."""
    network, ratio = model(), []
    for block in network.model.layers:
        seen = block_inputs(network, block)
        scores = torch.cat([wanda_score(block.get_submodule(n).weight, x).flatten() for n, x in seen.items()])
        ratio.append(100.0 * float((scores > m * scores.mean()).sum()) / scores.numel())
    return np.array(ratio)


def owl_by_script(share, lam, m):
    ratio = outlier_ratios(m)
    ratio = (ratio - ratio.min()) * (1 / (ratio.max() - ratio.min()) * lam * 2)
    ratio = ratio - np.mean(ratio) + (1 - share)

    def rule(weight, inputs, name):
        return weight.masked_fill(lowest_of_rows(wanda_score(weight, inputs), 1 - ratio[int(name.split(".")[2])]), 0.0)

    return literally(rule)


@pytest.mark.parametrize(("share", "lam", "m"), [(0.5, 0.08, 5.0), (0.7, 0.15, 3.0)])
def test_owl_takes_from_every_block_what_the_script_takes(share, lam, m):
    made = pruned(score="wanda", budget="owl", keep=1 - share, budget_options={"lam": lam, "m": m})
    assert_equal(made, owl_by_script(share, lam, m))


def test_owl_floors_the_share_and_not_the_rounded_count():
    share, m, columns = 0.6, 5.0, 32
    ratio = outlier_ratios(m)
    lean = 2 * (ratio - ratio.min()) / (ratio.max() - ratio.min())
    lean = lean[0] - lean.mean()
    whole = round(columns * (share - lean * 0.08))
    lam = (share - (whole - 1e-3) / columns) / lean  # block 0 drops just less than `whole` of 32 columns
    made = pruned(score="wanda", budget="owl", keep=1 - share, budget_options={"lam": lam, "m": m})
    assert_equal(made, owl_by_script(share, lam, m))


@pytest.mark.parametrize("within", ["layer", "row"])
@pytest.mark.parametrize(("share", "dtype"), [(0.5, torch.float32), (0.6, torch.float32), (0.5, torch.bfloat16)])
def test_ria_drops_what_the_script_drops(within, share, dtype):
    def rule(weight, inputs, _):
        size = weight.abs()  # in the model's own precision, unlike the norms
        norm = (inputs.float().square().sum(0) / len(TOKENS)).sqrt()
        score = (size / size.sum(0) + size / size.sum(1).reshape(-1, 1)) * norm**0.5
        edge = score.flatten().sort().values[int(score.numel() * share)]
        return weight.masked_fill(lowest_of_rows(score, share) if within == "row" else score <= edge, 0.0)

    assert_equal(pruned(dtype, score="ria", within=within, keep=1 - share), literally(rule, dtype=dtype))


def test_gblm_adds_the_gradients_of_the_dense_model():
    network, total = model(), {}
    for window in TOKENS:
        network(input_ids=window[None], labels=window[None]).loss.backward()
        for name, parameter in network.named_parameters():
            total[name] = total.get(name, 0.0) + (parameter.grad * 100).square()
        network.zero_grad()

    def rule(weight, inputs, name):
        gradient = total[f"{name}.weight"].sqrt().half().float()
        return weight.masked_fill(lowest_of_rows(wanda_score(weight, inputs) + weight.abs() * gradient, 0.5), 0.0)

    options = {"samples": len(TOKENS), "length": LENGTH, "compat": "gblm"}
    assert_equal(pruned(score="gblm", keep=0.5, score_options=options), literally(rule))


def dsnot(weight, inputs, share, _):
    """Regrow what cancels a row's error best, drop the cheapest of the sign that it has too much of.

    As in the script, a row that rests still walks along its lists and sets its candidates back to what they were.
    """
    score = wanda_score(weight, inputs)
    gone = lowest_of_rows(score, share)
    value = weight * (inputs.sum(0) / len(TOKENS))
    spread = inputs.reshape(len(TOKENS), LENGTH, -1).var(1, unbiased=False).mean(0)
    lost = torch.where(gone, value, 0.0)
    error, wish = lost.sum(1), torch.argsort(lost / spread, dim=1, stable=True)
    rows = range(len(weight))
    cheap = [[j for j in torch.argsort(score[i], stable=True).tolist() if not gone[i, j]] for i in rows]
    order = [[j for j in c if value[i, j] < 0] + [j for j in c if value[i, j] > 0][::-1] for i, c in enumerate(cheap)]
    ends = {name: [[0, -1] for _ in rows] for name in ("grow", "drop")}
    live = [True for _ in rows]
    for _ in range(50):
        if not any(live):
            break
        for i in rows:
            back, last = int(error[i] > 0), int(error[i] < 0)
            grow, drop = wish[i, ends["grow"][i][back]], order[i][ends["drop"][i][last]]
            ends["grow"][i][back] += 1 - 2 * back
            ends["drop"][i][last] += 1 - 2 * last
            live[i] = live[i] and bool(abs(error[i]) > 0.1)
            gone[i, drop], gone[i, grow] = live[i], not live[i]
            if live[i]:
                error[i] = error[i] + value[i, drop] - value[i, grow]
    return weight.masked_fill(gone, 0.0)


@pytest.mark.parametrize("share", [0.5, 0.6])
def test_dsnot_exchanges_what_the_script_exchanges(share):
    made = pruned(score="wanda", update="dsnot", keep=1 - share, update_options={"length": LENGTH})
    expected = literally(dsnot, share)
    assert all(torch.equal(made[name] != 0, weight != 0) for name, weight in expected.items())
