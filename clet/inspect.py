"""Any clet file or stream as JSON lines, for jq and for eyes: what `clet cat` prints.

Records and batches are their lines. A shard is a header line and one line a window. A directory is what is in it: a
state's HEAD and journals, a shard directory's manifest. With `headers` each frame says of itself what it is, and no
content is shown. Memory: one frame, or the windows of one shard, whose documents' names come after them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from clet import codecs
from clet.batch import Batch
from clet.container import Frame, Kind, is_sealed, read_frame
from clet.exits import InputError, UsageError
from clet.pages import PAGE_BYTES
from clet.record import RecordError, decode_tok, parse_line, parse_object
from clet.state import HEAD_NAME, MAX_HEAD_BYTES, parse_head
from clet.streams import OnBad, open_input, refuse_bad, split_lines

MANIFEST_NAME = "manifest.jsonl"


def lines_of(inputs: Sequence[str], headers: bool = False, on_bad: OnBad = refuse_bad) -> Iterator[bytes]:
    """JSON lines, without newline, of all inputs in order; `-` is stdin.

    `on_bad(place, reason, line)` hears of lines that are no records. Raises UsageError for an input that cannot be
    opened, InputError for damage or truncation.
    """
    for name in inputs:
        if name != "-" and os.path.isdir(name):
            yield from _directory(Path(name), headers)
        elif os.path.basename(name) == HEAD_NAME:
            yield _head(Path(name))
        else:
            with open_input(name) as stream:
                shown = "stdin" if name == "-" else name
                yield from _stream(codecs.Peekable(stream), shown, headers, on_bad)


def _stream(stream: codecs.Peekable, name: str, headers: bool, on_bad: OnBad) -> Iterator[bytes]:
    codec = codecs.sniff(stream.peek(4))
    if codec != "clet":
        stream = codecs.Peekable(codecs.ChunkReader(codecs.plain_chunks(stream, name)))
    if codecs.sniff(stream.peek(4)) == "clet":
        yield from _container(stream, name, headers)
    else:
        yield from _jsonl(stream, name, codec, headers, on_bad)


# ---- JSONL


def _jsonl(stream: codecs.Peekable, name: str, codec: str, headers: bool, on_bad: OnBad) -> Iterator[bytes]:
    number = shown = 0
    for lines in split_lines(stream, name):
        for line in lines:
            number += 1
            if not line or line.isspace():
                continue
            try:
                _check_line(line)
            except RecordError as error:
                on_bad(f"{name}:{number}", str(error), line)
                continue
            shown += 1
            if not headers:
                yield line
    if headers:
        yield _dumps({"file": name, "kind": "records", "codec": codec, "records": shown})


def _check_line(line: bytes) -> None:
    """Raise RecordError unless the line is a record, or an unreadable line that a stage kept in its rejects."""
    try:
        record = parse_line(line)
    except RecordError:
        if not line.startswith(b'{"reject":'):
            raise
        parse_object(line)
        return
    if record.get("tok") is not None:
        decode_tok(record["tok"])


# ---- frames


def _container(stream: BinaryIO, name: str, headers: bool) -> Iterator[bytes]:
    num_frames, last = 0, None
    windows: list[Frame] = []  # of a shard, until its document table has come
    rows: list[str] = []
    for frame, size in _frames(stream, name):
        last = frame.kind
        if headers:
            yield _frame_header(frame, size, name)
        elif frame.kind is Kind.WINDOWS:
            windows.append(frame)
        elif frame.kind is Kind.DOCUMENTS:
            batch = Batch.from_frame(frame, name)
            if windows:
                rows += [batch.fields(row)["id"] for row in range(len(batch))]
            else:
                yield from (batch.line(row) for row in range(len(batch)))
        elif frame.kind is Kind.SHARD_HEADER:
            yield _dumps({"shard": frame.info} | _values(frame))
        elif frame.kind is Kind.SHARD_FOOTER:
            yield from _window_lines(windows, rows, name)
            windows, rows = [], []
        elif frame.kind is Kind.JOURNAL:
            yield _dumps({"journal": Path(name).stem, "arrays": _values(frame)})
        num_frames = _count(frame, num_frames, name)
    if last not in (Kind.END, Kind.JOURNAL):  # where a journal ends is in its state's HEAD
        raise InputError(f"{name}: truncated: the stream ends without its end frame")


def _frames(stream: BinaryIO, name: str, stop: int | None = None) -> Iterator[tuple[Frame, int]]:
    offset = 0
    while (stop is None or offset < stop) and (got := read_frame(stream, name, offset)) is not None:
        yield got
        offset += got[1]


def _count(frame: Frame, num_frames: int, name: str) -> int:
    """Frames since the last END frame, which must count them."""
    if frame.kind is not Kind.END:
        return num_frames + 1
    if frame.info.get("frames") != num_frames:
        raise InputError(f"{name}: {num_frames} frames where {frame.info.get('frames')} were written")
    return 0


def _window_lines(frames: list[Frame], rows: list[str], name: str) -> Iterator[bytes]:
    """One line a window: its ids without padding, and which documents they are of, how many of each."""
    for frame in frames:
        try:
            ids, lengths, first = frame.arrays["ids"], frame.arrays["segment_lengths"], frame.info["first"]
            start = 0
            for window, end in enumerate(frame.arrays["segment_ends"].tolist()):
                sizes = lengths[start:end].tolist()
                documents = [rows[row] for row in frame.arrays["segment_rows"][start:end].tolist()]
                line = {"window": first + window, "ids": ids[window, : sum(sizes)].tolist(), "documents": documents}
                masked = _masked_in(frame, window, ids.shape[1])
                yield _dumps(line | {"lengths": sizes} | ({"masked": masked} if masked else {}))
                start = end
        except (KeyError, IndexError) as error:
            raise InputError(f"{name}: malformed windows at byte {frame.offset}: {error}") from None


def _masked_in(frame: Frame, window: int, seq_len: int) -> list[list[int]]:
    """The spans of a window that are not to be learned, as [start, end) in it."""
    spans = frame.arrays.get("masked")
    if spans is None:
        return []
    mine = spans[spans[:, 0] // seq_len == window].astype(int) - window * seq_len
    return mine.tolist()


def _frame_header(frame: Frame, size: int, name: str) -> bytes:
    arrays = {key: f"{array.dtype.str}{list(array.shape)}" for key, array in frame.arrays.items()}
    raw = sum(array.nbytes for array in frame.arrays.values())
    place = {"file": name, "kind": frame.kind.name.lower(), "offset": frame.offset, "bytes": size, "array_bytes": raw}
    return _dumps(place | {"info": frame.info, "arrays": arrays})


# ---- directories


def _directory(path: Path, headers: bool) -> Iterator[bytes]:
    if os.path.exists(path / HEAD_NAME):  # Path.exists raises where the folder may not be searched
        yield from _state(path, headers)
    elif os.path.exists(path / MANIFEST_NAME):
        with open_input(str(path / MANIFEST_NAME)) as stream:
            body = stream.readall()
        *lines, rest = body.split(b"\n")
        for number, line in enumerate(lines, 1):
            if not is_sealed(line):
                raise InputError(f"{path / MANIFEST_NAME}:{number}: checksum differs: the manifest was damaged")
            yield line
        if rest:
            raise InputError(f"{path / MANIFEST_NAME}: ends inside a line: the manifest was damaged")
    else:
        raise UsageError(f"{path}: is neither a state nor a directory of shards; name the files in it")


def _state(path: Path, headers: bool) -> Iterator[bytes]:
    """HEAD, then what each journal has committed; a crash's leftovers behind that are no part of the state.

    Of the files of a dedup index only what they say of themselves: their pages are hash tables.
    """
    yield _head(path / HEAD_NAME)
    head = orjson.loads(_head(path / HEAD_NAME))
    for entry in head["values"].get("segments", []) + head["values"].get("generations", []):
        yield _page_headers(path, entry["file"], entry["pages"])
    for journal, length in sorted(head["journals"].items()):
        file_name = path / f"{journal}.journal"
        with open_input(str(file_name)) as stream:
            read = 0
            for frame, size in _frames(stream, str(file_name), length):
                read += size
                if headers:
                    yield _frame_header(frame, size, str(file_name))
                else:
                    yield _dumps({"journal": journal, "arrays": _values(frame)})
        if read != length:
            raise InputError(f"{file_name}: {read} bytes where {length} were committed; the state is damaged")


def _page_headers(path: Path, name: str, num_pages: int) -> bytes:
    """What a file of the dedup index says of itself, which stands behind its pages."""
    offset = num_pages * PAGE_BYTES
    with open_input(str(path / name)) as stream:
        stream.seek(offset)
        got = read_frame(stream, str(path / name), offset)
    if got is None:
        raise InputError(f"{path / name}: truncated: the state is damaged")
    return _dumps({"file": str(path / name), "kind": "pages", "info": got[0].info})


def _head(path: Path) -> bytes:
    with open_input(str(path)) as stream:
        return _dumps(parse_head(stream.read(MAX_HEAD_BYTES), path))


def _values(frame: Frame) -> dict[str, Any]:
    return {name: array.tolist() for name, array in frame.arrays.items()}


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value)
