"""Keys and passwords that are known by what stands around them.

Private key blocks (PEM, RFC 7468; OpenSSH; PGP, RFC 9580; PuTTY), passwords in URLs (RFC 3986), bearer and basic
credentials (RFC 6750, 7617), and values that are assigned to a name like `password`, `client_secret` or
`AWS_SECRET_ACCESS_KEY`. A value is believed to be a secret if it is no placeholder, no path and no words, and has the
mixture that drawn values have; what a person might have typed as an example is left. gitleaks and detect-secrets are
prior art for names and entropy.

Each kind starts at a literal (`://`, `passw`, ...) that is searched at memory speed in the lower-cased text; the
pattern behind it is bounded.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from clet.sources.text.finds import Find, entropy_bits, looks_random, stands_free

MAX_KEY_CHARS = 64 << 10  # of one private key block; RSA of 16,384 bits takes 13,000
MIN_KEY_CHARS = 48  # of its base64: an Ed25519 key takes 64

_BEGIN = "-----BEGIN "
_BEGIN_LINE = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_END_LINE = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINES = re.compile(r"(?:[\s\"'+,\\]{1,80}[A-Za-z0-9+/=]{30,})+")
_PUTTY = re.compile(r"Private-Lines: ([0-9]{1,3})[ \t]*\r?\n")
_PUTTY_LINE = re.compile(r"[ \t]*[A-Za-z0-9+/=]{4,80}(?:\r?\n|\Z)")
_NO_BASE64 = re.compile(r"\\[nr]|[^A-Za-z0-9+/=]")

_USERINFO = re.compile(
    r"([^\s/@:\"'<>\\?#,()\[\]{}]{0,64}):([^\s/@:\"'<>\\,()\[\]]{3,128})@(?=[\w.\[-])"
    r"(?!(?:[\w.-]{1,80}\.)?example\.(?:com|net|org)\b)"  # RFC 2606
)
_BEARER = re.compile(r"[ \t]{1,4}([A-Za-z0-9._~+/-]{16,4096}=*)")
_BASIC = re.compile(
    r"[\"']{0,2}[ \t]{0,2}[:=,]?[ \t\"'b]{0,4}[Bb]asic[ \t]{1,4}([A-Za-z0-9+/]{8,400}={0,2})(?![\w+/=])"
)

_NAMES = (b"pass", b"pwd", b"secret", b"token", b"key")
_KEY_OF = re.compile(
    r"(?:api|access|private|account|secret|auth|signing|encryption|master|shared|storage|client|app)[_. -]?\Z",
    re.IGNORECASE,
)
_PASS = re.compile(r"pass(?:w|phrase)", re.IGNORECASE)
_SHORT_PASS = re.compile(r"[A-Za-z0-9][_-]pass(?![A-Za-z0-9])", re.IGNORECASE)  # DB_PASS
# Of other names that hold `token` or `key`: a page's, a lock's, what a key is of.
_NO_SECRET_BEFORE = re.compile(
    r"(?:public|next|lock|page|continuation|idempotency|forward|sync|request|update)[\w.-]{0,10}\Z", re.IGNORECASE
)
_NO_SECRET_AFTER = re.compile(
    r"[_.-]?(?:id|name|type|spec|alg|size|len|file|path|ur[il]|count|format|version|expir|ttl|class|kind|config|policy"
    r"|status|hash|index|prefix|suffix|regex|pattern|i[sz]e)",
    re.IGNORECASE,
)
# The rest of the name, an operator, and the beginning of a value.
_ASSIGNED = re.compile(
    r"[\w.-]{0,40}(?:[\"'\]]|\\\"){0,2}[ \t]{0,8}(?:=>|:=|={1,2}|:)[ \t]{0,8}(?:[brfu]{1,2}(?=[\"']))?", re.IGNORECASE
)
_QUOTED = re.compile(r"(\\?[\"'`])([^\s\"'`\\]{8,256})\1")
_BARE = re.compile(r"[^\s\"'`<>(){}\[\],;&|\\]{8,256}(?=[\s;,&\"'`]|\Z)")
_LINE_START = re.compile(r"(?:^|[;&?\n])[ \t]*(?:export[ \t]+|set[ \t]+|-[ \t]+|--)?[\"']?[\w.-]*\Z")
_PLACEHOLDER = re.compile(
    r"example|change.?me|placeholder|your|x{4}|\*{3}|\.{3}|dummy|sample|redacted|passwor[dt]|passwd|insert|replace"
    r"|foobar|secret|12345|qwerty|deadbeef|undefined|test|fake|mock|todo|[$<{%][({\w|]|\}\}",
    re.IGNORECASE,
)
_URL_PLACEHOLDERS = frozenset(("pass", "pwd", "port", "token", "repo", "foo", "bar"))
_CLASSES = tuple(re.compile(each) for each in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]"))
_LETTERS = re.compile(r"[A-Za-z]+")
_WORDS = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_SYMBOL = re.compile(r"[^A-Za-z0-9_.:/-]")
_PATH = re.compile(r"[~.]?/|[A-Za-z]:[\\/]|[a-z+]{2,10}://")


def find_credentials(text: str) -> Iterator[Find]:
    """Every credential in a text."""
    if _BEGIN in text or "Private-Lines:" in text:
        yield from _private_keys(text)
    if "://" in text:
        yield from _url_passwords(text)
    # One byte a character, so that places in it are places in the text.
    lower = text.encode("ascii", "replace").lower()
    for place in _places(lower, b"bearer"):
        match = _BEARER.match(text, place + 6)
        if match and _is_drawn(match[1]):
            yield Find(*match.span(1), "secret", "<secret:bearer>")
    for place in _places(lower, b"authorization"):
        match = _BASIC.match(text, place + 13)
        if match and _is_basic(match[1]):
            yield Find(*match.span(1), "secret", "<secret:basic>")
    for name in _NAMES:
        for place in _places(lower, name):
            if _is_name(name, text, place):
                yield from _assigned(text, place, place + len(name))


def _is_name(name: bytes, text: str, place: int) -> bool:
    """Whether the word at a place, with what stands around it, is what people call a secret."""
    if name == b"key" and not _KEY_OF.search(text, max(0, place - 12), place):
        return False  # that of a dictionary or a keyboard
    if name == b"pass" and not (_PASS.match(text, place) or _SHORT_PASS.match(text, max(0, place - 2))):
        return False  # what a test does
    rest = place + len(name)
    return not (_NO_SECRET_AFTER.match(text, rest) or _NO_SECRET_BEFORE.search(text, max(0, place - 24), place))


def _places(body: bytes, word: bytes) -> Iterator[int]:
    place = body.find(word)
    while place >= 0:
        yield place
        place = body.find(word, place + len(word))


# ---- keys


def _private_keys(text: str) -> Iterator[Find]:
    place = text.find(_BEGIN)
    while place >= 0:
        following = text.find(_BEGIN, place + len(_BEGIN))
        if head := _BEGIN_LINE.match(text, place):
            limit = min(place + MAX_KEY_CHARS, following if following >= 0 else len(text))
            end = _END_LINE.search(text, head.end(), limit)
            body = end or _KEY_LINES.match(text, head.end(), limit)  # a block that was cut off
            if body and _key_chars(text[head.end() : body.start() if end else body.end()]) >= MIN_KEY_CHARS:
                yield Find(place, body.end(), "secret", "<secret:private-key>")
        place = following
    for match in _PUTTY.finditer(text):
        end = match.end()
        for _ in range(int(match[1])):
            line = _PUTTY_LINE.match(text, end)
            if line is None:
                break
            end = line.end()
        key = text[match.end() : end].rstrip()
        if _key_chars(key) >= MIN_KEY_CHARS:
            yield Find(match.end(), match.end() + len(key), "secret", "<secret:private-key>")


def _key_chars(body: str) -> int:
    """How much of the body is base64 that somebody drew, rather than dots, words or what was masked before."""
    if "<secret:" in body:
        return 0
    plain = _NO_BASE64.sub("", body)
    return len(plain) if len(plain) * 10 > len(body) * 6 and entropy_bits(plain) > 4.5 else 0


# ---- URLs and headers


def _url_passwords(text: str) -> Iterator[Find]:
    place = text.find("://")
    while place >= 0:
        match = _USERINFO.match(text, place + 3)
        if match and match[2].lower() != match[1].lower() and not _is_placeholder(match[2]):
            yield Find(*match.span(2), "secret", "<secret:password>")
        place = text.find("://", place + 3)


def _is_placeholder(password: str) -> bool:
    return password.lower() in _URL_PLACEHOLDERS or _PLACEHOLDER.search(password) is not None


def _is_basic(value: str) -> bool:
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon and password) and name.isprintable() and password.isprintable()


# ---- assignments


def _assigned(text: str, start: int, end: int) -> Iterator[Find]:
    """The value that is assigned to the name which holds the characters from `start` to `end`, if it is a secret."""
    match = _ASSIGNED.match(text, end)
    if match is None:
        return
    if quoted := _QUOTED.match(text, match.end()):
        if is_secret(quoted[2]):
            yield Find(*quoted.span(2), "secret", "<secret:password>")
        return
    bare = _BARE.match(text, match.end())
    if bare is None or not _LINE_START.search(text, max(0, start - 60), start):
        return
    if is_secret(bare[0], bare=True) and stands_free(text, *bare.span()):
        yield Find(*bare.span(), "secret", "<secret:password>")


def is_secret(value: str, *, bare: bool = False) -> bool:
    """Whether a value that was assigned to a password's name is one. `bare`: it stood there without quotes."""
    if _PLACEHOLDER.search(value) or _PATH.match(value) or not _is_drawn(value, short=not bare):
        return False
    letters = sum(map(len, _LETTERS.findall(value)))
    if 2 * sum(map(len, _WORDS.findall(value))) <= letters:
        return True
    # Words: a name, unless symbols stand between them that no name has.
    return not bare and all(each.search(value) for each in _CLASSES) and _SYMBOL.search(value) is not None


def _is_drawn(value: str, *, short: bool = False) -> bool:
    """Whether a value mixes characters as drawn values do. `short`: eight characters may do, if well mixed."""
    lower, upper, digit, other = (len(each.findall(value)) for each in _CLASSES)
    if not digit or not lower + upper:
        return False
    if len(value) < 16:
        return short and (lower > 0) + (upper > 0) + (other > 0) >= 2 and len(set(value)) >= 7
    return digit >= 2 and looks_random(value)
