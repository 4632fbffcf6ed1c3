"""Values that look issued and are not, made when a test runs: scanners of forges would stop on them in a file."""

from __future__ import annotations

import base64
import json
import random

from clet.sources.text.tokens import crc_base62

DIGITS = "0123456789"
HEX = DIGITS + "abcdef"
LOWER = "abcdefghijklmnopqrstuvwxyz"
LETTERS = LOWER + LOWER.upper()
BASE62 = DIGITS + LETTERS
BASE64URL = BASE62 + "_"
BASE32 = LOWER.upper() + "234567"


def drawn(length, alphabet=BASE62, seed=7):
    """Characters as a machine draws them, the same every time."""
    return "".join(random.Random(f"{seed} {length} {alphabet}").choices(alphabet, k=length))


def jwt(header):
    """A JSON web token that nobody signed."""
    parts = [header, {"sub": "1", "iat": 1}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, drawn(43, BASE64URL)])


def private_key(kind):
    """A PEM block full of what is no key."""
    lines = [drawn(64, BASE62 + "+/", seed=number) for number in range(6)]
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


PERSONAL = {
    "email": [
        "joe@uni-koeln.de",
        "joe.doe+news@mail.uni-koeln.co.uk",
        "j_d-1@x.museum",
        "j\u00f6rg@b\u00fccher.de",
        "joe@xn--bcher-kva.de",
        "JOE@HOST.ORG",
    ],
    "phone": [
        "+49 221 4701234",
        "+49 (0)221 470-1234",
        "+44 20 7946 0018",
        "+1 (212) 555-2345",
        "+1-212-555-2345",
        "tel:+12125552345",
        "+33 1 70 18 99 00",
        "+86 10 6552 9988",
        "+358 9 1234567",
        "(212) 555-2345",
        "212-555-2345",
        "212.555.2345",
        "1-212-555-2345",
        "Tel. 0221/4701234",
        "Telefon: 0221 470 12 34",
        "Fax: 01 70 18 99 00",
        "Call 08719899217",
        "phone 5552345",
    ],
    "ip": [
        "93.184.216.34",
        "52.0.72.176",
        "13.107.246.40",
        "http://62.1.2.3/",
        "host 3.5.140.2",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200e",
        "2a00:1450:4001:081b:0000:0000:0000:200e",
    ],
    "card": [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "5555555555554444",
        "3782 822463 10005",
        "378282246310005",
        "card 4222222222222",
        "6011 1111 1111 1117",
    ],
    "iban": [
        "DE89 3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "NO93 8601 1117 947",
        "MT84MALT011000012345MTLCAST001S",
    ],
    "ssn": ["123-45-6789", "SSN: 536-90-4399"],
    "passport": ["Passport No. C01234567", "passport number: 123456789"],
}

SECRETS = [
    ("aws-key", "AKIA" + drawn(16, BASE32)),
    ("aws-key", "ASIA" + drawn(16, BASE32)),
    *[("github-token", f"gh{kind}_{(body := drawn(30, seed=kind))}{crc_base62(body)}") for kind in "pousr"],
    ("github-token", "ghs_" + drawn(6, "123456789") + "_" + jwt({"alg": "RS256"})),
    ("github-token", "github_pat_" + drawn(22) + "_" + drawn(59)),
    ("npm-token", "npm_" + drawn(30) + crc_base62(drawn(30))),
    ("gitlab-token", "glpat-" + drawn(20, BASE64URL)),
    ("gitlab-token", "glpat-" + drawn(40, BASE64URL) + ".01." + drawn(9, DIGITS + LOWER)),
    ("slack-token", "xoxb-" + drawn(12, DIGITS) + "-" + drawn(12, DIGITS, seed=1) + "-" + drawn(24)),
    ("slack-token", "xapp-1-A" + drawn(10, DIGITS + "ABC") + "-" + drawn(13, DIGITS) + "-" + drawn(64, HEX)),
    ("stripe-key", "sk_live_" + drawn(24)),
    ("stripe-key", "rk_test_" + drawn(40)),
    ("stripe-key", "whsec_" + drawn(32)),
    ("google-key", "AIza" + drawn(35, BASE64URL)),
    ("google-secret", "GOCSPX-" + drawn(28, BASE64URL)),
    ("google-token", "ya29." + drawn(80, BASE64URL)),
    ("openai-key", "sk-" + drawn(20) + "T3Blbk" + "FJ" + drawn(20, seed=1)),
    ("openai-key", "sk-proj-" + drawn(74, BASE64URL) + "T3Blbk" + "FJ" + drawn(74, BASE64URL, seed=1)),
    ("anthropic-key", "sk-ant-api03-" + drawn(93, BASE64URL) + "AA"),
    ("openrouter-key", "sk-or-v1-" + drawn(64, HEX)),
    ("api-key", "sk-" + drawn(32, HEX)),
    ("huggingface-token", "hf_" + drawn(34, LETTERS)),
    ("pypi-token", "pypi-" + "AgEIcHlwaS5vcmc" + drawn(120, BASE64URL)),
    ("twilio-key", "SK" + drawn(32, HEX)),
    ("sendgrid-key", "SG." + drawn(22, BASE64URL) + "." + drawn(43, BASE64URL)),
    ("telegram-token", drawn(10, "123456789") + ":AA" + drawn(33, BASE64URL)),
    ("mailchimp-key", drawn(32, HEX) + "-us21"),
    ("mailgun-key", "key-" + drawn(32, HEX)),
    ("digitalocean-token", "dop_v1_" + drawn(64, HEX)),
    ("shopify-token", "shpat_" + drawn(32, HEX)),
    ("databricks-token", "dapi" + drawn(32, HEX)),
    ("docker-token", "dckr_pat_" + drawn(27, BASE64URL)),
    ("atlassian-token", "ATATT3" + drawn(180, BASE64URL) + "=" + drawn(8, HEX).upper()),
    ("grafana-token", "glsa_" + drawn(32) + "_" + drawn(8, HEX)),
    ("groq-key", "gsk_" + drawn(52)),
    ("linear-key", "lin_api_" + drawn(40)),
    ("newrelic-key", "NRAK-" + drawn(27, DIGITS + LOWER.upper())),
    ("notion-token", "ntn_" + drawn(46)),
    ("perplexity-key", "pplx-" + drawn(48)),
    ("replicate-token", "r8_" + drawn(37)),
    ("sentry-token", "sntryu_" + drawn(64, HEX)),
    ("vault-token", "hvs." + drawn(90, BASE64URL)),
    ("xai-key", "xai-" + drawn(80)),
    ("age-key", "AGE-SECRET-KEY-1" + drawn(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")),
    ("jwt", jwt({"alg": "HS256", "typ": "JWT"})),
    ("private-key", private_key("")),
    ("private-key", private_key("RSA ")),
    ("private-key", private_key("OPENSSH ")),
    ("private-key", private_key("PGP ").replace("KEY-----", "KEY BLOCK-----")),
    ("password", "postgres://joe:" + drawn(9) + "@db.host.org/x"),
    ("password", "amqp://:" + drawn(9) + "@10.0.0.1"),
    ("password", "password = '" + drawn(12) + "'"),
    ("password", 'aws_secret_access_key = "' + drawn(40, BASE62 + "+/") + '"'),
    ("password", "DB_PASS: '" + drawn(16) + "'"),
    ("bearer", "Bearer " + drawn(32)),
    ("basic", "Authorization: Basic " + base64.b64encode(b"joe:" + drawn(9).encode()).decode()),
]
