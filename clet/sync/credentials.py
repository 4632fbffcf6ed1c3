"""Bearer tokens: a file with one a line, read by the server (all of them) and by a worker (the first).

A token never appears in a message or a log. The server keeps and compares SHA-256 digests only: equal lengths, and
nothing readable in a core dump.
"""

from __future__ import annotations

import hashlib

from clet.exits import UsageError

MIN_TOKEN_CHARS = 16
MAX_TOKEN_FILE_BYTES = 1 << 20


def read_tokens(path: str | None) -> list[str]:
    """The tokens of a file, one a line, `#` comments. Raises UsageError; no message contains a token."""
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            lines = file.read(MAX_TOKEN_FILE_BYTES).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {path}: {getattr(error, 'strerror', None) or 'not plain ASCII'}") from None
    tokens = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not tokens or any(len(token) < MIN_TOKEN_CHARS for token in tokens):
        raise UsageError(f"--token-file {path}: want one token a line, each of {MIN_TOKEN_CHARS} characters or more")
    return tokens


def read_token(path: str | None) -> str | None:
    """The first token of the file, None without a file. Raises UsageError."""
    return read_tokens(path)[0] if path is not None else None


def folded(token: str) -> bytes:
    """What is compared instead of the token."""
    return hashlib.sha256(token.encode()).digest()
