"""Records: what the edge refuses, what is kept as it is."""

import hashlib
import unicodedata

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clet.record import (
    RecordError,
    canonical_text,
    decode_tok,
    encode_tok,
    format_time,
    parse_line,
    parse_time,
    record_id,
)

ID = "0" * 32


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_canonical_text_is_idempotent_nfc_and_encodable(text):
    once = canonical_text(text)
    assert canonical_text(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()  # no lone surrogate is left
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in once)


def test_id_is_the_first_half_of_sha256():
    assert record_id("caf\u00e9") == hashlib.sha256("caf\u00e9".encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"text":"x"}', "no id"),
        (b'{"id":"XYZ"}', "no id"),
        (b'{"id":"%s","text":5}' % ID.encode(), "text is not a string"),
        (b'{"id":"%s","meta":[]}' % ID.encode(), "meta is not"),
        (b'{"id":"%s","x":123456789012345678901234567890}' % ID.encode(), "number out of range"),
        (b'{"id":"%s","x":1e999}' % ID.encode(), "not JSON"),
        (b'{"id":"%s","x":NaN}' % ID.encode(), "not JSON"),
        (b'{"id":"%s","text":"\\ud800"}' % ID.encode(), "not JSON"),
        (b'{"id":"%s","x":%s}' % (ID.encode(), b"[" * 5000 + b"]" * 5000), "not JSON"),
    ],
)
def test_bad_lines_are_refused_with_their_reason(line, reason):
    with pytest.raises(RecordError, match=reason):
        parse_line(line)


def test_wide_but_legal_numbers_pass():
    line = b'{"id":"%s","x":18446744073709551615,"y":-9223372036854775808,"t":"1e999 12345678901234567890123"}'
    assert parse_line(line % ID.encode())["x"] == 18446744073709551615


@given(st.lists(st.integers(0, 70000), max_size=50))
def test_tokens_survive_the_round_trip(ids):
    dtype = np.uint16 if max(ids, default=0) < 1 << 16 else np.uint32
    tok = orjson.loads(orjson.dumps(encode_tok(np.asarray(ids, dtype), "fp")))
    got, fingerprint = decode_tok(tok)
    assert got.tolist() == ids
    assert fingerprint == "fp"
    assert got.dtype == dtype


@pytest.mark.parametrize(
    "change", [{"n": 3}, {"dtype": "u8"}, {"ids": "%%%"}, {"ids": "AAA="}, {"fp": ""}, {"ids": None}, {"n": None}]
)
def test_contradicting_tok_is_refused(change):
    tok = encode_tok(np.asarray([1, 2], np.uint16), "fp") | change
    with pytest.raises(RecordError):
        decode_tok(tok)


def test_times_are_utc():
    assert parse_time("2026-03-01T02:00:00+02:00").isoformat() == "2026-03-01T00:00:00+00:00"
    assert parse_time("2026-03-01").isoformat() == "2026-03-01T00:00:00+00:00"


def test_objects_inside_each_other_are_bounded():
    for depth, fine in ((60, True), (70, False), (2000, False)):
        line = b'{"id":"%s","meta":{"x":%s}}' % (ID.encode(), b"[" * depth + b"]" * depth)
        if fine:
            assert parse_line(line)["id"] == ID
        else:
            with pytest.raises(RecordError):
                parse_line(line)


def test_times_outside_the_calendar_in_utc_are_no_times():
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(ValueError, match="outside"):
            parse_time(text)


def test_early_years_are_written_with_four_digits():
    assert format_time(parse_time("0099-03-01")) == "0099-03-01T00:00:00Z"
