"""Batches and JSON lines are two faces of one stream."""

import io

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.batch import Batch, Ragged
from clet.container import read_frame
from clet.exits import InputError
from clet.record import encode_tok, make_record

TEXT = st.text(max_size=20)
EXTRA = st.dictionaries(
    st.sampled_from(["note", "x-y", "dedup", "\u00fc"]),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXT, st.lists(TEXT, max_size=2)),
    max_size=3,
)


@st.composite
def records(draw, tokens=None):
    with_tokens = draw(st.booleans()) if tokens is None else tokens
    made = []
    for _ in range(draw(st.integers(1, 6))):
        record = make_record(source="s", origin="o", text=draw(TEXT), fetched=None) | draw(EXTRA)
        text = record.pop("text")
        if draw(st.booleans()):
            record["text"] = text
        if with_tokens:
            ids = draw(st.lists(st.integers(0, 65535), max_size=8))
            record["tok"] = encode_tok(np.asarray(ids, np.uint16), "fp")
        made.append(record)
    return made


def through_frame(batch: Batch) -> Batch:
    frame, _ = read_frame(io.BytesIO(batch.to_frame()), "x")
    return Batch.from_frame(frame, "x")


@settings(deadline=None)  # the first example may compile kernels
@given(records())
def test_lines_to_batch_to_lines_is_the_identity(made):
    lines = [orjson.dumps(record) for record in made]
    batch = through_frame(Batch.from_records(made))
    assert [batch.line(i) for i in range(len(batch))] == lines
    assert [batch.record(i) for i in range(len(batch))] == made


@given(records(), st.data())
def test_take_selects_reorders_and_repeats(made, data):
    rows = data.draw(st.lists(st.integers(0, len(made) - 1), max_size=10))
    taken = Batch.from_records(made).take(np.asarray(rows, np.int64))
    assert [taken.record(i) for i in range(len(taken))] == [made[row] for row in rows]


@given(records(tokens=True), records(tokens=True))
def test_concat_is_concatenation(one, two):
    a, b = Batch.from_records(one), Batch.from_records(two)
    if a.joins(b):
        joined = Batch.concat([a, b])
        assert [joined.record(i) for i in range(len(joined))] == one + two


def test_annotate_adds_or_replaces_without_touching_other_fields(record):
    batch = Batch.from_records([record("one", ids=[1]), record("two", ids=[2], title='a "dedup": b')])
    once = batch.annotate("dedup", [{"n": 1}, {"n": 2}])
    again = once.annotate("dedup", [{"n": 3}, {"n": 4}])
    assert [again.record(i)["dedup"] for i in range(2)] == [{"n": 3}, {"n": 4}]
    assert again.line(1).count(b'"dedup":{') == 1
    assert again.record(1)["title"] == 'a "dedup": b'
    assert again.record(0)["tok"] == batch.record(0)["tok"]


def test_without_text_keeps_everything_else(record):
    made = record("one", ids=[1, 2])
    left = Batch.from_records([made]).without_text().record(0)
    assert "text" not in left
    assert left == {k: v for k, v in made.items() if k != "text"}


def test_mixed_tokens_make_no_batch(record):
    with pytest.raises(ValueError, match="disagree"):
        Batch.from_records([record("a", ids=[1]), record("b")])


@pytest.mark.parametrize("offsets", [[0, 2, 1], [1, 1, 3], [0, 1, 9], [0, 1]])
def test_columns_that_contradict_themselves_are_refused(record, offsets):
    batch = Batch.from_records([record("a", ids=[1]), record("b", ids=[2, 3])])
    frame, _ = read_frame(io.BytesIO(batch.to_frame()), "x")
    frame.arrays["tok_offsets"] = np.asarray(offsets, np.int64)
    with pytest.raises(InputError, match="malformed batch"):
        Batch.from_frame(frame, "x")


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6))
def test_ragged_rows_are_what_went_in(rows):
    ragged = Ragged.from_rows([np.asarray(row, np.uint16) for row in rows], np.uint16)
    assert [ragged[i].tolist() for i in range(len(ragged))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense",
        b'{"id":"zz"}',
        b'{"id":"' + b"0" * 32 + b'","text":"x"}',
        b'{"id":"' + b"0" * 32 + b'",\n"a":1}',
        b'{"id":"zz","id":"' + b"0" * 32 + b'"}',
    ],
)
def test_a_batch_made_by_a_stranger_is_checked_as_lines_are(head):
    one, none = Ragged.from_bytes([head]), Ragged.from_bytes([b""])
    frame, _ = read_frame(io.BytesIO(Batch(one, none, np.zeros(1, np.uint8)).to_frame()), "x")
    with pytest.raises(InputError, match="malformed batch"):
        Batch.from_frame(frame, "x")


def test_a_batch_whose_text_is_no_utf8_is_refused():
    head = Ragged.from_bytes([b'{"id":"' + b"0" * 32 + b'"}'])
    body = Batch(head, Ragged.from_bytes([b"\xff"]), np.ones(1, np.uint8)).to_frame()
    with pytest.raises(InputError, match="malformed batch"):
        Batch.from_frame(read_frame(io.BytesIO(body), "x")[0], "x")
