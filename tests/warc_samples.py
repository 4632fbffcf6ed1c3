"""Web archives for tests: records, answers, and every way to pack them."""

import gzip
import struct

import pytest
import zstandard

PROSE = "A sentence of the article that is long enough to be taken for its main part. " * 8
PAGE = f"<!doctype html><html lang=en><title>The page</title><nav>Home</nav><main><p>{PROSE}</p></main></html>"


def record(kind, block=b"", **headers):
    """A WARC/1.1 record: `record("response", ..., target_uri="http://h/")`."""
    given = {"WARC-Type": kind, "WARC-Date": "2024-05-18T01:58:10Z", "Content-Length": str(len(block))}
    given |= {f"WARC-{name.replace('_', '-').title()}": value for name, value in headers.items() if name[0] != "c"}
    given |= {f"Content-{name[8:].title()}": value for name, value in headers.items() if name.startswith("content")}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"WARC/1.1\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def answer(body=PAGE, status=200, **headers):
    """An HTTP answer; names of headers with `_` for `-`."""
    body = body.encode() if isinstance(body, str) else body
    lines = "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in ({"Content_Type": "text/html"} | headers).items()
    )
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def response(number=1, body=None, record_headers=None, **headers):
    """A response with a page of its own."""
    block = answer(PAGE.replace("sentence", f"sentence {number}") if body is None else body, **headers)
    identity = {"target_uri": f"http://h.example/{number}", "record_id": f"<urn:uuid:{number}>"}
    return record("response", block, **identity, **(record_headers or {}))


def numbers(documents):
    return [int(document["url"].rpartition("/")[2]) for document in documents]


def pack_plain(records):
    return b"".join(records)


def pack_members(records):
    return b"".join(gzip.compress(each, mtime=0) for each in records)


def pack_whole(records):
    return gzip.compress(b"".join(records), mtime=0)


def pack_blocks(records):
    """Members of 100 bytes that know nothing of records."""
    body = b"".join(records)
    return b"".join(gzip.compress(body[i : i + 100], mtime=0) for i in range(0, len(body), 100))


def pack_frames(records):
    return b"".join(zstandard.ZstdCompressor(write_checksum=True).compress(each) for each in records)


def pack_dictionary(records):
    """As the .warc.zst specification has it: the dictionary in a skippable frame, itself compressed."""
    dictionary = zstandard.train_dictionary(2000, [response(n) for n in range(300)])
    packed = zstandard.ZstdCompressor().compress(dictionary.as_bytes())
    frames = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)
    head = struct.pack("<II", 0x184D2A5D, len(packed)) + packed
    return head + b"".join(frames.compress(each) for each in records)


PACKS = [pack_plain, pack_members, pack_whole, pack_blocks, pack_frames, pack_dictionary]
every_form = pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.__name__)
