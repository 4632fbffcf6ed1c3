"""Masking as a whole: idempotent, whatever the order, linear in hostile texts, and open only to known kinds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scrub_samples import PERSONAL, SECRETS

from clet.record import canonical_text
from clet.sources.text.scrub import MAX_PASSES, scrub
from clet.sources.text.tokens import crc_base62

ALL = frozenset({"pii", "secrets"})
SAMPLES = [text for texts in PERSONAL.values() for text in texts] + [text for _, text in SECRETS]

ALPHABET = st.text("0123456789 .-()/+:@ab\nAZ_<>\"'=\u00e9", max_size=40)
FRAGMENTS = st.one_of(
    st.sampled_from(SAMPLES), ALPHABET, st.sampled_from(["version ", "//", "Tel. ", "password=", "<ip>"])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=8))
def test_scrubbing_twice_is_scrubbing_once(parts):
    once, counts = scrub("".join(parts), ALL)
    assert scrub(once, ALL) == (once, {})
    assert sum(counts.values()) <= len("".join(parts))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_unicode_goes_through(text):
    once, _ = scrub(text, ALL)
    assert scrub(once, ALL)[0] == once
    assert canonical_text(once) == canonical_text(canonical_text(once))


@settings(max_examples=50, deadline=None)
@given(st.permutations(SAMPLES))
def test_finds_on_their_own_lines_do_not_depend_on_their_order(lines):
    text, counts = scrub("\n\n".join(lines), ALL)
    assert counts == scrub("\n\n".join(SAMPLES), ALL)[1]
    assert sorted(text.split("\n\n")) == sorted(scrub(line, ALL)[0] for line in SAMPLES)


def test_kinds_are_masked_only_if_asked_for():
    mail, key = "write to joe@uni-koeln.de", SECRETS[0][1]
    assert scrub(f"{mail} {key}", frozenset({"pii"}))[1] == {"email": 1}
    assert scrub(f"{mail} {key}", frozenset({"secrets"}))[1] == {"secret": 1}
    assert scrub(f"{mail} {key}", frozenset()) == (f"{mail} {key}", {})
    with pytest.raises(ValueError, match="names: cannot be scrubbed; known are pii, secrets"):
        scrub("", frozenset({"pii", "names"}))


def test_finds_that_overlap_are_masked_as_one():
    text = "password = 'joe7@uni-koeln.de-X9!'"
    assert scrub(text, ALL) == ("password = '<secret:password>'", {"secret": 1})


def test_what_a_mask_uncovers_is_masked_too():
    text, counts = scrub("version@uni-koeln.de 93.184.216.34", ALL)
    assert (text, counts) == ("<email> <ip>", {"email": 1, "ip": 1})


@pytest.mark.parametrize(
    ("piece", "number"),
    [
        ("a@b.de", 170_000),
        ("+493012345678", 80_000),
        ("joe@uni-koeln.de+493012345678", 35_000),
        ("(212) 555-2345", 70_000),
        ("-----BEGIN RSA PRIVATE KEY-----\n", 30_000),
        ("-----BEGIN RSA PRIVATE KEY-----" + "-----END RSA PRIVATE KEY-----", 17_000),
        ("eyJ", 350_000),
        ("eyJhbGciOiJIUzI1NiJ9.", 50_000),
        ("password=", 110_000),
        ("password = '", 80_000),
        ("://a:", 200_000),
        ("://", 330_000),
        ("1", 1_000_000),
        ("1.", 500_000),
        ("1 ", 500_000),
        ("4111 ", 200_000),
        ("@", 1_000_000),
        ("a", 1_000_000),
        ("a.", 500_000),
        ("@a.", 330_000),
        ("AA00", 250_000),
        ("2001:", 200_000),
        (":", 1_000_000),
        ("AKIA", 250_000),
        ("Private-Lines: 9\n", 60_000),
        ("aaaa\n", 200_000),
        ("<email>", 140_000),
        ("Bearer ", 140_000),
        ("\u00e9\u0661", 250_000),
    ],
)
def test_a_megabyte_made_to_be_slow_comes_to_an_end(piece, number):
    text = piece * number
    once, _ = scrub(text, ALL)
    assert len(once) <= 2 * len(text)
    assert once == text or scrub(once, ALL)[0] == once


def test_each_pass_over_a_text_made_of_neighbours_masks_all_that_can_be_seen(monkeypatch):
    monkeypatch.setattr("clet.sources.text.scrub.MAX_PASSES", 4)
    for pieces in ("+493012345678", "(212) 555-2345", "joe@uni-koeln.de", "93.184.216.34", crc_base62("x")):
        for joint in ("", " ", ".", "-", ",", ":", "/"):
            once, _ = scrub(joint.join([pieces] * 50), ALL)
            assert scrub(once, ALL)[0] == once
    assert MAX_PASSES > 4
