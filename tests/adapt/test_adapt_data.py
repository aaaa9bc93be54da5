from __future__ import annotations

import pytest
import torch

from fewer.adapt import data
from fewer.method import FewerError


class Letters:
    """A tokenizer: one token a character."""

    def __call__(self, text, **settings):
        assert settings["add_special_tokens"] is False
        return {"input_ids": [ord(letter) for letter in text]}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij" * 10, "utf-8")
    return path


def test_windows_are_drawn_without_repetition_and_fixed_by_the_seed(corpus):
    one = data.text(corpus, Letters(), samples=5, length=7, seed=3)
    assert one.hash == data.text(corpus, Letters(), samples=5, length=7, seed=3).hash
    assert one.hash != data.text(corpus, Letters(), samples=5, length=7, seed=4).hash
    assert (one.tokens, one.length, one.samples) == (35, 7, 5)
    text = corpus.read_text()
    windows = [text[i : i + 7] for i in range(0, 98, 7)]
    drawn = ["".join(map(chr, row)) for batch in one for row in batch["input_ids"].tolist()]
    assert all(row in windows for row in drawn)


def test_all_windows_come_in_order(corpus):
    batches = data.text(corpus, Letters(), samples=None, length=30, batch=2)
    rows = torch.cat([batch["input_ids"] for batch in batches])
    assert "".join(map(chr, rows.reshape(-1).tolist())) == corpus.read_text()[:90]
    assert [len(batch["input_ids"]) for batch in batches] == [2, 1]


def test_a_short_text_gives_overlapping_windows(corpus):
    assert data.text(corpus, Letters(), samples=9, length=60).samples == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 101}, "100 tokens: too short for one window of 101"),
        ({"length": 1}, "at least 2 tokens"),
        ({"samples": 0}, "samples is 0; it must be at least 1"),
    ],
)
def test_settings_that_give_no_window(corpus, settings, message):
    with pytest.raises(FewerError, match=message):
        data.text(corpus, Letters(), **settings)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(FewerError, match="cannot read the text"):
        data.text(tmp_path / "none.txt", Letters())
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FewerError, match="not a UTF-8"):
        data.text(tmp_path / "binary", Letters())


@pytest.mark.parametrize(
    ("given", "names", "tokens"),
    [
        (torch.arange(12).reshape(3, 4), ["input_ids"], 12),
        (torch.arange(5), ["input_ids"], 5),
        (torch.randn(3, 4), ["inputs"], 3),
        ([[1, 2, 3], [4, 5]], ["input_ids"], 5),
        ([torch.arange(4), torch.ones(2, 3, dtype=torch.long)], ["input_ids"], 10),
        ([(torch.randn(2, 3), torch.tensor([0, 1]))], ["inputs", "labels"], 2),
        ([{"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}],
         ["input_ids", "attention_mask"], 3),
        (({"pixel_values": torch.randn(1, 3, 4, 4)} for _ in range(2)), ["pixel_values"], 2),
        ({"input_ids": torch.ones(1, 2, dtype=torch.long)}, ["input_ids"], 2),
    ],
)  # fmt: skip
def test_what_batches_are_made_of(given, names, tokens):
    made = data.batches(given)
    assert list(made[0]) == names and made.tokens == tokens
    assert data.batches(made) is made


@pytest.mark.parametrize("given", [[], torch.zeros(0, 4), [torch.zeros(0, 3)], ["text"], [None], 3, [{"a": 1}]])
def test_what_is_no_data(given):
    with pytest.raises(FewerError):
        data.batches(given)


def test_the_hash_tells_content_apart():
    rows = torch.arange(12).reshape(3, 4)
    hashes = {data.batches(x).hash for x in (rows, rows + 1, rows.int(), rows.reshape(4, 3))}
    assert len(hashes) == 4


def test_parts_and_singles_cover_everything():
    whole = data.batches(torch.arange(30).reshape(10, 3), batch=3)
    parts = [whole.part(i, 3) for i in range(3)]
    assert sum(part.tokens for part in parts) == 30
    assert torch.equal(torch.cat([x["input_ids"] for x in whole.singles()]), torch.arange(30).reshape(10, 3))
