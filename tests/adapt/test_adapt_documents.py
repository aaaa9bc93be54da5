"""Data that is not plain text: read by what it is, or refused by its name."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import BatchEncoding

import fewer
from fewer.adapt import data
from fewer.adapt.documents import documents
from fewer.method import FewerError

TEXTS = ["One, two.\nThree.", 'A "quoted" text', "Ünïcode; and more"]
ROWS = [{"id": str(place), "text": text} for place, text in enumerate(TEXTS)]


class Letters:
    """One token a character; 0 ends a text."""

    eos_token_id: int | None = 0
    chat_template = "a template"

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages, tokenize):
        return "".join(f"<{part['role']}>{part['content']}" for part in messages)


def parquet(path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(ROWS), path)


def table(between):
    quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    return "\n".join([f"id{between}text", *(f"{place}{between}{text}" for place, text in enumerate(quoted))])


WRITERS = {
    "a.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n"),
    "a.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "a.csv": lambda path: path.write_text(table(","), "utf-8"),
    "semicolons.csv": lambda path: path.write_text(table(";"), "utf-8-sig"),
    "a.tsv": lambda path: path.write_text(table("\t"), "utf-8"),
    "a.parquet": parquet,
    "lines.txt": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "records": lambda path: path.write_text(json.dumps(ROWS)),
    "texts.json": lambda path: path.write_text(json.dumps(TEXTS)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_documents_are_read_from_every_kind_of_file(name, tmp_path):
    WRITERS[name](tmp_path / name)
    assert documents(tmp_path / name) == TEXTS
    expected = [x for text in TEXTS for x in [*map(ord, text), 0]][:-1]
    assert data.tokens(tmp_path / name, Letters()) == expected


def test_documents_are_joined_by_a_blank_line_where_no_token_ends_a_text(tmp_path, monkeypatch):
    WRITERS["a.jsonl"](tmp_path / "a.jsonl")
    monkeypatch.setattr(Letters, "eos_token_id", None)
    assert "".join(map(chr, data.tokens(tmp_path / "a.jsonl", Letters()))) == "\n\n".join(TEXTS)


def test_plain_text_stays_as_it_is(tmp_path):
    for name, text in (("a.txt", "{not json} [1]\n"), ("b.py", "[1, 2\n"), ("c.md", "a,b\n1,2\n")):
        (tmp_path / name).write_text(text)
        assert documents(tmp_path / name, "ignored") == [text]


def test_the_column_can_be_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "why", "answer": "so"}) + '\n{"question": null, "answer": "yes"}')
    with pytest.raises(FewerError, match=r"several columns of texts: name one with text_field .*question, answer"):
        documents(path)
    with pytest.raises(FewerError, match="no column 'body'; it has: question, answer"):
        documents(path, "body")
    assert documents(path, "answer") == ["so", "yes"] and documents(path, "question") == ["why"]
    assert fewer.text(path, Letters(), text_field="answer", length=2, samples=1).tokens == 2


def test_chats_pass_through_the_tokenizers_template(tmp_path, monkeypatch):
    path, chat = tmp_path / "a.jsonl", [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    path.write_text(json.dumps({"messages": chat}))
    assert "".join(map(chr, data.tokens(path, Letters()))) == "<user>hi<assistant>yo"
    monkeypatch.setattr(Letters, "chat_template", None)
    with pytest.raises(FewerError, match=r"holds chats, and the tokenizer has no chat template"):
        data.tokens(path, Letters())


REFUSED = {
    "a.txt.gz": (gzip.compress(b"text"), "is packed .* unpack it"),
    "hidden.txt": (gzip.compress(b"text"), "is a gzip file"),
    "nul.txt": (b"abc\0def", "holds NUL bytes"),
    "a.pdf": (b"%PDF-1.7", "is a PDF"),
    "latin.txt": ("é".encode("latin-1"), "not a UTF-8"),
    "empty.txt": (b" \n", "is empty"),
    "renamed.txt": (b"PAR1....", "is a Parquet file"),
    "broken.jsonl": (b'{"text": "a"}\n{"text": ', "line 2 is not JSON"),
    "numbers.jsonl": (b"1\n2\n", "line 1 is not an object"),
    "broken.json": (b"[1, 2", "is not valid JSON"),
    "settings.json": (b'{\n"a": 1\n}', "is JSON, but no list of records"),
    "ids.json": (b"[1, 2]", "is JSON, but no list of records"),
    "ragged.csv": (b"a,b\n1,2\n3\n", "row 3 has 1 columns"),
    "figures.csv": (b"a,b\n1,2\n3,4\n", "no column of texts: name one .*a, b"),
    "void.jsonl": (b'{"text": ""}\n{"text": "x"}\n'.replace(b'"x"', b'" "'), "holds no text in its column"),
    "typed.jsonl": (b'{"text": "a", "n": 3}', None),
    "bad.parquet": (b"PAR1nonsensePAR1", "could not be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_in_a_line_that_names_it(name, tmp_path):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    if message is None:
        with pytest.raises(FewerError, match="column 'n' holds a int, neither a text nor a list of messages"):
            documents(tmp_path / name, "n")
        return
    with pytest.raises(FewerError, match=message) as caught:
        documents(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


IDS = torch.arange(12).reshape(3, 4)
LISTS = IDS.tolist()
MASK = [[1, 1, 1, 0]] * 3
SAME = {
    "rows of datasets": lambda: [{"text": "t", "idx": 1, "input_ids": row} for row in LISTS],
    "generator": lambda: ({"input_ids": row, "special_tokens_mask": [0] * 4} for row in LISTS),
    "rows of tensors": lambda: [{"input_ids": row} for row in IDS],
    "rows of arrays": lambda: [{"input_ids": np.array(row, np.uint16)} for row in LISTS],
    "loader": lambda: DataLoader(TensorDataset(IDS), batch_size=3),
    "encoding": lambda: BatchEncoding({"input_ids": LISTS}),
    "encoding of tensors": lambda: [BatchEncoding({"input_ids": IDS})],
    "array": lambda: np.arange(12, dtype=np.int32).reshape(3, 4),
    "arrays": lambda: [np.arange(12).reshape(3, 4)],
}


@pytest.mark.parametrize("how", SAME)
def test_tokens_are_the_same_however_they_are_given(how):
    made = data.batches(SAME[how]())
    assert [list(item) for item in made] == [["input_ids"]] and torch.equal(made[0]["input_ids"], IDS)
    assert made.hash == data.batches(IDS).hash


def test_rows_bring_their_masks_and_labels():
    rows = [{"input_ids": row, "attention_mask": mask, "labels": row} for row, mask in zip(LISTS, MASK, strict=True)]
    made = data.batches(rows, batch=2)
    assert [len(item["input_ids"]) for item in made] == [2, 1] and made.tokens == 9
    assert list(made[0]) == ["input_ids", "attention_mask", "labels"]
    ragged = data.batches(BatchEncoding({"input_ids": [[1, 2, 3], [4, 5]], "attention_mask": [[1, 1, 1], [1, 1]]}))
    assert [tuple(item["input_ids"].shape) for item in ragged] == [(1, 3), (1, 2)] and ragged.tokens == 5


@pytest.mark.parametrize("rows", [["a text"], [{"text": "a text"}]])
def test_texts_in_python_are_told_what_to_do(rows):
    with pytest.raises(FewerError, match=r"is text: tokenise it first \(input_ids\)"):
        data.batches(rows)


def test_columns_that_are_no_texts_are_not_read(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": TEXTS, "vector": [1.0, 2.0, 3.0]}), tmp_path / "t.parquet")
    read = []
    whole = parquet.ParquetFile.read
    monkeypatch.setattr(
        parquet.ParquetFile, "read", lambda file, columns: read.append(columns) or whole(file, columns=columns)
    )
    assert documents(tmp_path / "t.parquet") == TEXTS and read == [["text"]]
    with pytest.raises(FewerError, match="has no column 'words'; it has: text, vector"):
        documents(tmp_path / "t.parquet", "words")
