"""The language of a text, or None."""

import pytest

from clet.sources.text.language import detect_language

ENGLISH = "The council met on Tuesday evening and decided, after a long debate, that the old bridge would be repaired."
GERMAN = (
    "Der Rat hat am Dienstag nach langer Debatte beschlossen, dass die alte Br\u00fccke ausgebessert werden soll. "
    "Die Arbeiten beginnen im Mai und dauern bis in den Herbst."
)
FRENCH = (
    "Le conseil s'est r\u00e9uni mardi soir et a d\u00e9cid\u00e9, apr\u00e8s un long d\u00e9bat, que le vieux pont "
    "serait r\u00e9par\u00e9 et que les travaux commenceraient au printemps."
)
SPANISH = (
    "El consejo se reuni\u00f3 el martes por la noche y decidi\u00f3, tras un largo debate, que el viejo puente de la "
    "ciudad se reparar\u00e1 y que los trabajos van a empezar en mayo."
)
CHINESE = (
    "\u5e02\u8bae\u4f1a\u5468\u4e8c\u665a\u4e0a\u5f00\u4f1a\u51b3\u5b9a\u4fee\u590d\u65e7\u6865\uff0c"
    "\u5de5\u7a0b\u5c06\u5728\u4e94\u6708\u5f00\u59cb\u3002"
)
JAPANESE = (
    "\u653f\u5e9c\u306f\u5ddd\u306b\u65b0\u3057\u3044\u6a4b\u3092\u5efa\u8a2d\u3059\u308b\u3053\u3068\u3092"
    "\u6c7a\u3081\u305f\u3002\u5de5\u4e8b\u306f\u6625\u306b\u59cb\u307e\u308b\u3002"
)
ARABIC = (
    "\u0642\u0631\u0631 \u0627\u0644\u0645\u062c\u0644\u0633 \u0645\u0633\u0627\u0621 "
    "\u0627\u0644\u062b\u0644\u0627\u062b\u0627\u0621 \u0625\u0635\u0644\u0627\u062d "
    "\u0627\u0644\u062c\u0633\u0631 \u0627\u0644\u0642\u062f\u064a\u0645"
)
GREEK = (
    "\u0397 \u03ba\u03c5\u03b2\u03ad\u03c1\u03bd\u03b7\u03c3\u03b7 "
    "\u03b1\u03c0\u03bf\u03c6\u03ac\u03c3\u03b9\u03c3\u03b5 \u03bd\u03ad\u03b1"
)
PERSIAN = (
    "\u0634\u0648\u0631\u0627 \u062a\u0635\u0645\u06cc\u0645 \u06af\u0631\u0641\u062a \u067e\u0644 "
    "\u0642\u062f\u06cc\u0645\u06cc \u0631\u0627 \u062a\u0639\u0645\u06cc\u0631 \u06a9\u0646\u062f"
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (GERMAN, "de"),
        (FRENCH, "fr"),
        (SPANISH, "es"),
        (CHINESE, "zh"),
        (JAPANESE, "ja"),
        (ARABIC, "ar"),
        (GREEK, "el"),
        (CHINESE + " Kubernetes Deployment ReplicaSet", "zh"),
        (ENGLISH * 60, "en"),
    ],
)
def test_a_sentence_is_enough_where_its_words_or_letters_tell(text, code):
    assert detect_language(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bridge repaired",
        "0123 " * 200,
        "git log --oneline -3; ls -la src/main; make test; curl -sSL example.org/x | tar xz -C opt " * 2,
        PERSIAN,  # not Arabic, and too short to be sure of more
        "\u65e5\u672c " * 3,
        "\ud800" * 300,
        ("\u65e5\u672c" + "\u30a2") * 2 + "a" * 10,
    ],
)
def test_what_would_be_a_guess_is_not_named(text):
    assert detect_language(text) is None


def test_han_with_a_little_latin_is_not_english():
    assert detect_language("\u65e5\u672c" * 400 + ENGLISH) == "zh"
