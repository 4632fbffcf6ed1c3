"""The URLs that the fetcher takes, what of them may be shown, and to whom the credentials in one are told."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import httpx

from clet.sources.adapter import SourceFailed

MAX_URL_CHARS = 8192
_PORTS = {"http": 80, "https": 443}


def parse_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """An http or https URL; with `base`, where a redirect from there leads. Raises SourceFailed.

    Credentials and fragment of a redirect's target are dropped: nobody but the caller may add credentials.
    """
    hop = "" if base is None else "redirects to "
    try:
        if len(url) > MAX_URL_CHARS:
            raise ValueError
        parsed = httpx.URL(url) if base is None else base.join(url).copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise SourceFailed(f"{hop}what is no URL" if hop else "not a URL") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise SourceFailed(f"{hop}{parsed.scheme[:40] or 'no scheme'}: is not fetched; only http and https are")
    return parsed


def shown(url: httpx.URL) -> str:
    """A URL as it may be shown and stored: without credentials and fragment."""
    return str(url.copy_with(userinfo=b"", fragment=None))


def host_of(url: httpx.URL) -> str:
    """The host by which turns and paces are kept, in the form that names and their root's dot share."""
    return url.host.lower().rstrip(".")


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port: what one robots.txt holds for."""
    return f"{url.scheme}://{_bracketed(url.host)}:{url.port or _PORTS[url.scheme]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class Login:
    """Credentials of a URL, for the origin that they were written for and for https on the same host."""

    authorization: bytes
    origin: str
    host: str

    @staticmethod
    def of(url: httpx.URL) -> Login | None:
        """The credentials in a URL, if any."""
        if not url.userinfo:
            return None
        pair = f"{url.username}:{url.password}".encode()
        return Login(b"Basic " + base64.b64encode(pair), origin_of(url), url.host)

    def for_url(self, url: httpx.URL) -> bytes | None:
        """The value of the Authorization header for a hop; None where the hop may not learn it."""
        upgraded = url.host == self.host and url.scheme == "https" and url.port is None
        return self.authorization if upgraded or origin_of(url) == self.origin else None
