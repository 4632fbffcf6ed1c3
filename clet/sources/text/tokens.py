"""Tokens that their issuers made recognisable: a prefix, an alphabet, a length, sometimes a checksum.

The formats are the issuers' own: AWS (IAM identifiers), GitHub and npm ("Behind GitHub's new authentication token
formats", 2021: six base62 digits of CRC-32; installation tokens that are a JWT, 2026), GitLab (token overview),
Slack, Stripe, Google Cloud, OpenAI, Anthropic, Hugging Face, PyPI, Twilio, SendGrid and others as named below; JWT is
RFC 7519. Prior art that finds them by patterns is gitleaks and detect-secrets.

Every such token holds a run of at least MIN_RUN letters, digits, `_` and `-`. One translation of the text into
classes and one search for such a run show that most texts have none (about 1 GB/s); only runs are looked at closer.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from clet.sources.text.finds import Find, looks_random, stands_free

MIN_RUN = 20

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CLASSES = bytes(97 if (chr(byte).isalnum() and byte < 128) or byte in b"_-" else 32 for byte in range(256))
_LONG = b"a" * MIN_RUN
_RUN = re.compile(b"a*")
_EXAMPLE = re.compile(r"example|x{6}", re.IGNORECASE)


def crc_base62(body: str) -> str:
    """The checksum that ends GitHub's and npm's tokens: CRC-32 of what stands before it, six base62 digits."""
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0")


def _has_crc(token: str) -> bool:
    body = token.partition("_")[2]
    return crc_base62(body[:-6]) == body[-6:]


def _has_jwt_header(token: str) -> bool:
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and isinstance(header.get("alg"), str)


def _always(_: str) -> bool:
    return True


class _Form(NamedTuple):
    """A token's name in the mask, its pattern, and what else has to hold."""

    name: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = _always


def _form(name: str, pattern: str, check: Callable[[str], bool] = _always) -> _Form:
    return _Form(name, re.compile(pattern, re.ASCII), check)


# Told by the first two characters of the run.
_FORMS: dict[str, tuple[_Form, ...]] = {
    "AK": (aws := _form("aws-key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),),
    "AS": (aws,),
    "AB": (aws,),
    "AC": (aws,),
    "AG": (_form("age-key", r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}"),),
    "AI": (_form("google-key", r"AIza[\w-]{35}"),),
    "AT": (_form("atlassian-token", r"AT[AC]TT3[\w=-]{90,250}"),),
    "GO": (_form("google-secret", r"GOCSPX-[\w-]{28}"),),
    "NR": (_form("newrelic-key", r"NRAK-[A-Z0-9]{27}"),),
    "SK": (_form("twilio-key", r"SK[0-9a-f]{32}"),),
    "ap": (_form("huggingface-token", r"api_org_[A-Za-z]{34}"),),
    "da": (_form("databricks-token", r"dapi[0-9a-f]{32}(?:-\d)?"),),
    "dc": (_form("docker-token", r"dckr_[po]at_[\w-]{27,32}"),),
    "do": (_form("digitalocean-token", r"do[opr]_v1_[0-9a-f]{64}"),),
    "ey": (_form("jwt", r"eyJ[\w-]{8,2000}\.eyJ[\w-]{4,8000}\.[\w-]{0,2000}", _has_jwt_header),),
    "gh": (
        _form("github-token", r"gh[pousr]_[A-Za-z0-9]{36}", _has_crc),
        _form("github-token", r"ghs_\d{1,12}_eyJ[\w-]{8,2000}\.eyJ[\w-]{8,2000}\.[\w-]{8,2000}"),
    ),
    "gi": (_form("github-token", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),),
    "gl": (
        _form(
            "gitlab-token",
            r"gl(?:pat|dt|rtr?|ptt|cbt|ft|soat|agent|imt|oas|ffct|wt)-[\w-]{20,300}(?:\.[\w]{2}\.[\w]{7,9})?",
        ),
        _form("grafana-token", r"glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}"),
    ),
    "gs": (_form("groq-key", r"gsk_[A-Za-z0-9]{52}"),),
    "hf": (_form("huggingface-token", r"hf_[A-Za-z]{34}"),),
    "ke": (_form("mailgun-key", r"key-[0-9a-f]{32}"),),
    "li": (_form("linear-key", r"lin_(?:api|oauth)_[A-Za-z0-9]{40,64}"),),
    "np": (_form("npm-token", r"npm_[A-Za-z0-9]{36}", _has_crc),),
    "nt": (_form("notion-token", r"ntn_[A-Za-z0-9]{40,50}"),),
    "pp": (_form("perplexity-key", r"pplx-[A-Za-z0-9]{48}"),),
    "py": (_form("pypi-token", r"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[\w-]{50,1000}"),),
    "r8": (_form("replicate-token", r"r8_[A-Za-z0-9]{37}"),),
    "rk": (stripe := _form("stripe-key", r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{16,250}"),),
    "sh": (_form("shopify-token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),),
    "sk": (
        stripe,
        _form("anthropic-key", r"sk-ant-[a-z]{2,8}\d{2}-[\w-]{80,200}"),
        _form("openrouter-key", r"sk-or-v1-[0-9a-f]{64}"),
        _form("openai-key", r"sk-(?:[a-zA-Z]{2,10}-)?[\w-]{16,100}T3BlbkFJ[\w-]{16,100}"),
        _form("api-key", r"sk-[A-Za-z0-9]{32,64}"),
    ),
    "sn": (_form("sentry-token", r"sntryu_[0-9a-f]{64}"),),
    "wh": (_form("stripe-key", r"whsec_[A-Za-z0-9+/]{32,100}=*"),),
    "xa": (
        _form("slack-token", r"xapp-\d-[A-Z0-9]{8,20}-\d{8,20}-[0-9a-f]{40,100}"),
        _form("xai-key", r"xai-[A-Za-z0-9]{80}"),
    ),
    "xo": (_form("slack-token", r"xox[abeoprs]-(?:\d+-)?[A-Za-z0-9][A-Za-z0-9-]{18,250}"),),
}
# What stands before the run and is part of the token.
_LEADS: tuple[tuple[str, _Form], ...] = (
    ("SG.", _form("sendgrid-key", r"SG\.[\w-]{22}\.[\w-]{43}")),
    ("ya29.", _form("google-token", r"ya29\.[\w-]{30,1000}")),
    ("hvs.", vault := _form("vault-token", r"hv[sb]\.[\w-]{60,300}")),
    ("hvb.", vault),
    ("xoxe.", _form("slack-token", r"xoxe\.xox[bp]-\d-[\w-]{40,300}")),
)
_TELEGRAM = _form("telegram-token", r"\d{8,10}:AA[\w-]{33}")
_MAILCHIMP = _form("mailchimp-key", r"[0-9a-f]{32}-us\d{1,2}")
_BEFORE = (".", ":")
_DIGITS_COLON = re.compile(r"\d{8,10}:\Z", re.ASCII)


def find_tokens(text: str) -> Iterator[Find]:
    """Every token in a text."""
    # One byte a character, so that places in it are places in the text.
    shape = text.encode("ascii", "replace").translate(_CLASSES)
    end = 0
    while (start := shape.find(_LONG, end)) >= 0:
        end = _RUN.match(shape, start).end()
        start = _begin(text, start, end)
        if text[start : start + 2] in _FORMS or text[start - 1 : start] in _BEFORE or "-us" in text[end - 5 : end]:
            for place, form in _candidates(text, start, end):
                match = form.pattern.match(text, place)
                if match is not None and _is_token(text, match, form):
                    yield Find(place, match.end(), "secret", f"<secret:{form.name}>")
                    break


def _begin(text: str, start: int, end: int) -> int:
    """Where a token in a run would begin: behind dashes, and behind the letter of an escaped newline."""
    while start < end - 1 and text[start] in "-_":
        start += 1
    return start + 1 if text[start] in "nrt" and text[start - 1 : start] == "\\" else start


def _candidates(text: str, start: int, end: int) -> Iterator[tuple[int, _Form]]:
    """(where a token might begin, as what) for the run from `start` to `end`."""
    yield from ((start, form) for form in _FORMS.get(text[start : start + 2], ()))
    before = text[start - 1 : start]
    if before == ".":
        yield from ((start - len(lead), form) for lead, form in _LEADS if text.endswith(lead, 0, start))
    elif before == ":" and (match := _DIGITS_COLON.search(text, max(0, start - 11), start)):
        yield match.start(), _TELEGRAM
    if "-us" in text[end - 5 : end]:
        yield start, _MAILCHIMP


def _is_token(text: str, match: re.Match[str], form: _Form) -> bool:
    token = match[0]
    return (
        form.check(token)
        and looks_random(token[4:])
        and not _EXAMPLE.search(token)
        and stands_free(text, match.start(), match.end())
    )
