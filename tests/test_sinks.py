"""Files that appear whole leave nothing where they cannot; of one that grows, what a sync wrote stays."""

import resource
import signal

import pytest
import zstandard

from clet.exits import WriteError
from clet.sinks import AppendSink, Sink


def frame(text):
    return zstandard.ZstdCompressor(write_checksum=True).compress(text)


def test_a_named_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = Sink(str(path))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(WriteError, match="too large"):
            sink.write(bytes(1 << 20))
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"] and path.read_bytes() == b"before"


def test_what_was_synced_is_kept_and_what_was_not_is_forgotten(tmp_path):
    path = tmp_path / "f.zst"
    sink = AppendSink(str(path))
    sink.write(frame(b"one"))
    sink.sync()
    sink.write(frame(b"two"))
    sink.abort()
    sink = AppendSink(str(path))
    sink.write(frame(b"three"))
    sink.close()
    assert path.read_bytes() == frame(b"one") + frame(b"three")


@pytest.mark.parametrize("big", [1, 3 << 20])
def test_an_unfinished_frame_is_cut_at_any_length(tmp_path, big):
    path = tmp_path / "f.zst"
    whole, last = frame(b"a" * big) + frame(b""), frame(bytes(range(256)))
    for cut in (1, 3, 4, 5, len(last) // 2, len(last) - 1):
        path.write_bytes(whole + last[:cut])
        AppendSink(str(path)).abort()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("size", [1, 1 << 21])
def test_an_unfinished_line_is_cut(tmp_path, size):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":2}\n{"c' + b"x" * size)
    AppendSink(str(path)).abort()
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n'
    path.write_bytes(b"x" * size)
    AppendSink(str(path)).abort()
    assert path.read_bytes() == b""


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(WriteError, match="no/such"):
        AppendSink(str(tmp_path / "no/such/f"))
