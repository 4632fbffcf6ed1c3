"""Signatures of releases: who made this, and is it still what they made? Ed25519 (RFC 8032).

Signed are the canonical bytes of release.json: the object without `signature`, keys sorted, no white space, as orjson
writes it. `signer` is in it, so a signature cannot be passed off as another's; `weights` and `files` are in it, so it
covers every byte of the release. A public key is written `ed25519:` and 64 hexadecimal digits; a private one is a
PEM file (PKCS 8), which others must not be able to read. Whether a signer is to be trusted is for who checks to say.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from clet.exits import InputError, UsageError, WriteError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ed25519:"
PUBLIC = re.compile(r"ed25519:[0-9a-f]{64}\Z")
MAX_KEY_BYTES = 1 << 14


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner only, and its public key beside it (`.pub`); the public key.

    Raises UsageError where something is there already, WriteError.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    body = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = _public(key)
    for name, text, mode in ((path, body, 0o600), (path.with_name(path.name + ".pub"), f"{public}\n".encode(), 0o644)):
        try:
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise UsageError(f"{name}: exists; a key is never written over") from None
        except OSError as error:
            raise WriteError(f"{name}: {error.strerror}") from None
    return public


def load_key(path: str | Path) -> Ed25519PrivateKey:
    """A private key. Raises UsageError where it is missing or others can read it, InputError where it is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            body = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; clet release keygen {path} makes one") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path}: others can read this key; chmod 600 {path}, or make another if they might have")
    try:
        key = serialization.load_pem_private_key(body, password=None)
    except (ValueError, TypeError):
        raise InputError(f"{path}: not a private key without a password, in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key; clet release keygen FILE makes one")
    return key


def sign(facts: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The facts with `signer` and `signature`."""
    facts = facts | {"signer": _public(key)}
    return facts | {"signature": key.sign(canonical(facts)).hex()}


def canonical(facts: dict[str, Any]) -> bytes:
    """The bytes that are signed."""
    unsigned = {name: value for name, value in facts.items() if name != "signature"}
    return orjson.dumps(unsigned, option=orjson.OPT_SORT_KEYS)


def check(facts: dict[str, Any], where: str | Path, trust: str | None = None) -> str | None:
    """The signer whose signature holds; None where there is none. Raises InputError for a bad one.

    With `trust` (a public key) it also raises where there is none, or it is another's.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signer, signature = facts.get("signer"), facts.get("signature")
    if signer is None and signature is None:
        if trust:
            raise InputError(f"{where}: not signed; {trust} is asked for")
        return None
    if not isinstance(signer, str) or not PUBLIC.match(signer) or not isinstance(signature, str):
        raise InputError(f"{where}: bad signature: signer or signature is malformed")
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer.removeprefix(PREFIX)))
        public.verify(bytes.fromhex(signature), canonical(facts))
    except (InvalidSignature, ValueError):
        raise InputError(f"{where}: bad signature: this is not what {signer} signed") from None
    if trust and signer != trust:
        raise InputError(f"{where}: signed by {signer}, not by {trust}")
    return signer


def read_public(text: str) -> str:
    """A public key given as such, or as a file that holds it. Raises UsageError."""
    if PUBLIC.match(text):
        return text
    try:
        with open(text, "rb") as file:
            found = file.read(MAX_KEY_BYTES).decode(errors="replace").strip()
    except OSError:
        found = ""
    if not PUBLIC.match(found):
        raise UsageError(f"{text[:100]}: neither ed25519:... nor a file that holds it, as clet release keygen writes")
    return found


def _public(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return PREFIX + raw.hex()
