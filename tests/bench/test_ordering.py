"""What is learned in which order: streams without what is held out, orders that differ in what decides, a real run."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from clet import seeds
from clet.bench import ordering
from clet.bench.attacks import HONEST, Stream, kind_of
from clet.bench.learning_streams import HELD_OUT, NewsroomStream, RealStream
from clet.exits import InputError
from clet.priority.policy import Policy


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordering")
    records = [record for day in Stream(5, 2) for record in day]
    held = [r for r in records if kind_of(r) == HONEST][::9]
    for name, part in (("learn", records), ("held", held)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in part))
    return folder, held


def ids_of(batch):
    return [batch.fields(row)["id"] for row in range(len(batch))]


def test_a_real_stream_is_a_function_of_its_seed_in_order_of_arrival_without_what_is_held_out(news, tmp_path):
    folder, held = news
    stream = RealStream([str(folder / "learn.jsonl")], [str(folder / "held.jsonl")], 512, tmp_path)
    one, same, other = stream.lesson(40_000, 1), stream.lesson(40_000, 1), stream.lesson(40_000, 2)
    assert ids_of(one.stream) == ids_of(same.stream) != ids_of(other.stream)
    assert not set(ids_of(one.stream)) & {r["id"] for r in held}
    assert set(ids_of(one.held_out)) == {r["id"] for r in held}
    fetched = [one.stream.fields(row)["fetched"] for row in range(len(one.stream))]
    assert fetched == sorted(fetched)
    longest = int(one.stream.tok.lengths.max())
    assert 40_000 <= one.stream.num_tokens < 40_000 + longest
    with pytest.raises(InputError, match="tokens to learn from"):
        stream.lesson(1 << 30, 1)


def test_orders_differ_in_what_decides_and_quality_alone_drops(tmp_path):
    lesson = NewsroomStream(512, tmp_path, 3).lesson(60_000, 3)
    assert HELD_OUT not in {lesson.stream.fields(row)["origin"] for row in range(len(lesson.stream))}
    plan = ordering.Plan(tokens=60_000)

    def order(name):
        return ordering._ordered(lesson.stream, ordering.ORDERS[name], plan, Policy(), None)

    kept = {name: order(name) for name in ("arrival", "value", "without quality", "quality alone")}
    assert ids_of(kept["arrival"]) == ids_of(lesson.stream)
    assert len(kept["value"]) < len(lesson.stream)
    assert sorted(ids_of(kept["without quality"])) == sorted(ids_of(lesson.stream))
    notes = [kept["quality alone"].fields(row)["priority"] for row in range(len(kept["quality alone"]))]
    assert all(note["score"] == note["quality"] for note in notes if "corrected" not in note)
    # Spam still speaks against its origin where quality drops nothing.
    spam = [f["priority"]["credibility"] for f in map(kept["without quality"].fields, range(len(lesson.stream)))
            if f["meta"]["attack"] == "spam"]  # fmt: skip
    rest = [f["priority"]["credibility"] for f in map(kept["without quality"].fields, range(len(lesson.stream)))
            if f["meta"]["attack"] != "spam"]  # fmt: skip
    assert np.mean(spam) < np.mean(rest)


def test_models_that_learn_the_same_number_of_tokens_are_compared_run_by_run(tmp_path):
    plan = ordering.Plan(tokens=30_000, preset="pico", vocab=512, runs=2, seed=seeds.integer(1, "ordering") % 100)
    found = ordering.measure(plan, tmp_path, names=("arrival", "value"))
    assert [len(found["losses"][name]) for name in ("arrival", "value")] == [2, 2]
    assert all(3 < loss < 7 for losses in found["losses"].values() for loss in losses)  # below ln 512 + a little
    gaps = np.subtract(found["losses"]["value"], found["losses"]["arrival"])
    assert found["against_arrival"]["value"]["mean"] == pytest.approx(gaps.mean())
    assert sum(found["origins"]["value"].values()) == pytest.approx(1.0)
