"""The worker's side of the wire: one request, one checked answer.

Failures are of two kinds. What another try can mend (no connection, a timeout, a server that stops or is busy, a body
cut short) is `Unreachable`. What it cannot is an exception of clet.exits with the line a person reads. Retrying is the
caller's business. Every wait has a limit and every answer a largest size.
"""

from __future__ import annotations

import ssl
from dataclasses import asdict
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
import numpy as np
import orjson

from clet.exits import InputError, TryLater, UsageError
from clet.log import log
from clet.sync.codec import decode
from clet.sync.protocol import HTTP_STATUS, VERSION_HEADER, DeltaHeader, Identity, Outcome, max_message_bytes

CONNECT_S = 10.0
READ_S = 60.0
MAX_ANSWER_BYTES = 1 << 20
_JOINED = ("epoch", "sequence", "version", "max_staleness")
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class Unreachable(Exception):
    """The server did not answer, this time."""


class Client:
    """A connection to the server at `url`. Used by one thread at a time."""

    def __init__(self, url: str, *, token: str | None = None, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not _has_address(parts) or parts.query or parts.username:
            raise UsageError(f"--sync {url}: want http://HOST:PORT or https://HOST:PORT")
        if token and parts.scheme == "http" and not _is_loopback(parts.hostname):
            log.warn(f"the token travels to {parts.hostname} in clear; use https", event="clear-token")
        try:
            verify: Any = ssl.create_default_context(cafile=ca_file) if ca_file else True
        except OSError as error:
            raise UsageError(f"{ca_file}: not a certificate file: {error.strerror or error}") from None
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_connections=2, keepalive_expiry=10.0),
        )

    def join(self, worker: str, identity: Identity) -> dict[str, Any]:
        """Become the newest incarnation of `worker`: epoch, last sequence, version. UsageError for another model."""
        wish = orjson.dumps({"worker": worker, "identity": asdict(identity)})
        status, body = self._json("POST", "/v1/join", content=wish)
        if status != 200:
            raise UsageError(f"{self.url}: {body.get('message', status)}")
        if any(type(body.get(name)) is not int or body[name] < 0 for name in _JOINED):
            raise InputError(f"{self.url}: a join answer without {', '.join(_JOINED)}")
        return body

    def push(self, header: DeltaHeader, message: bytes) -> dict[str, Any] | None:
        """Send one delta; the answer, or None where the server does not know this worker: join again.

        Raises TryLater where a newer incarnation of the worker has joined.
        """
        status, body = self._json("POST", "/v1/delta", params=header.query(), content=message)
        if status == 404:
            return None
        if status == 403:
            raise TryLater(f"{self.url}: {body.get('message')}; give each worker a name of its own")
        if status in (400, 413):
            return {"status": Outcome.REFUSED.value, "reason": body.get("message", "malformed")}
        if body.get("status") not in HTTP_STATUS:
            raise InputError(f"{self.url}: answer {status} with status {body.get('status')!r:.40}")
        return body

    def pull(self, size: int) -> tuple[int, np.ndarray]:
        """The newest version and its weights [size]."""
        _, headers, body = self._request("GET", "/v1/model", max_message_bytes(size))
        try:
            weights, info = decode(body, size, f"{self.url}/v1/model")
        except InputError as error:
            raise Unreachable(str(error)) from None  # cut short, most likely; the next try will tell
        version = info.get("version")
        if type(version) is not int or headers.get(VERSION_HEADER) != str(version):
            raise InputError(f"{self.url}: weights without a version")
        return version, weights

    def close(self) -> None:
        """Close all connections; a request under way on another thread fails."""
        self._http.close()

    def _json(self, method: str, path: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
        status, _, body = self._request(method, path, MAX_ANSWER_BYTES, **arguments)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise UsageError(f"{self.url}: answer {status} is not JSON; is this a clet sync-server?")
        return status, value

    def _request(self, method: str, path: str, limit: int, **arguments: Any) -> tuple[int, httpx.Headers, bytes]:
        try:
            with self._http.stream(method, self.url + path, **arguments) as response:
                parts, got = [], 0
                for part in response.iter_bytes():
                    got += len(part)
                    if got > limit:
                        raise InputError(f"{self.url}: an answer of more than {limit} bytes")
                    parts.append(part)
        except (httpx.RequestError, RuntimeError) as error:  # RuntimeError: closed by another thread
            raise Unreachable(str(error) or type(error).__name__) from None
        status = response.status_code
        if status in _TRANSIENT:
            raise Unreachable(f"status {status}")
        if status == 401:
            raise UsageError(f"{self.url}: the token was refused; name the file with the server's token")
        return status, response.headers, b"".join(parts)


def _has_address(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number, or above 65535
        return False


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
