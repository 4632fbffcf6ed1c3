"""From a release back to its documents; every tampering is found."""

from __future__ import annotations

import orjson
import pytest
from tiny_run import step_lines, story

from clet.exits import UsageError
from clet.release import find_release
from clet.train.provenance import documents_behind, find_audited, verify


@pytest.fixture
def run(learn, stories, make_shards, tmp_path):
    """A run of two segments and two releases, with replay."""
    learn(stories, run=tmp_path / "run")
    make_shards(stories, [story(i) for i in range(100, 112)], day=2)
    learn(stories, run=tmp_path / "run", replay=0.3)
    return tmp_path / "run"


def test_every_document_is_found_with_the_steps_that_learned_it(run):
    lines = {line["step"]: line for line in step_lines(run)}
    found = list(documents_behind(run, find_release(run, "realtime")))
    assert len({document["id"] for document in found}) == len(found) == 36
    for document in found:
        (where,) = document["learned"]
        for step in where["steps"]:
            windows = [
                index
                for kind in ("windows", "replay")
                for root, indices in lines[step][kind]
                if where["root"].startswith(root)
                for index in indices
            ]
            assert set(windows) & set(where["windows"])
        assert document["url"].startswith("http://t/") and document["times"] >= len(where["windows"])
    assert any(document["replayed"] for document in found)


def test_an_earlier_release_knows_nothing_of_what_came_later(run):
    first = list(documents_behind(run, find_release(run, 1)))
    assert len(first) == 24
    assert {document["published"] for document in first} == {"2026-03-01T00:00:00Z"}
    assert not any(document["replayed"] for document in first)


def test_a_release_is_audited_by_its_directory_and_a_bare_model_is_refused(run, model_dir):
    assert find_audited(str(run / "live"), "live")[1].number == 1
    with pytest.raises(UsageError, match=r"no release\.json"):
        find_audited(str(model_dir), "live")


def test_an_honest_release_verifies(run):
    assert verify(run, find_release(run, 1)) == []
    assert verify(run, find_release(run, 2)) == []


def test_a_tampered_lineage_root_is_found(run):
    path = run / "releases" / "2" / "release.json"
    facts = orjson.loads(path.read_bytes())
    facts["lineage_root"] = "0" * 64
    path.write_bytes(orjson.dumps(facts))
    (message,) = verify(run, find_release(run, 2))
    assert "lineage root" in message


def test_a_window_denied_in_the_steps_is_found(run):
    path = run / "steps.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    del lines[2]["windows"][0][1][0]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    assert any("windows learned" in message for message in verify(run, find_release(run, 2)))


def test_a_tampered_shard_is_found(run, stories):
    shard = sorted(stories.glob("main/*.clet"))[0]
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)
    assert any("checksum" in message for message in verify(run, find_release(run, 2)))


def test_tampered_weights_are_found(run):
    path = run / "releases" / "2" / "model.safetensors"
    body = bytearray(path.read_bytes())
    body[-2] ^= 1
    path.write_bytes(body)
    (message,) = verify(run, find_release(run, 2))
    assert "weights" in message


def test_documents_of_shards_that_are_gone_are_still_named(run, stories, capfd):
    for shard in stories.glob("main/*.clet"):
        shard.unlink()
    assert len(list(documents_behind(run, find_release(run, 2)))) == 36
    assert "their windows are not" in capfd.readouterr().err
