"""Bytes to text: marks, declarations, and what the bytes themselves say."""

import random

import pytest

from clet.sources.text.decode import NotText, decode_text, one_line

TEXT = "F\u00fc\u00dfe, na\u00efve \u2014 \u65e5\u672c"
MOSTLY_UTF8 = (
    "F\u00fc\u00dfe, \u00d6l, \u00dcbung, s\u00fc\u00df, h\u00f6her, \u00e4hnlich, b\u00f6se, m\u00fcde, K\u00e4se"
)
RUSSIAN = (
    "\u041f\u0440\u0430\u0432\u0438\u0442\u0435\u043b\u044c\u0441\u0442\u0432\u043e "
    "\u0440\u0435\u0448\u0438\u043b\u043e \u043f\u043e\u0441\u0442\u0440\u043e\u0438\u0442\u044c "
    "\u043d\u043e\u0432\u044b\u0439 \u043c\u043e\u0441\u0442 \u0447\u0435\u0440\u0435\u0437 "
    "\u0440\u0435\u043a\u0443."
)
POLISH = (
    "Rz\u0105d zdecydowa\u0142, \u017ce nowy most zostanie zbudowany w przysz\u0142ym roku. Mieszka\u0144cy d\u0142ugo "
    "czekali na t\u0119 wiadomo\u015b\u0107, a prace zaczn\u0105 si\u0119 wiosn\u0105."
)
JAPANESE = (
    "\u653f\u5e9c\u306f\u5ddd\u306b\u65b0\u3057\u3044"
    "\u6a4b\u3092\u5efa\u8a2d\u3059\u308b\u3053\u3068\u3092\u6c7a\u3081\u305f\u3002"
)
KOREAN = (
    "\uc815\ubd80\ub294 \uac15\uc5d0 \uc0c8 \ub2e4\ub9ac\ub97c \uac74\uc124\ud558\uae30\ub85c \uacb0\uc815\ud588\ub2e4."
)
GERMAN = (
    "Der B\u00fcrgermeister sagte, \u00fcber die Br\u00fccke werde noch gesprochen; H\u00e4ndler f\u00fcrchten das."
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_unicode_with_and_without_marks(encoding):
    text = "plain words " * 20 + TEXT
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("body", "declared", "markup", "text"),
    [
        ("F\u00fc\u00dfe".encode("latin-1"), None, False, "F\u00fc\u00dfe"),
        ("F\u00fc\u00dfe".encode("latin-1"), "utf-8", False, "F\u00fc\u00dfe"),
        ("F\u00fc\u00dfe".encode(), "iso-8859-1", False, "F\u00fc\u00dfe"),  # nobody writes these letters otherwise
        (RUSSIAN.encode("koi8-r"), "koi8-r", False, RUSSIAN),
        (
            f"<meta charset=windows-1251>{RUSSIAN}".encode("cp1251"),
            None,
            True,
            f"<meta charset=windows-1251>{RUSSIAN}",
        ),
        ('<?xml encoding="gb2312"?>\u65b0'.encode("gb2312"), None, True, '<?xml encoding="gb2312"?>\u65b0'),
        ("\u8054\u901a".encode("gbk"), "gb2312", False, "\u8054\u901a"),  # valid UTF-8, but wide encodings are tests
        (b"\x93quoted\x94", "iso-8859-1", False, "\u201cquoted\u201d"),
        (MOSTLY_UTF8.encode() + b"\xff", None, False, MOSTLY_UTF8 + "\ufffd"),
        (b"x", "rot13", False, "x"),
        (b"x", "unicode_escape", False, "x"),
        (b"x", "no-such", False, "x"),
    ],
)
def test_declared_and_contradicted_encodings(body, declared, markup, text):
    assert decode_text(body, declared, markup=markup) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc-jp"),
        (KOREAN, "euc-kr"),
        (GERMAN, "cp1252"),
        ("caf\u00e9", "cp1252"),
        ("Perch\u00e9 no, disse, e and\u00f2 via senza salutare nessuno.", "cp1252"),
    ],
)
def test_an_encoding_that_nobody_declares_is_told_by_the_bytes(text, encoding):
    text = text * 3 if len(text) > 60 else text
    assert decode_text(text.encode(encoding)) == text


def test_utf8_and_windows_1252_in_one_text_are_read_piece_by_piece():
    body = "caf\u00e9 \u201cna\u00efve\u201d ".encode() + "r\u00e9sum\u00e9 \u20ac".encode("cp1252")
    assert decode_text(body) == "caf\u00e9 \u201cna\u00efve\u201d r\u00e9sum\u00e9 \u20ac"


@pytest.mark.parametrize("text", ["\u00abLIBERT\u00c9\u00bb et \u00ab\u00c9T\u00c9\u00bb", "F\u00fc\u00dfe", GERMAN])
def test_windows_1252_alone_is_not_taken_for_a_mixture(text):
    assert decode_text(text.encode("cp1252")) == text


@pytest.mark.parametrize("body", [b"\x7fELF\0\0\1", bytes(range(1, 32)) * 9 + b"\xff", b"a" * 5000 + b"\0\xff"])
def test_binary_is_not_text(body):
    with pytest.raises(NotText):
        decode_text(body)


def test_any_bytes_become_text_that_can_be_written_or_are_refused():
    noise = random.Random(1)
    for size in range(1, 400, 7):
        body = noise.randbytes(size)
        decode_text(body, markup=True).encode()
        decode_text(b"<meta charset=" + body, "utf-16", markup=True).encode()


def test_one_line_is_bounded_and_calm():
    assert one_line(" a\n\tb\x1b[0m ") == "a b[0m"
    assert one_line("x" * 9999, 10) == "x" * 10
    assert one_line(" \n") is one_line(None) is None
