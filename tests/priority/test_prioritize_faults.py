"""clet prioritize killed at random system calls and moments: budgets hold over all that ever was to be seen."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from faults import SEEDS, places, run_here, strike
from priority_runs import story

from clet.exits import ExitCode

pytestmark = pytest.mark.faults

PER_ORIGIN, PER_CLUSTER, PARTS = 6, 4, 3
POLICY = f"""
version = 1
[defence]
documents = {PER_ORIGIN}
cluster_documents = {PER_CLUSTER}
"""


def write_inputs(path: Path) -> None:
    """Three inputs: 24 stories of four origins each, every third of one cluster; each origin would pass 18."""
    (path / "policy.toml").write_text(POLICY)
    for part in range(PARTS):
        rows = [story(100 * part + n, origin=f"o{3 - n % 4}") for n in range(24)]
        for number, row in enumerate(rows):
            if number % 3 == 0:
                row["dedup"] = {"cluster": f"{7:032x}"}
        (path / f"{part}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def turn(inputs: Path, path: Path, part: int) -> int:
    """One run over an input, under the same gate as all others; its exit status."""
    words = f"prioritize {inputs}/{part}.jsonl --policy {inputs}/policy.toml --state {path}/state --gate 1"
    return run_here(*words.split(), "-o", path / f"{part}.out.jsonl", "--rejects", path / f"{part}.rejects.jsonl")


def look(path: Path, seen: dict[str, dict]) -> None:
    """Add the records that stand in the outputs now."""
    for part in range(PARTS):
        if (output := path / f"{part}.out.jsonl").exists():
            seen |= {row["id"]: row for row in map(orjson.loads, output.read_bytes().splitlines())}


def counts(seen: dict[str, dict]) -> tuple[Counter, int]:
    return Counter(row["origin"] for row in seen.values()), sum("dedup" in row for row in seen.values())


def all_parts(inputs: Path, path: Path) -> int:
    return max(turn(inputs, path, part) for part in range(PARTS))


def test_no_origin_and_no_cluster_passes_more_than_its_budget_however_often_it_is_killed(tmp_path):
    write_inputs(tmp_path)
    calm: dict[str, dict] = {}
    (tmp_path / "calm").mkdir()
    assert all_parts(tmp_path, tmp_path / "calm") == ExitCode.OK  # also compiles what the children will need
    look(tmp_path / "calm", calm)
    origins, clustered = counts(calm)
    assert set(origins.values()) == {PER_ORIGIN} and clustered == PER_CLUSTER
    (tmp_path / "count").mkdir()
    calls = strike(lambda: turn(tmp_path, tmp_path / "count", 0)).calls
    moments = random.Random("prioritize/moments")
    struck = Counter()
    for seed, at, how in places(calls, range(SEEDS // 20), "prioritize"):
        path = tmp_path / str(seed)
        path.mkdir()
        seen: dict[str, dict] = {}
        for part in range(PARTS):
            run_part = lambda path=path, part=part: turn(tmp_path, path, part)  # noqa: E731
            by_call = (seed + part) % 2
            outcome = strike(run_part, at, how) if by_call else strike(run_part, after_s=moments.uniform(0.0, 0.2))
            struck[outcome.status] += 1
            look(path, seen)
            if outcome.status != ExitCode.OK:
                assert turn(tmp_path, path, part) == ExitCode.OK, (seed, at, how, outcome)
                look(path, seen)
        origins, clustered = counts(seen)
        assert max(origins.values()) <= PER_ORIGIN and clustered <= PER_CLUSTER, (seed, at, how, origins, clustered)
        assert sum(origins.values()) > 2 * PER_ORIGIN  # and what was not passed by a killed run was by the next
    assert struck[-9] > SEEDS // 40
