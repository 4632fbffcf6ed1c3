"""A batch of records as columns: flat token ids, flat text, and one JSON line a record for all other fields.

This is what flows inside a stage and, as DOCUMENTS frames of the container, between stages. A stage that needs only
token ids never parses JSON and never looks at text; one that annotates splices its object into the line. A batch is
homogeneous: either all of its records have ids of one tokenizer, or none has any.

Cost: the bytes of the columns, plus 8 bytes a record and column for the offsets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import orjson

from clet.container import DEFAULT_LEVEL, Frame, Kind, frame_parts
from clet.exits import InputError
from clet.record import Record, RecordError, check_record, decode_tok, encode_tok


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of unequal length in one flat array: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray  # [total]
    offsets: np.ndarray  # [n + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def bytes_at(self, i: int) -> bytes:
        """Row i of a byte column."""
        return self.values[self.offsets[i] : self.offsets[i + 1]].tobytes()

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, `[n]`."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> Ragged:
        """The rows `[k]` named, in that order. Neighbouring rows are copied in one piece."""
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return Ragged(self.values[:0], np.zeros(1, np.int64))
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        starts = self.offsets[rows[np.concatenate(([0], breaks))]]
        ends = self.offsets[rows[np.concatenate((breaks - 1, [len(rows) - 1]))] + 1]
        values = np.concatenate([self.values[a:b] for a, b in zip(starts, ends, strict=True)])
        return Ragged(values, _offsets(self.offsets[rows + 1] - self.offsets[rows]))

    def part(self, begin: int, end: int) -> Ragged:
        """Rows that stand beside each other; values are not copied."""
        first, last = self.offsets[begin], self.offsets[end]
        return Ragged(self.values[first:last], self.offsets[begin : end + 1] - first)

    @staticmethod
    def from_rows(rows: Sequence[np.ndarray], dtype: Any) -> Ragged:
        """Rows of one dtype, concatenated."""
        values = np.concatenate(rows).astype(dtype, copy=False) if rows else np.zeros(0, dtype)
        return Ragged(values, _offsets([len(row) for row in rows]))

    @staticmethod
    def from_bytes(rows: Sequence[bytes]) -> Ragged:
        """A byte column."""
        return Ragged(np.frombuffer(b"".join(rows), np.uint8), _offsets([len(row) for row in rows]))

    @staticmethod
    def concat(parts: Sequence[Ragged]) -> Ragged:
        """All rows of all parts."""
        return Ragged(
            np.concatenate([part.values for part in parts]), _offsets(np.concatenate([part.lengths for part in parts]))
        )


def _offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    out = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


class Row(NamedTuple):
    """One record as the cells of a batch; `text`, or `ids` and `fingerprint`, are None where it has none."""

    head: bytes
    text: bytes | None
    ids: np.ndarray | None
    fingerprint: str | None

    @property
    def kind(self) -> tuple[str | None, np.dtype | None]:
        """What all rows of one batch share: the tokenizer, and the width of its ids."""
        return self.fingerprint, None if self.ids is None else self.ids.dtype


def pack_row(record: Record) -> Row:
    """A record, checked, as the cells of a batch. Raises RecordError where it is malformed."""
    check_record(record)
    fields = dict(record)
    text, tok = fields.pop("text", None), fields.pop("tok", None)
    ids, fingerprint = decode_tok(tok) if tok is not None else (None, None)
    return Row(orjson.dumps(fields), None if text is None else text.encode(), ids, fingerprint)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as columns.

    `head[i]` is a JSON object with every field but `text` and `tok`. `text` is UTF-8 and `has_text[i]` says whether
    the record has one. `tok` holds the ids (uint16 or uint32) of the tokenizer `fingerprint`; both are None where
    the records carry no tokens.
    """

    head: Ragged
    text: Ragged
    has_text: np.ndarray  # [n] uint8
    tok: Ragged | None = None
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.head)

    @property
    def num_tokens(self) -> int:
        """Tokens in the batch; 0 where records carry none."""
        return len(self.tok.values) if self.tok is not None else 0

    @property
    def num_bytes(self) -> int:
        """Bytes of text in the batch (UTF-8)."""
        return len(self.text.values)

    def fields(self, i: int) -> Record:
        """All fields of record i but `text` and `tok`, parsed."""
        return orjson.loads(self.head.bytes_at(i))

    def text_at(self, i: int) -> str | None:
        """The text of record i, or None where it was left out."""
        return self.text.bytes_at(i).decode() if self.has_text[i] else None

    def record(self, i: int) -> Record:
        """Record i as a dict, `text` and `tok` last."""
        record = self.fields(i)
        if self.has_text[i]:
            record["text"] = self.text.bytes_at(i).decode()
        if self.tok is not None:
            record["tok"] = encode_tok(self.tok[i], self.fingerprint)
        return record

    def line(self, i: int) -> bytes:
        """Record i as a JSON line without its newline: the bytes of `record(i)`, made by splicing."""
        parts = [self.head.bytes_at(i)[:-1]]
        if self.has_text[i]:
            parts.append(b',"text":' + orjson.dumps(self.text.bytes_at(i).decode()))
        if self.tok is not None:
            parts.append(b',"tok":' + orjson.dumps(encode_tok(self.tok[i], self.fingerprint)))
        return b"".join(parts) + b"}"

    def take(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The records named, in that order; a boolean mask keeps where true."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        return replace(
            self,
            head=self.head.take(rows),
            text=self.text.take(rows),
            has_text=self.has_text[rows],
            tok=None if self.tok is None else self.tok.take(rows),
        )

    def part(self, begin: int, end: int) -> Batch:
        """Records that stand beside each other; nothing is copied but offsets."""
        return replace(
            self,
            head=self.head.part(begin, end),
            text=self.text.part(begin, end),
            has_text=self.has_text[begin:end],
            tok=None if self.tok is None else self.tok.part(begin, end),
        )

    def annotate(self, name: str, values: Sequence[Any]) -> Batch:
        """A batch whose record i has the additional field `name` = values[i] (replacing one of that name)."""
        key = orjson.dumps(name) + b":"
        heads = []
        for i, value in enumerate(values):
            line = self.head.bytes_at(i)
            if key in line:  # rare: the field may be there already, or the characters stand inside a string
                fields = orjson.loads(line)
                fields.pop(name, None)
                line = orjson.dumps(fields)
            heads.append(line[:-1] + b"," + key + orjson.dumps(value) + b"}")
        return replace(self, head=Ragged.from_bytes(heads))

    def with_tokens(self, tok: Ragged, fingerprint: str) -> Batch:
        """The same records carrying `tok` (as many rows as records)."""
        return replace(self, tok=tok, fingerprint=fingerprint)

    def without_text(self) -> Batch:
        """The same records with their text left out: ids decode back."""
        empty = Ragged(np.zeros(0, np.uint8), np.zeros(len(self) + 1, np.int64))
        return replace(self, text=empty, has_text=np.zeros(len(self), np.uint8))

    def joins(self, other: Batch) -> bool:
        """Whether `other` can be concatenated to this batch."""
        if (self.tok is None) != (other.tok is None):
            return False
        return self.tok is None or (
            self.fingerprint == other.fingerprint and self.tok.values.dtype == other.tok.values.dtype
        )

    def to_frame(self, level: int | None = DEFAULT_LEVEL) -> bytes:
        """The batch as one DOCUMENTS frame."""
        return b"".join(self.frame_parts(level))

    def frame_parts(self, level: int | None) -> list[bytes | memoryview]:
        """The same as the buffers to write one behind the other; stored (None), columns are not copied."""
        arrays = {
            "head": self.head.values,
            "head_offsets": self.head.offsets,
            "text": self.text.values,
            "text_offsets": self.text.offsets,
            "has_text": self.has_text,
        }
        info: dict[str, Any] = {"records": len(self)}
        if self.tok is not None:
            info["fp"] = self.fingerprint
            arrays |= {"tok": self.tok.values, "tok_offsets": self.tok.offsets}
        return frame_parts(Kind.DOCUMENTS, info, arrays, level)

    @staticmethod
    def from_frame(frame: Frame, name: str) -> Batch:
        """The batch that a DOCUMENTS frame holds, checked as JSON lines are: xxh3 is no proof of who wrote it.

        Raises InputError where its columns contradict each other or a row is no record. 0.3 us a record where kernels
        are loaded, else 2; columns are not copied.
        """
        try:
            arrays, size = frame.arrays, frame.info["records"]
            head = _column(arrays, "head", size, np.uint8)
            text = _column(arrays, "text", size, np.uint8)
            has_text = arrays["has_text"]
            fingerprint = frame.info.get("fp")
            if not isinstance(fingerprint, str | None) or bool(fingerprint) != ("tok" in arrays):
                raise ValueError("fp without tok, or tok without fp")
            if has_text.shape != (size,):
                raise ValueError("has_text: wrong shape")
            tok = _column(arrays, "tok", size, np.uint16, np.uint32) if fingerprint else None
            _check_heads(head)
            _check_text(text)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{name}: malformed batch at byte {frame.offset}: {error}") from None
        return Batch(head, text, has_text, tok, fingerprint or None)

    @staticmethod
    def from_records(records: Iterable[Record]) -> Batch:
        """A batch of checked records, which must agree on having tokens and on their tokenizer.

        Raises RecordError for a record that is malformed, ValueError where they do not agree.
        """
        return Batch.from_rows([pack_row(record) for record in records])

    @staticmethod
    def from_rows(rows: Sequence[Row]) -> Batch:
        """A batch of packed records. Raises ValueError where they are not of one kind."""
        kinds = {row.kind for row in rows}
        if len(kinds) > 1:
            raise ValueError("records of one batch disagree about tokens")
        fingerprint, dtype = kinds.pop() if kinds else (None, None)
        return Batch(
            Ragged.from_bytes([row.head for row in rows]),
            Ragged.from_bytes([row.text or b"" for row in rows]),
            np.asarray([row.text is not None for row in rows], np.uint8),
            None if fingerprint is None else Ragged.from_rows([row.ids for row in rows], dtype),
            fingerprint,
        )

    @staticmethod
    def concat(batches: Sequence[Batch]) -> Batch:
        """One batch of all records; the batches must join."""
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        return Batch(
            Ragged.concat([b.head for b in batches]),
            Ragged.concat([b.text for b in batches]),
            np.concatenate([b.has_text for b in batches]),
            None if first.tok is None else Ragged.concat([b.tok for b in batches]),
            first.fingerprint,
        )


def _check_heads(heads: Ragged) -> None:
    """Raise ValueError unless each head is a record without its bulk. What a kernel is not sure of is parsed."""
    doubtful = range(len(heads))
    if (vetting := _vetting()) is not None:
        doubtful = np.flatnonzero(~vetting.plain_heads(heads.values, heads.offsets)).tolist()
    for row in doubtful:
        _check_head(heads.bytes_at(row))


def _check_text(text: Ragged) -> None:
    """Raise ValueError unless each row is UTF-8: all of them together are, and none begins inside a character."""
    vetting = _vetting()
    if vetting is None or not vetting.is_utf8(text.values):
        str(text.values.data, "utf-8")
    begins = text.offsets[:-1][text.lengths > 0]
    if ((text.values[begins] & 0xC0) == 0x80).any():
        raise ValueError("a text begins inside a character")


def _vetting() -> Any:
    """The module of kernels that check columns; None in a process without kernels, which would be loaded for longer
    than they save."""
    if "clet.kernels" not in sys.modules:
        return None
    from clet import vetting

    return vetting


def _check_head(line: bytes) -> None:
    """Raise ValueError unless a head is a record without its bulk, in the form in which it can be spliced."""
    fields = orjson.loads(line)
    check_record(fields)
    if "text" in fields or "tok" in fields or orjson.dumps(fields) != line:
        raise RecordError("head is not compact JSON without text and tok")


def _column(arrays: dict[str, np.ndarray], name: str, size: int, *dtypes: type) -> Ragged:
    values, offsets = arrays[name], arrays[f"{name}_offsets"]
    if offsets.shape != (size + 1,) or values.ndim != 1 or offsets.dtype != np.int64 or values.dtype not in dtypes:
        raise ValueError(f"{name}: wrong shape")
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name}: offsets out of order")
    return Ragged(values, offsets)
