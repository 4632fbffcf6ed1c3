"""clet prioritize as a process."""

from __future__ import annotations

import orjson
import pytest

from clet import seeds

PHRASES = (
    "the council of that town met on monday to decide about a bridge which had been closed since its flood and "
    "members were told repairs would take until autumn several people who live near river asked for ferry"
)
WORDS = PHRASES.split()


@pytest.fixture
def lines(record):
    """JSONL of 40 stories of 50 tokens from two origins, and two that are too short."""
    made = []
    for i in range(42):
        rng = seeds.python_random(1, f"stories/{i}")
        text = "The news of " + " ".join(rng.choices(WORDS, k=57 if i < 40 else 2))
        made.append(orjson.dumps(record(f"{text}.", ids=[i] * 50, origin="ab"[i % 2])) + b"\n")
    return made


def summary(done) -> dict:
    return orjson.loads(done.stderr.splitlines()[-1])


def test_summary_reasons_and_budget(lines, clet, tmp_path):
    done = clet(
        "prioritize", "--budget", "1_000", "-o", "o.jsonl", "--rejects", "r.jsonl", "--json", input=b"".join(lines)
    )
    assert done.returncode == 0
    said = summary(done)
    assert (said["in"], said["out"], said["tokens"]) == (42, 20, 1000)
    # One origin had its share while there was room, which the other took; what came then, nothing was left for.
    assert said["rejected"] == {"short": 2, "share": 1, "budget": 19}
    assert said["now"] == "2026-03-01T12:00:00Z"
    kept = [orjson.loads(line) for line in (tmp_path / "o.jsonl").read_bytes().splitlines()]
    assert [r["priority"]["rank"] for r in kept] == list(range(1, 21))
    assert {o: sum(r["origin"] == o for r in kept) for o in "ab"} == {"a": 10, "b": 10}
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == 22


def test_same_bytes_however_the_records_arrive(lines, clet, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:7]))
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[7:]))
    assert clet("prioritize", "-o", "1.clet", "--window", "10", input=b"".join(lines)).returncode == 0
    assert clet("prioritize", "-o", "2.clet", "--window", "10", "a.jsonl", "b.jsonl").returncode == 0
    assert (tmp_path / "1.clet").read_bytes() == (tmp_path / "2.clet").read_bytes()


def test_the_budget_of_a_day_carries_over_runs(lines, clet):
    first = clet("prioritize", "--state", "s", "--budget", "1200", "-o", "1.clet", "--json", input=b"".join(lines[:20]))
    second = clet(
        "prioritize", "--state", "s", "--budget", "1200", "-o", "2.clet", "--json", input=b"".join(lines[20:40])
    )
    third = clet(
        "prioritize",
        "--state",
        "s",
        "--budget",
        "1200",
        "-o",
        "3.clet",
        "--json",
        "--now",
        "2026-03-02",
        input=b"".join(lines),
    )
    assert [summary(done)["tokens"] for done in (first, second, third)] == [1000, 200, 1200]


def test_explain_says_one_line_a_record(lines, clet):
    done = clet("prioritize", "--explain", "-o", "o.clet", input=b"".join(lines))
    said = done.stderr.splitlines()
    assert len(said) == 43
    assert sum(b" kept score=" in line for line in said) == 40
    assert sum(b" short rule=short value=5.0" in line for line in said) == 2
    events = clet("prioritize", "--explain", "--json", "-o", "o.clet", input=b"".join(lines)).stderr.splitlines()
    assert sum(orjson.loads(line)["event"] == "explain" for line in events) == 42


@pytest.mark.parametrize("flags", [("--budget", "many"), ("--window", "0"), ("--window", "10x"), ("--now", "soon")])
def test_wrong_values_are_one_line_and_status_2(flags, clet):
    done = clet("prioritize", *flags, "-o", "o.clet")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert flags[0].encode() in done.stderr


def test_records_without_text_are_said_not_to_be_judged(clet, workshop, tmp_path):
    """Ids decode back, but only with their tokenizer."""
    bare = b"".join(
        orjson.dumps({name: value for name, value in orjson.loads(line).items() if name != "text"}) + b"\n"
        for line in clet("cat", workshop / "docs.clet").stdout.splitlines()
    )
    alone = clet("prioritize", "-o", "a.clet", input=bare)
    assert alone.returncode == 0
    assert alone.stderr.count(b"are not judged (give --tokenizer)") == 1
    told = clet("prioritize", "--tokenizer", workshop / "model", "-o", "b.clet", input=bare)
    assert b"without text" not in told.stderr


def day_of(lines, day: int, **fields) -> bytes:
    return b"".join(
        orjson.dumps(orjson.loads(line) | {"fetched": f"2026-03-{day:02}T12:00:00Z"} | fields) + b"\n" for line in lines
    )


def test_a_record_from_the_future_stops_no_state(lines, clet):
    flags = ("prioritize", "--state", "s", "--budget", "500", "-o", "o.clet", "--json")
    assert summary(clet(*flags, input=day_of(lines[:40], 1)))["tokens"] == 500
    trap = day_of(lines[:1], 1, fetched="2999-01-01T00:00:00Z") + day_of(lines[41:], 1, fetched="2999-01-01T00:00:00Z")
    done = clet(*flags, input=trap + day_of(lines[:40], 2))
    assert done.stderr.count(b"2 records were fetched later than now") == 1
    assert (summary(done)["tokens"], summary(done)["now"]) == (500, "2026-03-02T12:00:00Z")
    assert summary(clet(*flags, input=day_of(lines[:40], 3)))["tokens"] == 500


def test_now_sets_a_clock_back_and_no_day_is_spent_twice(lines, clet):
    flags = ("prioritize", "--state", "s", "--budget", "500", "-o", "o.clet", "--json")
    assert summary(clet(*flags, input=day_of(lines[:40], 1)))["tokens"] == 500
    assert summary(clet(*flags, "--now", "2999-01-01", input=day_of(lines[:40], 1)))["tokens"] == 500
    done = clet(*flags, input=day_of(lines[:40], 1))
    assert b"is ahead of this machine's: it begins anew" in done.stderr
    assert summary(done)["tokens"] == 0
    assert summary(clet(*flags, "--now", "2026-02-20", input=day_of(lines[:40], 1)))["tokens"] == 500
    assert summary(clet(*flags, input=day_of(lines[:40], 1)))["tokens"] == 0


def test_days_in_one_run_spend_what_as_many_runs_spend(lines, clet):
    days = b"".join(day_of(lines[:40], day, origin="a") for day in (1, 2, 3))
    done = clet("prioritize", "--state", "s", "--budget", "1010", "-o", "o.clet", "--json", input=days)
    assert summary(done)["tokens"] == 3000


def test_a_fleet_plans_for_what_the_day_has_left(lines, clet, tmp_path):
    (tmp_path / "fleet.toml").write_text(
        "deadline_s = 60\n"
        "[[device]]\nname = 'new'\ntokens_per_s = 10\nwatts = 300\n"
        "[[device]]\nname = 'old'\ntokens_per_s = 5\nwatts = 60\n"
    )
    flags = ("prioritize", "--state", "s", "--budget", "1000", "-o", "o.clet", "--fleet", "fleet.toml")
    first = clet(*flags, input=day_of(lines[:40], 1))
    assert b"lane new: 600 tokens" in first.stderr
    assert b"lane old: 300 tokens" in first.stderr
    assert b"100 tokens of the budget are more than the fleet can learn in time: they do not pass" in first.stderr
    second = clet(*flags, "--json", input=day_of(lines[:40], 1))
    assert b"lane new: 0 tokens" in second.stderr
    assert b"lane old: 100 tokens" in second.stderr
    assert summary(second)["tokens"] == 100


def test_tokens_of_another_tokenizer_are_refused_and_nothing_is_committed(lines, clet, record, tmp_path):
    other = [orjson.dumps(record(f"other {i}", ids=[i] * 50, fp="of another")) + b"\n" for i in range(3)]
    assert clet("prioritize", "--state", "s", "-o", "1.clet", input=b"".join(lines[:20])).returncode == 0
    kept = (tmp_path / "s" / "HEAD").read_bytes()
    for input in (lines[20:25] + other, other):
        done = clet("prioritize", "--state", "s", "-o", "2.clet", input=b"".join(input))
        assert done.returncode == 65 and len(done.stderr.splitlines()) == 1
        assert b"of another" in done.stderr and not (tmp_path / "2.clet").exists()
    assert (tmp_path / "s" / "HEAD").read_bytes() == kept
    assert clet("prioritize", "-o", "2.clet", input=b"".join(lines[20:25] + other)).returncode == 65
