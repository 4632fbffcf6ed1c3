"""clet bench pipeline: what it says was measured is what was run."""

import json

from clet.bench.report import show


def test_the_result_accounts_for_every_stage_and_run(clet, workshop):
    command = ["bench", "pipeline", f"file:{workshop / 'docs'}", "--tokenizer", workshop / "model", "--seq-len", "64"]
    done = clet(*command, "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    stages = {row["stage"]: row for row in result["stages"]}
    assert list(stages) == ["ingest", "dedup", "prioritize", "shard", "whole pipe"]
    for row in stages.values():
        assert len(row["wall_s"]) == len(row["cpu_s"]) == 1
        assert row["in"] == row["out"] + sum(row["rejected"].values())
        assert row["tokens_per_s"] * max(row["wall_s"]) >= result["tokens"] * 0.999
    assert stages["shard"]["out"] == stages["whole pipe"]["out"] == 12
    assert result["text_bytes"] == sum(len(path.read_bytes().strip()) for path in (workshop / "docs").iterdir())
    assert result["cores"] >= 1
    assert result["packages"]["torch"]


def test_a_stage_that_fails_is_named(clet, workshop):
    done = clet("bench", "pipeline", "file:/nonexistent", "--tokenizer", workshop / "model")
    assert done.returncode == 65
    assert done.stderr.startswith(b"clet bench pipeline: ingest ended with ")
    assert done.stderr.count(b"\n") == 1


def test_tables_align_numbers_right_and_words_left(capsys):
    show("title", ["stage", "n"], [["a", 5], ["longer", 1234567]], ["note"])
    lines = ["title", "stage           n", "a               5", "longer  1,234,567", "note"]
    assert capsys.readouterr().out.splitlines() == lines
