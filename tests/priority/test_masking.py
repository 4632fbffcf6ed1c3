"""Masking: the tokens of the lines with a match, all of them where tokens do not spell the text, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from priority_runs import run, story

from clet.batch import Ragged
from clet.exits import InputError
from clet.priority.masking import Masker
from clet.priority.policy import load_policy
from clet.record import encode_tok


class Letters:
    """A tokenizer of two bytes a token, which stand for themselves."""

    fingerprint = "fp"

    def token_bytes(self):
        return Ragged.from_bytes([b"xx"] * 300)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text('version = 1\n[[rule]]\nname = "phone"\naction = "mask"\npattern = \'\\d{3}-\\d{4}\'\n')
    return load_policy(str(path))


def with_text(text, tokens=None):
    ids = np.zeros(tokens or len(text.encode()) // 2, np.uint16)
    return story(1, 40) | {"text": text, "tok": encode_tok(ids, "fp")}


def spans(record, policy):
    out, _, _ = run([record], policy=policy, masker=Masker(Letters()))
    return out[0].get("policy", {}).get("spans")


def test_lines_with_a_match_are_masked_whole(policy):
    prose, other = story(1, 40)["text"], story(2, 40)["text"]
    prose += " " * (len(prose) % 2)
    text = f"{prose}.\ncall me at 555-1234 soon\n{other}\n555-9999\n"
    text += " " * (len(text) % 2)
    found = spans(with_text(text), policy)
    body = text.encode()
    covered = b"".join(body[2 * a : 2 * b] for a, b in found)
    assert b"555-1234 soon" in covered
    assert b"555-9999" in covered
    assert len(covered) <= len("call me at 555-1234 soon") + len("555-9999") + 8


def test_without_a_match_nothing_is_added(policy):
    assert spans(story(2, 60) | {"tok": encode_tok(np.zeros(9, np.uint16), "fp")}, policy) is None


def test_tokens_that_do_not_spell_the_text_are_all_masked(policy):
    text = story(1, 40)["text"] + " or 555-1234"
    assert spans(with_text(text, tokens=7), policy) == [[0, 7]]


def test_records_of_another_tokenizer_are_refused(policy):
    record = with_text(story(1, 40)["text"] + " or 555-1234")
    record["tok"]["fp"] = "other"
    with pytest.raises(InputError, match="tokenizer"):
        spans(record, policy)


def test_what_is_masked_passes_and_is_counted(policy):
    out, rejected, held = run(
        [with_text(story(1, 40)["text"] + " or 555-1234")], policy=policy, masker=Masker(Letters())
    )
    assert (len(out), rejected, held) == (1, [], [])
    assert out[0]["policy"]["rules"] == ["phone"]
    assert policy.applied == {"phone": 1}
