"""Papers of arXiv, and of any repository that speaks OAI-PMH 2.0: title and abstract of each, with what is known of it.

`arxiv:URL` harvests by OAI-PMH (`oai_pmh.py`), or reads a query of arXiv's Atom API where the URL is one
(`atom_api.py`); `arxiv:FILE`, a folder, a glob and `arxiv:-` read replies of either kind that were saved. The text is
the title, a blank line and the abstract, LaTeX as it stands. A changed text comes out again with `meta.supersedes`, a
withdrawn record as a deletion.

Cursor of a file: its mtime and size. Of a URL: where the harvest stands and what is known (`known.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from clet.sources.adapter import MAX_FILE_BYTES, Context, Document, SourceFailed
from clet.sources.arxiv import atom_api, oai_pmh, oai_reply
from clet.sources.paths import Stdin, file_signature, inflate, one_file, read_bounded, read_file
from clet.sources.table import is_url
from clet.sources.xml_reply import parse_xml

SUFFIXES = tuple(f"{kind}{packed}" for kind in (".xml", ".atom", ".oai") for packed in ("", ".gz", ".zst"))


def read(locator: str, context: Context) -> Iterator[Document]:
    """Papers of the source that the cursor has not seen."""
    if locator == "-":
        body = read_bounded(Stdin(context), MAX_FILE_BYTES)
        if len(body) > MAX_FILE_BYTES:
            raise SourceFailed(f"stdin: over {MAX_FILE_BYTES} bytes, not one reply")
        yield from _read_body(body, "stdin", context)
    elif is_url(locator):
        try:
            protocol = atom_api.walk if atom_api.is_query(locator) else oai_pmh.harvest
        except ValueError:
            raise SourceFailed("not a URL") from None
        yield from protocol(locator, context)
    elif found := one_file(locator, context, SUFFIXES):
        signature = list(file_signature(found.path))
        if context.cursor.get("file") == signature:
            context.count("unchanged")
            return
        yield from _read_body(read_file(found.path), found.shown, context)
        context.cursor["file"] = signature


def _read_body(body: bytes, name: str, context: Context) -> Iterator[Document]:
    """The documents of a saved reply, whichever protocol it belongs to."""
    body = inflate(body, name)
    xml = parse_xml(body)
    protocol = atom_api if atom_api.is_atom(xml.root) else oai_reply
    yield from protocol.read_saved(xml, body, name.rpartition("/")[2], context)
