"""The main text of a page by Trafilatura, an optional package: slower, and judged by more people than our own.

Trafilatura (Barbaresi, ACL 2021) tries its own rules, then Readability's and jusText's, and compares what they give;
tables are kept, readers' comments left out. About 20 ms for 150 KB of markup.
"""

from __future__ import annotations

import importlib.util
import logging

from clet.record import canonical_text


class PreciseMissing(Exception):
    """The package is not installed."""

    def __init__(self) -> None:
        super().__init__("needs trafilatura; pip install 'clet[precise]'")


def check_precise() -> None:
    """Raises PreciseMissing where the package is not installed."""
    if importlib.util.find_spec("trafilatura") is None:
        raise PreciseMissing


def precise_text(markup: str) -> str:
    """Canonical text of the page's main part; empty where none is found. Raises PreciseMissing."""
    check_precise()
    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it reports each page without text as an error
    found = trafilatura.extract(markup, include_comments=False)
    return canonical_text(found) if found else ""
