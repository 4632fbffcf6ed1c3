"""Notes spliced into heads are what orjson writes of the same record."""

from __future__ import annotations

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from clet.batch import Batch, Ragged
from clet.heads import Heads
from clet.notes import NONE, fixed, noted, whole, without, words

WORDS = ["plain", 'with "quotes"', "é"]
NOTES = st.fixed_dictionaries(
    {},
    optional={
        "score": st.integers(-(10**9), 10**9).map(lambda n: n / 10_000),
        "rank": st.integers(-(2**62), 2**62),
        "why": st.sampled_from(WORDS),
    },
)


def _batch(heads: list[dict]) -> Batch:
    size = len(heads)
    none = Ragged(np.zeros(0, np.uint8), np.zeros(size + 1, np.int64))
    return Batch(Ragged.from_bytes([orjson.dumps(head) for head in heads]), none, np.zeros(size, np.uint8), None, None)


@given(st.lists(st.tuples(NOTES, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_notes_are_what_orjson_writes_and_replace_what_was_there(drawn):
    notes = [{name: note[name] for name in ("score", "rank", "why") if name in note} for note, _, _ in drawn]
    heads = [{"id": str(i)} | ({"note": {"old": i}} if had else {}) for i, (_, had, _) in enumerate(drawn)]
    expected = [{"id": str(i)} | {"note": {"own": i} if own else notes[i]} for i, (_, _, own) in enumerate(drawn)]
    batch = _batch(heads)
    batch = without(batch, Heads.of(batch.head, ("note",)), "note")
    fields = [
        fixed("score", np.array([note.get("score", np.nan) for note in notes])),
        whole("rank", np.array([note.get("rank", NONE) for note in notes])),
        words("why", np.array([WORDS.index(note["why"]) if "why" in note else NONE for note in notes]), WORDS),
    ]
    own = Ragged.from_bytes([orjson.dumps({"own": i}) if own else b"" for i, (_, _, own) in enumerate(drawn)])
    made = noted(batch, "note", fields, own)
    assert [made.head.bytes_at(i) for i in range(len(made))] == [orjson.dumps(head) for head in expected]
    plain = noted(batch, "note", fields)
    assert [orjson.loads(plain.head.bytes_at(i))["note"] for i in range(len(plain))] == notes
