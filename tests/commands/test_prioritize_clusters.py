"""The real pipe, clet dedup --mark into clet prioritize --policy, against clusters as the newsroom knows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from clet.bench.attacks import Rumour, Stream, trusted_origins

POLICY = Path(__file__).parents[2] / "scripts" / "policy.toml"
DAYS = 4
PIPE = """
clet dedup --mark --state seen {day}.bare.jsonl | clet prioritize --policy policy.toml --state {kind} --gate {day} \
    -o {day}.{kind}.out.jsonl --rejects {day}.{kind}.rejects.jsonl
"""
ALONE = """
clet prioritize --policy policy.toml --state {kind} --gate {day} {day}.{kind}.jsonl \
    -o {day}.{kind}.out.jsonl --rejects {day}.{kind}.rejects.jsonl
"""


@pytest.fixture
def days(tmp_path):
    """Four days of news, a rumour in the last, a gate each: DAY.known.jsonl with clusters as the newsroom knows them,
    and DAY.bare.jsonl without, where a correction names the version that it supersedes, as a feed does."""
    newest: dict[tuple[str, str, str], str] = {}
    for day, records in enumerate(Stream(1, DAYS, (Rumour(60, 20, DAYS - 1),))):
        known, bare = [], []
        for record in records:
            item = (record["origin"], record["published"], str(record["meta"].get("event")))
            if "updates" in record["dedup"] and item in newest:
                record["meta"]["supersedes"] = newest[item]
            else:
                record["dedup"].pop("updates", None)  # of somebody else's story: no feed says which
            newest[item] = record["id"]
            known.append(record)
            bare.append({name: value for name, value in record.items() if name != "dedup"})
        for name, rows in (("known", known), ("bare", bare)):
            (tmp_path / f"{day}.{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    vouched = "".join(f'[[origin]]\nname = "{name}"\n' for name in trusted_origins())
    (tmp_path / "policy.toml").write_text(f"{POLICY.read_text()}\n{vouched}")
    return tmp_path


def test_budgets_corroboration_and_corrections_count_as_with_clusters_that_are_known_for_certain(days, bash):
    for script, kind in ((PIPE, "piped"), (ALONE, "known"), (ALONE, "bare")):
        done = bash("".join(script.format(day=day, kind=kind) for day in range(DAYS)))
        assert done.returncode == 0, done.stderr.decode()
    passed, reasons = {}, {}
    for kind in ("piped", "known", "bare"):
        passed[kind] = {r["id"]: r for day in range(DAYS) for r in rows(days / f"{day}.{kind}.out.jsonl")}
        rejects = [r for day in range(DAYS) for r in rows(days / f"{day}.{kind}.rejects.jsonl")]
        reasons[kind] = Counter((r["meta"]["attack"], r["reject"]["reason"]) for r in rejects)
    piped, known, bare = passed.values()
    assert piped.keys() == known.keys()
    assert reasons["piped"] == reasons["known"] != reasons["bare"]
    for fact in ("credibility", "corrected", "score", "rank"):
        assert {i: r["priority"].get(fact) for i, r in piped.items()} == {
            i: r["priority"].get(fact) for i, r in known.items()
        }, fact
    assert sum("corrected" in r["priority"] for r in piped.values()) > 0
    assert sum("updates" in r["dedup"] for r in piped.values()) > 10
    # Without clusters every copy is a voice of its own, so that what is compared above does depend on them.
    shared = piped.keys() & bare.keys()
    assert any(piped[i]["priority"]["credibility"] < bare[i]["priority"]["credibility"] for i in shared)
    rumours = [r["priority"] for r in piped.values() if r["meta"]["attack"] == "rumour"]
    corrections = [r["priority"] for r in piped.values() if r["meta"]["attack"] == "rumour-correction"]
    assert 0 < len(rumours) <= 3
    assert corrections[0]["score"] > max(note["score"] for note in rumours)


def rows(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
