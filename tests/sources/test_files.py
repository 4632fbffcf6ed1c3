"""Files: read once, again when they change, told when they are gone, and nothing that hangs or is no text."""

import json
import os

import pytest

from clet.record import record_id
from clet.sources import files, paths
from clet.sources.adapter import Options, SourceFailed

PAGE = (
    "<!doctype html><html lang=de><title>Der &amp; Titel</title>"
    "<nav>Men\u00fc</nav><main><p>{}</p></main><script>x()</script>"
)


def read(locator, given):
    return list(files.read(str(locator), given))


def test_a_folder_in_byte_order_with_kinds_told_by_content(tmp_path, context):
    root = tmp_path / "d"
    (root / "sub").mkdir(parents=True)
    (root / "b.md").write_text("# The title #\n\nText.\n")
    (root / "a.txt").write_bytes("F\u00fc\u00dfe".encode("cp1252"))
    (root / "sub" / "page").write_text(PAGE.format("Ein langer Absatz. " * 30))
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.txt").write_text("x")
    given = context("file")
    documents = read(root, given)
    assert given.outlet.included == []
    assert [document["meta"]["path"] for document in documents] == ["a.txt", "b.md", "sub/page"]
    assert [document["title"] for document in documents] == ["a.txt", "The title", "Der & Titel"]
    assert documents[0]["text"] == "F\u00fc\u00dfe"
    assert documents[2]["text"].startswith("Ein langer Absatz.")
    assert not {"Men\u00fc", "x()"} & set(documents[2]["text"].split())
    assert documents[2]["lang"] == "de"
    assert {(document["source"], document["origin"]) for document in documents} == {("file", "d")}
    assert documents[0]["url"] == (root / "a.txt").as_uri()


def test_untouched_files_are_not_opened_and_edits_supersede(tmp_path, context, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    os.utime(tmp_path / "a.txt", (1, 1577836800))
    cursor = {}
    first = read(tmp_path, context(cursor=cursor))
    assert first[0]["published"] == "2020-01-01T00:00:00Z"
    os.utime(tmp_path / "b.txt", ns=(5, 5))  # touched, same text
    (tmp_path / "a.txt").write_text("one, edited")
    (again,) = read(tmp_path, context(cursor=cursor))
    assert again["meta"]["supersedes"] == first[0]["id"] == record_id("one")
    (tmp_path / "a.txt").write_text("one")
    (back,) = read(tmp_path, context(cursor=cursor))
    assert (back["id"], back["meta"]["supersedes"]) == (first[0]["id"], again["id"])
    monkeypatch.setattr(files, "read_file", None)
    given = context(cursor=cursor)
    assert read(tmp_path, given) == []
    assert given.outlet.counts == {"unchanged": 2}


def test_a_file_that_is_gone_is_told_once_as_the_deletion_of_its_record(tmp_path, context):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    cursor = {}
    read(tmp_path, context(cursor=cursor))
    (tmp_path / "sub" / "a.txt").unlink()
    (gone,) = read(tmp_path, context(cursor=cursor))
    assert (gone["id"], gone["text"], gone["meta"]) == (record_id("one"), "", {"path": "sub/a.txt", "deleted": True})
    assert gone["url"] == (tmp_path / "sub" / "a.txt").as_uri()
    assert list(cursor) == [str(tmp_path / "b.txt")]
    assert read(tmp_path, context(cursor=cursor)) == []


def test_a_file_that_moved_is_not_a_deletion_of_its_text(tmp_path, context):
    (tmp_path / "a.txt").write_text("one")
    cursor = {}
    (first,) = read(tmp_path, context(cursor=cursor))
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    (moved,) = read(tmp_path, context(cursor=cursor))
    assert (moved["id"], moved["meta"]) == (first["id"], {"path": "b.txt"})
    assert list(cursor) == [str(tmp_path / "b.txt")]


def test_what_cannot_be_looked_at_is_not_taken_for_gone(tmp_path, context, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    cursor = {}
    read(tmp_path, context(cursor=cursor))
    scandir, lstat = os.scandir, os.lstat

    def refuse(call):
        def guarded(path, *arguments, **options):
            if "sub" in os.fspath(path):
                raise PermissionError(13, "Permission denied")
            return call(path, *arguments, **options)

        return guarded

    monkeypatch.setattr(os, "scandir", refuse(scandir))
    monkeypatch.setattr(files.os, "lstat", refuse(lstat))
    given = context(cursor=cursor)
    assert read(tmp_path, given) == []
    assert given.outlet.complaints == [f"{tmp_path}/sub: Permission denied"]
    assert len(cursor) == 2


def test_a_folder_that_vanished_as_a_whole_fails_and_deletes_nothing(tmp_path, context):
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    cursor = {}
    read(folder, context(cursor=cursor))
    (folder / "a.txt").unlink()
    folder.rmdir()
    for locator in (folder, f"{folder}/*"):
        with pytest.raises(SourceFailed) as failure:
            read(locator, context(cursor=cursor))
        assert failure.value.unreachable
    assert len(cursor) == 1


def test_the_cursor_is_the_same_from_every_working_directory(tmp_path, context, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("one")
    cursor = {}
    monkeypatch.chdir(tmp_path)
    assert len(read("d", context(cursor=cursor))) == 1
    monkeypatch.chdir(tmp_path / "d")
    assert read("../d", context(cursor=cursor)) == []


def test_a_fifo_and_a_link_in_a_folder_are_not_read(tmp_path, context):
    os.mkfifo(tmp_path / "fifo")
    os.symlink("/etc/passwd", tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "loop")
    (tmp_path / "a.txt").write_text("text")
    assert len(read(tmp_path, context())) == 1
    with pytest.raises(SourceFailed, match="not a regular file"):
        read(tmp_path / "fifo", context())


def test_binary_is_counted_in_a_folder_and_fails_when_named(tmp_path, context):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 10)
    cursor = {}
    for counts in ({"binary": 1}, {"unchanged": 1}):
        given = context(cursor=cursor)
        assert read(tmp_path, given) == []
        assert given.outlet.counts == counts
    with pytest.raises(SourceFailed, match="not text"):
        read(tmp_path / "x", context())


def test_many_bad_files_are_summed_up_after_twenty_lines(tmp_path, context):
    for number in range(30):
        os.mkfifo(tmp_path / f"{number:02}")
    (tmp_path / "good").write_text("text")
    given = context()
    assert len(read(f"{tmp_path}/*", given)) == 1
    assert len(given.outlet.complaints) == 21
    assert given.outlet.complaints[0] == f"{tmp_path}/00: not a regular file"
    assert given.outlet.complaints[-1] == "and 10 more: unreadable"
    assert given.outlet.counts == {"unreadable": 30}


def test_names_that_are_no_utf8_are_escaped_and_known_again(tmp_path, context):
    path = os.path.join(os.fsencode(tmp_path), b"\xff.txt")
    with open(path, "w") as file:
        file.write("text")
    cursor = {}
    (document,) = read(tmp_path, context(cursor=cursor))
    assert document["meta"]["path"] == "\\xff.txt"
    json.dumps(cursor).encode()
    assert read(tmp_path, context(cursor=cursor)) == []
    os.unlink(path)
    (gone,) = read(tmp_path, context(cursor=cursor))
    assert gone["id"] == document["id"]


def test_one_text_on_stdin(context, monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(paths, "InputFile", lambda name: os.fdopen(reading, "rb", buffering=0))
    os.write(writing, b"# not Markdown\n\x1b[31mred")
    os.close(writing)
    (document,) = read("-", context())
    assert (document["text"], document["title"], document["origin"]) == ("# not Markdown\n[31mred", "stdin", "stdin")


def test_license_and_tags_of_the_source_are_taken_over(tmp_path, context):
    (tmp_path / "a.txt").write_text("text")
    (document,) = read(tmp_path, context(options=Options(license="CC0-1.0", tags=("mine",))))
    assert (document["license"], document["ingest"]) == ("CC0-1.0", {"tags": ["mine"]})


def test_nothing_there_is_unreachable(tmp_path, context):
    with pytest.raises(SourceFailed, match="no such file") as failure:
        read(tmp_path / "nowhere", context())
    assert failure.value.unreachable


def test_a_page_on_one_line_is_read_and_minified_code_is_not(tmp_path, context):
    root = tmp_path / "d"
    root.mkdir()
    (root / "page.html").write_text(PAGE.format("Ein langer Absatz. " * 300))
    (root / "code.js").write_text("var a=1;" * 1000)
    given = context("file")
    assert [document["meta"]["path"] for document in read(root, given)] == ["page.html"]
    assert given.outlet.counts == {"minified": 1}
