from dataclasses import replace

import pytest

from clet.exits import InputError, UsageError
from clet.shards.manifest import append_entries, append_entry, find_shards, read_manifest, unlisted_shards


@pytest.fixture
def two_lanes(tmp_path, shard_tools):
    """A directory with shards in the lanes a and b."""
    batch = shard_tools.batch(shard_tools.rows(20)).annotate("priority", [{"lane": "ab"[i % 2]} for i in range(20)])
    shard_tools.write(tmp_path / "out", [batch], shard_tokens=150)
    return tmp_path / "out"


def test_entries_come_back_as_they_were_appended(tmp_path, small_shard):
    other = replace(small_shard, name="0" * 32, newest="2026-05-05T00:00:00Z", path=tmp_path / f"main/{'0' * 32}.clet")
    here = replace(small_shard, path=tmp_path / "main" / small_shard.path.name)
    assert read_manifest(tmp_path) == []
    append_entry(tmp_path, here)
    append_entries(tmp_path, [other, here])
    assert read_manifest(tmp_path) == [here, other, here]


def test_a_manifest_that_ends_inside_a_line_is_refused(two_lanes):
    manifest = two_lanes / "manifest.jsonl"
    body = manifest.read_bytes()
    last = body.rindex(b"\n", 0, -1) + 1
    for length in range(last + 1, len(body)):
        manifest.write_bytes(body[:length])
        with pytest.raises(InputError, match="inside a line"):
            read_manifest(two_lanes)


def test_shards_that_the_manifest_lost_are_found(two_lanes):
    manifest = two_lanes / "manifest.jsonl"
    assert unlisted_shards([two_lanes]) == []
    entries, lines = read_manifest(two_lanes), manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-1]))
    assert unlisted_shards([two_lanes]) == [entries[-1].path]


def test_damage_in_a_manifest_is_refused(two_lanes):
    manifest = two_lanes / "manifest.jsonl"
    body = manifest.read_bytes()
    first = body.index(b"\n")
    for bit in range(0, 8 * first, 13):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        if b"\n" in damaged[:first]:
            continue  # two broken lines: the next assertion covers one of them
        manifest.write_bytes(damaged)
        with pytest.raises(InputError, match=r"manifest.jsonl:1: "):
            read_manifest(two_lanes)
    manifest.write_bytes(b"{}\n" + body)
    with pytest.raises(InputError):
        read_manifest(two_lanes)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path, small_shard):
    for bad in ({"lane": "../../etc"}, {"name": "../passwd"}, {"num_tokens": -1}, {"root": "ff"}):
        append_entries(tmp_path, [replace(small_shard, **bad)])
        with pytest.raises(InputError, match="malformed"):
            read_manifest(tmp_path)
        (tmp_path / "manifest.jsonl").unlink()


def test_shards_are_found_in_directories_lanes_and_files_each_once(two_lanes):
    entries = read_manifest(two_lanes)
    lane_b = [entry for entry in entries if entry.lane == "b"]
    assert lane_b and lane_b != entries
    assert find_shards([two_lanes]) == entries
    assert find_shards([str(two_lanes / "b")]) == lane_b
    assert find_shards([str(entries[-1].path), two_lanes]) == [entries[-1], *entries[:-1]]


def test_a_shard_alone_is_described_by_itself(small_shard, tmp_path):
    copy = tmp_path / "copy.clet"
    copy.write_bytes(small_shard.path.read_bytes())
    (entry,) = find_shards([copy])
    assert entry == replace(small_shard, path=copy, name="copy")
    assert entry.created == "2026-01-02T03:04:05Z"  # when its documents were fetched, whatever the clock says


def test_shards_one_behind_the_other_are_found_each_with_its_place(two_lanes, tmp_path):
    entries = read_manifest(two_lanes)
    both = tmp_path / "both.clet"
    both.write_bytes(b"".join(entry.path.read_bytes() for entry in entries))
    found = find_shards([both, both])
    assert [entry.root for entry in found] == [entry.root for entry in entries]
    assert [entry.open().root for entry in found] == [entry.root for entry in entries]
    assert len({entry.name for entry in found}) == len(entries)


def test_what_is_no_shard_is_refused_with_the_fix(tmp_path):
    with pytest.raises(UsageError, match="clet shard -o"):
        find_shards([tmp_path])
    with pytest.raises(UsageError, match="No such file"):
        find_shards([tmp_path / "missing"])
    (tmp_path / "text").write_text("hello, this is a text and not a shard")
    with pytest.raises(InputError):
        find_shards([tmp_path / "text"])
