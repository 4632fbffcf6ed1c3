"""Local paths: what a locator names, in which order, and what is never opened."""

import os

import pytest

from clet.sources import paths
from clet.sources.adapter import SourceFailed


def names(found):
    return [each.relative for each in found]


@pytest.fixture
def unlistable(monkeypatch):
    """`unlistable(path)`: from now on this folder cannot be listed, even by root."""
    refused, scandir = set(), os.scandir

    def guarded(path):
        if os.path.abspath(path) in refused:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    return lambda path: refused.add(os.path.abspath(path))


def test_a_folder_is_walked_in_byte_order_without_hidden_folders_and_links(tmp_path):
    for name in ("b", "a/z", "a/B", ".git/x", "\u00e9", "~"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    os.symlink(tmp_path, tmp_path / "loop")
    os.symlink("/etc/passwd", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    assert names(paths.expand(str(tmp_path))) == ["b", "~", "\u00e9", "a/B", "a/z"]


def test_a_name_with_stars_that_exists_is_a_file_and_not_a_pattern(tmp_path):
    (tmp_path / "[a]*").write_text("x")
    (tmp_path / "a").write_text("x")
    (found,) = paths.expand(str(tmp_path / "[a]*"))
    assert found.named and found.relative == "[a]*"


def test_what_is_not_there_is_unreachable(tmp_path):
    for locator, reason in (("nowhere", "no such file"), ("*.txt", "matches no file")):
        with pytest.raises(SourceFailed, match=reason) as failure:
            list(paths.expand(str(tmp_path / locator)))
        assert failure.value.unreachable


def test_a_folder_that_cannot_be_listed_ends_neither_the_walk_nor_the_glob(tmp_path, unlistable):
    for name in ("a/1", "b/2", "c/3", "c/inner/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    unlistable(tmp_path / "b")
    unlistable(tmp_path / "c" / "inner")
    for locator in (str(tmp_path), str(tmp_path / "[abc]")):
        said = []
        assert [os.path.basename(found.path) for found in paths.expand(locator, said.append)] == ["1", "3"]
        assert said == [f"{tmp_path}/b: Permission denied", f"{tmp_path}/c/inner: Permission denied"]
    unlistable(tmp_path)
    with pytest.raises(SourceFailed, match="Permission denied"):
        list(paths.expand(str(tmp_path)))


def test_one_file_is_itself_and_several_are_included_by_suffix(tmp_path, context):
    for name in ("a.jsonl", "b.txt", "sub/C.JSONL"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    given = context()
    assert paths.one_file(str(tmp_path / "b.txt"), given, (".jsonl",)).path == str(tmp_path / "b.txt")
    assert given.outlet.included == []
    assert paths.one_file(str(tmp_path), given, (".jsonl",)) is None
    assert given.outlet.included == [f"{tmp_path}/a.jsonl", f"{tmp_path}/sub/C.JSONL"]
    given = context()
    assert paths.one_file(str(tmp_path / "*.txt"), given, (".jsonl",)) is None  # named by a pattern: whatever its name
    assert given.outlet.included == [f"{tmp_path}/b.txt"]


def test_only_regular_files_within_the_limit_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"12345")
    for path in ("fifo", "."):
        with pytest.raises(SourceFailed, match="not a regular file"):
            paths.file_signature(str(tmp_path / path))
    with pytest.raises(SourceFailed, match="not a regular file"):
        paths.open_regular(str(tmp_path / "fifo"))
    assert paths.read_file(str(tmp_path / "file"), limit=5) == b"12345"
    with pytest.raises(SourceFailed, match="over the limit of 4 bytes"):
        paths.read_file(str(tmp_path / "file"), limit=4)


def test_stdin_passes_on_what_was_yielded_before_each_read(context, monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(paths, "InputFile", lambda name: os.fdopen(reading, "rb", buffering=0))
    given = context()
    stdin = paths.Stdin(given)
    os.write(writing, b"one")
    assert (stdin.read(100), given.outlet.idled) == (b"one", 1)
    os.close(writing)
    assert (stdin.read(100), given.outlet.idled) == (b"", 2)
