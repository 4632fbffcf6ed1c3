"""A follower sees new shards at its next look, and reads nothing while there are none."""

from __future__ import annotations

import shutil

from tiny_run import story

from clet.train.watch import Watch


def test_a_new_manifest_is_seen_at_once_and_nothing_otherwise(stories, make_shards, tmp_path):
    watch, lane = Watch([str(stories)]), Watch([str(stories / "main")])
    assert watch.changed() and lane.changed()
    assert not watch.changed() and not lane.changed()
    make_shards(stories, [story(99)], day=2)
    assert watch.changed() and lane.changed() and not watch.changed()
    shutil.move(stories, tmp_path / "away")
    assert watch.changed() and not watch.changed()
    shutil.move(tmp_path / "away", stories)
    assert watch.changed()
