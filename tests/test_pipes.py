"""The commands as a shell uses them: composed, interrupted, starved, doubled, killed."""

import json
import shutil
import subprocess

import pytest
from processes import CLET, clean_environment

PIPE = (
    "clet ingest file:docs --now 2026-03-09 --tokenizer model --state st/ingest | clet dedup --state st/seen"
    " | clet prioritize --now 2026-03-09 | clet shard --tokenizer model --seq-len 64 -o out"
)


@pytest.fixture
def day(workshop, tmp_path):
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True, symlinks=True)
    return tmp_path


def learnable(folder):
    return [line for line in (folder / "manifest.jsonl").read_text().splitlines() if line]


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.clet"))}


def test_the_pipeline_makes_verified_shards(bash, day):
    done = bash(PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert bash("clet shard --verify out").returncode == 0
    documents = bash("clet cat out/main/*.clet | jq -s '[.[].documents // [] | .[]] | unique | length'")
    assert int(documents.stdout) == 12


def test_a_second_turn_finds_nothing_new(bash, day):
    assert bash(PIPE).returncode == 0
    again = bash(PIPE.replace("-o out", "-o out2"))
    assert again.returncode == 3, again.stderr.decode()
    assert learnable(day / "out2") == []


def test_same_input_flags_and_seed_give_the_same_bytes_at_any_j(bash, day):
    for jobs in (1, 2):
        pipe = PIPE.replace("st/", f"st{jobs}/").replace("-o out", f"-o out{jobs}")
        pipe = pipe.replace("file:docs", f"file:docs -j {jobs}").replace("clet dedup", f"clet dedup -j {jobs}")
        assert bash(pipe).returncode == 0
    assert tree(day / "out1")
    assert tree(day / "out1") == tree(day / "out2")


def test_both_encodings_of_the_stream_give_the_same_shards(bash, day):
    plain = PIPE.replace(" | ", " --plain | ", 2).replace("st/", "stp/").replace("-o out", "-o plain")
    assert bash(PIPE).returncode == 0
    assert bash(plain).returncode == 0
    assert tree(day / "out") == tree(day / "plain")


def test_empty_input_is_nothing_to_do_and_leaves_nothing(bash, day):
    done = bash("clet dedup < /dev/null | clet prioritize | clet shard --tokenizer model -o out")
    assert done.returncode == 3
    assert learnable(day / "out") == []


def test_a_stage_that_dies_upstream_is_not_taken_for_the_end(bash, day):
    script = "(clet cat docs.clet > /dev/null; head -c 900 docs.clet) | clet shard --tokenizer model -o out"
    done = bash(script)
    assert done.returncode == 65
    assert b"truncated" in done.stderr
    assert learnable(day / "out") == []


def test_truncated_zstd_aborts_and_commits_nothing(bash, day):
    done = bash(
        "clet dedup docs.clet -o d.jsonl.zst; head -c -1 d.jsonl.zst > cut; clet dedup cut --state s -o out.clet"
    )
    assert done.returncode == 65
    assert not (day / "out.clet").exists()
    assert not (day / "s" / "HEAD").exists()


def test_concatenated_files_are_one_stream(bash, day):
    done = bash("clet dedup docs.clet -o d.jsonl.zst; cat d.jsonl.zst d.jsonl.zst | clet cat | wc -l")
    assert int(done.stdout) == 24
    assert int(bash("cat docs.clet docs.clet | clet cat | wc -l").stdout) == 24


def test_a_line_that_is_no_json_is_named_and_the_rest_goes_on(bash, day):
    bash("clet cat docs.clet | sed '3s/.*/nonsense/' > broken.jsonl")
    done = bash("clet dedup broken.jsonl --rejects r.jsonl -o out.jsonl || echo $?")
    assert done.stdout == b"1\n"
    assert b"broken.jsonl:3: not JSON" in done.stderr
    assert len((day / "out.jsonl").read_text().splitlines()) == 11
    reject = json.loads((day / "r.jsonl").read_text())
    assert reject["line"] == "nonsense"
    assert reject["reject"] == {"stage": "dedup", "reason": "not JSON", "place": "broken.jsonl:3"}


def test_max_errors_gives_up(bash, day):
    done = bash("clet cat docs.clet | sed 's/.*/nonsense/' | clet dedup --max-errors 3 -o out.jsonl")
    assert done.returncode == 65
    assert not (day / "out.jsonl").exists()


def test_an_early_head_ends_the_pipe_quietly(bash, day):
    bash("for i in $(seq 400); do cat docs.clet; done > many.clet")
    script = "set +e; clet dedup --plain many.clet | head -n 1 | wc -l; echo ${PIPESTATUS[@]}"
    done = bash(script.replace("dedup --plain", "cat"))
    assert done.stdout.split() == [b"1", b"141", b"0", b"0"]
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["ingest file:docs --tokenizer model", "dedup docs.clet", "prioritize docs.clet"])
def test_two_writers_on_one_state_are_told_to_try_later(bash, day, command):
    holder = subprocess.Popen(
        [CLET, *command.split(" ")[:1], *(["jsonl:-"] if "ingest" in command else []), "--state", "s", "-o", "first"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=day,
        env=clean_environment(),
    )
    try:
        while not (day / "s" / "lock").exists():
            assert holder.poll() is None
        done = bash(f"until ! flock -n s/lock true; do :; done; clet {command} --state s -o second")
        assert done.returncode == 75
        assert b"in use" in done.stderr
        assert not (day / "second").exists()
    finally:
        holder.kill()
        holder.wait()


def test_a_full_disk_commits_nothing(bash, day):
    done = bash("clet dedup docs.clet --state s > /dev/full")
    assert done.returncode == 74
    assert not (day / "s" / "HEAD").exists()


def test_killed_and_run_again_gives_the_bytes_of_an_undisturbed_run(bash, day):
    bash("clet dedup docs.clet --state undisturbed -o a.clet")
    victim = subprocess.Popen(
        [CLET, "dedup", "--state", "s", "-o", "b.clet"],
        stdin=subprocess.PIPE,
        cwd=day,
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    victim.stdin.write((day / "docs.clet").read_bytes()[:-10])
    victim.stdin.flush()
    victim.kill()
    victim.wait()
    assert bash("clet dedup docs.clet --state s -o b.clet").returncode == 0
    assert (day / "a.clet").read_bytes() == (day / "b.clet").read_bytes()


def test_output_that_is_an_input_is_refused(bash, day):
    before = (day / "docs.clet").read_bytes()
    assert bash("clet dedup docs.clet -o docs.clet").returncode == 2
    assert (day / "docs.clet").read_bytes() == before
