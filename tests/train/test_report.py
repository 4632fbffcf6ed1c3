"""The report of a run: true to its directory, bounded, readable by an HTML parser, and safe to open."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import orjson
import pytest
from tiny_run import story

from clet.exits import UsageError
from clet.train.breaker import write_trips
from clet.train.report.gather import MAX_ORIGINS, gather
from clet.train.report.page import page
from clet.train.report.svg import HEIGHT, LEFT, RIGHT, WIDTH, Curve, Mark, chart, ticks
from clet.train.series import Series

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\x1b[2J"


class Tags(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, body: bytes):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(body.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def line(step, **more):
    """A line of steps.jsonl."""
    rate = {"schedule": "infinite", "phase": "decay" if step > 10 else "warmup", "peak": 2e-3, "factor": 0.5}
    line = {"step": step, "tokens": 100, "lr": 1e-3, "loss": 2 + math.exp(-step / 50), "grad_norm": 0.5, "rate": rate}
    line |= {"time": "2026-11-27T00:00:00Z", "flops": 1000, "wait_s": 0.001, "seconds": 0.1, "device_s": 0.2}
    line |= {"joules": 3.0, "energy": "measured:rapl", "windows": [["ab", [1, 2, 3]]], "replay": [["cd", [4]]]}
    return line | {"origins": {"example.org": [4.0, 9.0]}} | more


def make_run(run, lines, trips=()):
    run.mkdir()
    (run / "run.json").write_text("{}")
    (run / "steps.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in lines))
    if trips:
        whole = [{"back_to": 0, "lines": "", "undone": [], "recalled": [], "freed": None} | trip for trip in trips]
        write_trips(run, whole)
    return run


def make_release(run, number, step, **facts):
    folder = run / "releases" / str(number)
    folder.mkdir(parents=True)
    (folder / "release.json").write_bytes(orjson.dumps({"number": number, "step": step} | facts))


def test_the_page_of_a_real_run_tells_what_it_did(learn, stories, make_shards, tmp_path):
    evals = iter([{"held": {"perplexity": 9.0}}, {"held": {"perplexity": 4.0}}, {"held": {"perplexity": 4.0}}])
    run = tmp_path / "run"
    learn(stories, run=run, watts=5.0, evaluate=lambda model: next(evals, {"held": {"perplexity": 5.0}}))
    make_shards(stories, [story(i) for i in range(100, 124)], day=2)
    learn(stories, run=run, replay=0.25, evaluate=lambda model: next(evals, {"held": {"perplexity": 5.0}}))
    history = gather(run)
    lines = [orjson.loads(each) for each in (run / "steps.jsonl").read_bytes().splitlines()]
    assert history.totals.steps == len(lines) and history.totals.tokens == lines[-1]["total_tokens"]
    assert history.totals.flops == sum(each["flops"] for each in lines) and history.unreadable == 0
    parsed = Tags(page(history))
    assert f"Learned {lines[-1]['total_tokens']:,} tokens in {len(lines)} steps" in parsed.text
    assert "The breaker has not tripped" in parsed.text and "2 releases were made" in parsed.text
    assert "2026-03-02T00:00:00Z" in parsed.text and "tests" in parsed.text
    assert "warmup" in parsed.text and "held" in parsed.text
    assert parsed.tags.count("svg") >= 6


def test_a_page_loads_and_runs_nothing_whatever_names_strangers_chose(tmp_path):
    trip = {"time": EVIL, "step": 5, "why": EVIL, "request": EVIL, "windows": [[EVIL, [1]]], "documents": [EVIL]}
    evil_rate = {"schedule": EVIL, "phase": EVIL, "peak": 1.0}
    lines = [line(s, origins={EVIL + str(s): [1.0, 2.0]}, rate=evil_rate, energy=EVIL, time=EVIL) for s in range(1, 9)]
    run = make_run(tmp_path / "run<b>", lines, [trip])
    verdict = {"passed": False, "why": EVIL}
    facts = {"created": EVIL, "tokens": EVIL, "documents": EVIL, "watermark": EVIL, "verdict": verdict}
    make_release(run, 1, 8, evals={EVIL: {"perplexity": 3.0}, "x": EVIL}, **facts)
    body = page(gather(run))
    parsed = Tags(body)
    known = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "span", "b", "br", "table"}
    assert set(parsed.tags) <= known | {"tr", "td", "th", "svg", "g", "line", "text", "polyline", "polygon", "circle"}
    names = {name for name, _ in parsed.attributes}
    assert not any(name.startswith("on") or name in ("src", "href", "style", "xlink:href") for name in names)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'") in (
        parsed.attributes
    )
    assert "\u202e" not in parsed.text and "\x1b" not in parsed.text and "url(" not in body.decode()


def test_each_drawing_is_well_formed_and_inside_its_frame(tmp_path):
    random.seed(3)
    lines = [line(s, loss=random.lognormvariate(1, 1), grad_norm=10 ** random.uniform(-3, 6)) for s in range(1, 1500)]
    body = page(gather(make_run(tmp_path / "run", lines))).decode()
    drawings = [part.split("</svg>")[0] for part in body.split("<svg")[1:]]
    assert len(drawings) >= 6
    for drawing in drawings:
        root = ET.fromstring(f"<svg{drawing}</svg>")
        for element in root.iter():
            for point in element.get("points", "").split():
                x, y = map(float, point.split(","))
                assert LEFT <= x <= WIDTH - RIGHT and 0 <= y <= HEIGHT
            for name in ("x1", "x2", "cx"):
                assert LEFT - 1 <= float(element.get(name, LEFT)) <= WIDTH - RIGHT + 1


def test_a_curve_lies_where_its_values_say():
    series = Series()
    for step, value in ((0, 0.0), (50, 5.0), (100, 10.0)):
        series.add(step, value)
    drawn = chart("t", [Curve("c", series.buckets)], [Mark(50, "trip", "w")], from_zero=True)
    root = ET.fromstring(drawn)
    points = [tuple(map(float, p.split(","))) for p in root.find(".//polyline").get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x0 == LEFT and x2 == WIDTH - RIGHT and y0 > y1 > y2
    assert float(root.find(".//g[@class='trip']/line").get("x1")) == pytest.approx(x1)
    labels = {text.text: float(text.get("y")) for text in root.iter("text") if text.get("class") == "yt"}
    assert labels["0"] - 4 == pytest.approx(y0, abs=0.2) and labels["10"] - 4 == pytest.approx(y2, abs=0.2)


def test_a_page_does_not_grow_with_the_run_nor_with_the_number_of_origins(tmp_path):
    def size(name, steps):
        lines = (line(s, origins={f"o{s}": [1.0, 2.0], "large.org": [9.0, 20.0]}) for s in range(1, steps))
        trip = {"time": "", "why": "w", "back_to": 1, "windows": [], "documents": []}
        trips = [trip | {"step": s} for s in range(steps)]
        run = make_run(tmp_path / name, lines, trips)
        history = gather(run)
        assert len(history.origins) <= MAX_ORIGINS and history.origins["large.org"].windows >= 9 * (steps - 1)
        return len(page(history))

    assert size("long", 6000) < 2 * size("short", 1000) < 1 << 20


def test_what_cannot_be_read_is_counted_and_a_line_being_written_is_not(tmp_path):
    run = make_run(tmp_path / "run", [line(1), line(2), {"step": "3"}, line(4, loss=None, lr=None, origins=None)])
    with open(run / "steps.jsonl", "ab") as file:
        file.write(b"not json\n[1]\n" + orjson.dumps(line(5))[:40])
    history = gather(run)
    assert (history.totals.steps, history.unreadable, history.last_step) == (3, 3, 4)
    assert "3 lines of steps.jsonl could not be read" in Tags(page(history)).text


def test_a_run_without_steps_has_a_page_and_what_is_no_run_has_none(tmp_path):
    assert "No step has been made yet" in Tags(page(gather(make_run(tmp_path / "run", [])))).text
    with pytest.raises(UsageError, match="not a run"):
        gather(tmp_path / "nowhere")


def test_forgetting_is_said_in_words(tmp_path):
    run = make_run(tmp_path / "run", [line(s) for s in range(1, 5)])
    for number, value in enumerate((10.0, 8.0, 10.0), 1):
        make_release(run, number, number, evals={"manual": {"perplexity": value}})
    (run / "releases" / "3" / "release.json").write_bytes(b"torn")
    assert "its best" not in Tags(page(gather(run))).text
    make_release(run, 4, 4, evals={"manual": {"perplexity": 10.0}})
    text = Tags(page(gather(run))).text
    assert "Held out: manual is 25.0% above its best" in text and "release.json is damaged" in text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7e9), (1e-9, 2e-9), (5, 5.0001)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    slack = 1e-6 * (high - low)
    assert 2 <= len(found) <= 7 and all(low - slack <= tick <= high + slack for tick in found)
    assert ticks(1, 1) == []
