"""A JSON object or a table's row as a document: which of its fields mean what.

The names are those that corpora use. A field of another type than expected counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clet.sources.adapter import DETECT, Context, Document
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line

TEXT = ("text", "content")
DATES = ("published", "date", "timestamp", "created")
ORIGINS = ("origin", "source", "domain")
LANGUAGES = ("lang", "language")
TAKEN = frozenset({*TEXT, *DATES, *ORIGINS, *LANGUAGES, "url", "title", "license"})


def text_of(fields: Mapping[str, Any]) -> object:
    """The value that should be the text, or None."""
    for name in TEXT:
        if (value := fields.get(name)) is not None:
            return value
    return None


def field_document(
    fields: Mapping[str, Any], text: str, context: Context, *, origin: str, raw: str, meta: dict[str, Any]
) -> Document:
    """The document that the fields describe. `origin` stands where they name none."""
    title, date = fields.get("title"), None
    for name in DATES:
        if (value := fields.get(name)) is not None and (date := read_date(value)):
            break
    return context.document(
        origin=_first(fields, ORIGINS, 200) or origin,
        text=text,
        url=one_line(_string(fields, "url"), 2048),
        title=one_line(title) if isinstance(title, str) else None,
        lang=_first(fields, LANGUAGES, 16) or DETECT,
        published=date,
        raw=raw,
        license=one_line(_string(fields, "license"), 200),
        meta=meta,
    )


def _string(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _first(fields: Mapping[str, Any], names: tuple[str, ...], limit: int) -> str | None:
    for name in names:
        if (value := fields.get(name)) and isinstance(value, str) and (line := one_line(value, limit)):
            return line
    return None
