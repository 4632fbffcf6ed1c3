"""What came out of a feed before, in little room: the cursor's part that tells new, edited and known entries apart.

For each entry 49 bytes of JSON: a name of 72 bits (made of its guid, else its link, else its title) and 24 bytes in
base64, of which the first 16 are the id of its last record and the others a print of what the feed said. Prints of
versions that were superseded are kept beside (13 bytes), so that a feed which wavers between two texts repeats
neither. All entries of the last poll are remembered, and of those that left the feed the KEEP_GONE that left last;
one that comes back later than that comes out once more, with the same id.

Names and prints are cut hashes: whoever can forge a pair of them can only hide entries of the same feed.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from typing import Any

from clet.sources.feed_entry import Entry

KEEP_GONE = 512
KEEP_FORMER = 512
_NAME_BYTES, _PRINT_BYTES, _ID_BYTES = 9, 8, 16


class Memory:
    """Kept in `cursor["seen"]` and `cursor["former"]`; changed at once, so that it holds at any moment."""

    def __init__(self, cursor: dict[str, Any]):
        self._seen: dict[str, str] = cursor.setdefault("seen", {})
        self._former: list[str] = cursor.setdefault("former", [])
        self._ids = {packed[:_ID_CHARS] for packed in self._seen.values()}
        self._prints = {packed[_ID_CHARS:] for packed in self._seen.values()} | set(self._former)
