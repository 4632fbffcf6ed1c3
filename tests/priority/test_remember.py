"""What is known, over restarts: going on is the same as never having stopped, and damage is said."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
import xxhash
from priority_runs import run, story

from clet.exits import InputError
from clet.priority import remember
from clet.priority.order import Knowledge
from clet.priority.poison_budget import Limits
from clet.priority.policy import Policy
from clet.priority.recency import Clock
from clet.state import State

POLICY = Policy(limits=Limits(50, 0, 5, 12, 0.5, 2, 10), topic_share=0.5, bursts=True)


def records(begin, end):
    """Origins appear in another order than that of their names, in which HEAD has them."""
    return [story(i, 30 + i % 50, origin=f"o{3 - i % 4}") for i in range(begin, end)]


def test_runs_over_a_state_are_one_long_run(tmp_path):
    known, clock, whole = Knowledge(), Clock(), []
    for part in (records(0, 30), records(30, 60)):
        whole.append(run(part, knowledge=known, clock=clock, policy=POLICY))
        remember.turn(known, 5)
    kept = []
    for number, part in enumerate((records(0, 30), records(30, 60))):
        with State.open(tmp_path / "s", "prioritize", remember.PARAMS) as state:
            loaded = remember.load(state)
            remember.pass_gate(loaded, state, "run", number, 5)
            kept.append(run(part, knowledge=loaded, clock=Clock(), policy=POLICY))
            remember.save(loaded, state)
            state.commit()
    assert kept == whole
    with State.open(tmp_path / "s", "prioritize", remember.PARAMS) as state:
        loaded = remember.load(state)
    remember.turn(loaded, 5)
    for name, array in remember._arrays(known).items():
        assert np.array_equal(array, remember._arrays(loaded)[name]), name
    assert remember.origins_json(known) == remember.origins_json(loaded)
    assert len(list((tmp_path / "s").glob("*.journal"))) == 1


def test_only_what_is_above_all_before_is_a_gate_and_the_first_number_is_none(tmp_path):
    with State.open(tmp_path / "s", "prioritize", remember.PARAMS) as state:
        known = remember.load(state)
        passed = [remember.pass_gate(known, state, "run", gate, 0) for gate in (4, 4, 5, 4, 5, 0, 7)]
        assert passed == [False, False, True, False, False, False, True]
        assert not remember.pass_gate(known, state, "other", 9, 0)
        assert remember.gates_of(state) == {"run": 7, "other": 9}


@pytest.mark.parametrize(("field", "value", "said"), [("for", "much", "o1"), ("number", 0, "numbers of origins")])
def test_damaged_evidence_is_one_line(tmp_path, field, value, said):
    with State.open(tmp_path / "s", "prioritize", remember.PARAMS) as state:
        known = remember.load(state)
        run(records(0, 3), knowledge=known)
        remember.save(known, state)
        state.commit()
    head = tmp_path / "s" / "HEAD"
    body = orjson.loads(head.read_bytes().splitlines()[0])
    body["values"]["origins"]["o1"][field] = value
    text = orjson.dumps(body)
    head.write_bytes(text + b"\n" + xxhash.xxh3_64_hexdigest(text).encode() + b"\n")
    with State.open(tmp_path / "s", "prioritize", remember.PARAMS) as state, pytest.raises(InputError, match=said):
        remember.load(state)
