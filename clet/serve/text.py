"""The text of one generation as it grows: whole characters only, and nothing of a stop string.

Bytes pass an incremental UTF-8 decoder, so that a character cut by a token border waits for its rest; then the text
waits as long as its end may be the beginning of a stop string. Both cost time in the new bytes only.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

_UTF8 = codecs.getincrementaldecoder("utf-8")


class TextStream:
    """Takes the bytes of tokens, gives text that is final. `stopped` once a stop string appeared."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        assert all(stops), "an empty stop string would stop everything"
        self.stopped = False
        self.num_seen = 0  # characters decoded, given out or not: where the next token's text begins
        self.num_given = 0
        self._stops = tuple(stops)
        self._decode = _UTF8("replace").decode
        self._held = ""

    def push(self, spelled: bytes) -> str:
        """The text that is certain after these bytes; without the stop string that they may have completed."""
        return self._release(self._decode(spelled))

    def finish(self) -> str:
        """The rest, when nothing will follow: what was held back, an unfinished character as U+FFFD."""
        text = self._release(self._decode(b"", True))
        if not self.stopped:
            text, self._held = text + self._held, ""
            self.num_given = self.num_seen
        return text

    def _release(self, new: str) -> str:
        if self.stopped:
            return ""
        self.num_seen += len(new)
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            text = text[: min(found)]
        elif self._stops:
            keep = max(_overlap(text, stop) for stop in self._stops)
            text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self.num_given += len(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with, short of all of it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
