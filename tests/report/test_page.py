from __future__ import annotations

import dataclasses
import errno
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewer.method import FewerError
from fewer.report import to_html, to_json, to_text
from fewer.report.page import page

VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Checks that tags nest, and gathers elements and text."""

    def __init__(self, document):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag, style=None):
        return [a for t, a in self.elements if t == tag and (style is None or style in (a.get("class") or "").split())]


def test_the_page_is_well_formed_and_fetches_nothing(five_levels):
    document = page(five_levels)
    found = Reader(document)
    assert not found.all("link") and not found.all("img") and not found.all("iframe")
    assert not [a for _, a in found.elements if {"src", "href", "srcset"} & set(a)]
    assert set(re.findall(r"url\(([^)]*)\)", document)) == {"#hatch"}
    assert "http://" not in document and "https://" not in document and "@import" not in document
    assert "default-src 'none'" in found.all("meta")[2]["content"]


def test_what_comes_from_data_is_escaped(two_settings):
    evil = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"
    rows = tuple(
        dataclasses.replace(
            c,
            label=evil,
            group=evil if not c.random else "random",
            notes=(evil,),
            recipe={evil: {evil: evil}},
            layers=tuple(dataclasses.replace(row, name=f"layers.{row.block}.{evil}") for row in c.layers[:2]),
            histograms=tuple(dataclasses.replace(h, title=evil) for h in c.histograms),
            quality=dataclasses.replace(c.quality, worst_slice=evil, data=evil, slices={evil: 1.0}),
        )
        for c in two_settings.candidates
    )
    names = {"model": evil, "machine": evil, "citations": (evil,), "versions": {evil: evil}, "model_hash": evil}
    source = dataclasses.replace(two_settings.provenance, **names)
    document = page(dataclasses.replace(two_settings, candidates=rows, provenance=source))
    found = Reader(document)
    assert not found.all("img")
    assert len(found.all("script")) == 2
    assert evil in found.words
    assert not [a for _, a in found.elements if any(key.startswith("on") for key in a)]


def test_the_numbers_are_embedded_as_json(two_settings):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page(two_settings), re.DOTALL)
    assert json.loads(found[1]) == json.loads(to_json(two_settings))


def test_every_candidate_is_drawn_in_every_measure(two_settings):
    marks = [a for t, a in Reader(page(two_settings)).elements if "mark" in (a.get("class") or "") and "data-tip" in a]
    # Two random selections are off the scale in perplexity and in worst slice: written, not drawn.
    assert len(marks) == 4 * 8 - 4
    assert page(two_settings).count("off the scale: ") == 4


def test_curves_are_drawn_where_there_are_several_sparsities(five_levels):
    found = Reader(page(five_levels))
    paths = found.all("path", "curve")
    assert len(paths) == 4 * 4
    assert len({a["stroke-dasharray"] for a in paths if "stroke-dasharray" in a}) == 3


def test_pictures_have_a_text_alternative(five_levels):
    pictures = [a for a in Reader(page(five_levels)).all("svg") if a.get("aria-hidden") != "true"]
    assert pictures and all(a["role"] == "img" and len(a["aria-label"]) > 10 for a in pictures)


def test_uneven_layers_get_a_map_and_even_ones_a_sentence(two_settings):
    assert "Evenly spread: in every candidate all 42 layers" in page(two_settings)
    first = two_settings.candidates[1]
    rows = tuple(dataclasses.replace(r, kept=r.kept // 2 if r.block == 0 else r.kept) for r in first.layers)
    changed = (dataclasses.replace(first, layers=rows), *two_settings.candidates[2:])
    document = page(dataclasses.replace(two_settings, candidates=changed))
    assert "Evenly spread" not in document
    assert "most zeros: self_attn.q_proj of block 0, 75 %" in document


def test_broken_numbers_are_shown_as_such(two_settings):
    first = two_settings.candidates[1]
    broken = {"nll": 900.0, "perplexity": math.inf, "worst_slice_perplexity": math.inf, "kl": math.nan}
    lost = dataclasses.replace(first, quality=dataclasses.replace(first.quality, **broken), label="lost")
    document = page(dataclasses.replace(two_settings, candidates=(lost, *two_settings.candidates)))
    Reader(document)
    assert "∞" in document and ">nan<" in document


def test_nothing_measured_but_the_dense_model(two_settings):
    document = page(dataclasses.replace(two_settings, candidates=()))
    assert "The dense model alone: perplexity 7.39 at context 256." in Reader(document).words


def test_a_candidate_with_nothing_but_quality(two_settings):
    bare = dataclasses.replace(two_settings.candidates[1], layers=(), histograms=(), recipe={}, notes=())
    found = Reader(page(dataclasses.replace(two_settings, candidates=(bare,))))
    assert "Where it hurts" not in found.words and "What was removed" not in found.words


def other_kind(quality, error):
    """The quality of something that is not a language model."""
    gone = dict.fromkeys(("nll", "perplexity", "worst_slice_perplexity"), math.nan)
    return dataclasses.replace(quality, **gone, kl=None, top1_agreement=None, output_error=error)


def test_a_model_without_a_language_is_measured_by_its_outputs(two_settings):
    errors = {"random": 0.9, "magnitude": 0.3, "wanda": 0.2, "obs sweep": 0.1}
    rows = [dataclasses.replace(c, quality=other_kind(c.quality, errors[c.label])) for c in two_settings.candidates]
    dense = dataclasses.replace(two_settings.dense, quality=other_kind(two_settings.dense.quality, None))
    changed = dataclasses.replace(two_settings, dense=dense, candidates=tuple(rows))
    words = Reader(page(changed)).words
    assert "Output error" in words and "Perplexity" not in words
    text = " ".join(words)
    assert " outputs on " in text and "contiguous parts" not in text and "natural logarithm" not in text
    head = to_text(changed).splitlines()[0].split("  ")
    assert [name.strip() for name in head if name] == ["model", "sparsity", "out error", "vs random", "packed", "time"]
    assert "its outputs differ by 0.100 of their norm, 9.0 times closer than random." in to_text(changed)


def test_the_file_appears_whole_in_a_new_directory(two_settings, tmp_path):
    path = tmp_path / "new" / "report.html"
    assert to_html(two_settings, str(path)) == str(path)
    assert path.read_text("utf-8") == page(two_settings)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_path_that_cannot_be_written_is_one_line(two_settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FewerError, match=r"cannot write report '.*file/report.html': "):
        to_html(two_settings, str(tmp_path / "file" / "report.html"))


def test_a_page_for_which_there_is_no_room_leaves_nothing(two_settings, tmp_path, monkeypatch):
    def full(path, text, encoding):
        path.write_bytes(text[:9].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FewerError, match=r"cannot write report .*: No space left on device"):
        two_settings.to_html(str(tmp_path / "page.html"))
    assert list(tmp_path.iterdir()) == []
