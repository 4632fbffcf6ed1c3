"""What kernels say of columns is what the parser says: never yes to what it refuses."""

import io
import sys

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clet import vetting
from clet.batch import Batch, Ragged, _check_head
from clet.container import read_frame
from clet.exits import InputError
from clet.record import make_record

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-1000, 1000, places=3).map(float) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(["id", "meta", "title", "tok", "text", "url", "ids", "me", "", "priority"]) | st.text(
    max_size=6
)


@st.composite
def heads(draw):
    """A record's head with more fields, whatever they are, a few of its bytes changed."""
    fields = make_record(source="s", origin="o", text="", fetched=None, title=draw(st.none() | st.text(max_size=20)))
    fields.pop("text")
    fields |= draw(st.dictionaries(NAMES, VALUES, max_size=4))
    body = bytearray(orjson.dumps(fields))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body) - 1))
        kind = draw(st.sampled_from(["flip", "insert", "cut", "copy"]))
        if kind == "flip":
            body[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            body[at:at] = draw(st.sampled_from([b" ", b",", b'"', b"0", b"\\u0041", b"1e3", b"}", b"{", b"\xff", b"-"]))
        elif kind == "cut":
            del body[at : at + draw(st.integers(1, 9))]
        else:
            body[at:at] = body[at : at + draw(st.integers(1, 40))]
        if not body:
            break
    return bytes(body)


def refused(line):
    try:
        _check_head(line)
    except ValueError:
        return True
    return False


@settings(max_examples=2000, deadline=None)
@given(heads())
@example(b"{}")
@example(b"")
@example(b'{"id":"' + b"0" * 32 + b'"}')
@example(b'{"id":"' + b"0" * 32 + b'","id":"' + b"1" * 32 + b'"}')
@example(b'{"meta":{"a":1,"a":2},"id":"' + b"0" * 32 + b'"}')
@example(b'{"id":"' + b"0" * 32 + b'","n":' + b"[" * 40 + b"]" * 40 + b"}")
def test_a_head_that_is_called_plain_is_one_that_the_parser_accepts(line):
    if vetting.plain_heads(*column(line))[0]:
        assert not refused(line)


@pytest.mark.parametrize(
    ("number", "is_plain"),
    [("0", 1), ("-0", 0), ("-0.0", 1), ("00", 0), ("01", 0), ("1.50", 0), ("1.5", 1), ("0.25", 1), ("0.001", 0),
     ("1e3", 0), ("1.5e3", 0), ("1E3", 0), ("123456789012345", 1), ("1234567890123456", 0), ("1.", 0), (".5", 0),
     ("-", 0), ("12345678901234.5", 1), ("99.99", 1), ("+1", 0), ("NaN", 0)],
)  # fmt: skip
def test_numbers_are_plain_only_as_they_are_written(number, is_plain):
    line = b'{"id":"%s","n":%s}' % (b"0" * 32, number.encode())
    assert vetting.plain_heads(*column(line)).tolist() == [bool(is_plain)]
    assert not (is_plain and refused(line))


def test_the_heads_that_stages_write_are_plain():
    fields = make_record(source="feed", origin="https://example.org/\u00fc", text="", fetched=None, title='a "b"\n\\')
    fields.pop("text")
    fields |= {"dedup": {"seen": 1, "spans": [[1, 20]]}, "priority": {"score": 0.75, "rank": 3, "lane": None}}
    assert vetting.plain_heads(*column(orjson.dumps(fields))).all()


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=6) | st.text(max_size=80).map(str.encode), max_size=6).map(b"".join))
@example(b"a" * 40 + "\u00e9".encode() + b"b" * 70)
@example(b"a" * 63 + b"\xf0\x9f\x98")
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\xaf")
def test_utf8_is_what_the_decoder_takes(body):
    try:
        body.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert vetting.is_utf8(np.frombuffer(body, np.uint8)) == expected
    assert vetting.is_utf8(np.frombuffer(b"#" + body, np.uint8)[1:]) == expected  # not aligned


def column(*lines):
    ragged = Ragged.from_bytes(lines)
    return ragged.values, ragged.offsets


@pytest.mark.parametrize("with_kernels", [True, False])
@pytest.mark.parametrize("texts", [(b"\xc3", b"\xa9"), (b"a\xff", b"b"), (b"", b"\x80")])
def test_texts_that_are_no_utf8_are_refused_wherever_they_are_cut(texts, with_kernels, monkeypatch):
    """The two halves of a character are UTF-8 together, and each is none."""
    if not with_kernels:
        monkeypatch.delitem(sys.modules, "clet.kernels")
    rows = Ragged.from_bytes([b'{"id":"%032x"}' % row for row in range(2)])
    batch = Batch(rows, Ragged.from_bytes(texts), np.ones(2, np.uint8))
    frame, _ = read_frame(io.BytesIO(batch.to_frame()), "x")
    with pytest.raises(InputError, match="malformed batch"):
        Batch.from_frame(frame, "x")


@pytest.mark.parametrize("with_kernels", [True, False])
def test_a_batch_reads_the_same_with_and_without_kernels(with_kernels, monkeypatch):
    if not with_kernels:
        monkeypatch.delitem(sys.modules, "clet.kernels")
    made = [
        make_record(source="s", origin="o", text=text, fetched=None, meta={"n": number})
        for text, number in (("\u00e9 text", 1e-9), ("", 2.5), ("plain", 10**18))
    ]
    frame, _ = read_frame(io.BytesIO(Batch.from_records(made).to_frame()), "x")
    batch = Batch.from_frame(frame, "x")
    assert [batch.record(row) for row in range(3)] == made
