"""What is asked of the network and what comes back, apart from how (`fetch.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Manners:
    """How a caller behaves towards the hosts it asks.

    `rate` is requests a second to one host, `burst` how many of them may come at once. Without a rate the fetcher's own
    holds, and hosts on private addresses are not spared; a rate that an adapter states holds for every host. `robots`:
    whether robots.txt is obeyed (an API has its own published terms). `accept` replaces the Accept header.
    `contact`: the user agent must name one, or nothing is asked.
    """

    rate: float | None = None
    burst: int = 1
    robots: bool = True
    accept: str | None = None
    contact: bool = False


@dataclass(frozen=True)
class Page:
    """An answer. `url` is where it was found; `validators` belong into the cursor once the body was dealt with."""

    url: str
    body: bytes
    content_type: str
    charset: str | None
    validators: dict[str, str]


@dataclass(frozen=True)
class Download:
    """An answer too large for memory, as a file: `path` holds the body, whole, as it was sent.

    The file is the caller's to delete (`discard`); one that was left behind by a killed run is overwritten or resumed.
    """

    url: str
    path: Path
    content_type: str
    raw: str  # SHA-256 of the file, hex
    validators: dict[str, str]

    def discard(self) -> None:
        """Delete the file, and what was noted about it."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".json").unlink(missing_ok=True)
