"""From a release back to its documents; every tampering is found."""

from __future__ import annotations

import hashlib

import orjson
import pytest
from tiny_run import step_lines, story

from clet.container import seal_line
from clet.exits import InputError, NothingToDo, UsageError
from clet.release import find_release, link_history
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
    assert "release.json: is not what was released" in message


def test_a_window_denied_in_the_steps_is_found(run):
    path = run / "steps.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    del lines[2]["windows"][0][1][0]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    with pytest.raises(InputError, match=r"steps\.jsonl: damaged since it was written"):
        verify(run, find_release(run, 2))


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


def forged(run, which, changes):
    """A release.json that was changed by somebody who changed the journal, too."""
    path = run / "releases" / str(which) / "release.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))
    entries = link_history(run)
    for entry in entries:
        if (entry["link"], entry["release"]) == ("made", which):
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (run / "links.jsonl").write_bytes(b"".join(seal_line(orjson.dumps(entry)) + b"\n" for entry in entries))
    return verify(run, find_release(run, which))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 3), ("tokens", 5), ("documents", 1), ("watermark", "2026-12-31T00:00:00Z"), ("watermark", None),
        ("seed", 2), ("base", "0" * 64), ("tokenizer", "0" * 16), ("weights", "0" * 64), ("lineage_root", "0" * 64),
        ("adapter", "0" * 64),
        ("shards", []), ("parent", 2), ("parent", "1"),
    ],
)  # fmt: skip
def test_every_claim_is_computed_again(run, name, value):
    (wrong,) = forged(run, 2, {name: value})
    assert name in wrong and "release.json: " in wrong


def test_a_shard_by_another_name_is_found(run):
    facts = find_release(run, 2).facts
    shards = [dict(entry) for entry in facts["shards"]]
    shards[1]["lane"] = "other"
    (wrong,) = forged(run, 2, {"shards": shards})
    assert "'lane': 'other'" in wrong and "recomputed" in wrong


def test_what_cannot_be_computed_again_is_as_it_was_noted(run):
    path = run / "releases" / "1" / "release.json"
    body = path.read_bytes()
    facts = orjson.loads(body)
    for name, value in {"settings": {}, "evals": {"x": {}}, "verdict": {"passed": True}, "created": "never"}.items():
        path.write_bytes(orjson.dumps(facts | {name: value}))
        assert verify(run, find_release(run, 1)) == [f"{path}: is not what was released"]
    path.write_bytes(body)
    assert verify(run, find_release(run, 1)) == []
    (run / "links.jsonl").unlink()
    assert verify(run, find_release(run, 1)) == [f"{path}: was not noted in links.jsonl when it was released"]


def test_a_release_that_a_killed_trainer_did_not_note_is_noted_by_the_next(run, learn, stories):
    lines = (run / "links.jsonl").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if orjson.loads(line)["link"] == "made" and b'"release":2' in line)
    (run / "links.jsonl").write_bytes(b"".join(lines[:at]))
    assert verify(run, find_release(run, 2))
    with pytest.raises(NothingToDo):
        learn(stories, run=run)
    assert verify(run, find_release(run, 2)) == []


def test_a_shard_that_was_removed_is_verified_by_the_table_that_the_run_kept(run, stories, capfd):
    name = find_release(run, 1).facts["shards"][0]["name"]
    (shard,) = stories.glob(f"main/{name}.clet")
    body = shard.read_bytes()
    shard.unlink()
    for number in (1, 2):
        assert verify(run, find_release(run, number)) == []
    assert capfd.readouterr().err.count("was removed") == 2
    assert "documents" in forged(run, 1, {"documents": 3})[0]  # it is still computed
    shard.write_bytes(body[:-8])
    assert verify(run, find_release(run, 2))


def test_lines_behind_the_step_of_a_release_are_not_its_own(run):
    with open(run / "steps.jsonl", "ab") as file:
        file.write(b'{"step":49,"tok')
    assert verify(run, find_release(run, 2)) == []


def test_shards_that_lie_elsewhere_now_are_found_there(run, learn, stories, tmp_path):
    stories.rename(tmp_path / "moved")
    with pytest.raises(NothingToDo):
        learn(tmp_path / "moved", run=run)
    assert verify(run, find_release(run, 2)) == []
