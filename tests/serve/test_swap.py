"""Swapping releases: nothing fails, nothing mixes, nothing broken is served."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clet.exits import InputError, UsageError
from clet.model.checkpoint import load_model, state_root
from clet.serve.source import Source


def swap_to(server, run, number: int) -> None:
    """Promote, and let the server look once the engine before has ended."""
    run.promote(number)
    if server.deck.draining is not None:
        assert server.deck.draining.join(30)
    assert server.deck.refresh()


@pytest.fixture
def texts(serve, run) -> dict[str, str]:
    """The greedy answer of each release by itself."""
    return {str(n): serve(run.path / "releases" / str(n), max_len=400).text(max_tokens=60) for n in (1, 2)}


def test_requests_get_the_release_that_the_link_names(serve, run, texts):
    server = serve(run.path, max_len=400)
    for number in (1, 2, 1):
        if number != 1 or server.deck.metrics.swaps:
            swap_to(server, run, number)
        response = server.post({"prompt": "the quick", "temperature": 0, "max_tokens": 60})
        assert response.headers["x-clet-release"] == str(number)
        assert response.json()["system_fingerprint"] == server.deck.current.served.mark
        assert response.json()["choices"][0]["text"] == texts[str(number)]
    assert texts["1"] != texts["2"]


def test_a_running_stream_ends_on_the_weights_it_began_with(serve, run, texts, monkeypatch):
    server = serve(run.path, max_len=400)
    model = server.deck.current.served.model
    hidden, may_go_on, left = model.hidden, threading.Event(), iter(range(5))

    def gated(*args, **named):
        if next(left, None) is None:
            assert may_go_on.wait(30)
        return hidden(*args, **named)

    monkeypatch.setattr(model, "hidden", gated)
    body = {"prompt": "the quick", "temperature": 0, "max_tokens": 60, "stream": True}
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        lines = (line for line in response.iter_lines() if line)
        chunks = [json.loads(next(lines).removeprefix("data: "))]
        swap_to(server, run, 2)  # in the middle of the stream
        assert server.text(max_tokens=60) == texts["2"]
        assert server.deck.draining is not None
        assert not server.deck.refresh()  # two engines are enough
        may_go_on.set()
        chunks += [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]
    assert response.headers["x-clet-release"] == "1"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == texts["1"]
    assert len({chunk["system_fingerprint"] for chunk in chunks}) == 1


def test_swaps_under_load_fail_nothing_and_mix_nothing(serve, run, texts):
    server = serve(run.path, max_len=400)
    enough, seen = threading.Event(), []

    def client(_: int) -> None:
        while not enough.is_set():
            response = server.post({"prompt": "the quick", "temperature": 0, "max_tokens": 30})
            assert response.status_code == 200
            seen.append((response.headers["x-clet-release"], response.json()["choices"][0]["text"]))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, i) for i in range(4)]
        try:
            for number in (2, 1, 2, 1):
                before = len(seen)
                swap_to(server, run, number)
                while len(seen) < before + 4:
                    assert not any(done.done() for done in clients)
        finally:
            enough.set()
        for done in clients:
            done.result()
    assert server.deck.metrics.swaps == 4
    assert {release for release, _ in seen} == {"1", "2"}
    assert all(text and texts[release].startswith(text) for release, text in seen)
    assert texts["1"][0] != texts["2"][0]


def truncate_weights(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])


def flip_a_bit(path: Path) -> None:
    weights = path / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1000] ^= 1
    weights.write_bytes(body)


def poison_weights(path: Path) -> None:
    """NaN in the last tensor, and a release.json that owns up to it: as if training had diverged."""
    weights = path / "model.safetensors"
    body = weights.read_bytes()
    weights.write_bytes(body[:-4096] + b"\xff\xff\xff\x7f" * 1024)
    facts = json.loads((path / "release.json").read_text())
    facts["weights"] = state_root(load_model(path))
    (path / "release.json").write_text(json.dumps(facts))


def other_tokenizer(path: Path) -> None:
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-1]
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    facts = json.loads((path / "release.json").read_text())
    facts.pop("tokenizer")
    (path / "release.json").write_text(json.dumps(facts))


def no_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").unlink()


def no_facts(path: Path) -> None:
    (path / "release.json").write_text("{")


def broken_template(path: Path) -> None:
    (path / "chat_template.jinja").write_text("{% if %}")


@pytest.mark.parametrize(
    "breakage",
    [truncate_weights, flip_a_bit, poison_weights, other_tokenizer, no_tokenizer, no_facts, broken_template],
)
def test_a_broken_release_is_refused_once_and_the_old_one_stays(serve, run, capfd, breakage):
    server = serve(run.path)
    text = server.text()
    path = run.release(3)
    run.promote(3)
    breakage(path)
    assert not server.deck.refresh() and not server.deck.refresh()
    lines = [line for line in capfd.readouterr().err.splitlines() if "not served" in line]
    assert len(lines) == 1 and "still serving 1" in lines[0]
    assert server.deck.metrics.refused_releases == 1
    assert server.text() == text
    swap_to(server, run, 2)
    assert server.text() != text


def test_a_repaired_release_is_tried_again(serve, run):
    server = serve(run.path)
    path = run.release(3)
    whole = (path / "config.json").read_bytes()
    (path / "config.json").write_bytes(whole[:20])
    run.promote(3)
    assert not server.deck.refresh()
    (path / "config.json").write_bytes(whole)
    assert server.deck.refresh()
    assert server.deck.current.served.release == "3"


def test_a_link_that_vanishes_changes_nothing(serve, run):
    server = serve(run.path)
    (run.path / "live").unlink()
    assert not server.deck.refresh()
    assert server.complete()


def test_the_watcher_follows_by_itself(serve, run):
    server = serve(run.path)
    server.deck.watch()
    run.promote(2)
    while server.deck.current.served.release != "2":
        assert server.complete()


def test_a_run_is_served_under_its_tier_and_its_name(serve, run):
    server = serve(run.path, tier="realtime")
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["realtime", "run"]
    assert server.deck.current.served.release == "2"
    assert server.complete(model="run")["model"] == "run"


def test_a_link_to_a_model_directory_is_followed(serve, model_dir, make_model, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(model_dir)
    server = serve(link)
    text = server.text()
    other = make_model(tmp_path / "other", seed=9)
    link.unlink()
    link.symlink_to(other)
    assert server.deck.refresh()
    assert server.text() != text


def test_what_cannot_be_served_is_refused_at_start(serve, run, model_dir, tmp_path, copied):
    with pytest.raises(UsageError, match="neither a run"):
        Source.find(str(tmp_path / "nothing"), None)
    with pytest.raises(UsageError, match="nothing is static"):
        Source.find(str(run.path), "static")
    with pytest.raises(UsageError, match="only a run has tiers"):
        Source.find(str(model_dir), "live")
    with pytest.raises(UsageError, match="--max-len 600"):
        serve(model_dir, max_len=600)
    truncate_weights(copied)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        serve(copied)
