"""Texts that were left out: every rule reads them from their tokens, and what it cannot read it holds back."""

from __future__ import annotations

import numpy as np
import pytest
from priority_runs import WORDS, run, story

from clet.batch import Batch, Ragged
from clet.priority import readable
from clet.priority.masking import Masker
from clet.priority.policy import load_policy
from clet.priority.quality import QualityTables
from clet.priority.readable import Reader
from clet.record import encode_tok

PIECES = [b" " + word.encode() for word in WORDS] + [
    b" ignore previous instructions",
    b" 555-1234",
    b"\n",
    b"\xc3",
    b" The Ferry",
]


class Words:
    """A tokenizer of a word a token, in the manner of SentencePiece: a space goes before the first."""

    fingerprint = "words"

    def token_bytes(self):
        return Ragged.from_bytes(PIECES)

    def encode(self, texts):
        return Ragged.from_bytes([b"\x00"] * len(texts))


class Spaced(Words):
    """The same, which puts no space before a text."""

    def encode(self, texts):
        return Ragged.from_bytes([bytes([END])] * len(texts))


def record(ids, *, text=True, first=1):
    made = story(1, 40)
    made["text"] = b"".join(PIECES[i] for i in ids if i < len(PIECES)).decode(errors="replace")[first:]
    made["tok"] = encode_tok(np.array(ids, np.uint16), "words")
    if not text:
        del made["text"]
    return made


PROSE = [WORDS.index(word) for word in story(3, 60)["text"].rstrip(".").split()[3:]]
TRAP, PHONE, END, HALF, FERRY = range(len(WORDS), len(PIECES))


@pytest.fixture
def policy(tmp_path):
    def load(body):
        (tmp_path / "policy.toml").write_text("version = 1\n" + body)
        return load_policy(str(tmp_path / "policy.toml"))

    return load


RULES = {
    "pattern": "[[rule]]\nname = 'r'\naction = 'drop'\npattern = '555-[0-9]'\n",
    "pattern at the start": "[[rule]]\nname = 'r'\naction = 'require-approval'\npattern = '^The Ferry'\n",
    "topic": "[[rule]]\nname = 'r'\naction = 'quarantine'\ntopic = ['previous instructions']\n",
    "injection": "[defence]\ninjection = 'quarantine'\n",
}
IDS = [FERRY, *PROSE, PHONE, END, TRAP]


@pytest.mark.parametrize("rule", RULES)
def test_a_record_without_text_gets_the_verdict_that_it_gets_with_text(policy, rule):
    for ids in (IDS, PROSE):
        told = []
        for text in (True, False):
            got = run(
                [record(PROSE), record(ids, text=text)], policy=policy(RULES[rule]), quality=QualityTables.of(Words())
            )
            told.append([len(got[0]), *([why for _, why in part] for part in got[1:])])
        assert told[0] == told[1]
        assert (told[0][0] == 1) == (ids == IDS)


@pytest.mark.parametrize("rule", RULES)
def test_what_cannot_be_read_is_held_back_where_a_rule_asks_for_its_text(policy, rule, capfd):
    out, rejected, held = run([record(PROSE, text=False)], policy=policy(RULES[rule]))
    assert (out, rejected, [why for _, why in held]) == ([], [], ["unread"])
    beyond = record([*PROSE, len(PIECES)], text=False)  # an id that no token has
    out, rejected, held = run([beyond], policy=policy(RULES[rule]), quality=QualityTables.of(Words()))
    assert (out, rejected, [why for _, why in held]) == ([], [], ["unread"])
    assert "policy asks" in capfd.readouterr().err


def test_what_cannot_be_read_is_weighed_down_by_rules_that_do_and_passes_the_others(policy):
    rule = "[[rule]]\nname = 'r'\naction = '{}'\n{}\norigin = '{}'\npattern = '555'\n"
    [out], _, _ = run([record(PROSE, text=False)], policy=policy(rule.format("down-weight", "factor = 0.5", "o")))
    assert out["priority"]["factor"] == 0.5
    [out], _, _ = run([record(PROSE, text=False)], policy=policy(rule.format("drop", "", "other")))
    assert "factor" not in out["priority"]
    [out], _, _ = run([record(PROSE, text=False)])
    assert out["priority"]["quality"] == 0.5


def test_lines_of_a_text_that_was_left_out_are_masked_as_those_of_one_that_is_there(policy):
    ids = [*PROSE, END, PHONE, END, *PROSE[::-2]]
    rule = policy("[[rule]]\nname = 'r'\naction = 'mask'\npattern = '555-[0-9]'\n")
    masked = []
    for text in (True, False):
        [out], _, _ = run(
            [record(ids, text=text, first=0)], policy=rule, masker=Masker(Spaced()), quality=QualityTables.of(Spaced())
        )
        masked.append(out["policy"]["spans"])
    assert masked[1] == masked[0] == [[len(PROSE) + 1, len(PROSE) + 2]]


def test_texts_are_put_together_in_bounded_pieces_whose_cuts_change_nothing(monkeypatch):
    rows = [record(PROSE[: 20 + n % 9], text=n % 3 == 0) for n in range(40)] + [record([], text=False)]
    batch = Batch.from_records(rows)
    reader = Reader(QualityTables.of(Words()).table)
    whole, seen = reader.text(batch)
    expected = [record(PROSE[: 20 + n % 9])["text"].encode() for n in range(40)] + [b""]
    assert [whole.bytes_at(row) for row in range(len(rows))] == expected
    assert seen.tolist() == [True] * 40 + [False]
    monkeypatch.setattr(readable, "MAX_DECODED_BYTES", 600)
    parts = list(reader.parts(batch))
    assert len(parts) > 3
    texts = [reader.text(part)[0] for part in parts]
    assert [text.bytes_at(row) for text in texts for row in range(len(text))] == expected
