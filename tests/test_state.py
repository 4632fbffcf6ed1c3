"""State: the old one or the new one, never half of one, never somebody else's."""

import os
import subprocess
import sys

import numpy as np
import pytest

from clet.exits import InputError, TryLater, UsageError, WriteError
from clet.state import State, write_atomically


def contents(path):
    with State.open(path, "dedup", {"k": 1}) as state:
        return dict(state.values), [a["x"].tolist() for a in state.journal("j")]


def commit(path, number):
    with State.open(path, "dedup", {"k": 1}) as state:
        state.values["n"] = number
        state.append("j", {"x": np.asarray([number])})
        state.commit()


def test_committed_is_there_and_uncommitted_is_not(tmp_path):
    commit(tmp_path, 1)
    commit(tmp_path, 2)
    with State.open(tmp_path, "dedup", {"k": 1}) as state:
        state.values["n"] = 3
        state.append("j", {"x": np.asarray([3])})
    assert contents(tmp_path) == ({"n": 2}, [[1], [2]])


def test_what_a_crash_left_behind_the_committed_length_is_cut_off(tmp_path):
    commit(tmp_path, 1)
    with open(tmp_path / "j.journal", "ab") as file:
        file.write(b"half a frame")
    assert contents(tmp_path) == ({"n": 1}, [[1]])
    commit(tmp_path, 2)
    assert contents(tmp_path) == ({"n": 2}, [[1], [2]])


KILLED = """
import os, signal, sys
import numpy as np
from clet import state as module
from clet.state import State
calls = {"left": int(sys.argv[2])}
def dying(real):
    def call(*args, **kwargs):
        calls["left"] -= 1
        if calls["left"] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
os.fsync, os.replace = dying(os.fsync), dying(os.replace)
with State.open(sys.argv[1], "dedup", {"k": 1}) as state:
    state.values["n"] = 2
    state.append("j", {"x": np.asarray([2])})
    state.commit()
"""


def test_killed_at_any_system_call_of_a_commit_gives_old_or_new(tmp_path):
    seen = set()
    for calls in range(5):
        path = tmp_path / str(calls)
        commit(path, 1)
        subprocess.run([sys.executable, "-c", KILLED, path, str(calls)], check=False)
        values, rows = contents(path)
        assert (values, rows) in [({"n": 1}, [[1]]), ({"n": 2}, [[1], [2]])]
        seen.add(values["n"])
    assert seen == {1, 2}


def test_second_opener_is_told_to_try_later(tmp_path):
    with State.open(tmp_path, "dedup"):
        with pytest.raises(TryLater, match="in use"):
            State.open(tmp_path, "dedup")
    State.open(tmp_path, "dedup").close()


def test_other_command_or_parameters_are_refused(tmp_path):
    commit(tmp_path, 1)
    with pytest.raises(UsageError, match="belongs to clet dedup"):
        State.open(tmp_path, "ingest", {"k": 1})
    with pytest.raises(UsageError, match=r"k 1 \(now 2\)"):
        State.open(tmp_path, "dedup", {"k": 2})


def test_damage_is_found(tmp_path):
    commit(tmp_path, 1)
    for name in ("HEAD", "j.journal"):
        body = (tmp_path / name).read_bytes()
        for place in range(0, len(body), 5):
            damaged = bytearray(body)
            damaged[place] ^= 4
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises((InputError, UsageError)):
                contents(tmp_path)
        (tmp_path / name).write_bytes(body)
    (tmp_path / "j.journal").unlink()
    with pytest.raises(InputError, match="missing"):
        contents(tmp_path)


def test_write_atomically_leaves_no_temporary_file(tmp_path):
    write_atomically(tmp_path / "x", b"1")
    write_atomically(tmp_path / "x", b"2")
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"2"


def test_a_head_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "HEAD").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        State.open(tmp_path, "dedup")


def test_a_commit_that_fails_gives_back_its_room(tmp_path, monkeypatch):
    commit(tmp_path, 1)
    before = (tmp_path / "j.journal").read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    with State.open(tmp_path, "dedup", {"k": 1}) as state:
        state.append("j", {"x": np.arange(9)})
        with monkeypatch.context() as patch, pytest.raises(WriteError, match="No space left"):
            patch.setattr(os, "fsync", full)
            state.commit()
    assert (tmp_path / "j.journal").read_bytes() == before
    assert contents(tmp_path)[0]


def test_a_journal_that_is_dropped_is_not_begun_anew_by_the_same_commit(tmp_path):
    """A crash between the two would have lost the old one."""
    commit(tmp_path, 1)
    with State.open(tmp_path, "dedup", {"k": 1}) as state:
        state.drop("j")
        with pytest.raises(ValueError, match="j is dropped by this commit"):
            state.append("j", {"x": np.arange(9)})
        state.append("k", {"x": np.arange(9)})
        state.commit()
    assert contents(tmp_path) == ({"n": 1}, [])
