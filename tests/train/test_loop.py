"""The loop end to end inside one process: learning, resuming, releasing, breaking."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import SEQ_LEN, make_model_dir, step_lines, story

from clet import release as releases
from clet.exits import InputError, NothingToDo, TryLater, UsageError
from clet.model.checkpoint import load_model, state_root
from clet.shards.manifest import find_shards
from clet.shards.reader import ShardReader
from clet.train import loop, savepoint
from clet.train.breaker import read_trips
from clet.train.feed import Shard
from clet.train.rundir import ROOT_CHARS, RunDirectory
from clet.train.shelf import Shelf


def weights_of(run) -> str:
    return releases.read_facts(run / "realtime")["weights"]


def test_loss_falls_on_a_repetitive_corpus_and_the_release_loads(learn, stories, tmp_path):
    events = learn(stories, run=tmp_path / "run", epochs=6, lr=1e-2)
    losses = [loss for _, loss in sorted(events.losses.items())]
    assert losses[0] == pytest.approx(math.log(257), abs=0.2)
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    facts = releases.read_facts(tmp_path / "run" / "live")
    assert facts["weights"] == state_root(load_model(tmp_path / "run" / "live"))
    assert facts["documents"] == 24
    assert facts["watermark"] == "2026-03-01T00:00:00Z"


def test_a_release_without_a_branch_has_the_weights_of_its_step_whatever_is_learned_meanwhile(learn, stories, tmp_path):
    events = learn(stories, run=tmp_path / "run", release_every=5 * 4 * SEQ_LEN, cooldown=0)
    first = releases.read_facts(tmp_path / "run" / "releases" / "1")
    assert max(events.losses) > first["step"]
    learn(stories, run=tmp_path / "short", tokens=first["tokens"], cooldown=0)
    assert weights_of(tmp_path / "short") == first["weights"]
    assert first["weights"] == state_root(load_model(tmp_path / "run" / "releases" / "1"))


def test_every_window_of_the_shards_is_in_the_steps_once(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "run")
    with RunDirectory.open(tmp_path / "run") as run:
        known = {(s.root[:ROOT_CHARS], i) for segment in run.segments for s in segment.shards for i in range(s.windows)}
    learned = [(root, i) for line in step_lines(tmp_path / "run") for root, indices in line["windows"] for i in indices]
    assert sorted(learned) == sorted(known)


def test_stopped_after_any_step_and_started_again_the_run_is_the_undisturbed_one(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "whole")
    whole = step_lines(tmp_path / "whole")
    for at in (1, 5, len(whole) - 1, len(whole)):
        run = tmp_path / f"cut{at}"

        def stop_at(fields, stop, at=at):
            if fields.get("step") == at and "event" not in fields:
                stop.set()

        learn(stories, run=run, on_event=stop_at)
        assert releases.release_numbers(run) == []
        learn(stories, run=run)
        assert step_lines(run) == whole
        assert weights_of(run) == weights_of(tmp_path / "whole")


def test_a_crash_between_saves_repeats_the_lost_steps_bit_for_bit(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "whole", release_every=2000)
    whole = step_lines(tmp_path / "whole")

    class Crash(Exception):
        pass

    def crash_at(step):
        def on_event(fields, stop):
            if fields.get("step") == step and "event" not in fields:
                raise Crash

        return on_event

    run = tmp_path / "run"
    for step in (3, 7, 11, 18):
        with pytest.raises(Crash):
            learn(stories, run=run, on_event=crash_at(step), release_every=2000)
    with open(run / "steps.jsonl", "ab") as file:
        file.write(b'{"step": 19, "lo')  # a torn line
    learn(stories, run=run, release_every=2000)
    assert step_lines(run) == whole
    assert weights_of(run) == weights_of(tmp_path / "whole")
    numbers = releases.release_numbers(run)
    assert numbers == releases.release_numbers(tmp_path / "whole") and len(numbers) > 1
    for number in numbers:
        ours, theirs = (releases.read_release(r, number).facts for r in (run, tmp_path / "whole"))
        assert ours == theirs


def test_a_crash_right_after_a_release_makes_no_second_one(learn, stories, tmp_path):
    def crash(fields, stop):
        if fields.get("event") == "release":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(stories, run=tmp_path / "run", on_event=crash)
    (tmp_path / "run" / "realtime").unlink()
    (tmp_path / "run" / "links.jsonl").unlink()  # killed before the links were made
    with pytest.raises(NothingToDo):
        learn(stories, run=tmp_path / "run")
    assert releases.release_numbers(tmp_path / "run") == [1]
    assert releases.tier_number(tmp_path / "run", "realtime") == 1


def test_new_shards_are_the_next_segment_with_replay_of_the_first(learn, stories, make_shards, tmp_path):
    learn(stories, run=tmp_path / "run")
    first = len(step_lines(tmp_path / "run"))
    make_shards(stories, [story(i) for i in range(100, 124)], day=2)
    learn(stories, run=tmp_path / "run", replay=0.25)
    lines = step_lines(tmp_path / "run")
    assert {line["segment"] for line in lines[:first]} == {0} and not any(line["replay"] for line in lines[:first])
    assert {line["segment"] for line in lines[first:]} == {1}
    assert sum(len(indices) for line in lines[first:] for _, indices in line["replay"]) > len(lines[first:]) / 2
    facts = releases.read_facts(tmp_path / "run" / "realtime")
    assert (facts["parent"], facts["documents"], facts["watermark"]) == (1, 48, "2026-03-02T00:00:00Z")
    with pytest.raises(NothingToDo):
        learn(stories, run=tmp_path / "run")


def test_replay_prefers_windows_of_documents_with_a_high_score(learn, model_dir, make_shards, tmp_path):
    """Scores 1 and 0 (which counts as 1/16), a document in three windows of its own."""
    texts = [story(i, 200)[:95] for i in range(12)]
    first = make_shards(tmp_path / "shards", texts, scores=[1.0, 0.0] * 6)
    learn(first, run=tmp_path / "run")
    steps = len(step_lines(tmp_path / "run"))
    later = make_shards(tmp_path / "later", [story(i) for i in range(100, 124)], day=2)
    learn(later, run=tmp_path / "run", replay=0.5)
    (path,) = first.glob("main/*.clet")
    reader = ShardReader.open(path)
    hits = [0, 0]
    for line in step_lines(tmp_path / "run")[steps:]:
        for _, indices in line["replay"]:
            for rows in reader.windows(indices).documents:
                for row in rows.tolist():
                    hits[reader.heads()[row]["priority"]["score"] < 1] += 1
    assert sum(hits) > 60
    assert hits[0] > 4 * hits[1]


def test_a_window_is_worth_the_mean_score_of_its_tokens(model_dir, make_shards, tmp_path):
    directory = make_shards(tmp_path / "shards", ["x" * 20, "y" * 10, "z" * 31], scores=[0.8, 7.0])
    (entry,) = find_shards([str(directory)])
    reader = ShardReader.open(entry.path)
    shelf = Shelf(reader.fingerprint, 32, reader.vocab_size)
    shelf.add(Shard(str(entry.path), entry.name, entry.root, "main", entry.num_windows, 0, 0, None))
    mixed = (0.8 * 21 + 1.0 * 11) / 32  # above 1 is 1; the third has none
    assert sorted(shelf.worth(entry.root, i) for i in range(reader.num_windows)) == pytest.approx([0.5, mixed])
    Path(entry.path).write_bytes(b"gone")
    shelf.add(Shard(str(entry.path), entry.name, entry.root, "main", entry.num_windows, 0, 0, None))
    assert shelf.worth(entry.root, 0) == 0.0


def test_replay_goes_on_with_less_when_old_shards_are_gone(learn, stories, make_shards, tmp_path, capfd):
    learn(stories, run=tmp_path / "run")
    for shard in stories.glob("main/*.clet"):
        shard.unlink()
    later = make_shards(tmp_path / "later", [story(i) for i in range(200, 212)], day=3)
    learn(later, run=tmp_path / "run", replay=0.5)
    assert "will not be replayed" in capfd.readouterr().err
    assert releases.read_facts(tmp_path / "run" / "realtime")["documents"] == 36


def test_a_budget_is_met_and_an_interrupted_one_is_not_begun_anew(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "whole", tokens=600)
    whole = step_lines(tmp_path / "whole")
    assert whole[-1]["total_tokens"] >= 600 > whole[-2]["total_tokens"]

    def stop_at_3(fields, stop):
        if fields.get("step") == 3:
            stop.set()

    learn(stories, run=tmp_path / "run", tokens=600, on_event=stop_at_3)
    learn(stories, run=tmp_path / "run", tokens=600)
    assert step_lines(tmp_path / "run") == whole
    learn(stories, run=tmp_path / "run", tokens=600)
    assert step_lines(tmp_path / "run")[-1]["total_tokens"] >= whole[-1]["total_tokens"] + 600


def test_following_learns_what_arrives_and_releases_when_it_has_caught_up(
    learn, stories, make_shards, tmp_path, monkeypatch
):
    monkeypatch.setattr("clet.train.session.LOOK_EVERY_S", 0.01)

    def feed(fields, stop):
        if fields.get("event") == "release" and fields["number"] == 1:
            make_shards(stories, [story(i) for i in range(300, 310)], day=4)
        elif fields.get("event") == "release":
            stop.set()

    events = learn(stories, run=tmp_path / "run", follow=True, on_event=feed)
    assert [e["number"] for e in events.named("release")] == [1, 2]
    assert releases.read_facts(tmp_path / "run" / "realtime")["watermark"] == "2026-03-04T00:00:00Z"


def test_accumulated_parts_give_the_gradient_of_the_whole(model_dir, learn, stories, tmp_path):
    whole = learn(stories, run=tmp_path / "whole").losses
    parts = learn(stories, run=tmp_path / "parts", accumulate=4).losses
    assert parts.keys() == whole.keys()
    np.testing.assert_allclose(list(parts.values()), list(whole.values()), rtol=2e-3)


# ---- the breaker


@pytest.fixture
def poisoned(monkeypatch):
    """Makes the loss of chosen windows not finite: `poisoned.add((root, index))`."""
    windows: set = set()
    real = loop.add_gradients

    def add_gradients(model, batch, **options):
        result = real(model, batch, **options)
        hit = [window in windows for window in batch.windows]
        if any(hit):
            for parameter in model.parameters():
                parameter.grad.fill_(math.nan)
            result = loop_step_loss(math.nan, [math.nan if h else x for h, x in zip(hit, result.windows, strict=True)])
        return result

    monkeypatch.setattr(loop, "add_gradients", add_gradients)
    return windows


def loop_step_loss(mean, windows):
    from clet.train.step import StepLoss

    return StepLoss(mean, windows)


def test_a_trip_goes_back_exactly_and_learns_the_rest_without_the_windows(learn, stories, tmp_path, poisoned):
    learn(stories, run=tmp_path / "clean")
    line = step_lines(tmp_path / "clean")[7]
    with RunDirectory.open(tmp_path / "clean") as run:
        root = next(s.root for s in run.segments[0].shards if s.root.startswith(line["windows"][0][0]))
    bad = (root, line["windows"][0][1][1])
    poisoned.add(bad)
    events = learn(stories, run=tmp_path / "tripped")
    (trip,) = read_trips(tmp_path / "tripped")
    assert (trip["step"], trip["back_to"], trip["why"]) == (8, 5, "non-finite loss")
    assert trip["windows"] == [[bad[0], [bad[1]]]]
    assert [e["step"] for e in events.named("breaker")] == [8]

    # A run that never saw the window, because it was in quarantine from the start, is the same run.
    (tmp_path / "warned").mkdir()
    shutil.copy(tmp_path / "tripped" / "breaker.json", tmp_path / "warned")
    shutil.copytree(tmp_path / "tripped" / "undone", tmp_path / "warned" / "undone")
    learn(stories, run=tmp_path / "warned")
    assert step_lines(tmp_path / "tripped") == step_lines(tmp_path / "warned")
    assert weights_of(tmp_path / "tripped") == weights_of(tmp_path / "warned")
    assert step_lines(tmp_path / "tripped")[:7] == step_lines(tmp_path / "clean")[:7]

    documents = {row["id"] for row in documents_in(tmp_path / "tripped", bad)}
    assert set(trip["documents"]) == documents and documents


def documents_in(run, window):
    from clet.shards.reader import ShardReader

    with RunDirectory.open(run) as directory:
        shard = next(s for segment in directory.segments for s in segment.shards if s.root == window[0])
    reader = ShardReader.open(shard.path)
    return [reader.documents()[row] for row in reader.windows([window[1]]).documents[0]]


def test_a_fault_that_does_not_come_again_leaves_no_trace(learn, stories, tmp_path, monkeypatch):
    learn(stories, run=tmp_path / "whole")
    real, calls = loop.clip, []

    def clip(model):
        calls.append(real(model))
        return math.inf if len(calls) == 8 else calls[-1]

    monkeypatch.setattr(loop, "clip", clip)
    events = learn(stories, run=tmp_path / "run")
    (trip,) = read_trips(tmp_path / "run")
    assert (trip["step"], trip["why"], trip["windows"]) == (8, "non-finite gradient", [])
    assert [e["back_to"] for e in events.named("breaker")] == [5]
    assert step_lines(tmp_path / "run") == step_lines(tmp_path / "whole")
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


def test_a_gradient_that_is_never_finite_at_a_step_puts_the_whole_batch_in_quarantine(
    learn, stories, tmp_path, monkeypatch
):
    real, bad = loop.add_gradients, []

    def add_gradients(model, batch, **options):
        result = real(model, batch, **options)
        bad.extend(batch.windows if batch.draw.after.step == 3 and not bad else ())
        if set(bad) & set(batch.windows):
            next(model.parameters()).grad.fill_(math.inf)
        return result

    monkeypatch.setattr(loop, "add_gradients", add_gradients)
    learn(stories, run=tmp_path / "run")
    first, second = read_trips(tmp_path / "run")
    assert (first["step"], first["windows"]) == (3, [])
    assert (second["step"], second["why"]) == (3, "non-finite gradient")
    assert {(root, i) for root, indices in second["windows"] for i in indices} == set(bad) and len(bad) == 4


def test_a_run_that_trips_again_and_again_stops_and_keeps_its_good_state(learn, stories, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "clip", lambda model: math.nan)
    with pytest.raises(InputError, match="tripped 3 times"):
        learn(stories, run=tmp_path / "run", max_trips=2)
    saved = savepoint.load(tmp_path / "run" / "state")
    assert saved.values["position"]["step"] == 0
    assert all(torch.isfinite(tensor).all() for tensor in saved.tensors["weights"].values())


# ---- the outer optimiser


class Recorder:
    """An outer optimiser that counts, and adds to a weight so that its effect is seen."""

    def __init__(self):
        self.calls: list = []
        self.total = 0

    def start(self, model, step):
        self.calls.append(("start", step))

    def before_step(self, model, step):
        with torch.no_grad():
            model.model.norm.weight.add_(0.001)

    def after_step(self, model, step, tokens):
        self.total += tokens
        return {"version": self.total}

    def state(self):
        return {"total": self.total}, {"marker": torch.tensor([float(self.total)])}

    def load_state(self, values, tensors):
        assert tensors["marker"].item() == values["total"]
        self.total = values["total"]

    def close(self):
        self.calls.append(("close",))


def test_an_outer_optimiser_is_called_around_each_step_and_saved_with_the_run(learn, stories, tmp_path):
    outer = Recorder()
    learn(stories, run=tmp_path / "whole", outer=outer)
    whole = step_lines(tmp_path / "whole")
    assert outer.calls == [("start", 0), ("close",)]
    assert [line["version"] for line in whole] == [line["total_tokens"] for line in whole]

    def stop_at_7(fields, stop):
        if fields.get("step") == 7:
            stop.set()

    learn(stories, run=tmp_path / "cut", outer=Recorder(), on_event=stop_at_7)
    again = Recorder()
    learn(stories, run=tmp_path / "cut", outer=again)
    assert again.calls[0] == ("start", 7)
    assert step_lines(tmp_path / "cut") == whole


def test_a_refusal_of_the_others_ends_the_run_with_its_state_saved(learn, stories, tmp_path):
    class Refusing(Recorder):
        def after_step(self, model, step, tokens):
            if step == 7:
                raise TryLater("too far behind")
            return super().after_step(model, step, tokens)

    with pytest.raises(TryLater):
        learn(stories, run=tmp_path / "run", outer=Refusing())
    assert savepoint.load(tmp_path / "run" / "state").values["position"]["step"] == 7
    assert len(step_lines(tmp_path / "run")) == 7


# ---- what is refused


def test_a_run_is_not_continued_with_another_seed_model_or_window_length(learn, stories, make_shards, tmp_path):
    learn(stories, run=tmp_path / "run", tokens=200)
    with pytest.raises(UsageError, match="another seed"):
        learn(stories, run=tmp_path / "run", seed=2)
    make_model_dir(tmp_path / "wide", hidden_size=48)
    with pytest.raises(UsageError, match="another config"):
        learn(stories, run=tmp_path / "run", model=tmp_path / "wide")
    longer = make_shards(tmp_path / "longer", [story(1)], seq_len=2 * SEQ_LEN)
    with pytest.raises(InputError, match="learns windows of 32"):
        learn(longer, run=tmp_path / "run")
    learn(stories, run=tmp_path / "run", tokens=200)  # nothing of that did harm


def test_a_shard_of_another_tokenizer_is_refused(learn, stories, tmp_path):
    make_model_dir(tmp_path / "other")
    spec = (tmp_path / "other" / "tokenizer.json").read_text()
    (tmp_path / "other" / "tokenizer.json").write_text(spec.replace("endoftext", "endofdocument"))
    with pytest.raises(InputError, match="made with tokenizer"):
        learn(stories, run=tmp_path / "run", model=tmp_path / "other")


def test_a_model_with_too_few_embeddings_for_the_shards_is_refused(learn, stories, tmp_path):
    make_model_dir(tmp_path / "narrow", vocab_size=200)
    with pytest.raises(InputError, match="the model has 200"):
        learn(stories, run=tmp_path / "run", model=tmp_path / "narrow")


def test_a_damaged_shard_stops_the_run_with_what_was_learned_saved(learn, stories, tmp_path):
    (shard,) = stories.glob("main/*.clet")
    body = bytearray(shard.read_bytes())
    body[len(body) // 3] ^= 1
    shard.write_bytes(body)
    with pytest.raises(InputError, match="checksum"):
        learn(stories, run=tmp_path / "run")
    assert savepoint.load(tmp_path / "run" / "state") is not None


def test_two_trainers_on_one_run_are_refused(learn, stories, tmp_path):
    with RunDirectory.open(tmp_path / "run"):
        with pytest.raises(TryLater):
            learn(stories, run=tmp_path / "run")


def test_settings_stay_with_the_run_until_others_are_given(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "run", tokens=200, replay=0.2)
    learn(stories, run=tmp_path / "run", tokens=200, replay=None, batch_size=None)
    with RunDirectory.open(tmp_path / "run") as run:
        assert (run.facts["settings"]["replay"], run.facts["settings"]["batch_size"]) == (0.2, 4)


def test_a_full_disk_while_releasing_loses_nothing(learn, stories, tmp_path, monkeypatch):
    from clet.exits import WriteError
    from clet.train import release as train_release

    def full(model, directory, **_):
        (directory / "config.json").write_bytes(b"{}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(train_release, "save_model", full)
        with pytest.raises(WriteError, match="No space left"):
            learn(stories, run=tmp_path / "run")
    assert os.listdir(tmp_path / "run" / "releases") == []
    assert learn(stories, run=tmp_path / "run").named("release")[0]["number"] == 1


def test_events_say_where_checkpoints_and_releases_are(learn, stories, tmp_path):
    events = learn(stories, run=tmp_path / "run", evaluate=lambda model: {"seen": 1})
    assert all(os.path.isdir(e["path"]) for e in events.named("checkpoint") + events.named("release"))
    assert [e["evals"] for e in events.named("held-out")] == [{"seen": 1}, {"seen": 1}]
    assert releases.read_facts(tmp_path / "run" / "live")["evals"] == {"seen": 1}
