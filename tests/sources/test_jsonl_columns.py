"""Lines read many at once are the documents that they are when read one by one, byte for byte."""

import json
import random

import numpy as np
import orjson
import pytest

from clet.batch import Batch, Ragged
from clet.sources.adapter import Columns, Options
from clet.sources.jsonl import adapter
from clet.sources.jsonl.columns import read_block
from clet.sources.text.language import WORDS, detect_language
from clet.sources.text.languages import detect_languages

PROSE = "The council met on Tuesday and decided that the old bridge would be repaired, which is what it had to do. "
GERMAN = "Der Rat hat am Dienstag beschlossen, dass die alte Br\u00fccke ausgebessert werden soll, und das ist gut so. "

SURE = [
    {"text": PROSE},
    {"content": 'A text.\r\nIts second line.\rAnd "a third" \\ \t end.\n\n'},
    {"text": "  \n\t blanks at both ends \r\n "},
    {"text": GERMAN * 3, "title": "\u00dcber die Br\u00fccke", "url": "https://n.example/a?b=c", "license": "CC0-1.0"},
    {"text": "\u6f22\u5b57\u3068\u304b\u306a \U0001f600 \u2014 \u00a0 in the middle"},
    {"text": "t", "date": "2019-01-04", "published": None, "timestamp": "nonsense"},
    {"text": "t", "published": "not a date", "date": "Fri, 04 Jan 2019 10:00:00 +0100"},
    {"text": "t", "created": 1546596000, "origin": "", "source": "s", "domain": "d"},
    {"text": "t", "lang": "de", "language": "fr"},
    {"text": "t", "lang": 3, "language": "fr", "title": None, "url": 5, "origin": ["x"], "license": {"a": 1}},
    {"text": "t", "meta": {"k": 1, "deep": {"a": [1, {"b": None}], "c": '\u2028\u00e9"'}}, "more": [True, False, -1.5]},
    {"text": "t", "meta": None, "tok": {"n": 1}, "id": "x:1", "day": 3, "empty": {}, "none": [], "s": "\x01\x1f\x7f/"},
    {"text": None, "content": "c", "score": 0.25},
    {"text": "t", "id": "0" * 32, "source": "not a record: its id is of another text"},
    {"text": "<|endoftext|>", "title": 'A "quoted" \\ title'},
]
DOUBTFUL = [
    {"text": ""},
    {"text": " \n "},
    {"text": "\u00a0begins with a blank beyond ASCII"},
    {"text": "ends with one\u3000"},
    {"text": "e\u0301 composes, \u0344 decomposes"},
    {"text": "bell \x07 and feed \x0c"},
    {"text": "\x7f"},
    {"text": "\u0088"},
    {"text": "t", "title": "two  blanks"},
    {"text": "t", "title": " outer "},
    {"text": "t", "title": "a\nb"},
    {"text": "t", "title": "x" * 501},
    {"text": "t", "url": "https://x/" + "y" * 3000},
    {"text": "t", "lang": "x" * 17},
    {"text": "t", "lang": "?"},
    {"text": "t", "n": 12345678901234567890},
    {"text": "t", "n": 0.1234567890123456789},
    {"text": "t", "n": 1e300},
    {"text": "t", "\u00e9": 1},
    {"text": "t", "meta": {"n": 1}, "n": 2},
    {"text": "t", "content": "both"},
    {"text": 3},
    {"title": "no text"},
    {"text": "t", "junk": "x" * 100_000},
]
WRITTEN = [
    b'{"text":"\\u0041\\u00e9\\uD83D\\uDE00 \\/ \\u000a\\u000d\\u000a."}',
    b'\t{ "text" : "blanks" , "a" : [ 1 , 2 ] , "b" : { "c" : "d e" } } \r',
    b'{"text":"half \\ud83d of a pair"}',
    b'{"text":"raw \x01 control"}',
    b'{"text":"not \xff UTF-8"}',
    b'{"text":"\xed\xa0\x80"}',
    b'{"text":"twice","a":1,"a":2}',
    b'{"text":"a","text":"b"}',
    b'{"te\\u0078t":"an escaped name"}',
    b'{"text":"t","a":1.0,"b":1.50,"c":-0,"d":0.0001,"e":1E2,"f":01}',
    b'{"text":"t","a":1.0,"b":-0.5,"c":100}',
    b'{"text":"t"} trailing',
    b'{"text":"t",}',
    b'{"text":"t","a":[1,]}',
    b'{"text":"t"',
    b'{"text":"t\\',
    b'{"text":"t\\u00',
    b"[1]",
    b"{}",
    b"not json",
    b"",
    b"   ",
    b'{"text":"t","meta":{"a":1,"a":2}}',
    b'{"text":"t","meta":{ }, "x" : { } }',
    b'{"text":"t","meta":' + b'{"a":' * 80 + b"1" + b"}" * 81,
    b'{"text":"\\r\\u000aone newline"}',
]


def as_lines(objects):
    for each in objects:
        yield json.dumps(each).encode()
        yield json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        yield json.dumps(each, ensure_ascii=False, indent=None, separators=(" , ", " : ")).encode(
            "utf-8", "surrogatepass"
        )


@pytest.fixture
def both(tmp_path, context, monkeypatch):
    """Reads lines both ways: `both(lines, options)` is what comes in columns; it asserts that nothing differs."""
    monkeypatch.setattr(adapter, "COLUMNS_FROM", 0)
    monkeypatch.setattr(adapter, "MIN_BLOCK_BYTES", 0)
    path = tmp_path / "a.jsonl"

    def read(lines, options=Options()):
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        ways = []
        for in_columns in (False, True):
            cursor, rows, columns = {}, [], 0
            given = context("jsonl", cursor, in_columns=in_columns, options=options)
            for each in adapter.read(str(path), given):
                if isinstance(each, Columns):
                    assert in_columns
                    columns += len(each)
                    assert [each.batch.fields(i)["published"] for i in range(len(each))] == each.published
                    rows += [each.batch.line(i) for i in range(len(each))]
                else:
                    rows.append(Batch.from_records([each]).line(0))
            ways.append((rows, given.outlet.lines, cursor))
        assert ways[0] == ways[1]
        return columns

    return read


@pytest.mark.parametrize("options", [Options(), Options(label="mine", trust=0.5, tags=("a",), license="MIT")])
def test_what_most_lines_are_is_read_in_columns_and_the_same(both, options):
    lines = list(as_lines(SURE))
    assert both(lines, options) == len(lines)


def test_every_other_line_is_read_by_itself_and_the_same(both):
    assert both(list(as_lines(DOUBTFUL))) == 0
    both(WRITTEN)


def test_kinds_of_lines_between_each_other_keep_their_order_and_places(both):
    random.seed(1)
    lines = [*as_lines(SURE), *as_lines(DOUBTFUL), *WRITTEN]
    for _ in range(5):
        random.shuffle(lines)
        lines = [line for line in lines if b"\xff" not in line and b"\xed\xa0" not in line]  # else all are doubtful
        assert both(lines) >= len(SURE)


def test_lines_with_any_bytes_changed_are_the_same(both):
    rng = random.Random(2)
    whole = [*as_lines(SURE), *as_lines(DOUBTFUL[:-1]), *WRITTEN]
    alphabet = b'"\\{}[],: \t\r/untfr0123456789-+.eE\x00\x1f\x7f\xc3\xa9\xe2\x80\xa8\xf0'
    for _ in range(40):
        lines = []
        for _ in range(60):
            line = bytearray(rng.choice(whole))
            for _ in range(rng.choice((1, 1, 2, 4))):
                at, byte = rng.randrange(len(line) + 1), rng.choice(alphabet)
                kind = rng.randrange(3)
                line[at : at + (kind > 0)] = bytes([byte]) if kind < 2 else b""
            line = bytes(line).replace(b"\n", b"")
            try:
                line.decode()
            except UnicodeDecodeError:  # one of them makes its whole block doubtful
                if rng.random() < 0.9:
                    continue
            lines.append(line)
        both(lines)


def test_random_objects_are_the_same(both):
    rng = random.Random(3)
    names = ["text", "content", "title", "url", "lang", "origin", "source", "date", "meta", "id", "x", "y", "tok"]
    characters = 'ab \t\n\r"\\/\u00e9\u0301\u00a0\u2028\u4e00\uac00\U0001f600\x0b\x85'

    def value(depth):
        kind = rng.randrange(8 if depth < 3 else 6)
        if kind < 3:
            return "".join(rng.choices(characters, k=rng.choice((0, 1, 3, 30))))
        if kind == 3:
            return rng.choice([0, -1, 12, 1.5, -0.25, 10**16, 1e-7, 0.1 + 0.2])
        if kind < 6:
            return rng.choice([None, True, False, "2020-02-30", "2020-02-28T10:00:00Z"])
        if kind == 6:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice("abcd\u00e9"): value(depth + 1) for _ in range(rng.randrange(4))}

    objects = [{name: value(0) for name in rng.sample(names, rng.randrange(1, 8))} for _ in range(1500)]
    for each in objects[::2]:
        each["text"] = PROSE
    assert both(list(as_lines(objects))) > 500


def test_a_record_that_comes_again_is_found_among_others(both, record):
    made = record(PROSE, title="T") | {"dedup": {"kept": True}}
    lines = [*as_lines([{"text": "before"}]), orjson.dumps(made), *as_lines([{"text": "after"}])]
    assert both(lines) == 6


def test_a_text_as_large_as_a_document_may_be_is_one_and_a_larger_one_is_left_to_the_door(both, monkeypatch):
    from clet.sources.adapter import MAX_TEXT_BYTES

    assert both([b'{"text":"%s"}' % (b"x" * MAX_TEXT_BYTES)]) == 1
    assert both([b'{"text":"%s"}' % (b"x" * (MAX_TEXT_BYTES + 1))]) == 0


def test_what_is_scrubbed_is_read_by_itself(tmp_path, context, monkeypatch):
    monkeypatch.setattr(adapter, "COLUMNS_FROM", 0)
    monkeypatch.setattr(adapter, "MIN_BLOCK_BYTES", 0)
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"write to a.person@example.com"}\n')
    given = context("jsonl", in_columns=True, options=Options(scrub=frozenset({"pii"})))
    (document,) = adapter.read(str(tmp_path / "a.jsonl"), given)
    assert document["text"] == "write to <email>"


def test_heads_are_as_a_reader_checks_them(context):
    block = b"\n".join(as_lines(SURE))
    batch = read_block(block, context("jsonl"), "o").columns.batch
    for row in range(len(batch)):
        assert orjson.dumps(batch.fields(row)) == batch.head.bytes_at(row)
        assert batch.record(row)["id"] == batch.fields(row)["id"]


def test_languages_of_many_texts_are_those_of_each():
    rng = random.Random(4)
    words = {code: text.split() for code, text in WORDS.items()}
    odd = ["def", "x1", "42", "\u6f22\u5b57", "\u304b\u306a", "\u0627\u0644", "\u0433\u043e\u0434", "{};", "\U00020000"]
    texts = ["", "a", "the " * 19, "the of and is in to that it for as " * 9, PROSE * 40, GERMAN * 40]
    for _ in range(3000):
        known = words[rng.choice(list(words))] + (words[rng.choice(list(words))] if rng.random() < 0.3 else [])
        other = ["".join(rng.choices("abcdefgh", k=rng.randrange(1, 12))) for _ in range(5)] + (
            odd if rng.random() < 0.3 else odd[:3]
        )
        share = rng.random()
        picked = [rng.choice(known if rng.random() < share else other) for _ in range(rng.choice((5, 30, 60, 500)))]
        texts.append(
            rng.choice((" ", ", ", "\n")).join(word.upper() if rng.random() < 0.1 else word for word in picked)
        )
    column = Ragged.from_bytes([text.encode() for text in texts])
    assert detect_languages(column, np.arange(len(texts))) == [detect_language(text) for text in texts]
    assert detect_languages(column, np.array([4, 2])) == ["en", None]
