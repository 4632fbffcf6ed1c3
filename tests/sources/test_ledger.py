"""The ledger of sources: the last word of each source counts, a commit costs what changed, a journal does not grow."""

import os

import orjson
import pytest

from clet.exits import InputError
from clet.sources.ledger import SLACK_BYTES, Ledger
from clet.sources.schedule import Standing
from clet.state import State


def reopened(path):
    with State.open(path, "ingest", {}) as state:
        return Ledger(state)


def test_what_was_committed_is_there_again_and_nothing_else(tmp_path):
    with State.open(tmp_path, "ingest", {}) as state:
        ledger = Ledger(state)
        ledger.put_cursor("a", b'{"n":1}')
        ledger.put_standing("a", Standing(documents=3))
        ledger.commit()
        ledger.put_cursor("a", b'{"n":2}')
        ledger.put_cursor("b", b'{"n":9}')
        ledger.commit()
        ledger.put_cursor("a", b'{"n":3}')
    ledger = reopened(tmp_path)
    assert (ledger.cursor("a"), ledger.cursor("b"), ledger.cursor("c")) == ({"n": 2}, {"n": 9}, {})
    assert ledger.standing("a").documents == 3
    assert list(ledger) == ["a", "b"]


def test_a_cursor_is_a_copy(tmp_path):
    ledger = Ledger(None)
    ledger.put_cursor("a", b'{"list":[]}')
    ledger.cursor("a")["list"].append(1)
    assert ledger.cursor("a") == {"list": []}


def test_a_cursor_that_did_not_change_is_not_written_again(tmp_path):
    with State.open(tmp_path, "ingest", {}) as state:
        ledger = Ledger(state)
        ledger.put_cursor("a", orjson.dumps({"seen": ["x" * 20] * 1000}))
        ledger.commit()
        size = os.path.getsize(tmp_path / "sources-0.journal")
        for _ in range(5):
            ledger.put_cursor("a", orjson.dumps(ledger.cursor("a")))
            ledger.put_standing("a", Standing(documents=1))
            ledger.commit()
        assert os.path.getsize(tmp_path / "sources-0.journal") < size + 5 * 1000


def test_a_journal_that_repeats_itself_is_written_anew_and_loses_nothing(tmp_path):
    with State.open(tmp_path, "ingest", {}) as state:
        ledger = Ledger(state)
        ledger.put_cursor("still", b'{"kept":true}')
        ledger.put_standing("still", Standing(documents=7))
        for number in range(12):
            ledger.put_cursor("busy", orjson.dumps({"n": number, "fill": os.urandom(SLACK_BYTES // 8).hex()}))
            ledger.commit()
        journals = list(tmp_path.glob("*.journal"))
        assert len(journals) == 1 and journals[0].name != "sources-0.journal"
        assert journals[0].stat().st_size < 8 * SLACK_BYTES
    ledger = reopened(tmp_path)
    assert ledger.cursor("busy")["n"] == 11
    assert ledger.cursor("still") == {"kept": True}
    assert ledger.standing("still").documents == 7


def test_what_comes_before_a_commit_comes_before_it(tmp_path):
    order = []
    with State.open(tmp_path, "ingest", {}) as state:
        ledger = Ledger(state, lambda: order.append((tmp_path / "HEAD").exists()))
        ledger.commit()
    assert order == [False]


def test_damage_is_refused(tmp_path):
    with State.open(tmp_path, "ingest", {}) as state:
        import numpy as np

        state.append("sources-0", {"entries": np.frombuffer(b'{"cursor":{}}', np.uint8)})
        state.commit()
    with pytest.raises(InputError, match="damaged"):
        reopened(tmp_path)
