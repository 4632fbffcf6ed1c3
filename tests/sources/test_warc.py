"""Web archives: what becomes a document of every form, and going on where an end was put."""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import zlib

import brotli
import pytest
import zstandard
from warc_samples import (
    PAGE,
    PROSE,
    answer,
    every_form,
    numbers,
    pack_frames,
    pack_members,
    pack_plain,
    pack_whole,
    record,
    response,
)

from clet.sources import paths
from clet.sources.warc import adapter as warc
from clet.sources.warc.http import BadBody, parse_answer
from clet.sources.warc.members import START, Archive
from clet.sources.warc.records import read_records
from clet.sources.web.archive import Archive as ArchiveWriter
from clet.sources.web.warc_record import Head


@pytest.fixture
def read(tmp_path, context):
    """`read(body)`: (documents, outlet) of an archive with these bytes; `name=`, `cursor=`, `follow=` as wanted."""

    def make(body, name="a.warc", cursor=None, **options):
        path = tmp_path / name
        if body is not None:
            path.write_bytes(body)
        given = context("warc", cursor, **options)
        return list(warc.read(str(path), given)), given.outlet

    return make


# ---- what becomes a document


@every_form
def test_pages_come_out_of_every_form_in_order(read, pack):
    info = record("warcinfo", b"software: x\r\n", content_type="application/warc-fields")
    documents, outlet = read(pack([info, *(response(n) for n in range(5))]))
    assert numbers(documents) == [0, 1, 2, 3, 4]
    assert (dict(outlet.counts), outlet.complaints) == ({}, [])
    first = documents[0]
    assert (first["source"], first["origin"], first["title"], first["lang"]) == ("warc", "h.example", "The page", "en")
    assert first["text"].startswith("A sentence 0 of the article") and "Home" not in first["text"]
    assert first["published"] is None
    assert first["meta"] == {"warc": "a.warc", "record": "<urn:uuid:0>", "captured": "2024-05-18T01:58:10Z"}


@every_form
def test_reading_can_begin_behind_every_record(pack):
    body = pack([response(n) for n in range(6)])
    records = list(read_records(Archive(io.BytesIO(body), seekable=True), START))
    assert len(records) == 6
    for number, each in enumerate(records):
        again = list(read_records(Archive(io.BytesIO(body), seekable=True), each.end))
        assert [other.headers for other in again] == [other.headers for other in records[number + 1 :]]
        again = list(read_records(Archive(io.BytesIO(body), seekable=True), each.begin))
        assert [other.block for other in again] == [other.block for other in records[number:]]


@pytest.mark.parametrize("version", [b"WARC/0.17", b"WARC/0.18", b"WARC/1.0"])
def test_older_versions_with_bracketed_addresses_folded_lines_and_bare_newlines(read, version):
    head = b"\nWARC-Type: response\nWARC-Target-URI: <http://h.example/1>\nX: a\n b\nContent-Length: %d\n\n"
    block = answer()
    documents, _ = read(version + head % len(block) + block + b"\n\n" + response(2))
    assert numbers(documents) == [1, 2]


@pytest.mark.parametrize("pack", [pack_plain, pack_members, pack_whole], ids=lambda pack: pack.__name__)
def test_arc_files(read, pack):
    block, text = answer(), b"Only text."
    documents, outlet = read(
        pack(
            [
                b"filedesc://x.arc 0.0.0.0 20140216050221 text/plain 18\n1 0 Some crawler\n\n\n",
                b"http://h.example/1 93.184.216.119 20140216050221 text/html %d\n" % len(block) + block + b"\n",
                b"http://h.example/a b 1.2.3.4 20140216050222 text/plain %d\n" % len(text) + text + b"\n",
                # version 2
                b"http://h.example/3 ::1 20140216050223 text/html 200 - - 77 x.arc %d\n" % len(block) + block + b"\n",
            ]
        ),
        name="a.arc",
    )
    assert [document["url"] for document in documents] == [f"http://h.example/{n}" for n in ("1", "a b", "3")]
    assert [document["meta"]["captured"][-3:] for document in documents] == ["21Z", "22Z", "23Z"]
    assert (documents[1]["text"], outlet.complaints) == ("Only text.", [])


def test_what_is_no_page_is_counted_and_what_is_about_the_crawl_is_not(read):
    kinds = {
        "image/png": b"\x89PNG\r\n",
        "application/json": b"{}",
        "text/css": b"a {}",
        "application/rss+xml": b"<rss/>",
    }
    documents, outlet = read(
        pack_plain(
            [
                record("warcinfo", b"x"),
                record("request", b"GET / HTTP/1.1\r\n\r\n", target_uri="http://h.example/0"),
                record("metadata", b"x", target_uri="http://h.example/0"),
                *(response(n, body=body, Content_Type=kind) for n, (kind, body) in enumerate(kinds.items())),
                response(10, body='<?xml version="1.0"?><rss version="2.0">', Content_Type="text/html"),
                response(11, body=b"%PDF-1.4 and a lie", Content_Type="text/html"),
                response(12, body=bytes(range(256)), Content_Type="text/plain"),
                response(13, body=b""),
                response(14, status=301),
                response(15, status=404),
                response(16, status=206),
                record("resource", b"seed list", target_uri="metadata://x/seeds", content_type="text/plain"),
                record("response", answer("User-agent: *"), target_uri="http://h.example/robots.txt"),
                record("continuation", b"x", target_uri="http://h.example/17"),
            ]
        )
    )
    assert documents == []
    assert outlet.counts == {"type": 7, "empty": 1, "3xx": 1, "4xx": 1, "2xx": 1, "segmented": 1}


def test_resources_conversions_and_pages_whose_type_is_not_said(read):
    plain = "Text that somebody extracted. " * 20
    documents, _ = read(
        pack_members(
            [
                record("resource", PAGE.encode(), target_uri="http://h.example/1", content_type="text/html"),
                record("conversion", plain.encode(), target_uri="http://h.example/2", content_type="text/plain"),
                response(3, Content_Type=""),
                response(4, Content_Type="text/plain"),
                response(5, body="<p>" + PROSE, Content_Type="application/xhtml+xml; charset=utf-8"),
                record("response", b"not HTTP", target_uri="ftp://h.example/6", content_type="text/plain"),
            ]
        )
    )
    assert numbers(documents) == [1, 2, 3, 4, 5, 6]
    assert documents[1]["text"] == plain.strip()
    assert {document["title"] for document in documents} == {"The page", None}
    assert all("<" not in document["text"] for document in documents)


def test_the_character_set_is_that_of_header_meta_or_bytes(read):
    text = "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440. " * 30
    page = "<!doctype html><html><head>{}<title>\u041c\u0438\u0440</title><main><p>" + text
    documents, _ = read(
        pack_plain(
            [
                response(1, body=page.format("").encode("cp1251"), Content_Type="text/html; charset=windows-1251"),
                response(2, body=page.format("<meta charset=koi8-r>").encode("koi8-r")),
                response(3, body=page.format("").encode(), Content_Type='text/html;charset="no-such"'),
                response(4, body=text.encode("utf-16"), Content_Type="text/plain"),
            ]
        )
    )
    assert {document["text"] for document in documents} == {text.strip()}
    assert [document["title"] for document in documents] == ["\u041c\u0438\u0440"] * 3 + [None]


def test_revisits_are_resolved_where_their_original_was_met(read):
    documents, outlet = read(
        pack_members(
            [
                response(1, record_headers={"payload_digest": "sha1:" + "A" * 32}),
                record("revisit", answer(""), target_uri="http://h.example/2", payload_digest="sha1:" + "A" * 32),
                record("revisit", answer(""), target_uri="http://h.example/3", refers_to="<urn:uuid:1>"),
                record(
                    "revisit",
                    answer(""),
                    refers_to_target_uri="http://h.example/1",
                    refers_to_date="2024-05-18T01:58:10Z",
                ),
                record("revisit", answer(""), target_uri="http://h.example/4", payload_digest="sha1:" + "Z" * 32),
            ]
        )
    )
    assert numbers(documents) == [1]
    assert outlet.counts == {"revisit": 3, "unresolved": 1}


# ---- bodies


def chunk(body, size=700):
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x; note\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": lambda body: gzip.compress(body[:100]) + gzip.compress(body[100:]),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "zstd": zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
    "br": lambda body: brotli.compress(body, quality=3),
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
    "identity": bytes,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_codings_are_taken_off_and_raw_is_the_hash_of_what_is_left(read, coding):
    body = PAGE.encode()
    coded = CODINGS[coding](body)
    kept = base64.b32encode(hashlib.sha1(body).digest()).decode()
    documents, outlet = read(
        pack_members(
            [
                response(1, body=coded, Content_Encoding=coding),
                response(2, body=chunk(coded), Content_Encoding=coding, Transfer_Encoding="chunked"),
                # a crawler that took both off and left the header
                response(3, body=body, Content_Encoding=coding, Transfer_Encoding="chunked"),
                # as clet's own archive has it
                response(4, body=body, record_headers={"payload_digest": f"sha1:{kept}"}),
            ]
        )
    )
    assert outlet.complaints == []
    assert [document["raw"] for document in documents] == [hashlib.sha256(body).hexdigest()] * 4
    assert len({document["id"] for document in documents}) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
def test_bombs_cut_and_damaged_bodies_cost_one_record_each(read, coding):
    bomb, page = CODINGS[coding](bytes(40 << 20)), CODINGS[coding](random.Random(1).randbytes(200) + PAGE.encode())
    damaged = page[:60] + bytes(byte ^ 0x55 for byte in page[60:90]) + page[90:]
    documents, outlet = read(
        pack_plain(
            [
                response(1, body=bomb, Content_Encoding=coding),
                response(2, body=page[:-20], Content_Encoding=coding),
                response(3, body=damaged, Content_Encoding=coding),
                response(4, body=b"x", Content_Encoding="exotic"),
                response(5),
            ]
        )
    )
    assert numbers(documents) == [5]
    reasons = [complaint.rpartition(": ")[2] for complaint in outlet.complaints]
    assert reasons == [
        "inflates over 200-fold",
        "its body is cut short",
        "its compressed body is damaged",
        "is coded in 'exotic', which clet does not read",
    ]
    assert outlet.counts == {"broken": 4}
    assert outlet.complaints[0].startswith("byte 0: http://h.example/1: ")


def test_a_body_that_the_crawler_cut_is_taken_as_far_as_it_goes(read):
    coded = gzip.compress(PAGE.encode())
    cut = {"truncated": "length"}
    ((document,), outlet) = read(response(1, body=coded[:-9], Content_Encoding="gzip", record_headers=cut))
    assert document["meta"]["truncated"] == "length"
    assert outlet.complaints == []


def test_chunks():
    def joined(body):
        return parse_answer(answer(body, Transfer_Encoding="chunked")).decoded()

    assert joined(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") == b"abcde"
    assert joined(b"3\nabc\n2\nde\n0\n\n") == b"abcde"
    assert joined(b"3\r\nabc\r\nff\r\nde") == b"abcde"  # cut short
    assert joined(b"<p>not chunked") == b"<p>not chunked"
    with pytest.raises(BadBody, match="chunks are damaged"):
        joined(b"3\r\nabc\r\nxyz\r\nabc")


# ---- cursors


@every_form
def test_the_cursor_holds_at_every_document_it_gave(tmp_path, context, pack):
    path = tmp_path / "a.warc"
    path.write_bytes(pack([record("warcinfo", b"x"), *(response(n) for n in range(5))]))
    for taken in range(6):
        cursor = {}
        documents = warc.read(str(path), context("warc", cursor))
        first = [next(documents) for _ in range(taken)]
        known = json.loads(json.dumps(cursor))  # the process dies here: nothing else is remembered
        assert numbers([*first, *warc.read(str(path), context("warc", known))]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("pack", [pack_plain, pack_members, pack_frames], ids=lambda pack: pack.__name__)
def test_an_archive_that_grows_continues_and_one_that_was_replaced_starts_over(read, pack, monkeypatch):
    cursor = {}
    assert numbers(read(pack([response(1), response(2)]), cursor=cursor)[0]) == [1, 2]
    assert numbers(read(pack([response(1), response(2), response(3)]), cursor=cursor)[0]) == [3]
    assert numbers(read(pack([response(7), response(8), response(9)]), cursor=cursor)[0]) == [7, 8, 9]
    monkeypatch.setattr(warc, "open_regular", None)
    assert read(None, cursor=cursor)[0] == []


@pytest.mark.parametrize("pack", [pack_plain, pack_members], ids=lambda pack: pack.__name__)
def test_a_record_still_being_written_is_left_for_the_next_round(read, pack):
    cursor, whole = {}, pack([response(1), response(2)])
    documents, outlet = read(whole[:-60], cursor=cursor, follow=True)
    assert (numbers(documents), outlet.complaints, outlet.counts) == ([1], [], {"unfinished": 1})
    assert numbers(read(whole, cursor=cursor, follow=True)[0]) == [2]


def test_each_archive_of_a_folder_is_a_source_of_its_own(tmp_path, context):
    for name in ("a.warc", "b.warc.gz", "c.arc.gz", "d.warc.zst", "e.warc.wet.gz", "f.warc.wat.gz", "g.txt"):
        (tmp_path / name).write_bytes(response(1))
    given = context("warc")
    assert list(warc.read(str(tmp_path), given)) == []
    assert [path[len(str(tmp_path)) + 1] for path in given.outlet.included] == ["a", "b", "c", "d", "e"]


def test_stdin(context, monkeypatch):
    monkeypatch.setattr(paths, "InputFile", lambda name: io.BytesIO(pack_members([response(1), response(2)])))
    assert numbers(warc.read("-", context("warc"))) == [1, 2]


def test_a_url_is_downloaded_kept_until_read_and_asked_for_only_when_it_changed(web, context, fetcher, tmp_path):
    web.routes["/a.warc.gz"] = (200, {"ETag": '"1"'}, pack_members([response(1), response(2)]))
    cursor, url = {}, f"{web.url}/a.warc.gz"
    documents = warc.read(url, context("warc", cursor, web=fetcher()))
    assert numbers([next(documents)]) == [1]
    assert "validators" not in cursor
    known = json.loads(json.dumps(cursor))
    documents = list(warc.read(url, context("warc", known, web=fetcher())))
    assert numbers(documents) == [2]
    assert documents[0]["meta"]["warc"] == "a.warc.gz"
    assert not [name for _, _, files in os.walk(tmp_path / "cache") for name in files if "warc" in name]
    web.routes["/a.warc.gz"] = lambda handler: (
        (304, {}, b"") if handler.headers["If-None-Match"] == '"1"' else (500, {}, b"")
    )
    assert list(warc.read(url, context("warc", known, web=fetcher()))) == []


def test_what_the_archive_keeps_comes_back_with_its_hash(tmp_path, context):
    archive = ArchiveWriter(tmp_path / "kept")
    html = [(b"Content-Type", b"text/html"), (b"Content-Encoding", b"gzip"), (b"Transfer-Encoding", b"chunked")]
    for url in ("http://h.example/1", "http://h.example/2"):  # the second is a revisit
        archive.store(url, Head(200, "OK", html, decoded=True), PAGE.encode(), "192.0.2.1")
    archive.close()
    given = context("warc")
    assert list(warc.read(str(tmp_path / "kept"), given)) == []
    (path,) = given.outlet.included
    given = context("warc")
    (document,) = warc.read(path, given)
    assert document["raw"] == hashlib.sha256(PAGE.encode()).hexdigest()
    assert (given.outlet.counts, given.outlet.complaints) == ({"revisit": 1}, [])
