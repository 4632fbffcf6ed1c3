"""A run directory that was damaged is refused in one line, or taken up from what is whole: never begun anew."""

from __future__ import annotations

import orjson
import pytest
import zstandard
from tiny_run import make_model_dir, step_lines, story

from clet import release as releases
from clet.exits import InputError, UsageError
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


@pytest.mark.parametrize("name", ["seed", "model", "config", "tokenizer", "base", "seq_len", "goal", "settings"])
def test_every_field_of_run_json_is_checked(run, learn, stories, name):
    before = (run / "run.json").read_bytes()
    for change in (lambda facts: facts.pop(name), lambda facts: facts.update({name: [1]})):
        (run / "run.json").write_bytes(before)
        edit(run / "run.json", change)
        with pytest.raises((InputError, UsageError), match=name):
            learn(stories, run=run)


def test_segments_that_are_gone_or_malformed_are_refused(run, learn, stories):
    path = run / "segments.jsonl"
    line = orjson.loads(path.read_bytes())
    for wrong in (
        {"segment": 1},
        {"epochs": 0},
        {"shards": [line["shards"][0] | {"windows": "5"}]},
        {"shards": [line["shards"][0] | {"root": 7}]},
        {"shards": [7]},
    ):
        path.write_bytes(orjson.dumps(line | wrong) + b"\n")
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
    with pytest.raises(InputError):
        list(documents_behind(run, release))
    try:
        assert verify(run, release)
    except InputError:
        assert index == "x"


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
