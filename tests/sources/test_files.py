"""Files and JSONL: read once, again when they change, and nothing that hangs or is no text."""

import gzip
import json
import os

import pytest
import zstandard

from clet.record import record_id
from clet.sources import files, jsonl
from clet.sources.adapter import SourceFailed

PAGE = (
    "<!doctype html><html lang=de><title>Der &amp; Titel</title>"
    "<nav>Men\u00fc</nav><main><p>{}</p></main><script>x()</script>"
)


def read(module, locator, given):
    return list(module.read(str(locator), given))


def test_a_folder_in_byte_order_with_kinds_told_by_content(tmp_path, context):
    root = tmp_path / "d"
    (root / "sub").mkdir(parents=True)
    (root / "b.md").write_text("# The title #\n\nText.\n")
    (root / "a.txt").write_bytes("F\u00fc\u00dfe".encode("cp1252"))
    (root / "sub" / "page").write_text(PAGE.format("Ein langer Absatz. " * 30))
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.txt").write_text("x")
    documents = read(files, root, context())
    assert [document["meta"]["path"] for document in documents] == ["a.txt", "b.md", "sub/page"]
    assert [document["title"] for document in documents] == ["a.txt", "The title", "Der & Titel"]
    assert documents[0]["text"] == "F\u00fc\u00dfe"
    assert documents[2]["text"].startswith("Ein langer Absatz.")
    assert not {"Men\u00fc", "x()"} & set(documents[2]["text"].split())
    assert documents[2]["lang"] == "de"
    assert {document["origin"] for document in documents} == {"d"}
    assert documents[0]["url"] == (root / "a.txt").as_uri()


def test_untouched_files_are_not_opened_and_edits_supersede(tmp_path, context, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    os.utime(tmp_path / "a.txt", (1, 1577836800))
    cursor = {}
    first = read(files, tmp_path, context(cursor))
    assert first[0]["published"] == "2020-01-01T00:00:00Z"
    os.utime(tmp_path / "b.txt", ns=(5, 5))  # touched, same text
    (tmp_path / "a.txt").write_text("one, edited")
    (again,) = read(files, tmp_path, context(cursor))
    assert again["meta"]["supersedes"] == first[0]["id"] == record_id("one")
    monkeypatch.setattr(files, "read_file", None)
    assert read(files, tmp_path, context(cursor)) == []
    (tmp_path / "b.txt").unlink()
    assert read(files, tmp_path, context(cursor)) == []
    assert list(cursor) == [str(tmp_path / "a.txt")]


def test_a_fifo_and_a_link_in_a_folder_are_not_read(tmp_path, context):
    os.mkfifo(tmp_path / "fifo")
    os.symlink("/etc/passwd", tmp_path / "link")
    os.symlink(tmp_path, tmp_path / "loop")
    (tmp_path / "a.txt").write_text("text")
    assert len(read(files, tmp_path, context())) == 1
    given = context()
    assert read(files, tmp_path / "fifo", given) == []
    assert "not a regular file" in given.report.complaints[0]


def test_binary_is_counted_in_a_folder_and_reported_when_named(tmp_path, context):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 10)
    given = context()
    assert read(files, tmp_path, given) == []
    assert given.report.sources["test"] == {"binary": 1}
    assert read(files, tmp_path / "x", given) == []
    assert "not text" in given.report.complaints[0]


def test_names_that_are_no_utf8_are_escaped(tmp_path, context):
    path = os.path.join(os.fsencode(tmp_path), b"\xff.txt")
    with open(path, "w") as file:
        file.write("text")
    cursor = {}
    (document,) = read(files, tmp_path, context(cursor))
    assert document["meta"]["path"] == "\\xff.txt"
    json.dumps(cursor).encode()
    assert read(files, tmp_path, context(cursor)) == []


def test_nothing_there_is_unreachable(tmp_path, context):
    for module in (files, jsonl):
        with pytest.raises(SourceFailed, match="no such file") as failure:
            read(module, tmp_path / "nowhere", context())
        assert failure.value.unreachable


# ---- JSONL


def lines(*objects):
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def test_fields_are_mapped_and_the_rest_is_kept(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(
        lines(
            {
                "id": "x:1",
                "content": "A text.\r\n",
                "url": "https://n.example/",
                "title": "T",
                "date": "2019-01-04",
                "source": "n.example",
                "license": "CC0-1.0",
                "lang": "en",
                "day": 3,
            },
            {
                "text": "Other.",
                "published": "Fri, 04 Jan 2019 10:00:00 +0100",
                "origin": "o",
                "source": "s",
                "meta": {"k": 1},
            },
        )
    )
    one, two = read(jsonl, tmp_path / "a.jsonl", context())
    assert (one["id"], one["text"], one["source"], one["origin"]) == (
        record_id("A text."),
        "A text.",
        "jsonl",
        "n.example",
    )
    assert (one["published"], one["license"], one["lang"], one["title"]) == (
        "2019-01-04T00:00:00Z",
        "CC0-1.0",
        "en",
        "T",
    )
    assert one["meta"] == {"id": "x:1", "day": 3}
    assert (two["origin"], two["published"], two["meta"]) == ("o", "2019-01-04T09:00:00Z", {"k": 1})


def test_a_record_comes_back_as_it_was_without_tokens(tmp_path, context, record):
    made = record("A text.", ids=[1, 2], title="T") | {"dedup": {"kept": True}}
    (tmp_path / "a.jsonl").write_bytes(lines(made))
    (again,) = read(jsonl, tmp_path / "a.jsonl", context())
    assert again == {name: value for name, value in made.items() if name != "tok"}


def test_bad_lines_are_reported_with_their_place_and_passed_over(tmp_path, context):
    bad = [b"not json", b"[1]", b'{"title": "no text"}', b'{"text": 3}', b'{"text": "\\ud800"}', b"\xff\xfe"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*bad, b"", b'{"text": "good"}', b""]))
    given = context()
    assert [document["text"] for document in read(jsonl, tmp_path / "a.jsonl", given)] == ["good"]
    assert [place for place, _, _ in given.report.lines] == [f"{tmp_path}/a.jsonl:{n}" for n in range(1, 7)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_file_that_grows_continues_where_it_ended(tmp_path, context, pack):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(pack(lines({"text": "1"}) + b"\n" + lines({"text": "2"})))
    assert len(read(jsonl, path, context(cursor))) == 2
    assert read(jsonl, path, context(cursor)) == []
    path.write_bytes(pack(lines({"text": "1"}) + b"\n" + lines({"text": "2"}, {"text": "3"})))
    assert [document["text"] for document in read(jsonl, path, context(cursor))] == ["3"]
    path.write_bytes(pack(lines({"text": "new"}, {"text": "2"}, {"text": "4"})))
    assert [document["text"] for document in read(jsonl, path, context(cursor))] == ["new", "2", "4"]


def test_a_line_still_being_written_is_left_for_the_next_round(tmp_path, context):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(lines({"text": "1"}) + b'{"text": "2')
    given = context(cursor, follow=True)
    assert len(read(jsonl, path, given)) == 1
    assert given.report.lines == []
    path.write_bytes(lines({"text": "1"}, {"text": "2, whole"}))
    assert [document["text"] for document in read(jsonl, path, context(cursor, follow=True))] == ["2, whole"]


def test_a_file_left_half_way_continues_there(tmp_path, context):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(lines(*({"text": str(n)} for n in range(5))))
    documents = jsonl.read(str(path), context(cursor))
    assert [next(documents)["text"] for _ in range(2)] == ["0", "1"]
    documents.close()
    assert [document["text"] for document in read(jsonl, path, context(cursor))] == ["2", "3", "4"]


def test_a_truncated_file_is_a_failure_after_what_came_before(tmp_path, context):
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines({"text": "1"}))[:-3])
    (tmp_path / "b.jsonl").write_bytes(lines({"text": "2"}))
    given = context()
    assert [document["text"] for document in read(jsonl, tmp_path, given)][-1] == "2"
    assert given.report.failures == 1


def test_meta_is_bounded(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(lines({"id": "mine", "text": "t", "junk": "x" * 100_000}))
    (document,) = read(jsonl, tmp_path / "a.jsonl", context())
    assert document["meta"] == {"id": "mine"}
