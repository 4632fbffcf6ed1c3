"""One shard in a file: opened, its header and footer checked, its frames found.

Opening reads three frames: a file of another length, format or tokenizer is refused there. Shards may follow each
other in one file (`cat a b`): each says how long it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clet.container import Frame, Kind, frame_at
from clet.exits import InputError
from clet.shards.format import COUNTS, DTYPES, FORMAT, LANE, MAX_SEQ_LEN, windows_per_frame
from clet.shards.mapping import MappedFile
from clet.shards.table import TABLE_RECORDS


class ShardFile:
    """A shard whose header and footer agree; its other frames are checked when they are read.

    `root` and `fingerprint` are hex, `vocab_size` is above every id; counts are the footer's.
    """

    path: Path
    root: str
    fingerprint: str
    lane: str
    seq_len: int
    dtype: np.dtype
    vocab_size: int
    eos_id: int | None
    num_windows: int
    num_tokens: int
    num_documents: int
    num_masked: int  # tokens that are not to be learned
    num_bytes: int
    newest: str | None
    fetched: str | None

    def __init__(self, path: Path, fingerprint: str | None, offset: int | None):
        self.path, self.offset = path, offset
        self._base = offset or 0
        self._file = MappedFile(path)
        self._read_footer(self._read_header(fingerprint))

    @property
    def end(self) -> int:
        """The byte of the file at which the shard ends."""
        return self._base + self.num_bytes

    @property
    def is_last(self) -> bool:
        """Whether the file ends with this shard."""
        return self.end == len(self._file.view())

    def _read_header(self, fingerprint: str | None) -> dict[str, int]:
        view = self._file.view()
        if not len(view) > self._base:
            raise InputError(f"{self.path}: truncated: nothing at byte {self._base}")
        frame, self._header_end = self._frame_at(0, Kind.SHARD_HEADER)
        info = frame.info
        if info.get("format") != FORMAT:
            raise InputError(f"{self.path}: shard format {info.get('format')}; this clet reads format {FORMAT}")
        try:
            self.dtype, self.seq_len, self._is_zstd = DTYPES[info["dtype"]], info["seq_len"], info["zstd"]
            self.fingerprint, self.lane, self.eos_id = info["fp"], info["lane"], info["eos"]
            counts = dict(zip(COUNTS, map(int, frame.arrays["counts"]), strict=True))
            if not (isinstance(self.seq_len, int) and 0 < self.seq_len <= MAX_SEQ_LEN):
                raise ValueError("seq_len is out of range")
            if not (isinstance(self.fingerprint, str) and LANE.match(self.lane)):
                raise ValueError("fp is no text, or lane no name of a folder")
            if counts["footer"] >= counts["bytes"]:
                raise ValueError("its footer is outside the file")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed shard header: {error}") from None
        size = len(view) - self._base
        if size < counts["bytes"]:
            raise InputError(f"{self.path}: {size} bytes where its header says {counts['bytes']}: truncated")
        if size > counts["bytes"] and self.offset is None:
            raise InputError(
                f"{self.path}: {size} bytes where its header says {counts['bytes']}: more than one shard, or "
                "something else behind it"
            )
        self.num_windows, self.num_tokens, self.num_documents, self.num_masked = (counts[n] for n in COUNTS[:4])
        self.vocab_size, self.num_bytes = counts["vocab_size"], counts["bytes"]
        if fingerprint is not None and self.fingerprint != fingerprint:
            raise InputError(
                f"{self.path}: made with tokenizer {self.fingerprint}, not {fingerprint}; shard its records anew"
            )
        return counts

    def _read_footer(self, counts: dict[str, int]) -> None:
        self._footer_offset = counts["footer"]
        footer, at = self._frame_at(self._footer_offset, Kind.SHARD_FOOTER)
        closing, at = self._frame_at(at, Kind.END)
        try:
            info = footer.info
            self.root, self.newest, self.fetched = info["root"], info["newest"], info["fetched"]
            self._seek_windows, self._seek_documents = footer.arrays["windows"], footer.arrays["documents"]
            agree = all(info[name] == counts[name] for name in COUNTS[:4]) and at == counts["bytes"]
            agree &= closing.info["frames"] == len(self._seek_windows) + len(self._seek_documents) + 2
            most = windows_per_frame(self.seq_len, self._is_zstd)
            agree &= _is_seek_table(self._seek_windows, self.num_windows, most, self._footer_offset)
            agree &= _is_seek_table(self._seek_documents, self.num_documents, TABLE_RECORDS, self._footer_offset)
            if not agree or len(bytes.fromhex(self.root)) != 32:
                raise ValueError("it contradicts the header")
            if not (isinstance(self.newest, str | None) and isinstance(self.fetched, str | None)):
                raise ValueError("newest or fetched is no time")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: malformed footer at byte {self._base + self._footer_offset}: {error}"
            ) from None
        self._seek_windows, self._seek_documents = self._seek_windows.copy(), self._seek_documents.copy()

    def _frame_at(self, offset: int, kind: Kind) -> tuple[Frame, int]:
        """The frame at a byte of the shard, which must be of `kind`, and where the next one begins."""
        frame, end = frame_at(self._file.view(), str(self.path), self._base + offset)
        if frame.kind is not kind:
            expected = kind.name.lower().replace("_", " ")
            raise InputError(
                f"{self.path}: a {frame.kind.name.lower()} frame at byte {self._base + offset}, not a {expected}"
            )
        return frame, end - self._base

    def check_layout(self) -> None:
        """Raise InputError unless the frames that the footer names fill the file without gap or overlap."""
        at = self._header_end
        for kind, table in ((Kind.WINDOWS, self._seek_windows), (Kind.DOCUMENTS, self._seek_documents)):
            for offset in table[:, 0].tolist():
                if offset != at:
                    raise InputError(f"{self.path}: bytes {at} to {offset} belong to no frame of its footer")
                at = self._frame_at(at, kind)[1]
        if at != self._footer_offset:
            raise InputError(f"{self.path}: bytes {at} to {self._footer_offset} belong to no frame of its footer")


def _is_seek_table(table: np.ndarray, total: int, most: int, end: int) -> bool:
    """Whether [offset, first, count] rows cover 0 to `total` without gap, at most `most` a frame, all before `end`."""
    if table.ndim != 2 or table.shape[1] != 3 or table.dtype != np.int64:
        return False
    if not len(table):
        return total == 0
    offsets, firsts, counts = table.T.copy()
    if offsets.min() < 0 or offsets.max() >= end or counts.min() < 1 or counts.max() > most:
        return False
    ends = np.cumsum(counts)
    return firsts[0] == 0 and int(ends[-1]) == total and np.array_equal(firsts[1:], ends[:-1])
