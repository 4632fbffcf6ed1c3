import pytest

from clet.exits import InputError
from clet.shards.build import ShardBuilder, ShardPlan
from clet.shards.directory import ShardDirectory
from clet.shards.follow import Follower
from clet.shards.manifest import read_manifest


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def follow(tmp_path, shard_tools):
    """Runs a follower (interval 60 s, shards of 100 tokens) over what a script of steps gives.

    A step is a number of documents to arrive, seconds that pass while nothing comes, `stop`, or an exception. The
    result is how many documents were visible after each step, and at the end.
    """

    def run(*steps):
        clock, seen, sent = Clock(), [], [0]
        with ShardDirectory.open(tmp_path) as directory:
            builder = ShardBuilder(directory, ShardPlan(16, shard_tokens=100), lambda *_: None)
            follower = Follower(builder, directory.commit, 60.0, clock)

            def visible():
                return sum(entry.num_documents for entry in read_manifest(tmp_path))

            def batches(idle):
                for step in steps:
                    if isinstance(step, int):
                        yield shard_tools.batch([[7] * 10] * step, start=sent[0])
                        sent[0] += step
                    elif isinstance(step, float):
                        clock.now += step
                        idle()
                    elif step == "stop":
                        follower.stop()
                        idle()
                    elif step == "stopped with its writer":
                        follower.stop()
                        raise InputError("cut")
                    else:
                        raise step
                    seen.append(visible())

            try:
                follower.run(batches)
            except InputError:
                seen.append("error")
            return [*seen, visible()]

    return run


def test_a_full_shard_appears_at_once(follow):
    assert follow(9, 3, 1) == [0, 10, 10, 13]


def test_what_waits_appears_when_the_interval_is_over_and_not_before(follow):
    assert follow(2, 59.0, 1, 0.9, 0.2, 30.0, 1, 31.0, 30.0) == [0, 0, 0, 0, 3, 3, 3, 3, 4, 4]


def test_time_without_documents_makes_no_shards(follow, tmp_path):
    assert follow(600.0, 600.0, 2, 61.0, 600.0) == [0, 0, 0, 2, 2, 2]
    assert len(read_manifest(tmp_path)) == 1


def test_a_stop_seals_what_has_arrived(follow):
    assert follow(4, "stop", 9) == [0, 4]


def test_a_stream_that_is_stopped_with_its_writer_ends_well(follow):
    assert follow(4, "stopped with its writer") == [0, 4]


def test_a_stream_that_breaks_off_loses_nothing_that_came_whole(follow):
    assert follow(12, 4, InputError("cut")) == [10, 10, "error", 16]


def test_shards_of_a_followed_stream_verify_and_are_those_of_the_same_cuts(follow, tmp_path, shard_tools):
    from clet.shards.verify import verify_shard

    follow(12, 61.0, 3, 61.0)
    entries = read_manifest(tmp_path)
    assert [verify_shard(entry).num_documents for entry in entries] == [10, 2, 3]
    _, calm = shard_tools.write(tmp_path / "calm", [shard_tools.batch([[7] * 10] * 12)], shard_tokens=100)
    assert [entry.name for entry in calm] == [entry.name for entry in entries[:2]]
