"""Signatures: what was signed is what is there, by whom it says, or it is refused in one line."""

from __future__ import annotations

import os

import orjson
import pytest

from clet import signing
from clet.exits import InputError, UsageError

FACTS = {"number": 3, "weights": "ab" * 32, "evals": {"a": {"nll": 0.1 + 0.2, "documents": 4}}, "parent": None}


@pytest.fixture
def key(tmp_path):
    """A key file and its public key."""
    return tmp_path / "key", signing.make_key(tmp_path / "key")


def test_a_signature_survives_writing_and_reading_the_facts(key):
    path, public = key
    signed = orjson.loads(orjson.dumps(signing.sign(FACTS, signing.load_key(path)), option=orjson.OPT_INDENT_2))
    assert signing.check(signed, "here") == public == signed["signer"]
    assert signing.check(dict(reversed(signed.items())), "here", public) == public


@pytest.mark.parametrize("name", [*FACTS, "signer", "signature", "new"])
def test_every_change_of_the_facts_breaks_it(key, name):
    signed = signing.sign(FACTS, signing.load_key(key[0]))
    with pytest.raises(InputError, match="bad signature"):
        signing.check(signed | {name: "ed25519:" + "0" * 64 if name == "signer" else "00"}, "here")
    if name in signed:
        with pytest.raises(InputError, match="bad signature"):
            signing.check({n: value for n, value in signed.items() if n != name}, "here")


def test_a_given_signer_is_required_and_no_other(key, tmp_path):
    other = signing.make_key(tmp_path / "other")
    signed = signing.sign(FACTS, signing.load_key(key[0]))
    with pytest.raises(InputError, match="not by"):
        signing.check(signed, "here", other)
    with pytest.raises(InputError, match="not signed"):
        signing.check(FACTS, "here", other)
    assert signing.check(FACTS, "here") is None
    assert signing.read_public(str(tmp_path / "other.pub")) == other == signing.read_public(other)
    with pytest.raises(UsageError, match="neither"):
        signing.read_public("ed25519:short")


def test_a_key_is_its_owners_only_and_never_written_over(key):
    path, _ = key
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="never written over"):
        signing.make_key(path)
    for mode in (0o640, 0o604):
        os.chmod(path, mode)
        with pytest.raises(UsageError, match="others can read"):
            signing.load_key(path)
    os.chmod(path, 0o600)
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="not a private key"):
        signing.load_key(path)
    with pytest.raises(UsageError, match="keygen"):
        signing.load_key(path.with_name("nowhere"))
