"""What the server lets count, what it remembers, and that refusals change nothing. Real HTTP over loopback."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace

import httpx
import numpy as np
import pytest

from clet.exits import InputError, TryLater, UsageError
from clet.sync.client import Client, Unreachable
from clet.sync.codec import decode, encode
from clet.sync.protocol import DeltaHeader, max_message_bytes
from clet.sync.server import Settings, SyncServer
from clet.sync.store import Store

from .conftest import IDENTITY, LAYOUT, Running, vector

TOKEN = "correct-horse-battery-staple"


class Sender:
    """A worker that says what a test wants said."""

    def __init__(self, running: Running, worker: str = "w", token: str | None = None) -> None:
        self.client = Client(running.url, token=token)
        self.worker = worker
        self.epoch = self.client.join(worker, IDENTITY)["epoch"]

    def send(self, sequence: int, base: int, delta: np.ndarray | bytes, tokens: int = 100, **changes: object):
        header = DeltaHeader(self.worker, self.epoch, sequence, base, tokens)
        message = delta if isinstance(delta, bytes) else encode(delta, "int8")
        return self.client.push(replace(header, **changes), message)


def weights(running: Running) -> np.ndarray:
    return Client(running.url).pull(LAYOUT.size)[1]


def test_an_accepted_delta_makes_a_version_and_moves_the_weights(serve):
    running = serve(lr=1.0, momentum=0.0)
    answer = Sender(running).send(1, 0, delta := vector(1, 0.01))
    assert (answer["status"], answer["version"], answer["staleness"]) == ("accepted", 1, 0)
    applied = decode(encode(delta, "int8"), LAYOUT.size)[0]
    np.testing.assert_array_equal(weights(running), vector(0) - applied)


def test_the_staleness_bound_is_kept_exactly(serve):
    running = serve(max_staleness=2)
    sender = Sender(running)
    for sequence in (1, 2, 3):
        assert sender.send(sequence, sequence - 1, vector(1, 0.01))["status"] == "accepted"
    before = weights(running)
    late = Sender(running, "late")
    refused = late.send(1, 0, vector(2, 0.01))
    assert (refused["status"], refused["version"]) == ("stale", 3) and "bound is 2" in refused["reason"]
    assert np.array_equal(weights(running), before)
    accepted = late.send(2, 1, vector(2, 0.01))
    assert (accepted["status"], accepted["staleness"], accepted["weight"]) == ("accepted", 2, 1 / 3)


def test_a_base_that_this_server_never_had_is_stale(serve):
    assert Sender(serve()).send(1, 5, vector(1, 0.01))["status"] == "stale"


def test_a_repeated_message_gets_the_recorded_answer_and_is_applied_once(serve):
    running = serve()
    sender = Sender(running)
    first = sender.send(1, 0, vector(1, 0.01))
    before = weights(running)
    assert sender.send(1, 0, vector(1, 0.01)) == first
    # Even with another body: the number was answered.
    assert sender.send(1, 0, vector(9, 0.01)) == first
    assert np.array_equal(weights(running), before)
    for sequence in range(2, 30):
        sender.send(sequence, sequence - 1, vector(1, 0.001))
    assert sender.send(1, 0, vector(1, 0.01))["status"] == "repeated"  # answer forgotten, still not applied
    assert running.server.version == 29


def test_an_older_incarnation_is_fenced_off(serve):
    running = serve()
    old = Sender(running)
    new = Sender(running)
    assert new.epoch == old.epoch + 1
    with pytest.raises(TryLater, match="newer incarnation"):
        old.send(1, 0, vector(1, 0.01))
    assert running.server.version == 0 and running.server.fenced == 1
    assert new.send(1, 0, vector(1, 0.01))["status"] == "accepted"


def test_a_worker_that_never_joined_is_told_to(serve):
    sender = Sender(serve())
    assert sender.send(1, 0, vector(1, 0.01), worker="stranger") is None
    assert sender.send(1, 0, vector(1, 0.01), epoch=7) is None


BAD = {
    "nan": encode(np.full(LAYOUT.size, np.nan, np.float32), "fp32"),
    "not frames": b"hello",
    "empty": b"",
    "wrong size": encode(np.zeros(LAYOUT.size + 256, np.float32), "int8"),
    "too small": encode(np.zeros(LAYOUT.size - 256, np.float32), "int8"),
    "infinite": encode(np.full(LAYOUT.size, np.inf, np.float32), "fp32"),
    "a million times too much": encode(vector(1, 1e6), "int8"),
    "over the limit": b"\0" * (max_message_bytes(LAYOUT.size) + 1),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_harmful_delta_is_refused_and_changes_nothing(serve, body):
    running = serve()
    before = weights(running)
    sender = Sender(running)
    assert sender.send(1, 0, body)["status"] == "refused"
    assert running.server.version == 0 and np.array_equal(weights(running), before)
    good = sender.send(2, 0, vector(1, 0.01))
    assert good["status"] == "accepted"


@pytest.mark.parametrize(
    "query",
    [
        {"worker": "../x"},
        {"worker": "a\nb"},
        {"epoch": "-1"},
        {"epoch": "1e3"},
        {"sequence": "0"},
        {"base": "9" * 17},
        {"tokens": str(1 << 41)},
        {"tokens": "0"},
    ],
    ids=str,
)
def test_malformed_queries_are_refused(serve, query):
    good = {"worker": "w", "epoch": "1", "sequence": "1", "base": "0", "tokens": "1"}
    assert httpx.post(f"{serve().url}/v1/delta", params=good | query, content=b"").status_code == 400


def test_unfinished_uploads_do_not_stall_others(serve):
    running = serve()
    host, port = running.url.removeprefix("http://").split(":")
    hanging = []
    for _ in range(8):
        sock = socket.create_connection((host, int(port)))
        sock.sendall(b"POST /v1/delta?worker=w&epoch=1&sequence=1&base=0&tokens=1 HTTP/1.1\r\nhost: x\r\n")
        sock.sendall(b"content-length: 1000\r\n\r\nhalf")
        hanging.append(sock)
    assert Sender(running).send(1, 0, vector(1, 0.01))["status"] == "accepted"
    for sock in hanging:
        sock.close()


def test_only_bearers_of_a_token_get_in_and_no_log_line_has_it(serve, capfd):
    running = serve(tokens=[TOKEN, "another-token-of-some-length"])
    for given in (None, "wrong-token-of-some-length", TOKEN[:-1]):
        with pytest.raises(UsageError, match="token"):
            Sender(running, token=given)
    for path in ("/v1/model", "/v1/status", "/metrics"):
        response = httpx.get(running.url + path, headers={"authorization": "Bearer wrong-token-of-some-length"})
        assert response.status_code == 401 and b"wrong-token" not in response.content
    assert Sender(running, token=TOKEN).send(1, 0, vector(1, 0.01))["status"] == "accepted"
    out, err = capfd.readouterr()
    assert "joined" in err and "wrong-token" not in out + err and TOKEN not in out + err


def test_another_model_is_refused_and_named(serve):
    client = Client(serve().url)
    for name in ("config", "tokenizer", "parameters"):
        with pytest.raises(UsageError, match=f"another {name} than the server's"):
            client.join("w", replace(IDENTITY, **{name: "0" * 32}))


def test_an_unchanged_model_is_not_sent_again(serve):
    running = serve()
    response = httpx.get(f"{running.url}/v1/model", params={"known": "0"})
    assert (response.status_code, response.content, response.headers["clet-version"]) == (304, b"", "0")
    assert httpx.get(f"{running.url}/v1/model", params={"known": "1"}).status_code == 200


def test_status_and_metrics_tell_what_happened(serve):
    running = serve(max_staleness=0)
    sender = Sender(running)
    sender.send(1, 0, vector(1, 0.01), tokens=70)
    sender.send(2, 0, vector(1, 0.01))
    sender.send(3, 1, b"junk")
    status = json.loads(httpx.get(f"{running.url}/v1/status").content)
    assert status["version"] == 1 and status["tokens"] == 70 and status["staleness"] == {"0": 1}
    assert status["outcomes"] == {"accepted": 1, "stale": 1} and status["malformed"] == 1
    assert status["workers"]["w"]["sequence"] == 2 and status["workers"]["w"]["refused"] == 1
    text = httpx.get(f"{running.url}/metrics").text
    assert 'clet_sync_deltas_total{outcome="accepted"} 1' in text and "clet_sync_version 1" in text


# ---- what is on disk


def reopened(tmp_path, **settings) -> SyncServer:
    store = Store.open(tmp_path / "state", IDENTITY)
    server = SyncServer(store, IDENTITY, Settings(**settings))
    try:
        server.start(LAYOUT.size, lambda: pytest.fail("started afresh"))
    finally:
        store.close()
    return server


@pytest.mark.parametrize("end", ["drop", "stop"])
@pytest.mark.parametrize("save_every", [1, 3, 100])
def test_a_restarted_server_has_the_same_bits_and_goes_on_as_if_nothing_was(serve, tmp_path, end, save_every):
    running = serve(save_every=save_every)
    senders = [Sender(running, name) for name in ("a", "b", "c")]
    for turn in range(1, 5):
        for number, sender in enumerate(senders):
            sender.send(turn, running.server.version - number % 2 * (turn > 1), vector(10 * turn + number, 0.02))
    senders[0].send(9, 0, vector(1))  # refused, which is remembered too
    version, before = running.server.published
    tables, momentum = running.server._tables, running.server._outer.momentum
    getattr(running, end)()
    again = reopened(tmp_path, lr=0.123, momentum=0.5)  # other settings do not change what was done
    assert again.published[0] == version == 12
    assert np.array_equal(again.published[1], before)
    assert np.array_equal(again._outer.momentum, momentum) and again._tables == tables


def test_a_cut_entry_was_never_acknowledged_and_is_cut_off(serve, tmp_path):
    running = serve()
    sender = Sender(running)
    sender.send(1, 0, vector(1, 0.01))
    running.drop()
    journal = tmp_path / "state" / "journal-0"
    whole = journal.read_bytes()
    for rest in (whole[:20], whole[:100], b"\0" * 5000):
        journal.write_bytes(whole + rest)
        assert reopened(tmp_path).version == 1
        assert journal.read_bytes() == whole


def test_an_entry_that_was_cut_at_any_length_leaves_the_one_before(serve, tmp_path):
    running = serve()
    sender = Sender(running)
    sender.send(1, 0, vector(1, 0.01))
    journal = tmp_path / "state" / "journal-0"
    before = journal.stat().st_size
    sender.send(2, 1, vector(2, 0.01))
    running.drop()
    whole = journal.read_bytes()
    for length in [*range(before, before + 40), *range(before + 40, len(whole), 97), len(whole) - 1]:
        journal.write_bytes(whole[:length])
        assert reopened(tmp_path).version == 1
    journal.write_bytes(whole)
    assert reopened(tmp_path).version == 2


def test_damage_to_what_was_acknowledged_is_refused(serve, tmp_path):
    running = serve(save_every=2)
    sender = Sender(running)
    for sequence in (1, 2, 3, 4, 5):
        sender.send(sequence, sequence - 1, vector(sequence, 0.01))
    running.server.check()
    running.drop()
    files = [path for path in (tmp_path / "state").iterdir() if path.name.startswith(("journal", "snapshot", "HEAD"))]
    for path in files:
        whole = path.read_bytes()
        if not whole:
            continue
        for at in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(InputError, match=r"damaged|differs|frame|malformed"):
                reopened(tmp_path)
        path.write_bytes(whole)
    reopened(tmp_path)


def test_a_crash_between_snapshot_and_head_loses_nothing(serve, tmp_path, monkeypatch):
    running = serve(save_every=3)
    monkeypatch.setattr(Store, "keep", lambda *_: None)  # HEAD never learns of the snapshot
    sender = Sender(running)
    for sequence in range(1, 8):
        sender.send(sequence, sequence - 1, vector(sequence, 0.01))
    before = running.server.published[1]
    running.drop()
    monkeypatch.undo()
    journals = sorted(path.name for path in (tmp_path / "state").glob("journal-*"))
    assert journals == ["journal-0", "journal-1", "journal-2"]
    again = reopened(tmp_path)
    assert again.version == 7 and np.array_equal(again.published[1], before)


def test_a_state_of_another_model_is_refused(serve, tmp_path):
    serve().stop()
    with pytest.raises(UsageError, match="another --state"):
        Store.open(tmp_path / "state", replace(IDENTITY, config="0" * 32))


def test_two_servers_cannot_share_a_state(serve, tmp_path):
    serve()
    with pytest.raises(TryLater, match="in use"):
        Store.open(tmp_path / "state", IDENTITY)


def test_a_failed_write_is_not_acknowledged_and_ends_the_server(serve, monkeypatch):
    running = serve()
    sender = Sender(running)
    stopped: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: stopped.append(number))
    running.store._journal.close()
    running.store._journal = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - the store closes it
    with pytest.raises(Unreachable):
        sender.send(1, 0, vector(1, 0.01))
    with pytest.raises(Unreachable):
        sender.send(1, 0, vector(1, 0.01))
    assert len(stopped) == 1 and "No space" in str(running.app.failure) and running.server.version == 0
