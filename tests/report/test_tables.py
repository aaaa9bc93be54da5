from __future__ import annotations

import dataclasses
import json
import math

from fewer.report import to_json, to_text

TABLE = """\
model      sparsity  ppl@256  KL nats   top-1  worst ppl  vs random   packed    time
────────────────────────────────────────────────────────────────────────────────────
dense         0.0 %     7.39        –       –       8.58          –  10.4 MB  0.00 s
── 50 % sparse ─────────────────────────────────────────────────────────────────────
obs sweep    50.0 %     7.96   0.0830  80.6 %       9.25        51×  6.40 MB   9.7 s
wanda        50.0 %     8.93    0.210  70.9 %      10.37        20×  6.40 MB   3.1 s
magnitude    50.0 %    12.91    0.620  55.4 %      15.00       6.8×  6.40 MB  0.50 s
random       50.0 %    323.8     4.20  21.5 %      376.2          –  6.40 MB  0.40 s
"""


def test_the_table_for_the_terminal(make):
    assert to_text(make(patterns=())).startswith(TABLE)


def test_a_long_label_widens_the_table_and_nothing_is_cut(two_settings):
    long = dataclasses.replace(two_settings.candidates[1], label="a" * 90)
    text = to_text(dataclasses.replace(two_settings, candidates=(long,)))
    assert "a" * 90 + "    50.0 %" in text


def test_json_is_strict_and_complete(two_settings):
    def refuse(word):
        raise AssertionError(word)

    first = two_settings.candidates[1]
    lost = dataclasses.replace(first, quality=dataclasses.replace(first.quality, perplexity=math.inf, kl=math.nan))
    found = json.loads(
        to_json(dataclasses.replace(two_settings, candidates=(lost, *two_settings.candidates[2:]))),
        parse_constant=refuse,
    )
    assert found["candidates"][0]["quality"]["perplexity"] is None
    assert found["candidates"][0]["quality"]["kl"] is None
    assert len(found["candidates"]) == 7


def test_json_holds_the_exact_counts_and_the_control(two_settings):
    found = json.loads(two_settings.to_json())
    wanda = next(c for c in found["candidates"] if c["label"] == "wanda")
    assert wanda["control"] == "random"
    assert wanda["times_closer_than_random"] == 4.2 / 0.21
    assert wanda["layers"][0]["kept"] == 256 * 256 // 2
    assert wanda["layers"][0]["sparsity"] == 0.5
    assert found["format"] == "fewer-comparison" and found["version"] == 1
