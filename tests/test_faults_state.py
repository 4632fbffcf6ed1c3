"""A state and a named output struck at a random system call: the old one or the new one, never half of one."""

import numpy as np
import orjson
import pytest
from faults import parts, places, strike

from clet.batch import Batch
from clet.exits import CletError, ExitCode, WriteError
from clet.record import make_record
from clet.state import State
from clet.streams import RecordWriter, read_batches

pytestmark = pytest.mark.faults


def turn(path, numbers):
    """A run that commits once for each number: values, one journal that grows and one that is dropped and anew."""
    with State.open(path, "dedup", {"k": 1}) as state:
        for number in numbers:
            state.values["n"] = number
            state.append("grows", {"x": np.arange(number + 1)})
            state.drop(f"changes-{number - 1}")
            state.append(f"changes-{number}", {"y": np.full(3, number)})
            state.commit()


def told(path, numbers):
    """The same as a command: what it cannot write it says in one line."""
    import sys

    try:
        turn(path, numbers)
    except CletError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.status)
    return 0


def contents(path):
    with State.open(path, "dedup", {"k": 1}) as state:
        names = ("grows", f"changes-{state.values['n']}")
        journals = {name: [a.tolist() for frame in state.journal(name) for a in frame.values()] for name in names}
        return {"values": dict(state.values), **journals}


def copy(tmp_path, name):
    path = tmp_path / name
    turn(path, [0])
    return path


@pytest.mark.parametrize("seeds", parts(), ids=str)
def test_a_commit_that_is_struck_leaves_one_of_the_states(tmp_path, seeds):
    states = []
    for upto in range(4):
        path = copy(tmp_path, f"calm{upto}")
        turn(path, list(range(1, upto)) if upto else [])
        states.append(contents(path))
    del states[1]  # no commit but the first: the same as before
    calls = strike(lambda: told(copy(tmp_path, "count"), [1, 2])).calls
    assert calls > 15
    for seed, at, how in places(calls, seeds, "state"):
        path = copy(tmp_path, str(seed))
        outcome = strike(lambda path=path: told(path, [1, 2]), at, how)
        found = contents(path)
        assert found in states, (seed, at, how, outcome)
        if outcome.status == ExitCode.OK:
            assert found == states[-1], (seed, outcome)
        elif outcome.status > 0:
            assert outcome.said.count("\n") == 1, (seed, at, how, outcome)
        turn(path, [9])  # goes on from there
        assert contents(path)["values"] == {"n": 9}


def write(path, batches):
    import sys

    writer = RecordWriter(str(path))
    try:
        for batch in batches:
            writer.write(batch)
        writer.close()
    except WriteError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.status)
    finally:
        writer.abort()
    return 0


@pytest.mark.parametrize("name", ["out.clet", "out.jsonl.zst", "out.jsonl"])
def test_a_named_output_that_is_struck_is_there_as_it_was_or_as_it_will_be(tmp_path, name):
    records = [make_record(source="s", origin="o", text=f"text {n} " * 99, fetched=None) for n in range(40)]
    batches = [Batch.from_records(records[:20]), Batch.from_records(records[20:])]
    path = tmp_path / name
    write(path, batches[:1])
    old = path.read_bytes()
    calls = strike(lambda: write(path, batches)).calls
    new = path.read_bytes()
    assert old != new and calls >= 5
    for seed, at, how in places(calls, parts(4)[0], f"output/{name}"):
        path.write_bytes(old)
        outcome = strike(lambda: write(path, batches), at, how)
        assert path.read_bytes() in (old, new), (seed, at, how, outcome)
        if outcome.status == ExitCode.OK:
            assert path.read_bytes() == new, (seed, at, how, outcome)
        elif outcome.status > 0:
            assert outcome.status == ExitCode.WRITE_FAILED and outcome.said.count("\n") == 1, (seed, at, how, outcome)
            assert [file.name for file in tmp_path.iterdir() if ".tmp-" in file.name] == []
        for left in tmp_path.glob("*.tmp-*"):
            left.unlink()
    assert sum(map(len, read_batches([str(path)]))) in (20, 40)


def test_what_is_struck_is_what_was_asked_for(tmp_path):
    """The harness itself: calls are counted, one of them is struck, threads included."""
    import os
    import threading

    def work():
        def touch():
            with open(tmp_path / "thread", "wb", buffering=0) as file:
                file.write(b"12345678")

        thread = threading.Thread(target=touch)
        thread.start()
        thread.join()
        os.mkdir(tmp_path / "last")
        return 7

    calm = strike(work)
    assert (calm.status, calm.calls, calm.struck) == (7, 4, None)  # openat, write, close, mkdir
    os.rmdir(tmp_path / "last")
    torn = strike(work, 2, "tear")
    assert (torn.status, torn.struck) == (-9, "write")
    assert (tmp_path / "thread").read_bytes() == b"1234"
    killed = strike(work, 4)
    assert (killed.status, killed.struck) == (-9, "mkdir") and not (tmp_path / "last").exists()
    failed = strike(work, 4, 28)
    assert failed.status == 1 and "No space left on device" in failed.said and failed.struck == "mkdir"
    assert strike(lambda: threading.Event().wait(30), after_s=0.05).status == -9
    assert orjson.dumps(list(calm))
