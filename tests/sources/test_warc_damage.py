"""Damage to web archives: it costs exactly the record that has it, and is told in a line."""

import base64
import gzip
import hashlib
import io
import struct

import pytest
from warc_samples import (
    PAGE,
    answer,
    every_form,
    numbers,
    pack_dictionary,
    pack_frames,
    pack_members,
    pack_plain,
    pack_whole,
    record,
    response,
)

from clet.sources.adapter import SourceFailed
from clet.sources.warc import adapter as warc
from clet.sources.warc.members import START, Archive
from clet.sources.warc.records import Broken, Record, read_records


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


def broken_length(number, by):
    made = response(number)
    size = int(made.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return made.replace(b"Content-Length: %d" % size, b"Content-Length: %d" % (size + by))


FAULTS = {
    "claims too much": lambda: broken_length(2, 90),
    "claims too little": lambda: broken_length(2, -90),
    "claims a terabyte": lambda: broken_length(2, 10**12),
    "claims less than nothing": lambda: broken_length(2, -(10**6)),
    "tells no length": lambda: response(2).replace(b"Content-Length", b"Content-Lenght"),
    "tells a length of letters": lambda: response(2).replace(b"Content-Length: ", b"Content-Length: 1e"),
    "no version": lambda: response(2).replace(b"WARC/1.1", b"CRAW/1.1"),
    "an endless header": lambda: b"WARC/1.1\r\n" + b"A: b\r\n" * 20_000,
    "a page": lambda: PAGE.encode(),
}


@pytest.mark.parametrize("pack", [pack_plain, pack_members, pack_whole, pack_frames], ids=lambda pack: pack.__name__)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_record_costs_itself_alone(read, pack, fault):
    if fault == "claims a terabyte" and pack is pack_whole:
        pytest.skip("nothing behind it can be looked at without inflating a terabyte")
    documents, outlet = read(pack([response(0), response(1), FAULTS[fault](), *(response(n) for n in range(3, 7))]))
    assert numbers(documents) == [0, 1, 3, 4, 5, 6]
    assert outlet.counts == {"broken": 1}
    (complaint,) = outlet.complaints
    assert complaint.startswith("byte ") and "\n" not in complaint


@pytest.mark.parametrize("pack", [pack_members, pack_frames], ids=lambda pack: pack.__name__)
@pytest.mark.parametrize("fault", ["flipped", "checksum", "cut", "garbage", "zeros", "empty"])
def test_a_damaged_member_costs_itself_alone(read, pack, fault):
    packed = [pack([response(n)]) for n in range(7)]
    if fault == "flipped":
        packed[2] = packed[2][:100] + bytes([packed[2][100] ^ 0x10]) + packed[2][101:]
    elif fault == "checksum":
        packed[2] = packed[2][:-6] + bytes([packed[2][-6] ^ 1]) + packed[2][-5:]
        packed[2] = packed[2][:-3] + bytes([packed[2][-3] ^ 1]) + packed[2][-2:]
    elif fault == "cut":
        packed[2] = packed[2][:150]
    else:
        packed[2] = {"garbage": b"garbage \x1f\x8b\x08\x00 more" * 50, "zeros": bytes(700), "empty": pack([b""])}[fault]
    for body, stdin in ((b"".join(packed), False), (b"".join(packed), True)):
        found = list(read_records(Archive(io.BytesIO(body), seekable=not stdin), START))
        good = [each.headers["warc-record-id"] for each in found if isinstance(each, Record)]
        assert good == [f"<urn:uuid:{n}>" for n in (0, 1, 3, 4, 5, 6)]
    documents, outlet = read(b"".join(packed))
    assert numbers(documents) == [0, 1, 3, 4, 5, 6]
    assert outlet.counts == ({} if fault in ("zeros", "empty") else {"broken": 1})


@every_form
def test_an_archive_cut_anywhere_gives_what_is_whole_and_says_that_it_is_cut(pack, read):
    records = [response(n) for n in range(4)]
    body, ends = pack(records), [len(pack(records[:n])) for n in range(1, 5)]
    closing = {end - n for end in ends for n in range(5)}  # the line ends between two plain records
    for size in range(len(body) - 5, len(body) // 2, -max(1, len(body) // 16)):
        documents, outlet = read(body[:size])
        got = numbers(documents)
        assert got == list(range(len(got)))
        if pack in (pack_members, pack_frames, pack_dictionary):
            assert len(got) == sum(end <= size for end in ends)
        if size not in closing:
            assert outlet.counts == {"cut": 1}, size
        assert len(outlet.complaints) == sum(outlet.counts.values())


def test_a_bit_that_flipped_in_a_plain_archive_is_met_by_the_digest(read):
    block = answer()
    digests = [
        "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode(),
        "sha1:" + hashlib.sha1(block).hexdigest(),
        "sha-256:" + hashlib.sha256(block).hexdigest().upper(),
        "md5:" + hashlib.md5(block).hexdigest(),
        "blake9:00",
        "sha1:unreadable",
    ]
    made = [record("response", block, target_uri=f"http://h/{n}", block_digest=each) for n, each in enumerate(digests)]
    assert numbers(read(pack_plain(made))[0]) == [0, 1, 2, 3, 4, 5]
    documents, outlet = read(pack_plain([each.replace(b"article", b"articke") for each in made]))
    assert numbers(documents) == [4, 5]
    assert outlet.counts == {"broken": 4}
    # a compressed one has checksums of its own; there it is the writer of the digest that was wrong
    assert len(read(pack_members([each.replace(b"article", b"articke") for each in made]))[0]) == 6


def test_many_broken_records_are_summed_up_after_twenty_lines(read):
    documents, outlet = read(pack_plain([broken_length(n, -5) for n in range(50)] + [response(50)]))
    assert numbers(documents) == [50]
    assert (len(outlet.complaints), outlet.complaints[-1]) == (21, "and 30 more: broken")
    assert outlet.counts == {"broken": 50}


@pytest.mark.parametrize(
    "body",
    [b"<html>" + PAGE.encode(), b"junk" * 1000, gzip.compress(b"junk" * 1000, mtime=0), b"\x1f\x8bxx"],
    ids=["html", "junk", "junk in gzip", "no gzip"],
)
def test_what_is_no_archive_fails_in_one_line(read, body):
    with pytest.raises(SourceFailed, match="no web archive that can be read"):
        read(body)


def test_a_dictionary_that_is_damaged_or_too_large_fails(read):
    for size, body in ((30, b"\x37\xa4\x30\xec" + b"y" * 26), (1 << 31, b"x")):
        with pytest.raises(SourceFailed, match="dictionary"):
            read(struct.pack("<II", 0x184D2A5D, size) + body)


def test_an_empty_archive_is_nothing_new(read):
    assert read(b"")[0] == []


def test_hostile_headers_cost_time_in_proportion(read):
    """Each of these would be quadratic if what follows a header were looked at again for each of them."""
    claims = b"WARC/1.1\r\nContent-Length: 60000000\r\n\r\n" * 20_000
    endless = b"WARC/1.1\r\n" * 60_000
    documents, _ = read(claims + endless + b"\r\n\r\n" + response(1))
    assert numbers(documents) == [1]


def test_broken_is_told_with_its_place():
    body = pack_members([response(0), broken_length(1, -9)])
    (_, broken) = read_records(Archive(io.BytesIO(body), seekable=True), START)
    assert isinstance(broken, Broken)
    assert body[broken.place.offset :][:2] == b"\x1f\x8b"
