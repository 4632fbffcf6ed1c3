"""The simulated newsroom: what its world promises to a learner, and what its server promises to a feed reader."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from pathlib import Path

import pytest

from clet.bench.newsroom.__main__ import held_out_lines, question_lines
from clet.bench.newsroom.names import Minter
from clet.bench.newsroom.publishers import EVENING_POST, OFFERS, PUBLISHERS, TRAINING
from clet.bench.newsroom.server import Newsroom, not_modified, serve
from clet.bench.newsroom.world import KINDS, World
from clet.seeds import python_random

START = date(2026, 3, 1)
DAYS = 6
END = datetime.combine(START + timedelta(days=DAYS), time(), UTC)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world() -> World:
    return World(1, START, DAYS)


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return set(zip(*(words[i:] for i in range(5)), strict=False))


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def says(text: str, answer: str) -> int:
    return len(re.findall(rf"(?<![\w.,]){re.escape(answer)}(?!\w)", text))


def digest(world: World) -> str:
    newsroom = Newsroom(world, END)
    feeds = [newsroom.resource(p.feed_path).body for p in PUBLISHERS.values()]
    questions = json.dumps(list(question_lines(world))).encode()
    return hashlib.sha256(b"".join([*feeds, questions])).hexdigest()


# ---- the world


def test_same_seed_gives_same_bytes_in_another_process_with_another_hash_seed(world):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_newsroom import *\n"
        "print(digest(World(1, START, DAYS)), digest(World(2, START, DAYS)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    same, other = run.stdout.split()
    assert same == digest(world) != other


def test_a_longer_world_begins_like_a_shorter_one(world):
    short = World(1, START, 2)
    assert [short.articles(day) for day in short.dates] == [world.articles(day) for day in world.dates[:2]]


def test_articles_are_in_order_and_inside_their_day(world):
    for day in world.dates:
        articles = world.articles(day)
        updated = [a.updated for a in articles]
        assert updated == sorted(updated)
        for a in articles:
            assert a.published <= a.updated and a.published.date() == a.updated.date() == day
        begins = {event.id: event.when for event in (*world.events(day), *world.background(day))}
        assert all(a.published >= begins[a.event] for a in articles if a.event)


def test_amount_and_mixture_of_a_day(world):
    for day in world.dates:
        articles = world.training_articles(day)
        assert 60 <= len(articles) <= 90
        assert 14_000 <= sum(len(a.text.split()) for a in articles) <= 25_000
        assert 0.18 <= sum(a.copy_of is not None for a in articles) / len(articles) <= 0.30
        assert 0.10 <= sum(a.kind == "spam" for a in articles) / len(articles) <= 0.20
        assert all(80 <= len(a.text.split()) <= 320 for a in articles if a.kind != "spam")


def test_every_fact_is_restated_in_independent_training_articles(world):
    for day in world.dates:
        articles = world.training_articles(day)
        for event in world.events(day):
            independent = [a for a in articles if a.event == event.id and a.copy_of is None]
            # the version that was wrong is superseded: what counts is what stands at the end of the day
            final = {a.guid: a for a in independent}.values()
            stating = [a for a in final if says(a.text, event.fact.value) >= 2]
            assert len(stating) >= 4 and {a.kind for a in final} >= {"wire", "follow-up", "explainer"}
            assert sum(says(a.text, event.fact.value) for a in stating) >= 12
            stem = next(q.stem for q in world.questions(day) if q.event == event.id)
            assert sum(f"{stem} {event.fact.value}." in a.text for a in stating) >= 2


def test_restatements_are_varied(world):
    sentences = [
        s
        for event in world.events(START)
        for a in world.training_articles(START)
        if a.event == event.id and a.copy_of is None and a.kind != "correction"
        for s in re.split(
            r"(?<=[.?!])\s+",
            re.sub(re.escape(event.fact.relation), "N", a.text, flags=re.I).replace(event.fact.value, "V"),
        )
        if "V" in s.split() or "V." in s.split()
    ]
    assert len(sentences) > 150
    assert max(map(sentences.count, set(sentences))) / len(sentences) < 0.15
    assert len(set(sentences)) > 100


def test_syndicated_copies_are_near_duplicates_also_with_their_boilerplate(world):
    for day in world.dates:
        articles = world.articles(day)
        by_guid = {a.guid: a for a in articles}
        copies = [a for a in articles if a.copy_of]
        for render in (lambda a: a.text, lambda a: re.sub(r"<[^>]+>", " ", a.html)):
            similar = [jaccard(grams(render(a)), grams(render(by_guid[a.copy_of]))) for a in copies]
            assert min(similar) >= 0.8 and statistics.mean(similar) < 0.99


def test_independent_articles_are_no_near_duplicates(world):
    articles = [a for a in world.articles(START) if a.kind in ("own", "follow-up", "explainer")]
    articles += [a for a in world.articles(START) if a.kind == "wire" and not a.copy_of]
    sets = [grams(a.text) for a in articles]
    assert max(jaccard(a, b) for a, b in combinations(sets, 2)) < 0.5


def test_no_answer_appears_before_its_event(world):
    text_until = ""
    for day in world.dates:
        today = world.articles(day)
        for event in (*world.events(day), *world.background(day)):
            earlier = text_until + "\n".join(f"{a.title}\n{a.text}" for a in today if a.published < event.when)
            for answer in event.fact.answers:
                assert not says(earlier, answer), (answer, event.id)
        text_until += "\n".join(f"{a.title}\n{a.text}\n" for a in today)


def test_old_value_of_a_changed_fact_was_published_before(world):
    changed = [event for day in world.dates for event in world.events(day) if event.fact.old]
    assert len(changed) >= 3 * (DAYS - 1)
    for event in changed:
        known = (event.fact.subject, event.slots["P"])
        before = [a for day in world.dates if day < event.when.date() for a in world.training_articles(day)]
        telling = {a.publisher for a in before if says(a.text, event.fact.old) and any(n in a.text for n in known)}
        assert len(telling) >= 2, event


def test_a_correction_supersedes_by_guid_and_says_so(world):
    corrections = [a for day in world.dates for a in world.articles(day) if a.kind == "correction"]
    assert len(corrections) >= DAYS
    newsroom = Newsroom(world, datetime.combine(START, time(), UTC))
    for fixed in corrections:
        day = fixed.updated.date()
        event = next(e for e in world.events(day) if e.id == fixed.event)
        first = next(a for a in world.articles(day) if a.guid == fixed.guid and a is not fixed)
        assert first.published == first.updated == fixed.published < fixed.updated and first.url == fixed.url
        assert says(first.text, event.wrong) >= 3 and not says(first.text, event.fact.value)
        assert says(fixed.text, event.fact.value) >= 3 and not says(fixed.text, event.wrong)
        assert fixed.text.startswith("Correction, ")
        newsroom.advance(first.updated)
        assert first in newsroom.visible(first.publisher)
        newsroom.advance(fixed.updated)
        shown = [a for a in newsroom.visible(first.publisher) if a.guid == fixed.guid]
        assert shown == [fixed]


def test_held_out_publisher_covers_every_event_and_is_no_training_source(world):
    for day in world.dates:
        covered = {a.event for a in world.articles(day) if a.publisher == EVENING_POST.key}
        assert covered == {event.id for event in world.events(day)}
        assert all(a.publisher != EVENING_POST.key for a in world.training_articles(day))
    assert EVENING_POST not in TRAINING and OFFERS in TRAINING
    lines = [line for day in world.dates for line in held_out_lines(world, day)]
    assert len(lines) == 12 * DAYS and len({line["id"] for line in lines}) == len(lines)


def test_questions_are_open_and_their_paraphrases_are_never_printed(world):
    printed = "\n".join(a.text for day in world.dates for a in world.articles(day))
    for day in world.dates:
        questions = world.questions(day)
        assert [q.event for q in questions] == [event.id for event in world.events(day)]
        for q in questions:
            assert len(set(q.paraphrases)) >= 3
            for text in (*q.paraphrases, q.stem, q.false_premise):
                assert not any(says(text, answer) for answer in q.answers) and "{" not in text and "[" not in text
            assert not any(text in printed for text in (*q.paraphrases, q.false_premise))
            assert q.presumed in q.false_premise and q.presumed not in q.answers
            assert q.old is None or q.presumed == q.old


def test_stems_of_different_events_ask_for_different_things(world):
    stems = [q.stem for day in world.dates for q in world.questions(day) if not q.old]
    assert len(stems) == len(set(stems))


def test_every_kind_of_event_happens_and_leaves_no_slot_open(world):
    assert {event.kind for day in world.dates for event in world.events(day)} == set(KINDS)
    for day in world.dates:
        for a in world.articles(day):
            assert not re.search(r"[\[\]{}|\x00-\x09]|  ", a.text + a.title), a.text
            assert a.text.isascii()


def test_spam_is_near_identical_and_stuffed(world):
    spam = [a for a in world.articles(START) if a.kind == "spam"]
    long = [a for a in spam if len(a.text.split()) > 40]
    assert len(long) >= 7 and len(spam) > len(long)
    sets = [grams(a.text) for a in long]
    assert min(jaccard(sets[0], s) for s in sets[1:]) > 0.6
    words = long[0].text.lower().split()
    assert len(set(words)) / len(words) < 0.6


def test_minter_never_repeats_a_name_or_a_surname():
    mint = Minter(python_random(5, "test"))
    people = [mint.person() for _ in range(1500)]
    assert len({name.split()[1] for name in people}) == len(people)


def test_a_world_of_no_days_is_refused():
    with pytest.raises(ValueError, match="at least one day"):
        World(1, START, 0)


# ---- the feeds


@pytest.mark.parametrize("key", sorted(PUBLISHERS))
def test_feeds_parse_with_all_their_items(world, key):
    feedparser = pytest.importorskip("feedparser")
    publisher, newsroom = PUBLISHERS[key], Newsroom(world, END)
    expected = {a.guid: a for day in world.dates for a in world.articles(day) if a.publisher == key}
    body = newsroom.resource(publisher.feed_path).body
    if publisher.feed_format == "json":
        items = json.loads(body)["items"]
        assert {i["id"]: (i["title"], i["content_html"], i["date_modified"]) for i in items} == {
            a.guid: (a.title, a.html, a.updated.strftime("%Y-%m-%dT%H:%M:%SZ")) for a in expected.values()
        }
        return
    feed = feedparser.parse(body)
    assert not feed.bozo and len(feed.entries) == len(expected) > DAYS
    assert feed.version == {"rss": "rss20", "atom": "atom10", "rdf": "rss10"}[publisher.feed_format]
    for entry in feed.entries:
        article = expected[entry.id]
        assert entry.title == article.title and entry.link == newsroom.base + article.url
        assert entry.author == article.author
        assert datetime(*entry.updated_parsed[:6], tzinfo=UTC) == article.updated or publisher.feed_format == "rdf"
        assert [tag.term for tag in entry.tags] == list(article.categories)
        words = re.sub(r"<[^>]+>", " ", entry.content[0].value).split()
        assert article.text.split() == words[: len(article.text.split())]


def test_feed_shows_the_past_only_and_at_most_its_window(world):
    noon = datetime.combine(START + timedelta(days=1), time(12), UTC)
    newsroom = Newsroom(world, noon, window=10)
    for publisher in PUBLISHERS.values():
        shown = newsroom.visible(publisher.key)
        assert len(shown) <= 10 and all(a.updated <= noon for a in shown)
        assert shown == sorted(shown, key=lambda a: a.updated, reverse=True)


def test_bytes_change_only_when_something_was_published(world):
    day = world.dates[2]
    newsroom = Newsroom(world, datetime.combine(day, time(), UTC))
    path = PUBLISHERS["agency"].feed_path
    quiet = newsroom.resource(path)
    newsroom.advance(datetime.combine(day, time(6), UTC))
    assert newsroom.resource(path) == quiet
    newsroom.advance(datetime.combine(day, time(18), UTC))
    assert newsroom.resource(path).etag != quiet.etag and newsroom.resource(path).modified > quiet.modified
    with pytest.raises(ValueError, match="backwards"):
        newsroom.advance(datetime.combine(day, time(17), UTC))


# ---- the server


def ask(base: str, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None):
    host, port = base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.fixture
def served(world):
    newsroom = Newsroom(world, datetime.combine(START, time(20), UTC))
    with serve(newsroom) as base:
        yield newsroom, base


def test_conditional_requests_over_loopback(served):
    newsroom, base = served
    path = PUBLISHERS["courier"].feed_path
    status, headers, body = ask(base, "GET", path)
    assert status == 200 and body == newsroom.resource(path).body and headers["ETag"].startswith('"')
    assert ask(base, "GET", path, {"If-None-Match": headers["ETag"]})[::2] == (304, b"")
    assert ask(base, "GET", path, {"If-None-Match": f'"old", W/{headers["ETag"]}'})[0] == 304
    assert ask(base, "GET", path, {"If-Modified-Since": headers["Last-Modified"]})[::2] == (304, b"")
    stale = {"If-None-Match": '"old"', "If-Modified-Since": headers["Last-Modified"]}
    assert ask(base, "GET", path, stale)[0] == 200
    status, head, nothing = ask(base, "HEAD", path)
    assert (status, nothing, head["Content-Length"]) == (200, b"", str(len(body)))
    assert ask(base, "GET", "/nowhere")[0] == ask(base, "GET", "/courier/nowhere")[0] == ask(base, "GET", "*")[0] == 404


def test_a_client_that_resets_its_connection_is_no_error(served, capfd):
    _, base = served
    with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2]))) as client:
        client.sendall(b"GET /opml.xml HTTP/1.1\r\nHost: newsroom\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends RST
    assert ask(base, "GET", "/opml.xml")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_unreadable_date_does_not_hide_the_body(served):
    newsroom, _ = served
    resource = newsroom.resource("/opml.xml")
    assert not not_modified(resource, None, "yesterday") and not not_modified(resource, None, None)
    assert not_modified(resource, "*", None)


def test_clock_moves_over_http_forward_only(served, world):
    newsroom, base = served
    path = PUBLISHERS["agency"].feed_path
    tag = ask(base, "GET", path)[1]["ETag"]
    assert ask(base, "POST", "/clock", body=b"2026-03-02T20:00:00+00:00")[::2] == (200, b"2026-03-02T20:00:00Z\n")
    assert ask(base, "GET", path, {"If-None-Match": tag})[0] == 200
    assert ask(base, "POST", "/clock", body=b"2026-03-02T19:59:59Z")[0] == 409
    for bad in (b"tomorrow", b"2026-03-03T00:00:00", b"\xff", b"", b"2" * 65):
        assert ask(base, "POST", "/clock", body=bad)[0] == 400
    assert ask(base, "POST", "/other", body=b"x")[0] == 404
    assert newsroom.now == datetime(2026, 3, 2, 20, tzinfo=UTC)


def test_opml_lists_the_training_feeds_and_their_items_lead_to_pages(served):
    newsroom, base = served
    outlines = ElementTree.fromstring(ask(base, "GET", "/opml.xml")[2]).iter("outline")
    urls = [outline.get("xmlUrl") for outline in outlines]
    assert urls == [base + p.feed_path for p in TRAINING] and not any(EVENING_POST.key in url for url in urls)
    for publisher in TRAINING:
        assert ask(base, "GET", publisher.feed_path)[0] == ask(base, "GET", f"/{publisher.key}/")[0] == 200
        article = newsroom.visible(publisher.key)[0]
        status, headers, page = ask(base, "GET", article.url)
        assert status == 200 and headers["Content-Type"].startswith("text/html") and article.html.encode() in page
    tomorrow = next(a for a in newsroom.world.articles(START + timedelta(days=1)) if a.kind == "wire")
    assert ask(base, "GET", tomorrow.url)[0] == 404


def test_command_serves_until_sigterm_and_writes_its_files(tmp_path):
    port, questions, held_out = (tmp_path / name for name in ("port", "questions.jsonl", "held-out"))
    command = [
        sys.executable,
        "-m",
        "clet.bench.newsroom",
        "--seed",
        "3",
        "--start",
        "2026-03-01",
        "--days",
        "2",
        "--upto",
        "2026-03-01T23:59:59Z",
        "--listen",
        "127.0.0.1:0",
        "--port-file",
        port,
        "--questions",
        questions,
        "--held-out",
        held_out,
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "serving" in process.stderr.readline()  # printed after the port file stands
            status, _, body = ask(f"http://127.0.0.1:{port.read_text().strip()}", "GET", "/opml.xml")
            assert status == 200 and b"<opml" in body
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    assert {"day", "stem", "paraphrases", "answers", "old"} <= set(rows[0]) and {r["day"] for r in rows} == {
        "2026-03-01",
        "2026-03-02",
    }
    assert sum(not r["standing"] for r in rows) == 24
    files = sorted(held_out.glob("*.jsonl"))
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(records) == 24 and all(r["id"] and r["text"] and r["published"] for r in records)


def test_command_refuses_a_taken_port(served):
    _, base = served
    command = [sys.executable, "-m", "clet.bench.newsroom", "--start", "2026-03-01", "--days", "1", "--listen"]
    run = subprocess.run(
        [*command, base.removeprefix("http://")], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 69 and run.stderr.startswith("newsroom: ") and run.stderr.count("\n") == 1
