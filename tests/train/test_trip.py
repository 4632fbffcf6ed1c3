"""A trip goes back exactly to the good state, takes releases back, quarantines whom it should, and survives kills."""

from __future__ import annotations

import math
import threading

import numpy as np
import orjson
import pytest
from tiny_run import Harm, step_lines, story

from clet import release as releases
from clet.exits import TryLater
from clet.shards.reader import ShardReader
from clet.train import loop, requests, savepoint
from clet.train.breaker import read_trips, write_trips
from clet.train.drift import Check
from clet.train.provenance import verify
from clet.train.rundir import RunDirectory
from clet.train.suspects import Seen, stand_out


def digest(saved) -> str:
    """Everything that a saved state holds."""
    import hashlib

    changes = ("breaker", "steps_bytes", "steps_digest")  # how often it tripped, and digits of times
    values = {name: value for name, value in saved.values.items() if name not in changes}
    body = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    for group in sorted(saved.tensors):
        for name, tensor in sorted(saved.tensors[group].items()):
            body += f"{group}/{name}".encode() + tensor.numpy().tobytes()
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def long_run(make_shards, tmp_path):
    """Shards for some 75 steps of 4 windows."""
    return make_shards(tmp_path / "shards", [story(i) for i in range(72)])


def test_a_hundredfold_rate_is_undone_bit_for_bit_and_costs_no_window(learn, long_run, tmp_path):
    learn(long_run, run=tmp_path / "whole", lr=1e-2, epochs=2)
    events = learn(long_run, run=tmp_path / "run", lr=1e-2, epochs=2, outer=Harm([91]))
    (trip,) = read_trips(tmp_path / "run")
    assert 92 <= trip["step"] <= 96 and 80 <= trip["back_to"] <= 90 and trip["windows"] == []
    assert events.named("breaker")[0]["why"] == trip["why"]
    assert step_lines(tmp_path / "run") == step_lines(tmp_path / "whole")
    ours, theirs = (savepoint.load(tmp_path / name / "state") for name in ("run", "whole"))
    assert digest(ours) == digest(theirs)


def test_a_state_saved_right_after_harm_is_not_taken_for_a_good_one(learn, long_run, tmp_path):
    learn(long_run, run=tmp_path / "whole", lr=1e-2, epochs=2)
    learn(long_run, run=tmp_path / "run", lr=1e-2, epochs=2, outer=Harm([90]))  # at 90 a state is saved
    trips = read_trips(tmp_path / "run")
    assert [trip["windows"] for trip in trips] == [[]] and trips[0]["back_to"] < 90
    assert step_lines(tmp_path / "run") == step_lines(tmp_path / "whole")


def test_a_release_made_before_the_harm_began_is_not_recalled_though_its_steps_are_made_again(
    learn, long_run, tmp_path
):
    run = tmp_path / "run"
    settings = {"lr": 1e-2, "epochs": 2, "save_every": 1000, "release_every": 4 * 32 * 40}

    def on_event(fields, stop):
        if fields.get("event") == "release" and fields["number"] == 2:
            for state in (run / "state").iterdir():  # its state is lost, the one before is whole
                head, _ = (state / "state.json").read_bytes().splitlines()
                if orjson.loads(head)["values"]["position"]["step"] == fields["step"]:
                    (state / "moments.safetensors").write_bytes(b"lost")

    learn(long_run, run=tmp_path / "whole", **settings)
    events = learn(long_run, run=run, outer=Harm([89]), on_event=on_event, **settings)
    (trip,) = read_trips(run)
    made = {e["number"]: e["step"] for e in events.named("release")}
    assert trip["back_to"] == made[1] < made[2] < 89 and trip["undone"] == [2]
    assert trip["recalled"] == [] and releases.recalled(run) == {}
    weights = {number: releases.read_release(run, number).facts["weights"] for number in made}
    assert made[3] == made[2] and weights[3] == weights[2]
    assert releases.read_release(run, 3).facts["parent"] == 1  # in the history that stands
    assert step_lines(run) == step_lines(tmp_path / "whole")
    for number in made:
        assert verify(run, releases.read_release(run, number)) == []


def drifting(at):
    """A check that is good until step `at`, counted by its calls."""
    calls = []

    def check(model):
        calls.append(1)
        return Check({"old": 2.0 if len(calls) != at else 5.0}, {})

    return check


def test_drift_goes_back_to_the_last_verified_state_though_newer_ones_were_saved(learn, long_run, tmp_path):
    # Checks at 0, 12, 24, 36 ...: the fourth one drifts; states are saved every 5 steps in between.
    events = learn(long_run, run=tmp_path / "run", check=drifting(4), check_every=12, max_trips=5)
    (trip,) = read_trips(tmp_path / "run")
    assert (trip["step"], trip["back_to"]) == (36, 24) and trip["why"].startswith("drift: old")
    verified = [e["step"] for e in events.named("checkpoint") if e["verified"]]
    assert verified[:3] == [0, 12, 24]
    learn(long_run, run=tmp_path / "whole", check=lambda model: Check({"old": 2.0}, {}), check_every=12)
    assert step_lines(tmp_path / "run") == step_lines(tmp_path / "whole")


def test_harm_that_comes_again_takes_all_windows_since_the_good_state_with_it(learn, long_run, tmp_path):
    poison: set = set()

    def check(model):
        return Check({"old": 9.0 if poison and poison <= learned else 2.0}, {})

    learned: set = set()

    def on_event(fields, stop):
        if "event" not in fields and fields["step"] > 24:
            line = step_lines(tmp_path / "run")[-1]
            windows = {(root, i) for root, indices in line["windows"] for i in indices}
            if fields["step"] == 30 and not poison:
                poison.update(windows)
            learned.update(windows)
        if fields.get("event") == "breaker":
            learned.clear()

    learn(long_run, run=tmp_path / "run", check=check, check_every=12, on_event=on_event, max_trips=5)
    first, second = read_trips(tmp_path / "run")
    assert first["windows"] == [] and (second["step"], second["back_to"]) == (36, 24)
    quarantined = {(root[:16], i) for root, indices in second["windows"] for i in indices}
    assert poison < quarantined and len(quarantined) == 12 * 4
    left = {(r, i) for line in step_lines(tmp_path / "run")[24:] for r, indices in line["windows"] for i in indices}
    assert not quarantined & left


def test_undone_steps_are_kept_for_the_releases_made_of_them(learn, long_run, tmp_path):
    run = tmp_path / "run"
    trip = threading.Event()

    def on_event(fields, stop):
        if fields.get("event") == "release" and fields["number"] == 2:
            trip.set()

    checks = iter([Check({"old": 2.0}, {})])  # only the state of step 0 is verified
    learn(long_run, run=run, tokens=1, check=lambda model: next(checks, Check({}, {})), check_every=10_000)
    assert savepoint.list_states(run / "state")[0][1]
    events = learn(long_run, run=run, release_every=1000, on_event=on_event, trip=trip)
    (found,) = read_trips(run)
    assert found["why"] == "by hand: by a signal" and 2 in found["recalled"]
    numbers = releases.release_numbers(run)
    assert numbers == [e["number"] for e in events.named("release")] or 1 in numbers
    for number in numbers:
        assert verify(run, releases.read_release(run, number)) == []
    states = {
        number: releases.verdict_of(releases.read_release(run, number), releases.recalled(run)) for number in numbers
    }
    assert states[2] == ("recalled", "by hand: by a signal")
    assert releases.tier_number(run, "realtime") == numbers[-1]


def test_a_trip_by_hand_is_carried_out_by_the_next_trainer_and_only_once(learn, long_run, tmp_path):
    run = tmp_path / "run"
    good = lambda model: Check({"old": 2.0}, {})  # noqa: E731
    learn(long_run, run=run, tokens=1000, check=good, check_every=10)
    step = step_lines(run)[-1]["step"]
    learn(long_run, run=run, tokens=300)  # unverified steps
    requests.request_trip(run, "a bad\x1b[31m source", releases.datetime(2026, 3, 1))
    learn(long_run, run=run, tokens=300)
    (trip,) = read_trips(run)
    assert trip["back_to"] == step and trip["why"] == "by hand: a bad [31m source"
    assert trip["windows"] and trip["documents"]
    assert not (run / "trip.json").exists()
    # Killed after the record was written and before the request was taken away: not twice.
    requests.request_trip(run, "again", releases.datetime(2026, 3, 1))
    request = requests.open_request(run)
    write_trips(run, [trip | {"request": request["id"]}])
    learn(long_run, run=run, tokens=300)
    assert len(read_trips(run)) == 1 and not (run / "trip.json").exists()


def test_a_run_killed_anywhere_in_a_trip_goes_on_from_the_good_state(learn, long_run, tmp_path, monkeypatch):
    good = lambda model: Check({"old": 2.0}, {})  # noqa: E731

    class Killed(BaseException):
        pass

    learn(long_run, run=tmp_path / "whole", check=good, check_every=12)
    for at, (place, name) in enumerate(
        [(loop.trip, "examine"), (loop.trip, "keep_undone"), (loop.Trainer, "_recall"), (loop.Keeper, "put_back")]
    ):
        run = tmp_path / f"run{at}"
        before = iter([1] if name == "_recall" else [])  # that one is also called at the start
        real = getattr(place, name)

        def patched(*args, before=before, real=real, **more):
            if next(before, None) is None:
                raise Killed
            return real(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, patched)
            with pytest.raises(Killed):
                learn(long_run, run=run, check=drifting(4), check_every=12)
        learn(long_run, run=run, check=good, check_every=12)
        assert step_lines(run) == step_lines(tmp_path / "whole"), name
        assert (
            releases.read_facts(run / "realtime")["weights"]
            == releases.read_facts(tmp_path / "whole" / "live")["weights"]
        )


def test_with_pause_the_run_stops_until_it_is_resumed(learn, long_run, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TryLater, match="clet release resume"):
        learn(long_run, run=run, check=drifting(3), check_every=12, on_trip="pause")
    assert savepoint.load(run / "state").values["position"]["step"] == 24 or read_trips(run)[0]["back_to"] == 12
    with pytest.raises(TryLater, match="paused by the breaker"):
        learn(long_run, run=run)
    assert "drift" in requests.resume(run)
    learn(long_run, run=run)
    assert releases.release_numbers(run) == [1]


def test_following_a_pause_waits_for_its_end(learn, long_run, tmp_path, monkeypatch):
    monkeypatch.setattr("clet.train.session.LOOK_EVERY_S", 0.01)
    run = tmp_path / "run"
    waited = threading.Timer(0.5, lambda: requests.resume(run))

    def on_event(fields, stop):
        if fields.get("event") == "breaker":
            waited.start()
        if fields.get("event") == "release":
            stop.set()

    events = learn(
        long_run, run=run, check=drifting(3), check_every=12, on_trip="pause", follow=True, on_event=on_event
    )
    waited.join()
    assert len(events.named("breaker")) == 1 and len(events.named("release")) == 1


def test_windows_of_noise_are_found_among_the_others_and_only_they_are_left_out(learn, make_shards, tmp_path):
    letters = np.random.default_rng(1).integers(33, 126, (12, 95))
    clean = make_shards(tmp_path / "a", [story(i) for i in range(72)])
    learn(clean, run=tmp_path / "run", epochs=3, lr=1e-2)
    mixed = make_shards(
        tmp_path / "b", [story(200 + i) for i in range(12)] + [bytes(row.tolist()).decode() for row in letters], day=2
    )
    steps = len(step_lines(tmp_path / "run"))
    checks = iter([2.0])

    def check(model):
        return Check({"old": next(checks, 2.0 if read_trips(tmp_path / "run") else 9.0)}, {})

    learn(mixed, run=tmp_path / "run", check=check, check_every=6, replay=0.0)
    (trip,) = read_trips(tmp_path / "run")
    assert 0 < trip["step"] - trip["back_to"] <= 12 and trip["step"] > steps
    (path,) = mixed.glob("main/*.clet")
    reader = ShardReader.open(path)
    urls = [row["url"] for row in reader.documents()]
    kinds = [
        {int(urls[row].rsplit("/", 1)[1]) >= 12 for row in rows}
        for rows in reader.windows(range(reader.num_windows)).documents
    ]
    (undone,) = (tmp_path / "run" / "undone").iterdir()
    undone_lines = [orjson.loads(line) for line in undone.read_bytes().splitlines()]
    since = {i for line in undone_lines for root, which in line["windows"] if root == reader.root[:16] for i in which}
    bad = {index for root, indices in trip["windows"] if root == reader.root for index in indices}
    assert len(bad) == sum(len(indices) for _, indices in trip["windows"])
    noise, touched = (
        {i for i, k in enumerate(kinds) if fits(k)} for fits in (lambda k: k == {True}, lambda k: True in k)
    )
    # A step may be objected to before the check is: then its windows are found without having been learned.
    assert noise & since <= bad & since <= touched and len(noise & bad) >= 2
    lost = sum(kinds[index] == {False} for index in bad)
    assert lost <= 0.1 * kinds.count({False}) and len(bad) > len(bad & since)  # the rest of the shard, too


def test_a_window_stands_out_by_far_or_by_being_no_number_and_ordinary_ones_do_not():
    usual = [2.0 + 0.1 * (i % 7 - 3) for i in range(64)]
    losses = [2.2, 9.0, 0.01, math.nan, 1.8]
    seen = {("r", i): Seen(loss, None) for i, loss in enumerate(losses)}
    assert stand_out(seen, usual, 1.0) == [("r", 1), ("r", 2), ("r", 3)]
    assert stand_out(seen, usual, 1.0, "above") == [("r", 1), ("r", 3)]
    assert stand_out(seen, usual, 1.0, "below") == [("r", 2), ("r", 3)]
    assert stand_out({("r", 0): Seen(2.0, 1.1), ("r", 1): Seen(2.1, 0.2)}, usual, 1.0) == [("r", 1)]
    assert stand_out({("r", 0): Seen(2.0, None), ("r", 1): Seen(2.1, None)}, [], 1.0) == []


def test_a_trip_by_hand_of_a_run_that_has_ended_takes_back_what_it_released(learn, long_run, tmp_path):
    run = tmp_path / "run"
    good = lambda model: Check({"old": 2.0}, {})  # noqa: E731
    learn(long_run, run=run, tokens=2000, check=good, check_every=10)
    step = step_lines(run)[-1]["step"]
    requests.request_trip(run, "answers", releases.datetime(2026, 3, 1))
    requests.request_trip(run, "and sources", releases.datetime(2026, 3, 1))
    learn(long_run, run=run, tokens=300, check=good)
    (trip,) = read_trips(run)
    assert trip["why"] == "by hand: answers; and sources" and trip["step"] == step
    assert trip["back_to"] < step and trip["windows"] and trip["recalled"] == [1]


def test_the_lock_of_a_run_is_free_after_a_trip_by_hand_without_anything_learned(learn, long_run, tmp_path):
    run = tmp_path / "run"
    learn(long_run, run=run)
    requests.request_trip(run, "late", releases.datetime(2026, 3, 1))
    learn(long_run, run=run)
    assert len(read_trips(run)) == 1
    with RunDirectory.open(run):
        pass


def test_a_trip_by_hand_with_no_state_left_says_so_and_recalls_what_was_released_of_it(learn, stories, tmp_path, capfd):
    run = tmp_path / "run"
    learn(stories, run=run)
    for _ in range(2):  # the first goes back as far as there are states, and what is left to learn then is released
        requests.request_trip(run, "still wrong", releases.datetime(2026, 3, 1))
        assert "no state before step" not in capfd.readouterr().err
        learn(stories, run=run)
    first, second = read_trips(run)
    assert first["back_to"] < first["step"] and first["windows"]
    assert (second["step"], second["back_to"], second["undone"]) == (first["back_to"], first["back_to"], [])
    assert second["recalled"] == [2] and releases.read_release(run, 2).count("step") == second["step"]
    assert f"no state before step {second['step']} is left: nothing was undone" in capfd.readouterr().err
