"""Which `tokenizer.json` the fast engine may take, and the file it is given.

A loader that skips a field it does not know encodes something else without a word, and a sample of text cannot show
all of it (dropout, a rare merge). So every part has to be on this list, each checked against the reference on every
code point and on random text; whatever is not listed, a new field included, is refused with a reason.

Two shapes are known: byte-level BPE (GPT-2, Qwen, Llama 3, o200k, DeepSeek: the text is split by a regular
expression, each piece is merged from bytes), and BPE with byte fallback in the manner of SentencePiece (Llama 2,
Phi-3, Mistral: spaces become U+2581, the whole text is merged from characters). What the fast engine is not given is
done outside it: NFC (its tables are newer than the reference's) and special tokens, whose spelling is ordinary text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unicodedata import is_normalized

import orjson

MAX_ID = 1 << 24  # the engine allocates up to the largest id
SPACE_MARK = "\u2581"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LAST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
# The regular expressions of published tokenizers, as one `Split` each; DeepSeek's is a sequence of three. Those of
# cl100k are not here: the engine reads them as tiktoken does, the reference's library otherwise ("1234", "\n\u00a0").
SPLITS: dict[tuple[str, ...], str] = {
    (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",): "gpt2",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _LAST,): "llama3",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _LAST,): "qwen2",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _LAST,): "qwen3.5",
    (
        _CASED % (_CONTRACTIONS + "?", _CONTRACTIONS + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _LAST,
    ): "o200k",
    (_CASED % ("", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _LAST,): "nemotron",
    (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
        "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ): "deepseek3",
}
_TOP = {
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"),
    *("decoder", "model"),
}
_MODEL = {
    *("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"),
    *("byte_fallback", "ignore_merges", "vocab", "merges"),
}
_ADDED = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}
# Without special tokens to add, these leave the ids alone.
_POST = {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"}


class Unsupported(Exception):
    """Why the fast engine may not take a tokenizer: one line."""


def byte_characters() -> dict[str, int]:
    """The 256 characters by which byte-level vocabularies write bytes (GPT-2's table), each with its byte."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def fast_spec(spec: dict[str, Any], *, separator: str, separator_id: int) -> tuple[bytes, bool]:
    """The `tokenizer.json` for the fast engine, and whether texts have to be in NFC before.

    It is `spec` without normalisation to NFC and special tokens, and with a token `separator`, so that many texts
    can be encoded in one call. Raises Unsupported, or KeyError, TypeError, AttributeError for a malformed `spec`.
    """
    _only(spec, _TOP, "tokenizer.json")
    model = spec["model"]
    _only(model, _MODEL, "model")
    if model.get("type") != "BPE":
        raise Unsupported(f"a model of type {model.get('type')}")
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise Unsupported("dropout, or a prefix or suffix of words")
    if max(model["vocab"].values()) >= MAX_ID or separator_id >= MAX_ID:
        raise Unsupported(f"ids from {MAX_ID} on")
    _check_post_processor(spec.get("post_processor"))
    plain = _plain_tokens(spec.get("added_tokens") or [], separator)
    changed = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None, "decoder": None}
    if model.get("byte_fallback"):
        normalizer, pre_tokenizer = _sentencepiece(spec, plain)
        merges, needs_nfc = _merges_by_rank(model["merges"]), False
    else:
        normalizer, needs_nfc = None, _is_nfc(spec.get("normalizer"))
        pre_tokenizer = _byte_level(spec)
        merges = _byte_level_merges(model)
    added = [token | {"special": False} for token in plain]
    added.append(dict.fromkeys(_ADDED, False) | {"id": separator_id, "content": separator})
    changed |= {"added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    return orjson.dumps(changed | {"model": model | {"merges": merges}}), needs_nfc


def plain_tokens(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The added tokens that are found in text: all but the special ones."""
    return [token for token in spec.get("added_tokens") or [] if not token["special"]]


def _only(fields: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(fields) - known)
    if unknown:
        raise Unsupported(f"{where} has a field {unknown[0]!r}")


def _check_post_processor(post: dict[str, Any] | None) -> None:
    for each in post["processors"] if post and post["type"] == "Sequence" else [post]:
        if each and each["type"] not in _POST:
            raise Unsupported(f"a post_processor {each['type']}")


def _plain_tokens(tokens: Sequence[dict[str, Any]], separator: str) -> list[dict[str, Any]]:
    """The added tokens that are found in text, if the reference and one search for the longest find the same.

    The reference looks for special tokens too (and leaves them alone), and in two passes, for tokens in the text as
    it came and in the normalised text: where tokens of different kinds overlap, one hides the other there only.
    """
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for token in tokens:
        _only(token, _ADDED, "an added token")
        kind = (False, token["normalized"]) if not token["special"] else (True, False)
        kinds.setdefault(kind, []).append(token["content"])
    plain = [token for token in tokens if not token["special"]]
    # The reference gives a token of spaces its id even where the token before took those spaces.
    if any(token["lstrip"] or token["rstrip"] for token in plain):
        for token in plain:
            if token["content"] != token["content"].strip():
                raise Unsupported(f"an added token {token['content']!r} that others take the spaces of")
    for token in plain:
        content = token["content"]
        if token["single_word"] or not content or separator[0] in content or not is_normalized("NFC", content):
            raise Unsupported(f"an added token {content!r} of single words, or of such characters")
        others = [name for kind, names in kinds.items() if kind != (False, token["normalized"]) for name in names]
        if any(_overlap(content, other) for other in others):
            raise Unsupported(f"an added token {content!r} that overlaps one of another kind")
    return plain


def _overlap(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    parts = range(1, shorter)
    return one in other or other in one or any(one[-k:] == other[:k] or other[-k:] == one[:k] for k in parts)


def _is_nfc(normalizer: dict[str, Any] | None) -> bool:
    if normalizer in (None, {"type": "Sequence", "normalizers": []}):
        return False
    if normalizer not in ({"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}):
        raise Unsupported(f"a normalizer {normalizer['type']} that is not NFC alone")
    return True


def _byte_level(spec: dict[str, Any]) -> dict[str, Any]:
    """The pre_tokenizer, if it is ByteLevel alone, or known splits and then ByteLevel."""
    pre = spec.get("pre_tokenizer") or {"type": "none"}
    steps = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    *splits, last = steps
    if last["type"] != "ByteLevel":
        raise Unsupported(f"a pre_tokenizer that ends with {last['type']}")
    _only(last, {"type", "add_prefix_space", "trim_offsets", "use_regex"}, "ByteLevel")
    if splits:
        regexes = tuple(step["pattern"].get("Regex", "") for step in splits if step["type"] == "Split")
        if len(regexes) < len(splits) or regexes not in SPLITS:
            raise Unsupported("a pre_tokenizer with other steps or another regular expression")
        for step in splits:
            _only(step, {"type", "pattern", "behavior", "invert"}, "Split")
            if step["behavior"] != "Isolated" or step["invert"]:
                raise Unsupported(f"a Split that is {step['behavior']}")
        if last.get("use_regex", True) or last["add_prefix_space"]:
            raise Unsupported("a split followed by one more, or by a space in front")
    elif not last.get("use_regex", True):
        raise Unsupported("ByteLevel without its regular expression")
    return pre


def _byte_level_merges(model: dict[str, Any]) -> list[Any]:
    """The merges, so that their rank is their place in the list, if the vocabulary is one of bytes."""
    vocab, characters = model["vocab"], byte_characters()
    if not characters.keys() <= vocab.keys() or not set("".join(vocab)) <= characters.keys():
        raise Unsupported("a vocabulary that is not one of bytes")
    merges = model["merges"]
    made = {merge.replace(" ", "") for merge in merges} if _as_strings(merges) else set(map("".join, merges))
    if len(made) == len(merges):
        return merges
    # The engine takes the id of what is made for the rank, which is right where each token is made in one way and in
    # the order of ids. Once more the first merge at the end puts the list out of that order, and is itself without
    # effect: then the engine keeps the rank of each pair.
    merges = _merges_by_rank(merges)
    return [*merges, merges[0]]


def _merges_by_rank(merges: list[Any]) -> list[Any]:
    """The merges, if none is listed twice: then the reference takes the last, the fast engine the first."""
    if len(set(merges if _as_strings(merges) else map(tuple, merges))) != len(merges):
        raise Unsupported("a merge that is listed twice")
    return merges


def _as_strings(merges: list[Any]) -> bool:
    """Whether merges are written as "a b" (the older way), not as ["a", "b"]."""
    strings = sum(isinstance(merge, str) for merge in merges)
    if strings not in (0, len(merges)):
        raise Unsupported("merges written in two ways")
    return strings > 0


def _sentencepiece(spec: dict[str, Any], plain: list[dict[str, Any]]) -> tuple[Any, Any]:
    """The normalizer and pre_tokenizer for the fast engine, if they only mark spaces."""
    model, normalizer, pre = spec["model"], spec.get("normalizer"), spec.get("pre_tokenizer")
    if model.get("ignore_merges"):
        raise Unsupported("ignore_merges with byte_fallback")
    bytes_named = [name for name in model["vocab"] if name.startswith("<0x")]
    if sorted(bytes_named) != [f"<0x{byte:02X}>" for byte in range(256)]:
        raise Unsupported("byte_fallback without a token for each byte, or with more")
    if any(token["normalized"] for token in plain):
        raise Unsupported("an added token that is looked for in normalised text")
    mark = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    steps = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer]
    if pre is None and steps in ([{"type": "Prepend", "prepend": SPACE_MARK}, mark], [mark]):
        return normalizer, None
    if normalizer is None and pre is not None and pre["type"] == "Metaspace":
        _only(pre, {"type", "replacement", "prepend_scheme", "split"}, "Metaspace")
        if pre["replacement"] != SPACE_MARK or pre["prepend_scheme"] not in ("always", "first", "never"):
            raise Unsupported("a Metaspace of another kind")
        if pre["prepend_scheme"] == "first":  # of a text; many are encoded in one call
            if plain:
                raise Unsupported("a space in front of the first piece of a text, with added tokens")
            pre = pre | {"prepend_scheme": "always"}
        return None, pre
    raise Unsupported("byte_fallback with a normalizer or pre_tokenizer that does more than to mark spaces")
