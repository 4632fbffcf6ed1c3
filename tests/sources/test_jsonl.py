"""JSONL: fields, the cursor over lines, streams as they arrive, and lines of every kind of malice."""

import gzip
import io
import json
import os

import pytest
import zstandard

from clet import streams
from clet.container import MAGIC
from clet.exits import InputError
from clet.record import record_id
from clet.sources import paths
from clet.sources.adapter import Options
from clet.sources.jsonl import adapter as jsonl


def read(locator, given):
    return list(jsonl.read(str(locator), given))


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
    one, two = read(tmp_path / "a.jsonl", context("jsonl"))
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
    (again,) = read(tmp_path / "a.jsonl", context("jsonl"))
    assert again == {name: value for name, value in made.items() if name != "tok"}


def test_bad_lines_are_reported_with_their_place_and_passed_over(tmp_path, context):
    bad = [b"not json", b"[1]", b'{"title": "no text"}', b'{"text": 3}', b'{"text": "\\ud8"}', b"\xff\xfe"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*bad, b"", b'{"text": "good"}', b""]))
    given = context("jsonl")
    assert [document["text"] for document in read(tmp_path / "a.jsonl", given)] == ["good"]
    assert [place for place, _, _ in given.outlet.lines] == [f"{tmp_path}/a.jsonl:{n}" for n in range(1, 7)]


def test_half_a_surrogate_pair_becomes_the_replacement_character_and_whole_ones_stay(tmp_path, context):
    written = rb'{"text": "half \ud83d of \uD83D\uDE00 and \\ud83d and \udc00"}'
    (tmp_path / "a.jsonl").write_bytes(written + b"\n")
    (document,) = read(tmp_path / "a.jsonl", context("jsonl"))
    assert document["text"] == "half \ufffd of \U0001f600 and \\ud83d and \ufffd"


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "1"}\n{"text": "2"}\n')
    assert [document["text"] for document in read(tmp_path / "a.jsonl", context("jsonl"))] == ["1", "2"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_file_that_grows_continues_where_it_ended(tmp_path, context, pack):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(pack(lines({"text": "1"}) + b"\n" + lines({"text": "2"})))
    assert len(read(path, context("jsonl", cursor))) == 2
    assert read(path, context("jsonl", cursor)) == []
    path.write_bytes(pack(lines({"text": "1"}) + b"\n" + lines({"text": "2"}, {"text": "3"})))
    assert [document["text"] for document in read(path, context("jsonl", cursor))] == ["3"]
    path.write_bytes(pack(lines({"text": "new"}, {"text": "2"}, {"text": "4"})))
    assert [document["text"] for document in read(path, context("jsonl", cursor))] == ["new", "2", "4"]


def test_a_line_still_being_written_is_left_for_the_next_round(tmp_path, context):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(lines({"text": "1"}) + b'{"text": "2')
    given = context("jsonl", cursor, follow=True)
    assert len(read(path, given)) == 1
    assert given.outlet.lines == []
    path.write_bytes(lines({"text": "1"}, {"text": "2, whole"}))
    assert [document["text"] for document in read(path, context("jsonl", cursor, follow=True))] == ["2, whole"]


def test_a_file_left_half_way_continues_there(tmp_path, context):
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(lines(*({"text": str(n)} for n in range(5))))
    documents = jsonl.read(str(path), context("jsonl", cursor))
    assert [next(documents)["text"] for _ in range(2)] == ["0", "1"]
    documents.close()
    assert [document["text"] for document in read(path, context("jsonl", cursor))] == ["2", "3", "4"]


def test_the_cursor_holds_at_every_document_it_gave(tmp_path, context):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"bad\n" + lines(*({"text": str(n)} for n in range(4))))
    for taken in range(5):
        cursor = {}
        documents = jsonl.read(str(path), context("jsonl", cursor))
        first = [next(documents)["text"] for _ in range(taken)]
        known = json.loads(json.dumps(cursor))  # the process dies here: nothing else is remembered
        assert first + [document["text"] for document in read(path, context("jsonl", known))] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_truncated_file_fails_after_what_came_before_and_continues_when_whole(tmp_path, context, pack):
    path, cursor, given = tmp_path / "a.jsonl", {}, lines({"text": "1"}, {"text": "2"})
    path.write_bytes(pack(lines({"text": "0"})) + pack(given)[:-3])
    documents, got = jsonl.read(str(path), context("jsonl", cursor)), []
    with pytest.raises(InputError, match="truncated"):
        for document in documents:
            got.append(document["text"])
    path.write_bytes(pack(lines({"text": "0"})) + pack(given))
    got += [document["text"] for document in read(path, context("jsonl", cursor))]
    assert got == ["0", "1", "2"]


def test_a_damaged_stdin_is_malformed_input(context, monkeypatch):
    monkeypatch.setattr(paths, "InputFile", lambda name: io.BytesIO(gzip.compress(b'{"text": "1"}\n' * 9)[:-5]))
    with pytest.raises(InputError, match="truncated"):
        read("-", context("jsonl"))


def test_concatenated_gzip_members_are_one_stream_whatever_their_ratio(tmp_path, context):
    members = [lines({"text": "a" * 3_000_000}), lines({"text": "b"}), lines({"text": "c" * 3_000_000})]
    (tmp_path / "a.jsonl").write_bytes(b"".join(map(gzip.compress, members)))
    assert [document["text"][0] for document in read(tmp_path / "a.jsonl", context("jsonl"))] == ["a", "b", "c"]


def test_each_file_of_a_folder_and_a_glob_is_a_source_of_its_own(tmp_path, context):
    for name in ("a.jsonl", "b.ndjson.gz", "c.txt"):
        (tmp_path / name).write_bytes(lines({"text": name}))
    for locator, expected in (("", ["a.jsonl", "b.ndjson.gz"]), ("/*.txt", ["c.txt"])):
        given = context("jsonl")
        assert read(f"{tmp_path}{locator}", given) == []
        assert given.outlet.included == [f"{tmp_path}/{name}" for name in expected]
    assert len(read(tmp_path / "c.txt", context("jsonl"))) == 1


def test_lines_of_stdin_are_handed_on_as_they_arrive(context, monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(paths, "InputFile", lambda name: os.fdopen(reading, "rb", buffering=0))
    given = context("jsonl")
    documents = jsonl.read("-", given)
    for number in range(3):
        os.write(writing, lines({"text": str(number)}))
        document = next(documents)
        assert (document["text"], document["origin"]) == (str(number), "stdin")
    os.close(writing)
    assert list(documents) == []
    assert given.outlet.idled >= 4  # before each read, also the one that met the end


def test_hostile_lines_become_clean_documents_or_are_refused(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(
        lines({"text": "\x1b[31mred\x00\x9b", "title": "\x1b]0;owned\x07 T\n\u202e", "url": "https://x/\n\x00y"})
        + b'{"text": "t", "meta": '
        + b'{"a":' * 100
        + b"1"
        + b"}" * 101
        + b"\n"
        + b'{"text": "t", "n": 99999999999999999999999}\n'
        + lines({"text": "m" * 10_000_000})
    )
    given = context("jsonl")
    dirty, large = read(tmp_path / "a.jsonl", given)
    assert (dirty["text"], dirty["url"]) == ("[31mred", "https://x/ y")
    assert "\x1b" not in dirty["title"]
    assert len(large["text"]) == 10_000_000
    assert [reason for _, reason, _ in given.outlet.lines] == ["nested too deeply", "number out of range"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_line_that_is_too_long_is_passed_over_and_kept_by_its_beginning(tmp_path, context, monkeypatch, pack):
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1 << 20)
    long = b'{"text": "' + b"x" * (5 << 20) + b'"}'
    path, cursor = tmp_path / "a.jsonl", {}
    path.write_bytes(pack(lines({"text": "before"}) + long + b"\n" + lines({"text": "after"})))
    given = context("jsonl", cursor)
    assert [document["text"] for document in read(path, given)] == ["before", "after"]
    ((place, reason, line),) = given.outlet.lines
    assert (place, reason, line) == (f"{path}:2", "line too long", long[: streams.KEPT_BYTES])
    path.write_bytes(pack(lines({"text": "before"}) + long + b"\n" + lines({"text": "after"}, {"text": "more"})))
    assert [document["text"] for document in read(path, context("jsonl", cursor))] == ["more"]
    path.write_bytes(
        pack(lines({"text": "before"}) + long[:-2] + b'y"}\n' + lines({"text": "after"}, {"text": "more"}))
    )
    again = context("jsonl", cursor)  # another file, whose long line is as long and begins the same
    assert [document["text"] for document in read(path, again)] == ["before", "after", "more"]


def test_a_line_that_is_too_long_and_never_ends_is_one_too(tmp_path, context, monkeypatch):
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1 << 20)
    (tmp_path / "a.jsonl").write_bytes(lines({"text": "1"}) + b"x" * (3 << 20))
    given = context("jsonl")
    assert [document["text"] for document in read(tmp_path / "a.jsonl", given)] == ["1"]
    assert [reason for _, reason, _ in given.outlet.lines] == ["line too long"]


def test_a_line_that_inflates_without_end_fails(tmp_path, context, monkeypatch):
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(streams, "MAX_PASSED_BYTES", 1 << 22)
    (tmp_path / "a.jsonl").write_bytes(zstandard.compress(b'{"text": "' + b"x" * (8 << 20)))
    with pytest.raises(InputError, match="this is no JSONL"):
        read(tmp_path / "a.jsonl", context("jsonl"))


def test_a_record_that_comes_again_is_masked_and_annotated_as_its_source_asks(tmp_path, context, record):
    made = record("Write to them.", title="To them") | {"ingest": {"trust": 1.0}}
    (tmp_path / "a.jsonl").write_bytes(lines(made))

    class Scrubber:
        @staticmethod
        def scrub(text, kinds):
            return text.replace("them", "<them>"), dict.fromkeys(kinds, 1)

    given = context("jsonl", scrubber=Scrubber, options=Options(label="mine", scrub=frozenset({"pii"})))
    (again,) = read(tmp_path / "a.jsonl", given)
    assert (again["text"], again["id"]) == ("Write to <them>.", record_id("Write to <them>."))
    assert again["ingest"] == {"name": "mine", "masked": {"pii": 2}}
    assert (again["source"], again["title"]) == (made["source"], "To <them>")
    (again,) = read(tmp_path / "a.jsonl", context("jsonl"))
    assert "ingest" not in again


def test_language_is_detected_past_any_amount_of_white_space(tmp_path, context):
    text = "The quick brown fox jumps over the lazy dog and runs away from all of the hunters in the forest. " * 5
    (tmp_path / "a.jsonl").write_bytes(
        lines(
            {"text": text},
            {"text": "\x00" * 20_000 + text},
            {"text": text, "lang": "de"},
            {"text": text, "language": "fr"},
        )
    )
    assert [document["lang"] for document in read(tmp_path / "a.jsonl", context("jsonl"))] == ["en", "en", "de", "fr"]


def test_token_batches_are_sent_to_the_next_stage(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(MAGIC + bytes(100))
    with pytest.raises(InputError, match="token batches"):
        read(tmp_path / "a.jsonl", context("jsonl"))


def test_meta_is_bounded(tmp_path, context):
    (tmp_path / "a.jsonl").write_bytes(lines({"id": "mine", "text": "t", "junk": "x" * 100_000}))
    (document,) = read(tmp_path / "a.jsonl", context("jsonl"))
    assert document["meta"] == {"id": "mine"}
