"""What the fast engine is not given: every file that it might read otherwise, and every one on which it differs."""

import copy

import numpy as np
import orjson
import pytest
from tokens_samples import BYTE_LEVEL, END, MARK, added, byte_level, like_llama, like_qwen, pattern, split

from clet.tokenizing import fast as fast_module
from clet.tokenizing import shapes
from clet.tokenizing.fast import FastEngine
from clet.tokenizing.reference import Reference
from clet.tokenizing.selfcheck import check
from clet.tokenizing.shapes import Unsupported
from clet.tokens import Tokenizer, _vocab_size

pytest.importorskip("gigatoken")
WIDE = np.dtype(np.uint32)
QWEN = like_qwen()["pre_tokenizer"]
SPLIT, BYTES = QWEN["pretokenizers"]
STEPS = like_llama()["normalizer"]["normalizers"]
LAST = max(token["id"] for token in byte_level()["added_tokens"]) + 1
CL100K = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|%s"


def steps(*changed):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(changed)}}


def tokens(*more):
    return {"added_tokens": [*byte_level()["added_tokens"], *more]}


MUTATED = {
    "a new field": byte_level(postnormalizer=None),
    "a new field of the model": byte_level(model={"vocab_hash": 1}),
    "a new field of a step": like_qwen(**steps(SPLIT | {"flags": "x"}, BYTES)),
    "dropout": byte_level(model={"dropout": 0.1}),
    "a prefix of parts": byte_level(model={"continuing_subword_prefix": "##"}),
    "a suffix of words": byte_level(model={"end_of_word_suffix": "</w>"}),
    "NFKC": like_qwen(normalizer={"type": "NFKC"}),
    "NFC and lower case": like_qwen(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    ),
    "another regular expression": byte_level(pre_tokenizer=split(SPLIT["pattern"]["Regex"].replace("{N}", "{N}{1,2}"))),
    "a string for a regular expression": like_qwen(**steps(SPLIT | {"pattern": {"String": " "}}, BYTES)),
    "removed separators": like_qwen(**steps(SPLIT | {"behavior": "Removed"}, BYTES)),
    "what does not match": like_qwen(**steps(SPLIT | {"invert": True}, BYTES)),
    "split twice": like_qwen(**steps(SPLIT, BYTE_LEVEL)),
    "spaces in front of pieces": like_qwen(**steps(SPLIT, BYTES | {"add_prefix_space": True})),
    "digits apart": like_qwen(**steps({"type": "Digits", "individual_digits": True}, BYTES)),
    "splits in another order": like_qwen(**steps(*reversed(split(*pattern("deepseek3"))["pretokenizers"][:3]), BYTES)),
    "no split at all": byte_level(pre_tokenizer=BYTES),
    "no pre_tokenizer": byte_level(pre_tokenizer=None),
    "characters for bytes": byte_level(
        model={"vocab": byte_level()["model"]["vocab"] | {"\u4e2d": LAST}},
    ),
    "no token for a byte": byte_level(
        model={
            "vocab": {name: i for name, i in byte_level()["model"]["vocab"].items() if name != "\u0143"},
            "merges": [],
        }
    ),
    "a merge twice": byte_level(
        model={"merges": [*byte_level()["model"]["merges"], byte_level()["model"]["merges"][3]]}
    ),
    "an id too large": byte_level(model={"vocab": byte_level()["model"]["vocab"] | {"zq": shapes.MAX_ID}}),
    "words by themselves": byte_level(**tokens(added("<m>", LAST, single_word=True))),
    "a token in a special one": byte_level(**tokens(added("endoftext", LAST))),
    "a token that ends as a special one begins": byte_level(**tokens(added("hello <", LAST))),
    "tokens of two kinds that overlap": byte_level(
        **tokens(added("<a>", LAST), added("a>b", LAST + 1, normalized=True))
    ),
    "a token of spaces beside one that takes them": byte_level(
        **tokens(added("  ", LAST), added("<m>", LAST + 1, rstrip=True))
    ),
    "a token with another id": byte_level(**tokens(added("<m>", LAST + 5))),
    "a token that NFC changes": like_qwen(**tokens(added("<e\u0301>", LAST))),
    "the mark between texts": byte_level(**tokens(added("a\0b", LAST))),
    "a post_processor of another kind": byte_level(
        post_processor={"type": "Sequence", "processors": [{"type": "TemplateProcessing2"}]}
    ),
    "WordLevel": byte_level() | {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}},
    "Unigram": byte_level()
    | {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]], "byte_fallback": False}},
    "bytes missing": like_llama(
        model={"vocab": {name: i for name, i in like_llama()["model"]["vocab"].items() if name != "<0x41>"}}
    ),
    "bytes twice": like_llama(model={"vocab": like_llama()["model"]["vocab"] | {"<0xab>": 5000}}),
    "whole words of characters": like_llama(model={"ignore_merges": True}),
    "strip": like_llama(
        normalizer={
            "type": "Sequence",
            "normalizers": [*STEPS, {"type": "Strip", "strip_left": True, "strip_right": True}],
        }
    ),
    "another mark": like_llama(normalizer={"type": "Sequence", "normalizers": [STEPS[0], STEPS[1] | {"content": "_"}]}),
    "marked twice": like_llama(
        pre_tokenizer={"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": True}
    ),
    "a space in front of the first piece": like_llama(
        normalizer=None,
        pre_tokenizer={"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False},
        added_tokens=[*like_llama()["added_tokens"], added("<m>", 5000)],
    ),
    "a merge of characters twice": like_llama(model={"merges": [*like_llama()["model"]["merges"], "t h"]}),
}


class Any:
    """A reference for files that the reference would not even load: it knows every token by the id asked for."""

    def __init__(self, spec):
        self.ids = {token["content"]: i for i, token in enumerate(spec["added_tokens"], start=LAST - 1)}

    def id_of(self, name):
        return self.ids[name]


@pytest.mark.parametrize("name", MUTATED)
def test_what_is_not_known_to_be_exact_is_refused(name):
    with pytest.raises(Unsupported):
        FastEngine(MUTATED[name], Any(MUTATED[name]), LAST + 9, WIDE)


@pytest.mark.parametrize(
    "broken",
    [{"model": 3}, {"model": {"type": "BPE"}}, {"added_tokens": [{}]}, {"pre_tokenizer": {"type": "Sequence"}}],
)
def test_a_file_of_another_form_is_refused(broken):
    with pytest.raises(Unsupported):
        FastEngine(copy.deepcopy(byte_level()) | broken, Any(byte_level()), LAST, WIDE)


def test_what_was_refused_is_encoded_by_the_reference(tmp_path):
    for name in ("NFKC", "split twice", "digits apart", "a token in a special one"):
        path = tmp_path / "tokenizer.json"
        path.write_bytes(orjson.dumps(MUTATED[name]))
        tokenizer = Tokenizer.load(path)
        assert tokenizer.choose_engine() == "tokenizers"
        assert tokenizer.decode(tokenizer.encode(["hello 123"])[0]) == "hello 123"


def assert_check_refuses(spec, given, monkeypatch, why="the self-check differs"):
    """The check of an engine that was given another file than the reference was."""
    reference = Reference(orjson.dumps(spec))
    size = _vocab_size(spec, reference)
    kept = fast_module.fast_spec
    monkeypatch.setattr(
        fast_module, "fast_spec", lambda asked, **options: kept(given if asked is spec else asked, **options)
    )
    fast = FastEngine(spec, reference, size, WIDE)
    with pytest.raises(Unsupported, match=why):
        check(fast, reference, spec, size)


def test_the_check_finds_a_merge_that_is_missing_or_in_another_place(monkeypatch):
    spec = byte_level()
    merges = spec["model"]["merges"]
    assert_check_refuses(spec, byte_level(model={"merges": merges[:40] + merges[41:]}), monkeypatch)
    assert_check_refuses(spec, byte_level(model={"merges": merges[:-1]}), monkeypatch)
    swapped = [merges[1], merges[0], *merges[2:100], merges[101], merges[100], *merges[102:]]
    assert_check_refuses(spec, byte_level(model={"merges": swapped[::-1]}), monkeypatch)


def test_the_check_finds_ids_that_are_exchanged(monkeypatch):
    spec = like_llama()
    vocab = dict(spec["model"]["vocab"])
    vocab["q"], vocab["z"] = vocab["z"], vocab["q"]
    assert_check_refuses(spec, like_llama(model={"vocab": vocab}), monkeypatch)


def test_the_check_finds_a_space_in_front_and_whole_words(monkeypatch):
    spec = byte_level()
    assert_check_refuses(spec, byte_level(pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True}), monkeypatch)
    vocab = spec["model"]["vocab"] | {"xyzxyz": LAST}
    merges = spec["model"]["merges"]
    spec = byte_level(model={"vocab": vocab, "merges": merges}, added_tokens=[])
    given = byte_level(model={"vocab": vocab, "merges": merges, "ignore_merges": True}, added_tokens=[])
    reference = Reference(orjson.dumps(spec))
    assert len(reference.encode(["xyzxyz"], WIDE).values) > 1
    assert len(Reference(orjson.dumps(given)).encode(["xyzxyz"], WIDE).values) == 1


def test_the_check_finds_text_that_is_not_normalised_and_special_tokens_that_are_taken_for_such(monkeypatch):
    spec = like_qwen()
    given = spec | {"normalizer": None}
    assert_check_refuses(spec, given, monkeypatch)
    spec = byte_level()
    given = byte_level(added_tokens=[added(END, spec["added_tokens"][0]["id"])])
    assert_check_refuses(spec, given, monkeypatch)


@pytest.mark.parametrize("other", [name for name in shapes.SPLITS.values() if name != "qwen2"])
def test_the_check_tells_every_known_regular_expression_from_the_others(other, monkeypatch):
    assert_check_refuses(like_qwen(), like_qwen(pre_tokenizer=split(*pattern(other))), monkeypatch)


@pytest.mark.parametrize("ending", [r"\s*[\r\n]|\s+(?!\S)|\s+"])
def test_the_check_finds_what_the_engine_takes_and_reads_otherwise(ending, monkeypatch):
    monkeypatch.setitem(shapes.SPLITS, (CL100K % ending,), "cl100k")
    spec = byte_level(pre_tokenizer=split(CL100K % ending))
    assert_check_refuses(spec, spec, monkeypatch)
