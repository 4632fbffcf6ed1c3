"""Bytes to text and markup to what a reader sees."""

import pytest

from clet.sources.selection import skip_content, skip_name
from clet.sources.text.decode import NotText, decode_text, one_line
from clet.sources.text.extract import fragment_text, looks_like_html, page_text, page_title
from clet.sources.text.language import detect_language

TEXT = "F\u00fc\u00dfe, na\u00efve \u2014 \u65e5\u672c"
MOSTLY_UTF8 = (
    "F\u00fc\u00dfe, \u00d6l, \u00dcbung, s\u00fc\u00df, h\u00f6her, \u00e4hnlich, b\u00f6se, m\u00fcde, K\u00e4se"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_unicode_with_and_without_marks(encoding):
    text = "plain words " * 20 + TEXT
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("body", "declared", "markup", "text"),
    [
        ("F\u00fc\u00dfe".encode("latin-1"), None, False, "F\u00fc\u00dfe"),
        (
            "F\u00fc\u00dfe".encode(),
            "iso-8859-1",
            False,
            "F\u00c3\u00bc\u00c3\u0178e",
        ),  # the transport's word stands where the bytes allow it
        ("F\u00fc\u00dfe".encode("latin-1"), "utf-8", False, "F\u00fc\u00dfe"),  # and not where they do not
        (
            "\u041f\u0440\u0438\u0432\u0435\u0442".encode("koi8-r"),
            "koi8-r",
            False,
            "\u041f\u0440\u0438\u0432\u0435\u0442",
        ),
        (
            "<meta charset=windows-1251>\u041f\u0440\u0438\u0432\u0435\u0442".encode("cp1251"),
            None,
            True,
            "<meta charset=windows-1251>\u041f\u0440\u0438\u0432\u0435\u0442",
        ),
        (
            '<?xml version="1.0" encoding="gb2312"?>\u65b0'.encode("gb2312"),
            None,
            True,
            '<?xml version="1.0" encoding="gb2312"?>\u65b0',
        ),
        (b"\x93quoted\x94", "iso-8859-1", False, "\u201cquoted\u201d"),
        (
            MOSTLY_UTF8.encode() + b"\xff",
            None,
            False,
            MOSTLY_UTF8 + "\ufffd",
        ),
        (b"x", "rot13", False, "x"),
        (b"x", "unicode_escape", False, "x"),
        (b"x", "no-such", False, "x"),
    ],
)
def test_declared_detected_and_contradicted_encodings(body, declared, markup, text):
    assert decode_text(body, declared, markup=markup) == text


@pytest.mark.parametrize("body", [b"\x7fELF\0\0\1", bytes(range(1, 32)) * 9 + b"\xff", b"a" * 5000 + b"\0\xff"])
def test_binary_is_not_text(body):
    with pytest.raises(NotText):
        decode_text(body)


def test_a_fragment_keeps_its_blocks_and_loses_what_is_hidden():
    text = fragment_text(
        "<h2>Head</h2><p>One <b>two</b>.<br>Three &amp; <a href=x>four</a></p><ul><li>a</li><li>b</li></ul>"
        "<pre>x  y\n  z</pre><style>s</style><script>j</script><!-- c -->"
        "<p style='display:none'>h</p><p hidden>h</p><template>h</template>"
    )
    assert [line.strip() for line in text.split("\n") if line.strip()] == [
        "Head",
        "One two.",
        "Three & four",
        "\u2022 a",
        "\u2022 b",
        "x  y",
        "z",
    ]


def test_text_without_markup_is_taken_as_it_is():
    assert fragment_text("a < b\n\nc > d") == "a < b\n\nc > d"


def test_depth_and_broken_markup_do_no_harm():
    assert fragment_text("<div>" * 100_000 + "deep") == "deep"
    assert fragment_text("<p>a<b>b</p>c</i></div>&#xD800;&#0;").startswith("ab")
    assert "\x1b" not in fragment_text("<p>&#27;[31m red</p>")


def test_a_page_keeps_its_main_part():
    story = "A sentence of the story that goes on for a while. " * 12
    head = "<html><head><title>T\n t</title></head><body><nav><a href=/>Home</a></nav>"
    page = f"{head}<article><p>{story}</p></article><footer>Foot</footer>"
    assert page_text(page).startswith("A sentence")
    assert "Home" not in page_text(page)
    assert page_title(page) == "T t"
    assert page_text("<html><body><p>Short.") == "Short."


@pytest.mark.parametrize(
    ("text", "html"), [("<!-- c -->\n<!DOCTYPE HTML>", True), ("<html>", True), ("# md <html>", False), ("", False)]
)
def test_html_is_told_by_its_beginning(text, html):
    assert looks_like_html(text) is html


def test_language_is_named_only_when_sure():
    english = (
        "The council met on Tuesday evening and decided, after a long debate, that the old bridge would be repaired. "
    )
    german = (
        "Der Rat hat am Dienstag nach langer Debatte beschlossen, dass die alte Br\u00fccke ausgebessert "
        "werden soll. Die Arbeiten beginnen im Mai und dauern bis in den Herbst; solange wird der Verkehr "
        "\u00fcber die Nordstra\u00dfe geleitet. Viele H\u00e4ndler am Markt f\u00fcrchten, dass ihnen die "
        "Kunden ausbleiben, und verlangen einen Ausgleich von der Stadt. Der B\u00fcrgermeister sagte, "
        "dar\u00fcber werde noch gesprochen, sobald die Kosten feststehen und das Land seinen Anteil zugesagt "
        "habe. "
    )
    assert detect_language(english * 5) == "en"
    assert detect_language(german) == "de"
    assert detect_language(english) is None
    assert detect_language("\u65e5\u672c" * 400 + english) != "en"
    assert detect_language("0123 " * 200) is None


def test_one_line_is_bounded_and_calm():
    assert one_line(" a\n\tb\x1b[0m ") == "a b[0m"
    assert one_line("x" * 9999, 10) == "x" * 10
    assert one_line(" \n") is one_line(None) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a/vendor/x.c", "vendored"),
        ("Cargo.lock", "lock"),
        ("x_pb2.py", "generated"),
        ("a.min.js", "generated"),
        ("i.PNG", "binary"),
        ("src/vendor.py", None),
        ("distance/x.py", None),
        ("locker.py", None),
        ("README", None),
    ],
)
def test_which_names_are_passed_over(path, reason):
    assert skip_name(path) == reason


def test_a_marker_counts_in_a_comment_at_the_head_only():
    assert skip_content("x.py", "# This file is automatically generated.\n") == "generated"
    assert skip_content("x.md", "We explain why code is marked @generated.\n") is None
    assert skip_content("x.py", "x = 1\n" * 50 + "# do not edit\n") is None
