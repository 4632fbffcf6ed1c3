"""Two slots: whatever is cut or damaged, a whole state is found or the damage is named."""

from __future__ import annotations

import pytest
import torch

from clet.exits import InputError, WriteError
from clet.train import savepoint


def values(number: int):
    return {"number": number, "position": {"step": number}}


def state(number: int):
    return values(number), {"weights": {"w": torch.full((7,), float(number))}, "empty": {}}


def test_the_newest_state_is_loaded_with_its_values_and_tensors(tmp_path):
    assert savepoint.load(tmp_path / "state") is None
    for number in (1, 2, 3):
        savepoint.save(tmp_path / "state", *state(number))
        got = savepoint.load(tmp_path / "state")
        assert got.values == values(number)
        assert got.tensors["weights"]["w"].tolist() == [float(number)] * 7
        assert got.tensors["empty"] == {}
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["a", "b"]


def test_a_step_that_is_saved_twice_leaves_the_state_of_a_step_before(tmp_path):
    for number in (1, 2, 3, 3, 3):
        savepoint.save(tmp_path, *state(number))
    assert [step for step, _ in savepoint.list_states(tmp_path)] == [3, 3, 2]


def test_tensors_that_were_loaded_survive_the_next_saves(tmp_path):
    savepoint.save(tmp_path, *state(1))
    got = savepoint.load(tmp_path)
    savepoint.save(tmp_path, *state(2))
    savepoint.save(tmp_path, *state(3))
    assert got.tensors["weights"]["w"].tolist() == [1.0] * 7


@pytest.mark.parametrize("file", ["weights.safetensors", "state.json"])
def test_every_damaged_byte_of_the_newest_slot_leads_to_the_one_before(tmp_path, file):
    savepoint.save(tmp_path, *state(1))
    path = savepoint.save(tmp_path, *state(2)) / file
    body = path.read_bytes()
    for at in range(0, len(body), 13):
        path.write_bytes(body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :])
        assert savepoint.load(tmp_path).values == values(1)
    path.unlink()
    assert savepoint.load(tmp_path).values == values(1)


def test_a_save_that_was_cut_anywhere_leaves_the_state_before(tmp_path, monkeypatch):
    savepoint.save(tmp_path, *state(1))
    savepoint.save(tmp_path, *state(2))
    monkeypatch.setattr(savepoint, "write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        savepoint.save(tmp_path, *state(3))
    assert savepoint.load(tmp_path).values == values(2)


def test_where_no_slot_is_whole_the_damage_is_named(tmp_path):
    slot = savepoint.save(tmp_path, *state(1))
    (slot / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="checksum differs"):
        savepoint.load(tmp_path)


def test_a_full_disk_leaves_the_states_before(tmp_path, monkeypatch):
    savepoint.save(tmp_path, *state(1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(savepoint, "save_file", full)
    with pytest.raises(WriteError, match="No space left"):
        savepoint.save(tmp_path, *state(2))
    assert savepoint.load(tmp_path).values == values(1)
