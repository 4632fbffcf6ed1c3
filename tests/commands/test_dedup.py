"""clet dedup as a process."""

from __future__ import annotations

import numpy as np
import orjson

from clet import seeds


def lines(make, size: int = 90) -> bytes:
    """JSONL: documents of which every third repeats an earlier one, in turns exactly and nearly."""
    rng = seeds.numpy_generator(1, "command")
    made: list = []
    previous = rng.integers(0, 30_000, 80).astype(np.uint16)
    for i in range(size):
        ids = rng.integers(0, 30_000, 80).astype(np.uint16)
        if i % 6 == 5:
            made.append(made[-1])
            continue
        if i % 6 == 2:
            ids = previous.copy()
            ids[40] = 50_000
        previous = ids
        made.append(make(" ".join(f"w{i}" for i in ids), ids=ids))
    return b"".join(orjson.dumps(record) + b"\n" for record in made)


def test_summary_rejects_and_status(record, clet, tmp_path):
    done = clet("dedup", "-o", "out.jsonl", "--rejects", "rejects.jsonl", "--json", input=lines(record))
    assert done.returncode == 0
    summary = orjson.loads(done.stderr.splitlines()[-1])
    assert (summary["in"], summary["out"], summary["rejected"]) == (90, 60, {"exact": 15, "near": 15})
    kept = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    rejects = [orjson.loads(line) for line in (tmp_path / "rejects.jsonl").read_bytes().splitlines()]
    assert len(rejects) == 30
    ids = {entry["id"] for entry in kept}
    assert all(entry["dedup"]["of"] in ids for entry in rejects)
    assert {entry["reject"]["stage"] for entry in rejects} == {"dedup"}


def test_same_bytes_for_any_jobs_and_any_arrival(record, clet, tmp_path):
    body = lines(record)
    (tmp_path / "in.jsonl").write_bytes(body)
    half = body.index(b"\n", len(body) // 2) + 1
    (tmp_path / "a.jsonl").write_bytes(body[:half])
    (tmp_path / "b.jsonl").write_bytes(body[half:])
    for name, arguments in {"1": ["in.jsonl"], "2": ["in.jsonl", "-j", "4"], "3": ["a.jsonl", "b.jsonl"]}.items():
        assert clet("dedup", *arguments, "-o", f"{name}.clet").returncode == 0
    first = (tmp_path / "1.clet").read_bytes()
    assert (tmp_path / "2.clet").read_bytes() == first == (tmp_path / "3.clet").read_bytes()


def test_a_second_run_with_the_state_passes_only_what_is_new(record, clet, tmp_path):
    body = lines(record, 60)
    done = clet("dedup", "--state", "seen", "-n", "30", "-o", "1.clet", input=body)
    assert (done.returncode, done.stderr.split(b",")[1]) == (0, b" 20 out")
    done = clet("dedup", "--state", "seen", "-o", "2.clet", input=body)
    assert (done.returncode, done.stderr.split(b",")[1]) == (0, b" 20 out")
    done = clet("dedup", "--state", "seen", "-o", "3.clet", input=body)
    assert (done.returncode, done.stderr.split(b",")[1]) == (0, b" 0 out")


def test_a_run_that_fails_leaves_no_output_and_remembers_nothing(record, clet, tmp_path):
    body = lines(record, 30)
    (tmp_path / "cut.zst").write_bytes(bytes.fromhex("28b52ffd"))
    (tmp_path / "in.jsonl").write_bytes(body)
    assert clet("dedup", "--state", "seen", "-o", "out.clet", "in.jsonl", "cut.zst").returncode == 65
    assert not (tmp_path / "out.clet").exists()
    assert clet("dedup", "--state", "seen", "-o", "out.clet", "in.jsonl").stderr.split(b",")[1] == b" 20 out"


def test_a_state_made_by_another_command_is_refused(record, clet):
    assert clet("prioritize", "--state", "s", "-o", "x.clet", input=b"").returncode == 0
    done = clet("dedup", "--state", "s", "-o", "y.clet", input=lines(record, 6))
    assert done.returncode == 2
    assert b"belongs to clet prioritize" in done.stderr


def summary(done) -> dict:
    return orjson.loads(done.stderr.splitlines()[-1])


def test_marks_spans_and_evaluation_files(record, clet, tmp_path):
    body = lines(record)
    (tmp_path / "in.jsonl").write_bytes(body)
    marked = clet("dedup", "--mark", "--plain", "in.jsonl")
    notes = [orjson.loads(line)["dedup"] for line in marked.stdout.splitlines()]
    assert (len(notes), max(note["size"] for note in notes)) == (90, 2)
    first = orjson.loads(body.splitlines()[0])
    (tmp_path / "eval.txt").write_text(first["text"])
    done = clet("dedup", "--against", "eval.txt", "--json", "-o", "clean.jsonl", "in.jsonl")
    assert summary(done)["rejected"]["contaminated"] >= 1
    assert orjson.loads(done.stderr.splitlines()[0])["records"] == summary(done)["rejected"]["contaminated"]
    spans = clet("dedup", "--spans", "20", "--near", "1", "--json", "-o", "spans.jsonl", "in.jsonl")
    assert summary(spans)["masked_tokens"] > 500


def test_a_bloom_state_stays_small_and_knows_what_it_saw(record, clet, tmp_path):
    body = lines(record)
    line = ["dedup", "--bloom", "16", "--capacity", "4000", "--state", "seen", "--json", "-o", "out.clet"]
    done = clet(*line, input=body)
    assert 60 <= summary(done)["out"] <= 66  # the state draws its secret; filters miss a few near repeats
    done = clet(*line, input=body)
    assert (summary(done)["out"], done.returncode) == (0, 0)
    assert sum(path.stat().st_size for path in (tmp_path / "seen").iterdir()) < 1000 * 16 + 9000
    assert b"near 0.8 (now 0.9)" in clet(*line, "--near", "0.9", input=body).stderr


def test_flags_that_contradict_each_other_are_refused(clet):
    for flags in (["--bloom", "16", "--mark"], ["--bloom", "16", "--spans", "50"], ["--cut"], ["--window", "soon"]):
        assert clet("dedup", *flags, input=b"").returncode == 2, flags
    assert clet("dedup", "--spans", "50", "--cut", "--mark", input=b"").returncode == 2


def test_cat_shows_what_an_index_says_of_itself(record, clet):
    assert clet("dedup", "--state", "seen", "-o", "out.clet", input=lines(record)).returncode == 0
    head, segment = map(orjson.loads, clet("cat", "seen").stdout.splitlines())
    assert head["values"]["documents"] == segment["info"]["documents"] == 60
    assert segment["info"]["sections"]["docs"][1] == 60 * 8
