"""The bench of shards: what it says was measured is what was run."""

import json

import numpy as np

from clet.bench import shards


def test_figures_are_of_the_runs_and_the_ids_that_they_name(tmp_path, capsys):
    result = shards.measure(60_000, 64, 2, folder=str(tmp_path))
    assert json.loads(json.dumps(result)) == result
    assert result["documents"] == 75 and list(tmp_path.iterdir()) == []
    assert [row["what"] for row in result["rows"]][:2] == ["write", "in order"]
    for row in result["rows"]:
        assert len(row["clet_s"]) == len(row["clet_cpu_s"]) == len(row["memmap_s"]) == len(row["memmap_cpu_s"]) == 2
        ratios = sorted(ours / theirs for ours, theirs in zip(row["clet_s"], row["memmap_s"], strict=True))
        assert ratios[0] <= row["times_memmap_s"] <= ratios[1]
        assert abs(row["clet_tokens_per_s"] * sum(row["clet_s"]) / 2 - result["tokens"]) < 1
    packing = result["packing"]
    assert packing["truncated"] < packing["truncated_concatenated"] <= result["documents"]
    assert packing["windows_concatenated"] == -(-result["tokens"] // 64) <= packing["windows"]
    assert abs(1 - result["tokens"] / 64 / packing["windows"] - packing["padding"]) < 1e-9
    assert len(result["parts_tokens_per_s"]) == 7 and min(result["parts_tokens_per_s"].values()) > 0
    shards.show(result)
    shown = capsys.readouterr().out
    assert "shuffled again" in shown and "documents cut" in shown


def test_both_sides_read_the_same_ids(tmp_path, monkeypatch):
    work = shards._Work(tmp_path, shards.make_batches(30_000, 3), 32)
    seen = []
    monkeypatch.setattr(work, "_have", lambda size: seen.append(work._out[:size].astype(np.int64).sum()))
    sums = []
    for pair in list(work.pairs().values())[1:]:
        for side in pair:
            seen.clear()
            side()
            sums.append(sum(seen))
    assert len(set(sums)) == 1 and sums[0] > 0


def test_the_same_seed_makes_the_same_documents():
    first, again, other = (shards.make_batches(20_000, seed) for seed in (1, 1, 2))
    assert [batch.to_frame() for batch in first] == [batch.to_frame() for batch in again]
    assert first[0].to_frame() != other[0].to_frame()


def test_the_command_measures_as_many_tokens_as_are_asked_for(clet, tmp_path):
    command = ["bench", "shards", "--tokens", "20000", "--seq-len", "64", "--runs", "1", "--dir", tmp_path]
    found = json.loads(clet(*command, "--json").stdout)
    assert found["bench"] == "shards" and 5_000 < found["tokens"] < 80_000 and found["cpu"]
    assert b"memmap M/s" in clet(*command).stdout
    assert list(tmp_path.iterdir()) == []
