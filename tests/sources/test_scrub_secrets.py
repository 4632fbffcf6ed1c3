"""What opens doors, and what only looks like it. No value here was ever issued: each is made when the test runs."""

import base64

import pytest
from scrub_samples import BASE62, DIGITS, HEX, SECRETS, drawn, private_key

from clet.sources.text.credentials import is_secret
from clet.sources.text.scrub import scrub
from clet.sources.text.tokens import crc_base62

ONLY = frozenset({"secrets"})
BY_CONTEXT = ("private-key", "password", "bearer", "basic")
OF_ONE_LENGTH = (
    *("aws-key", "github-token", "npm-token", "google-key", "google-secret", "huggingface-token", "twilio-key"),
    *("sendgrid-key", "telegram-token", "mailgun-key", "digitalocean-token", "shopify-token", "databricks-token"),
    *("openrouter-key", "grafana-token", "groq-key", "newrelic-key", "perplexity-key", "replicate-token", "age-key"),
)
SURROUNDINGS = [("", ""), ("x = ", "\n"), ('"', '",'), ("(", ")"), ("=", "&y=1"), ("\\n", "\\n"), ("\u00ab", "\u00bb")]


@pytest.mark.parametrize(("name", "text"), SECRETS)
def test_each_form_is_found_and_named(name, text):
    for before, after in (
        ("", ""),
        ("x = ", "\n"),
        ('"', '",'),
        ("(", ")"),
        ("=", "&y=1"),
        ("\\n", "\\n"),
        ("\u00ab", "\u00bb"),
    ):
        masked, counts = scrub(before + text + after, ONLY)
        assert counts == {"secret": 1}, masked
        assert f"<secret:{name}>" in masked


@pytest.mark.parametrize(("name", "text"), [sample for sample in SECRETS if sample[0] not in BY_CONTEXT])
def test_a_token_inside_a_longer_word_is_none(name, text):
    assert scrub("x" + text, ONLY) == ("x" + text, {})


@pytest.mark.parametrize(
    ("name", "text"), [each for each in SECRETS if each[0] in OF_ONE_LENGTH and "eyJ" not in each[1]]
)
def test_a_token_of_another_length_is_none(name, text):
    assert scrub(text[:-1], ONLY)[1] == {} and scrub(text + "a", ONLY)[1] == {}


def test_a_checksum_that_is_wrong_is_no_token():
    body = drawn(30)
    good, bad = f"ghp_{body}{crc_base62(body)}", f"ghp_{body}{crc_base62(body + 'x')}"
    assert scrub(good, ONLY)[1] == {"secret": 1} and scrub(bad, ONLY)[1] == {}


def test_the_checksum_is_that_of_the_published_scheme():
    assert crc_base62("") == "000000"
    assert len({len(crc_base62(drawn(30, seed=seed))) for seed in range(50)}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "gh" + "p_" + "x" * 36,
        "sk-" + "0123456789abcdef" * 3,
        "AIza" + "X" * 35,
        "hf_" + "a" * 34,
        "eyJhbGciOi.eyJ.x",
        "eyJ" + "abcdefgh" * 4 + ".eyJ" + "abcdefgh" * 4 + ".x",  # the header is no JSON
        "npm_config_registry_of_the_whole_company_here",
        "SK" + "g" * 32,
    ],
)
def test_placeholders_of_tokens_stay(text):
    assert scrub(text, ONLY) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----",
        'if line == "-----BEGIN PRIVATE KEY-----": read(until="-----END PRIVATE KEY-----")',
        "-----BEGIN CERTIFICATE-----\n" + drawn(64) + "\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\n" + drawn(64) + "\n-----END PUBLIC KEY-----",
    ],
)
def test_what_only_mentions_keys_stays(text):
    assert scrub(text, ONLY) == (text, {})


def test_a_key_goes_whole_and_what_surrounds_it_stays():
    text = f"a\n{private_key('RSA ')}\nb\n{private_key('EC ')}\nc"
    assert scrub(text, ONLY)[0] == "a\n<secret:private-key>\nb\n<secret:private-key>\nc"
    escaped = 'key = "' + private_key("").replace("\n", "\\n") + '"'
    assert scrub(escaped, ONLY)[0] == 'key = "<secret:private-key>"'


def test_the_private_lines_of_a_putty_key_go():
    lines = "\n".join(drawn(64, seed=number) for number in range(2))
    text = f"Private-Lines: 2\n{lines}\nPrivate-MAC: 00"
    assert scrub(text, ONLY)[0] == "Private-Lines: 2\n<secret:private-key>\nPrivate-MAC: 00"


def test_a_key_that_was_cut_off_goes_as_far_as_it_is_there():
    text = private_key("OPENSSH ").rpartition("-----END")[0]
    assert scrub(f"{text}\n\nand then words", ONLY)[0] == "<secret:private-key>\n\n\nand then words"


@pytest.mark.parametrize(
    "text",
    [
        "https://host.org/x:y@z",
        "https://user:password@host.org",
        "https://joe:${PASSWORD}@host.org",
        "https://joe:<password>@host.org",
        "https://joe:joe@host.org",
        "https://joe:" + drawn(12) + "@example.com",  # RFC 2606
        "https://host.org:8080/@joe",
        "https://host.org:8080",
        "x://:@",
    ],
)
def test_urls_without_a_password_stay(text):
    assert scrub(text, ONLY) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        'password = "changeme123"',
        'password = "hunter"',
        'password = "your-password-1"',
        'password = "${DB_PASSWORD_1}"',
        'password = "<my password 1>"',
        'password = "{{ vault.Pass1word }}"',
        'password = "%(passw0rd)s"',
        'password = "********1a"',
        "password = getpass.getpass()",
        "password = config.password1",
        "token = tokens[i]",
        'token = "MBart50Tokenizer"',
        "token: MBart50Tokenizer",
        'token_type = "' + drawn(24) + '"',
        'tokenizer = "' + drawn(24) + '"',
        '"NextToken": "' + drawn(24) + '"',
        'publicKeyToken="' + drawn(16, HEX) + '"',
        'key = "' + drawn(24) + '"',  # of what?
        'api_key_id = "' + drawn(24) + '"',
        "secret: base64.b64decode(x1)",
        'secret = "/etc/ssl/private1.pem"',
        'secret = "https://host.org/a1B2c3D4"',
        "PASS: gdb.base/a1b2-c3d4.exp",
        'password = "2020-01-05"',
        "Bearer token1234567890authentication",
        "Authorization: Basic auth1234",
        "basic " + base64.b64encode(b"a:b2").decode(),  # not behind a header's name
    ],
)
def test_values_that_nobody_drew_stay(text):
    assert scrub(text, ONLY) == (text, {})


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        (drawn(20), True),
        (drawn(32, HEX), True),
        ("Tr0ub" + "4dor&3x", True),
        ("Sunshine" + "2024!$", True),  # words, but with symbols that no name has
        (drawn(8, DIGITS), False),
        ("correct-horse-battery-1", False),
        ("Qwen2_5OmniToken2WavConfig", False),
        ("aaaaaaaa1", False),
    ],
)
def test_a_secret_is_told_by_its_mixture(value, secret):
    assert is_secret(value) is secret


def test_only_the_value_is_masked():
    value = drawn(24, BASE62)
    for line in (
        'api_key: "{}"',
        "export API_KEY={}\n",
        "Server=db;User Id=sa;Password={};",
        '{{"client_secret": "{}"}}',
        "x?access_token={}&y",
    ):
        line = line.replace("{{", "{").replace("}}", "}") if "{{" in line else line
        text = line.replace("{}", value)
        assert scrub(text, ONLY) == (line.replace("{}", "<secret:password>"), {"secret": 1})
