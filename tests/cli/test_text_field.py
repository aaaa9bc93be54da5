"""Data that is a file of many texts, on every road that reads data."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def lines(corpus, tmp_path):
    """The corpus as JSON lines with two columns of texts."""
    texts = corpus.read_text("utf-8").split("\n\n")
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"title": "none", "body": text}) for text in texts if text.strip()))
    return path


CUT = ("--samples", 2, "--length", 32)


@pytest.mark.parametrize("data", ["--data", "--reference"])
def test_prune_reads_the_named_column(data, fewer, refused, checkpoint, corpus, lines, tmp_path):
    roads = {"--data": (), "--reference": ("--data", corpus, "--score", "gaprune")}
    words = ("prune", checkpoint, *roads[data], data, lines, *CUT, "--keep", 0.5, "--out", tmp_path / "out")
    assert "name one with text_field (--text-field); it has: title, body" in refused(*words)
    ended = fewer(*words, "--text-field", "body")
    assert ended.code == 0, ended.err
    recipe = (tmp_path / "out" / "fewer-recipe.toml").read_text()
    assert 'text_field = "body"' in recipe and [x.name for x in tmp_path.glob("out*")] == ["out"]


def test_eval_and_sweep_read_the_named_column(fewer, refused, checkpoint, lines, tmp_path):
    words = ("eval", checkpoint, "--data", lines, "--context", 32, "--json")
    assert "several columns of texts" in refused(*words[:-1])
    assert json.loads(fewer(*words, "--text-field", "body").out)["perplexity"] > 1
    kept = ("--keep", "0.5", "--score", "wanda", "--update", "zero")
    ended = fewer("sweep", checkpoint, "--data", lines, "--eval", lines, *CUT, *kept, "--text-field", "body")
    assert ended.code == 0, ended.err
