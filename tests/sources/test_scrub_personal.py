"""What leads to a person, and what only looks like it."""

import pytest
from scrub_samples import PERSONAL

from clet.sources.text.accounts import is_card
from clet.sources.text.scrub import scrub

PII = frozenset({"pii"})
SURROUNDINGS = [
    *[("", ""), ("see ", " there"), ("(", ")"), ('"', '",'), ("<b>", "</b>"), ("\n", "\n"), ("\u00ab", "\u00bb")],
    *[("<email>", "</email>"), ("<phone>", "</phone>")],  # elements of XML have these names, too
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts])
def test_each_form_is_found_and_counted_by_its_kind(kind, text):
    for before, after in (
        ("", ""),
        ("see ", " there"),
        ("(", ")"),
        ('"', '",'),
        ("<b>", "</b>"),
        ("\n", "\n"),
        ("\u00ab", "\u00bb"),
    ):
        masked, counts = scrub(before + text + after, PII)
        assert counts == {kind: 1}, masked
        assert f"<{kind}>" in masked and masked.startswith(before) and masked.endswith(after)


def test_only_the_find_is_replaced():
    text = "Write to Joe (joe.doe+x@mail.uni-koeln.de), or call +49 221 4701234."
    assert scrub(text, PII)[0] == "Write to Joe (<email>), or call <phone>."


@pytest.mark.parametrize(
    "text",
    [
        "root@localhost",
        "git@github.com:owner/repository.git",
        "joe@uni-koeln.de:/home/joe",
        "https://joe@uni-koeln.de/x",
        "ssh://joe@uni-koeln.de",
        "icon@2x.png",
        "x@self.weight",
        "@property",
        "@joe",
        "joe@",
        "a@b",
        "joe@uni-koeln",
        "joe@.de",
        "package@1.2.3",
        "a" * 65 + "@uni-koeln.de",
    ],
)
def test_what_is_no_e_mail_address_stays(text):
    assert scrub(text, PII) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-05 12:30:45",
        "2020-01-05T12:30:45+00:00",
        "+12",
        "+471551-1014640",  # a place
        "+20200123-1",  # a version
        "+35236450.6",
        "\n+4930123456789\n",  # an added line
        "x+4930123456789",
        "+999 123 456 789",  # no such code
        "+65536 0 0 0 0 29 0",
        "+1 012 555 2345",
        "112-555-2345",
        "212-155-2345",
        "212-555-2345-6",
        "a212-555-2345",
        "1-212-555-23456",
        "212 555 2345",
        "0171 2345678",  # a national number without a word before it
        "call 1-800-565-EXIM",
        '"mobile": 213920363',
        "phone 2020-01-05",
        "telephone 12345678",
        "ISBN 978-3-16-148410-0",
        "DOI 10.1000/182",
        "arXiv:quant-ph/9901001",
    ],
)
def test_what_is_no_phone_number_stays(text):
    assert scrub(text, PII) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "192.0.2.77",  # documentation
        "203.0.113.200",
        "255.255.255.0",
        "239.1.2.200",
        "0.0.0.0",
        "1.2.3.4",
        "v93.184.216.34",
        "version 93.184.216.34",
        "Chrome/93.184.216.34",
        ">=93.184.216.34",
        "Section 23.184.216.34",
        "93.184.216.34.5",
        "93.184.216.340",
        "93.184.216.034",
        "93.184.216.0/24",
        "172.0.0.0",
        "2.5.29.15",
        "11.3.244.4",
        "0 3.51.98.32 2",
        "::1",
        "fe80::1",
        "fc00::1",
        "2001:db8::8a2e:370:7334",  # documentation
        "2020:01:02",
        "std::vector",
        "2a00:1450::/32",
        "00:1a:2b:3c:4d:5e",
    ],
)
def test_what_is_no_public_address_stays(text):
    assert scrub(text, PII) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the check digit
        "4111111111111112",
        "4111 1111 1111 111",
        "0000 0000 0000 0000",
        "1234 5678 9012 3456",
        "0.4111111111111111",
        "4111111111111111.5",
        "x4111111111111111",
        "659305450250141696",
        "4828147466240000*t**12",
        "5476 5477 5478 5479 547A",
        "10643 4603 1700 1700 5002",
        "DE89 3704 0044 0532 0130 01",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45-67890",
        "1123-45-6789",
        "passport office 1234",
    ],
)
def test_what_is_no_account_or_paper_stays(text):
    assert scrub(text, PII) == (text, {})


@pytest.mark.parametrize(
    ("digits", "valid"),
    [
        ("4111111111111111", True),
        ("4222222222222", True),
        ("5555555555554444", True),
        ("2223003122003222", True),
        ("378282246310005", True),
        ("6011111111111117", True),
        ("30569309025904", True),
        ("3530111333300000", True),
        ("9111111111111111", False),
        ("41111111111111", False),
    ],
)
def test_cards_are_told_by_issuer_length_and_check_digit(digits, valid):
    assert is_card(digits) is valid
