"""The intake over many sources: order, limits, faults and cursors, with adapters made for each test."""

import sys
import threading
import types
from collections import Counter
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from clet.exits import InputError
from clet.sources import reading, table
from clet.sources.adapter import SourceFailed
from clet.sources.intake import Intake
from clet.sources.ledger import Ledger
from clet.sources.surroundings import Surroundings
from clet.sources.table import Source
from clet.sources.tokenise import Tokeniser
from clet.stage import Stage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """`adapter(read)` installs an adapter "fake"; `run(sources, ...)` takes them in and returns what came out."""

    class House:
        ledger = Ledger(None)
        now = NOW

        def adapter(self, read):
            module = types.ModuleType("fake_adapter")
            module.read = read
            monkeypatch.setitem(sys.modules, "fake_adapter", module)
            monkeypatch.setitem(table.ADAPTERS, "fake", "fake_adapter")

        def taken(self):
            return self.stage.counts.records_in

        def run(self, *sources, limit=None, connections=16, follow=False, rejects=None, **settings):
            out = tmp_path / "out.jsonl"
            surroundings = Surroundings(
                clock=lambda: self.now, cache=tmp_path / "cache", user_agent="tests", connections=connections
            )
            with Stage([], str(out), rejects=rejects, state=self.ledger) as stage:
                self.stage = stage
                self.intake = Intake(stage, Tokeniser(None), self.ledger, surroundings, limit=limit, **settings)
                named = [each if isinstance(each, Source) else Source("fake", each) for each in sources]
                self.intake.round(named)
                self.counts = stage.counts
            return [orjson.loads(line)["text"] for line in out.read_bytes().splitlines()]

    return House()


def numbered(locator, context):
    """Documents `locator 0` to `locator 9`, of which the cursor remembers how many came."""
    for number in range(context.cursor.get("n", 0), 10):
        context.cursor["n"] = number + 1
        yield context.document(origin="o", text=f"{locator} {number}")


def names(*locators):
    return [f"{locator} {number}" for locator in locators for number in range(10)]


def test_documents_come_in_the_order_of_the_sources_whoever_answers_first(house):
    others = threading.Event()
    finished = []

    def read(locator, context):
        if locator == "http://slow/":
            others.wait(10)
        yield from numbered(locator, context)
        finished.append(locator)
        if len(finished) == 3:
            others.set()

    house.adapter(read)
    sources = ["http://slow/", "http://a/", "http://b/", "http://c/"]
    assert house.run(*sources) == names(*sources)
    assert finished[-1] == "http://slow/"


def test_sources_that_have_ended_make_room_for_others_before_their_turn(house):
    met, enough = [], threading.Event()

    def read(locator, context):
        met.append(locator)
        if locator == "http://0/":
            assert enough.wait(10)
        elif len(met) == 30:
            enough.set()
        yield context.document(origin="o", text=locator)

    house.adapter(read)
    sources = [f"http://{number}/" for number in range(30)]
    assert house.run(*sources, connections=2) == sources


def test_one_host_is_asked_by_one_source_at_a_time(house):
    now_reading, most = Counter(), Counter()

    def read(locator, context):
        host = context.name.split("/")[2]
        now_reading[host] += 1
        most[host] = max(most[host], now_reading[host])
        context.idle()
        yield context.document(origin="o", text=locator)
        now_reading[host] -= 1

    house.adapter(read)
    sources = [f"http://h{number % 3}/{number}" for number in range(60)]
    assert house.run(*sources) == sources
    assert max(most.values()) == 1


def test_what_lies_ready_is_bounded_and_never_blocks_the_first(house, monkeypatch):
    monkeypatch.setattr(reading, "BUFFER_BYTES", 20_000)
    waiting = threading.Event()
    made = Counter()

    def read(locator, context):
        if locator == "http://first/":
            waiting.wait(0.2)  # the others fill the buffer meanwhile
        for number in range(300):
            made[locator] += 1
            if locator == "http://first/" and number == 0:
                others = sum(made.values()) - 1
                assert others <= 3 * (20_000 // 1000 + 2 * reading.CHUNK_DOCUMENTS)
            yield context.document(origin="o", text=f"{locator} {number}")

    house.adapter(read)
    sources = ["http://first/", "http://a/", "http://b/", "http://c/"]
    assert len(house.run(*sources)) == 1200


def test_a_single_source_is_never_far_ahead_of_what_was_dealt_with(house, monkeypatch):
    monkeypatch.setattr(reading, "HEAD_BYTES", 20_000)
    monkeypatch.setattr(reading, "BUFFER_BYTES", 20_000)
    made, most = [0], [0]

    def read(locator, context):
        for number in range(3000):
            made[0] += 1
            most[0] = max(most[0], made[0] - house.taken())
            yield context.document(origin="o", text=f"{number}")

    house.adapter(read)
    assert len(house.run("a")) == 3000
    assert most[0] <= 20 + 4 * reading.CHUNK_DOCUMENTS


def test_members_of_a_list_follow_it_each_with_a_cursor_even_when_all_readers_are_held_up(house, monkeypatch):
    monkeypatch.setattr(reading, "BUFFER_BYTES", 1000)

    def read(locator, context):
        if locator == "http://list/":
            for name in ("http://m1/", "http://z/", "http://m1/", "http://m2/"):
                context.include(name)
            return
        yield from numbered(locator, context)

    house.adapter(read)
    sources = ["http://list/", "http://y/", "http://z/"]
    assert house.run(*sources, connections=2) == names("http://m1/", "http://m2/", "http://y/", "http://z/")
    assert house.ledger.cursor("fake:http://m2/") == {"n": 10}


@pytest.mark.parametrize("limit", [0, 1, 7, 10, 13])
def test_a_limit_is_exact_and_the_rest_comes_next_time(house, limit):
    house.adapter(numbered)
    first = house.run("a", "b", limit=limit)
    assert first == names("a", "b")[:limit]
    assert first + house.run("a", "b") == names("a", "b")


def test_a_source_that_fails_stops_no_other_and_keeps_what_it_gave(house, capfd):
    def read(locator, context):
        for document in numbered(locator, context):
            if locator == "bad" and context.cursor["n"] == 4:
                raise SourceFailed("went away", unreachable=True)
            yield document

    house.adapter(read)
    assert house.run("a", "bad", "b") == [*names("a"), *names("bad")[:3], *names("b")]
    assert house.intake.report.failures == 1
    assert "fake:bad: went away" in capfd.readouterr().err
    standing = house.ledger.standing(Source("fake", "bad").key)
    assert (standing.failures, standing.error, standing.documents) == (1, "went away", 3)


def test_damaged_input_ends_the_command_where_it_is_the_only_source_and_fails_one_of_many(house):
    def read(locator, context):
        yield from numbered(locator, context)
        if locator == "damaged":
            raise InputError("cut short")

    house.adapter(read)
    with pytest.raises(InputError, match="cut short"):
        house.run("damaged")
    house.ledger = Ledger(None)  # nothing was committed
    assert house.run("damaged", "b") == names("damaged", "b")
    assert house.intake.report.failures == 1


def test_a_bug_in_an_adapter_is_shown_as_one(house):
    def read(locator, context):
        yield from ()
        raise ZeroDivisionError("a bug")

    house.adapter(read)
    with pytest.raises(ZeroDivisionError):
        house.run("a", "b")


def test_deletions_and_empty_documents_go_to_the_rejects(house, tmp_path):
    def read(locator, context):
        yield context.deletion(origin="o", deletes="ab" * 16, meta={"path": "x"})
        yield context.document(origin="o", text=" \n")
        yield context.document(origin="o", text="kept")

    house.adapter(read)
    assert house.run("a", rejects=str(tmp_path / "r.jsonl")) == ["kept"]
    deleted, empty = map(orjson.loads, (tmp_path / "r.jsonl").read_bytes().splitlines())
    assert (deleted["id"], deleted["reject"]["reason"], deleted["meta"]["path"]) == ("ab" * 16, "deleted", "x")
    assert empty["reject"]["reason"] == "empty"


def test_complaints_are_counted_and_named(house, capfd, tmp_path):
    def read(locator, context):
        context.bad("page 3: torn")
        context.bad_line("a:1", "not JSON", b"{")
        context.count("vendored", 2)
        yield context.document(origin="o", text="kept")

    house.adapter(read)
    assert house.run("a", rejects=str(tmp_path / "r.jsonl")) == ["kept"]
    err = capfd.readouterr().err
    assert "fake:a: page 3: torn" in err and "a:1: not JSON" in err
    assert (house.counts.bad, house.counts.records_in) == (2, 3)
    assert house.intake.report.sources["fake:a"] == {"vendored": 2, "documents": 1}


def test_a_source_with_an_interval_is_left_alone_until_it_is_due(house):
    def read(locator, context):
        yield context.document(origin="o", text=locator)

    house.adapter(read)
    often, seldom = Source("fake", "often"), Source("fake", "seldom", interval_s=3600.0)
    assert house.run(often, seldom) == ["often", "seldom"]
    house.now = NOW + timedelta(seconds=3599)
    assert house.run(often, seldom) == ["often"]
    house.now = NOW + timedelta(seconds=3600)
    assert house.run(often, seldom) == ["often", "seldom"]


def test_a_cursor_kept_on_the_way_never_says_more_than_was_handed_over(house):
    """While following, a cursor may be committed at any chunk: it must not be ahead of its documents."""

    def read(locator, context):
        for number in range(10):
            context.idle()
            context.cursor["n"] = number + 1
            yield context.document(origin="o", text=f"{number}")

    crew = reading.Crew(early_cursors=True)
    house.adapter(read)

    def context(outlet):
        surroundings = Surroundings(clock=lambda: NOW, cache=None, user_agent="tests")
        return surroundings.context(Source("fake", "a"), {}, NOW, outlet)

    begun = crew.start(Source("fake", "a"), context)
    come, ended = 0, False
    while not ended:
        crew.wait(10)
        while (chunk := crew.take(begun)) is not None:
            come += len(chunk.items)
            if chunk.cursor is not None:
                assert orjson.loads(chunk.cursor).get("n", 0) <= come
            ended = chunk.ended
    assert come == 10
