"""Corrections: which notices name what, whom they count against, and that a rumour ranks below the correction of it."""

from __future__ import annotations

import numpy as np
import pytest
from priority_runs import run, story

from clet.batch import Batch
from clet.bench.corrections import COPIES, measure_corrections
from clet.heads import Heads
from clet.priority.assess import new_memory
from clet.priority.claims import (
    CLAIMS,
    KINDS,
    WORDS,
    believes,
    compare,
    fill_units,
    lookup_of,
    new_claims,
    note_claim,
)
from clet.priority.credibility import GOOD
from clet.priority.notices import MIN_TITLE, link_key, notice_in, title_key, title_keys
from clet.priority.novelty import pair_hash
from clet.priority.policy import Policy
from clet.priority.topics import KEYWORDS

WIRE = "https://wire.example/2026/03/the-mayor-resigns.html"
TITLE = "The mayor resigns over a bridge"


def test_a_notice_names_links_quoted_titles_and_the_title_behind_its_own_prefix():
    text = f'News.\n\nCorrection: the story "{TITLE}" ({WIRE}) named the wrong man.\n\nThe bridge is open.'
    found = notice_in(text.encode(), "Correction: Mayor to stay after all")
    notice = text.encode()[found.begin : found.end]
    assert notice.startswith(b"Correction")
    assert notice.endswith(b"wrong man.")
    assert found.links == (link_key(WIRE.encode()),)
    assert found.titles == (title_key(TITLE.encode()), title_key(b"mayor TO stay -- after all"))
    assert notice_in(b"Nothing was wrong with it.", TITLE) is None
    assert notice_in(b"Correction: a word was wrong.", "Correction: Rain").titles == ()
    assert len("Rain") < MIN_TITLE


def test_a_notice_may_stand_at_the_end():
    text = ("The bridge is open. " * 80 + "\nAn earlier version of this article named another bridge.").encode()
    found = notice_in(text, "")
    assert text[found.begin : found.end] == b"An earlier version of this article named another bridge."


def test_links_and_titles_are_known_as_the_records_have_them():
    batch = Batch.from_records([story(1) | {"url": WIRE, "title": f"\u201c{TITLE}!\u201d"}])
    heads = Heads.of(batch.head, ("url", "title"))
    assert int(heads.hashes("url")[0]) == link_key(WIRE.encode())
    assert int(title_keys(heads)[0]) == title_key(TITLE.upper().encode()) != 0


def corrected(records, **options):
    out, _, _ = run(records, **options)
    return {r["origin"] for r in out if "corrected" in r["priority"]}


def the_wire_and_others(notice: str, origin: str = "desk", **fields):
    first = story(1, origin="wire") | {"url": WIRE, "title": TITLE}
    other = story(2, origin="other") | {"url": WIRE.replace("mayor", "king"), "title": "Something else happened today"}
    later = story(3, origin=origin) | fields
    later["text"] = f"{notice}\n\n{later['text']}"
    return [first, other, later]


VOUCHED = Policy(vouched=("desk",))


def test_a_link_to_a_story_corrects_it():
    assert corrected(the_wire_and_others(f"Correction: what {WIRE} says is wrong."), policy=VOUCHED) == {"wire"}


def test_a_title_corrects_its_story():
    records = the_wire_and_others(f"Correction: the story \u201c{TITLE}\u201d is wrong.")
    assert corrected(records, policy=VOUCHED) == {"wire"}
    records = the_wire_and_others("Correction: there was an error.", title=f"Correction: {TITLE}")
    assert corrected(records, policy=VOUCHED) == {"wire"}


def test_a_new_version_under_the_same_address_corrects_the_old_one_and_not_those_after_it():
    records = the_wire_and_others("Correction: there was an error.", origin="wire", url=WIRE)
    newest = story(4, origin="wire2") | {"url": WIRE}
    out, _, _ = run([*records, newest])
    marked = [r["id"] for r in out if "corrected" in r["priority"]]
    assert marked == [records[0]["id"]]


def test_who_is_not_established_corrects_nobody_but_itself():
    stranger = the_wire_and_others(f"Correction: what {WIRE} says is wrong.", origin="stranger")
    assert corrected(stranger, policy=Policy(vouched=("wire",))) == set()
    assert corrected(stranger) == set()
    named = the_wire_and_others("Correction: wrong.", origin="stranger", dedup={"updates": "ab" * 16})
    named[0]["dedup"] = {"cluster": "ab" * 16}
    assert corrected(named) == set()
    named[2]["origin"] = "wire"
    assert corrected(named) == {"wire"}


def test_proven_origins_are_corrected_by_proven_ones():
    r = new_memory(8).reputation
    r.evidence[1, GOOD], r.evidence[2, GOOD] = 4.0, 20.0  # established, proven
    assert [believes(r, 1, other) for other in (0, 1, 2)] == [True, True, False]
    assert [believes(r, 2, other) for other in (0, 1, 2)] == [True, True, True]
    assert [believes(r, 0, other) for other in (0, 1, 2)] == [True, False, False]


def test_a_claim_has_what_the_notice_says_and_the_rest_does_not():
    ids = np.array([1, 2, 3, 4, 50, 51, 1, 2, 3, 9, 1, 2, 3], np.uint32)
    claims = new_claims()
    note_claim(claims, ids, 0, len(ids), 0, 6, np.zeros(KEYWORDS, np.uint64), 7, 100)
    assert (claims.by[0], claims.day[0], claims.made[0]) == (8, 100, 1)
    # 4, 50 and 51; 3-4, 4-50, 50-51; 2-3-4, 3-4-50, 4-50-51
    assert np.count_nonzero(claims.wrong[0]) == 9


@pytest.mark.parametrize("claims", [1, CLAIMS])
def test_what_documents_say_is_what_a_plain_search_says(claims):
    random = np.random.default_rng(claims)
    ids = np.minimum(random.zipf(1.3, 6000), 500).astype(np.uint16)
    ends = np.sort(random.choice(6000, 40, replace=False))
    begins = np.concatenate(([0], ends[:-1]))
    ends[7] = begins[8] = begins[7] + 1  # one of one token
    made = new_claims()
    for k in range(claims):
        about = np.zeros(KEYWORDS, np.uint64)
        about[2] = pair_hash(ids[k * 60 + 40], ids[k * 60 + 41])
        note_claim(made, ids, k * 60, k * 60 + 50, k * 60, k * 60 + 30, about, 1, 5)
    lookup, active = lookup_of(made, 5)
    wrong, event = np.zeros((50, CLAIMS, WORDS), np.uint64), np.zeros((50, CLAIMS), np.uint32)
    rows = random.permutation(50)[:40]
    compare(lookup, ids, begins, ends, rows, wrong, event)
    assert active == claims
    units = np.zeros((KINDS, 6000), np.uint64)
    for begin, end, row in zip(begins, ends, rows, strict=True):
        fill_units(ids[begin:end], units)
        has = np.isin(made.wrong, units[:, : end - begin]) & (made.wrong > 0)
        bits = np.unpackbits(wrong[row].view(np.uint8).reshape(CLAIMS, -1), axis=1, bitorder="little")
        assert (bits == has).all()
        asked = np.isin(made.event[:, 2] | np.uint64(1), units[:, : end - begin]) & (made.by > 0)
        assert (event[row] == asked * np.uint32(4)).all()
    assert wrong[rows].any() and event[rows].any()
    assert not np.delete(wrong, rows, axis=0).any()


def test_rumours_rank_below_their_correction_whichever_way_it_names_them():
    found = measure_corrections(None, seed=4, rounds=1)
    for row in found["rumours"]:
        if (row["way"], row["clusters"]) != (
            "link",
            COPIES,
        ):  # a link names one copy; the words say nothing of the others
            assert row["marked"] >= 0.9 * row["copies"], row
            assert row["below"] == row["rumours"], row
    honest = found["honest"]
    assert honest["wrong marked"] >= 0.95 * honest["wrong"]
    assert honest["right marked"] <= 0.005 * honest["right"]
