"""Trips, pauses, gates, signatures and bad input of clet train and clet release, as processes."""

from __future__ import annotations

import shutil
import signal
import subprocess

import orjson
import pytest
from processes import CLET, clean_environment, clet, lines, refused
from tiny_run import make_model_dir, make_shards, records, step_lines, story

SETTINGS = ("--lr", "1e-2", "--batch-size", "4", "-j", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with `model`, `shards`, held-out `held.jsonl`, `canaries.jsonl` and a signing key `key`."""
    place = tmp_path_factory.mktemp("safety")
    make_model_dir(place / "model")
    make_shards(place / "shards", [story(i) for i in range(24)], model=place / "model")
    held = records([story(i) for i in range(50, 54)])
    (place / "held.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in held))
    canary = {"prompt": "story 3 of the day te", "answer": "lls of"}
    (place / "canaries.jsonl").write_bytes(orjson.dumps(canary) + b"\n")
    assert clet(place, "release", "keygen", "key").returncode == 0
    return place


def train(place, run, *arguments):
    return clet(place, "train", "shards", "--model", "model", "--run", run, *SETTINGS, *arguments)


def test_gates_decide_what_is_live_and_failed_candidates_are_kept_and_named(place):
    watched = ("--held-out", "held.jsonl", "--canaries", "canaries.jsonl")
    done = train(place, "gated", "--tokens", "300", *watched, "--require", "perplexity:held.jsonl=1.01")
    assert done.returncode == 0, done.stderr
    (listed,) = lines(clet(place, "release", "list", "gated").stdout)
    assert (listed["verdict"], listed["links"]) == ("failed", ["realtime"])
    assert listed["why"].startswith("gate perplexity:held.jsonl: ") and b"is above 1.01" in done.stderr
    more = train(
        place, "gated", *watched, "--require", "forgetting=0.5", "--require", "perplexity=200", "--sign-key", "key"
    )
    assert more.returncode == 0, more.stderr
    listed = lines(clet(place, "release", "list", "gated").stdout)
    assert [row["verdict"] for row in listed] == ["failed", "passed"]
    assert listed[1]["links"] == ["live", "realtime"]
    verdict = lines(clet(place, "release", "show", "gated").stdout)[0]["verdict"]
    assert [gate["gate"] for gate in verdict["gates"]] == ["forgetting", "perplexity"] and verdict["canaries"][
        "of"
    ] == 1
    assert train(place, "gated", *watched, "--require", "speed=1").returncode == 2


def test_a_signed_release_is_believed_and_every_change_of_it_is_found(place):
    assert train(place, "signed", "--tokens", "300", "--sign-key", "key").returncode == 0
    public = (place / "key.pub").read_text().strip()
    shown = clet(place, "release", "show", "signed", "--trust", "key.pub")
    assert shown.returncode == 0 and lines(shown.stdout)[0]["signer"] == public
    verified = clet(place, "audit", "signed", "--verify", "--trust", public)
    assert verified.returncode == 0 and public.encode() in verified.stderr
    assert clet(place, "release", "keygen", "other").returncode == 0
    assert clet(place, "audit", "signed", "--verify", "--trust", "other.pub").returncode == 65
    for file, old, new in (
        ("release.json", b'"seed": 1', b'"seed": 2'),
        ("config.json", b'"rope_theta": 10000', b'"rope_theta": 10001'),
        ("cooldown.jsonl", b'"lr":0.', b'"lr":1.'),
    ):
        path = place / "signed" / "releases" / "1" / file
        body = path.read_bytes()
        assert old in body, file
        path.write_bytes(body.replace(old, new, 1))
        tampered = clet(place, "audit", "signed", "--verify")
        assert tampered.returncode == 65 and tampered.stderr.count(b"\n") >= 1, file
        assert b"Traceback" not in tampered.stderr
        path.write_bytes(body)
    (place / "key").chmod(0o644)
    refused = train(place, "signed", "--sign-key", "key")
    (place / "key").chmod(0o600)
    assert refused.returncode == 2 and b"others can read" in refused.stderr
    assert clet(place, "audit", "signed", "--verify").returncode == 0


def follow(place, run, *arguments):
    return subprocess.Popen(
        [CLET, "train", "shards", "--model", "model", "--run", run, *SETTINGS, "--follow", *arguments],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip


def until(process, wanted):
    """Read the trainer's stdout up to an event; its fields."""
    for line in process.stdout:
        fields = orjson.loads(line)
        if fields.get("event") == wanted:
            return fields
    raise AssertionError(f"no {wanted}: {process.stderr.read()}")


def test_a_trip_by_command_or_signal_is_carried_out_by_the_running_trainer_and_a_pause_is_resumed(place):
    with follow(place, "tripped", "--on-trip", "pause", "--save-every", "5", "--cooldown", "0") as process:
        until(process, "release")
        done = clet(place, "release", "trip", "tripped", "--why", "smells")
        assert done.returncode == 0 and lines(done.stdout)[0]["why"] == "smells"
        fields = until(process, "breaker")
        assert fields["why"] == "by hand: smells" and fields["recalled"] == [1]
        assert b'"verdict":"recalled"' in clet(place, "release", "list", "tripped").stdout
        assert lines(clet(place, "release", "resume", "tripped").stdout)[0]["why"] == "by hand: smells"
        until(process, "release")
        process.send_signal(signal.SIGUSR1)
        assert until(process, "breaker")["why"] == "by hand: by a signal"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 1, process.stderr.read()
    paused = train(place, "tripped")
    assert paused.returncode == 75 and b"clet release resume" in paused.stderr.splitlines()[-1]
    assert all(b"is recalled" in line for line in paused.stderr.splitlines()[:-1])
    assert clet(place, "release", "resume", "tripped").returncode == 0
    assert clet(place, "release", "resume", "tripped").returncode == 3
    assert clet(place, "release", "trip", "nowhere").returncode == 2


# ---- bad input: one clear line, the right status, nothing lost


def other_tokenizer(place, name):
    make_model_dir(place / name)
    path = place / name / "tokenizer.json"
    path.write_text(path.read_text().replace("endoftext", "endofdocument"))


def test_a_shard_of_another_tokenizer_is_refused(place):
    other_tokenizer(place, "other-model")
    make_shards(place / "other-shards", [story(1)], model=place / "other-model")
    assert refused(
        clet(place, "train", "-q", "other-shards", "--model", "model", "--run", "new1"), 65, b"made with tokenizer"
    )


def test_a_vocabulary_that_is_too_small_is_refused(place):
    make_model_dir(place / "narrow", vocab_size=200)
    assert refused(clet(place, "train", "-q", "shards", "--model", "narrow", "--run", "new2"), 65, b"the model has 200")


@pytest.mark.parametrize("cut", [1, 40, 0.5])
def test_a_truncated_shard_is_refused(place, tmp_path, cut):
    shards = tmp_path / "cut"
    shutil.copytree(place / "shards", shards)
    (path,) = shards.glob("main/*.clet")
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(size - cut if cut >= 1 else int(size * cut))
    assert refused(
        clet(place, "train", "-q", str(shards), "--model", "model", "--run", str(tmp_path / "run")), 65, b"cut"
    )


def test_an_empty_folder_is_refused(place):
    (place / "empty").mkdir()
    assert refused(clet(place, "train", "-q", "empty", "--model", "model", "--run", "new3"), 2, b"manifest.jsonl")


def test_a_follower_waits_for_the_first_shard_in_an_empty_folder(place):
    (place / "to-come").mkdir()
    command = [CLET, "train", "to-come", "--model", "model", "--run", "early", *SETTINGS, "--follow", "--json"]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        assert any(b'"event":"start"' in line for line in process.stderr)
        make_shards(place / "to-come", [story(i) for i in range(8)], model=place / "model")
        assert until(process, "release")["number"] == 1
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--held-out", "nowhere.jsonl"], 2),
        (["--canaries", "held.jsonl"], 65),
    ],
)
def test_a_first_start_that_is_refused_leaves_nothing_of_itself_in_the_run(place, arguments, status):
    run = f"begun-{status}"
    done = train(place, run, "--seed", "5", *arguments)
    assert done.returncode == status, done.stderr
    assert not {"run.json", "segments.jsonl", "documents"} & {path.name for path in (place / run).iterdir()}
    assert train(place, run, "--seed", "6").returncode == 0


def test_a_configuration_of_an_unknown_architecture_is_refused(place):
    shutil.copytree(place / "model", place / "unknown")
    path = place / "unknown" / "config.json"
    config = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(config | {"architectures": ["MambaForCausalLM"], "model_type": "mamba"}))
    assert refused(clet(place, "train", "-q", "shards", "--model", "unknown", "--run", "new4"), 65, b"amba")


def test_a_pickled_checkpoint_is_refused(place):
    shutil.copytree(place / "model", place / "pickled")
    (place / "pickled" / "model.safetensors").rename(place / "pickled" / "pytorch_model.bin")
    assert refused(clet(place, "train", "-q", "shards", "--model", "pickled", "--run", "new5"), 65, b"pickled")


def test_a_second_trainer_on_one_run_is_refused(place):
    with follow(place, "twice") as process:
        until(process, "checkpoint")
        assert refused(train(place, "twice", "-q"), 75, b"another trainer")
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 0


def test_windows_of_masked_tokens_only_are_passed_and_teach_nothing(place, tmp_path):
    from clet.batch import Batch
    from clet.shards.build import ShardPlan, build_shards
    from clet.shards.directory import ShardDirectory
    from clet.tokens import Tokenizer

    tokenizer = Tokenizer.load(place / "model")
    made = records(["m" * 95, "n" * 95])
    for record in made:
        record["dedup"] = {"spans": [[0, 95]]}
    batch = Batch.from_records(made)
    batch = batch.with_tokens(tokenizer.encode([r["text"] for r in made]), tokenizer.fingerprint)
    plan = ShardPlan(32, 1 << 12, tokenizer.fingerprint, None, tokenizer.vocab_size)
    with ShardDirectory.open(tmp_path / "masked", "2026-03-01T00:00:00Z") as shards:
        build_shards([batch], shards, plan, reject=None)
        shards.commit()
    done = clet(place, "train", str(tmp_path / "masked"), "--model", "model", "--run", str(tmp_path / "run"), *SETTINGS)
    assert done.returncode == 1 and b"nothing was learned" in done.stderr, done.stderr
    assert [line["loss"] for line in step_lines(tmp_path / "run")] == [None, None]
    from clet.model.checkpoint import load_model, state_root

    assert state_root(load_model(tmp_path / "run" / "realtime")) == state_root(load_model(place / "model"))
