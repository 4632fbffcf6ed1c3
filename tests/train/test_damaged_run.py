"""A run directory that was damaged is refused in one line, or taken up from what is whole: never begun anew."""

from __future__ import annotations

import shutil

import orjson
import pytest
import zstandard
from tiny_run import make_model_dir, step_lines, story

from clet import release as releases
from clet.container import seal_document, seal_line, unsealed, unsealed_document
from clet.exits import InputError, NothingToDo, UsageError
from clet.train import requests
from clet.train.provenance import documents_behind, verify


@pytest.fixture
def run(learn, stories, tmp_path):
    """A run with one release."""
    learn(stories, run=tmp_path / "run")
    return tmp_path / "run"


def edit(path, change):
    """Apply `change` to the object in a JSON file."""
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(orjson.dumps(document))


def flip(path):
    body = bytearray(path.read_bytes())
    body[20] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("how", ["both damaged", "gone"])
def test_a_run_without_its_state_is_not_begun_anew(run, learn, stories, make_shards, how):
    steps = step_lines(run)
    for path in run.glob("state/*/state.json"):
        flip(path) if how == "both damaged" else path.unlink()
    make_shards(stories, [story(77)])
    with pytest.raises(InputError, match=r"restore it|new --run"):
        learn(stories, run=run)
    assert step_lines(run) == steps and releases.release_numbers(run) == [1]


def test_where_the_newer_state_is_damaged_the_other_is_taken_up_and_said(run, learn, stories, capfd):
    steps = step_lines(run)
    heads = {orjson.loads(p.read_bytes().splitlines()[0])["generation"]: p for p in run.glob("state/*/state.json")}
    flip(heads[max(heads)])
    learn(stories, run=run)
    assert "going on from another state" in capfd.readouterr().err
    assert step_lines(run) == steps


@pytest.mark.parametrize(
    "name", ["seed", "model", "config", "tokenizer", "base", "seq_len", "goal", "settings", "proven"]
)
def test_every_field_of_run_json_is_checked(run, learn, stories, name):
    before = (run / "run.json").read_bytes()
    for change in (lambda facts: facts.pop(name), lambda facts: facts.update({name: [1]})):
        (run / "run.json").write_bytes(before)
        facts = unsealed_document(before)
        change(facts)
        (run / "run.json").write_bytes(seal_document(facts))
        with pytest.raises((InputError, UsageError), match=name):
            learn(stories, run=run)


def test_segments_that_are_gone_or_malformed_are_refused(run, learn, stories):
    path = run / "segments.jsonl"
    line = orjson.loads(unsealed(path.read_bytes().rstrip()))
    for wrong in (
        {"segment": 1},
        {"epochs": 0},
        {"shards": [line["shards"][0] | {"windows": "5"}]},
        {"shards": [line["shards"][0] | {"root": 7}]},
        {"shards": [7]},
        {"shards": [line["shards"][0] | {"only": [10**6]}]},
        {"shards": [line["shards"][0] | {"only": ["1"]}]},
    ):
        path.write_bytes(seal_line(orjson.dumps(line | wrong)) + b"\n")
        with pytest.raises(InputError, match="damaged"):
            learn(stories, run=run)
    path.unlink()
    with pytest.raises(InputError, match=r"segments\.jsonl is gone"):
        learn(stories, run=run)


@pytest.mark.parametrize("name", ["step", "tokens"])
def test_a_release_without_its_numbers_is_refused(run, learn, stories, make_shards, name):
    edit(run / "releases" / "1" / "release.json", lambda facts: facts.pop(name))
    make_shards(stories, [story(77)])
    with pytest.raises(InputError, match=name):
        learn(stories, run=run)


def test_another_model_of_the_same_shape_is_refused(run, learn, stories, make_shards, model_dir, tmp_path):
    from clet.model.checkpoint import load_model, save_model

    other = load_model(model_dir)
    other.head_weight.data.mul_(2)
    save_model(other, tmp_path / "other", source_dir=model_dir)
    make_shards(stories, [story(77)])
    with pytest.raises(UsageError, match="another --model"):
        learn(stories, run=run, model=tmp_path / "other")


@pytest.mark.parametrize("index", [10**6, -1, "x"])
def test_steps_that_name_windows_which_are_not_there_are_found(run, index):
    path, release = run / "steps.jsonl", releases.read_release(run, 1)
    lines = path.read_bytes().splitlines()
    step = orjson.loads(lines[2])
    step["windows"][0][1][0] = index
    path.write_bytes(b"\n".join([*lines[:2], orjson.dumps(step), *lines[3:]]) + b"\n")
    for attempt in (lambda: list(documents_behind(run, release)), lambda: verify(run, release)):
        with pytest.raises(InputError, match=r"steps\.jsonl: damaged since it was written"):
            attempt()
    shutil.rmtree(run / "state")  # nothing says any more what it was
    with pytest.raises(InputError):
        list(documents_behind(run, release))


@pytest.mark.parametrize("name", ["steps.jsonl", "documents"])
def test_an_audit_without_its_records_says_which_are_missing(run, name):
    for path in [run / name] if name == "steps.jsonl" else (run / name).iterdir():
        path.unlink()
    with pytest.raises(InputError, match=name):
        list(documents_behind(run, releases.read_release(run, 1)))


def test_a_damaged_copy_of_a_document_table_is_found_by_verification(run):
    path, release = min((run / "documents").iterdir()), releases.read_release(run, 1)
    assert verify(run, release) == []
    whole = path.read_bytes()
    rows = zstandard.ZstdDecompressor().decompress(whole).splitlines(keepends=True)
    other_title = orjson.dumps(orjson.loads(rows[0]) | {"title": "another"}) + b"\n"
    for body, why in [
        (whole[:-5], "damaged"),
        (b"{}", "damaged"),
        (_zstd([b'{"id":"x"}\n', *rows[1:]]), "damaged"),
        (_zstd(rows[1:]), "Merkle root"),
        (_zstd([other_title, *rows[1:]]), "differs"),
        (None, "No such file"),
    ]:
        path.unlink() if body is None else path.write_bytes(body)
        (wrong,) = verify(run, release)
        assert str(path) in wrong and why in wrong and "\n" not in wrong


def _zstd(rows):
    return zstandard.ZstdCompressor().compress(b"".join(rows))


def test_a_mixture_of_experts_learns_and_its_release_loads(learn, make_shards, tmp_path):
    from clet.model.checkpoint import load_model
    from clet.model.config import QWEN3_MOE

    experts = {"num_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 32}
    make_model_dir(tmp_path / "moe", architecture=QWEN3_MOE, **experts)
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(24)])
    events = learn(shards, run=tmp_path / "run", model=tmp_path / "moe", epochs=2)
    losses = list(events.losses.values())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    model = load_model(tmp_path / "run" / "live")
    before = load_model(tmp_path / "moe")
    for name in ("gate", "experts.0.up_proj"):  # routers and experts have moved
        weights = (m.get_parameter(f"model.layers.1.mlp.{name}.weight") for m in (model, before))
        assert not next(weights).equal(next(weights))


@pytest.mark.parametrize("name", ["run.json", "breaker.json", "segments.jsonl"])
def test_one_changed_letter_is_found_and_blamed_on_its_file(run, learn, stories, make_shards, name):
    if name == "breaker.json":
        requests.request_trip(run, "a doubt", releases.datetime(2026, 3, 2))
        learn(stories, run=run)
    path = run / name
    whole = path.read_bytes()
    make_shards(stories, [story(77)])
    for at in (*range(2, len(whole) - 2, max(1, len(whole) // 12)), len(whole) - 4):
        body = bytearray(whole)
        body[at] ^= 1
        path.write_bytes(body)
        with pytest.raises(InputError, match=f"{name}: damaged"):
            learn(stories, run=run)


def test_a_segment_whose_line_is_lost_is_missed_by_trainer_and_audit(run, learn, stories, make_shards):
    make_shards(stories, [story(77)], day=2)
    learn(stories, run=run)
    path = run / "segments.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0])
    make_shards(stories, [story(78)], day=3)
    release = releases.find_release(run, "realtime")
    for attempt in (
        lambda: learn(stories, run=run),
        lambda: verify(run, release),
        lambda: list(documents_behind(run, release)),
    ):
        with pytest.raises(InputError, match=r"segments\.jsonl: has 1 segments, the saved state 2"):
            attempt()


def test_trips_that_are_lost_are_missed_by_trainer_and_audit(run, learn, stories):
    requests.request_trip(run, "a doubt", releases.datetime(2026, 3, 2))
    learn(stories, run=run)
    (run / "breaker.json").unlink()
    release = releases.read_release(run, 1)
    for attempt in (lambda: learn(stories, run=run), lambda: verify(run, release)):
        with pytest.raises(InputError, match=r"breaker\.json: has 0 trips, the saved state 1"):
            attempt()


def test_a_state_that_is_lost_makes_no_release_twice(run, learn, stories, make_shards):
    make_shards(stories, [story(i) for i in range(77, 83)], day=2)
    learn(stories, run=run)
    steps = step_lines(run)
    weights = [releases.read_release(run, number).facts["weights"] for number in (1, 2)]
    for path in run.glob("state/*/state.json"):
        if orjson.loads(path.read_bytes().splitlines()[0])["values"]["position"]["step"] == steps[-1]["step"]:
            flip(path)
    make_shards(stories, [story(90)], day=3)
    learn(stories, run=run)
    assert step_lines(run)[: len(steps)] == steps
    made = releases.list_releases(run)[0]
    assert [release.count("step") for release in made] == sorted({release.count("step") for release in made})
    assert [release.facts["weights"] for release in made[:2]] == weights and len(made) == 3


def test_what_a_killed_trainer_was_writing_is_taken_away(run, learn, stories):
    names = ["run.json.tmp-1", "segments.jsonl.tmp-1", "breaker.json.tmp-1", "documents/x.jsonl.zst.tmp-1"]
    for name in names:
        (run / name).write_bytes(b"half")
    (run / ".live.tmp-1").symlink_to("releases/1")
    with pytest.raises(NothingToDo):
        learn(stories, run=run)
    assert not [name for name in names if (run / name).exists()]
    releases.promote(run, "static", 1, releases.datetime(2026, 3, 2))
    releases.promote(run, "live", 1, releases.datetime(2026, 3, 2))
    assert releases.tier_number(run, "live") == 1


def test_a_step_that_was_changed_since_it_was_written_is_found_before_anything_is_released(
    run, learn, stories, make_shards
):
    path = run / "steps.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"step":3,', b'"step":8,', 1))
    make_shards(stories, [story(77)], day=2)
    with pytest.raises(InputError, match=r"steps\.jsonl: damaged since it was written"):
        learn(stories, run=run)
    path.write_bytes(whole + b'{"step":')  # of a step that was being written, that is
    learn(stories, run=run)
    assert verify(run, releases.find_release(run, "realtime")) == []
