"""A `tokenizer.json` as llama.cpp keeps tokenizers: tokens, kinds, merges, and the name of how it cuts text.

llama.cpp has no regular expressions in its files: it knows some dozens of ways to cut a text before merging, by name,
and picks the wrong one in silence where the name is wrong. So a tokenizer is written only if what it does is known to
be what llama.cpp does under some name, part by part; the names below were held against the tokenizers library
(tests/model/test_gguf.py), those of `init`, GPT-2 and Qwen on 18,417 real documents in English, German, Arabic and
Chinese, 2.5 to 3.8 million tokens each: only text that is not in NFC differs, with Qwen. Everything else is refused:
other cuts, SentencePiece vocabularies, tokens that swallow the spaces around them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clet.exits import InputError
from clet.log import log
from clet.model.checkpoint import read_json
from clet.model.config import ModelConfig
from clet.model.vocabulary import SPLIT

MAX_TOKENIZER_BYTES = 256 << 20
MAX_TEMPLATE_BYTES = 1 << 20
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama_token_type

_THREE_DIGITS = SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_MARKS = SPLIT.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
# (cuts, whether a whole word that is a token is taken without merging) -> llama.cpp's name
NAMES: dict[tuple[tuple[str, ...], bool], str] = {
    ((SPLIT,), False): "qwen2",  # clet init, Qwen2 to Qwen3
    ((_MARKS,), False): "qwen35",
    ((_THREE_DIGITS,), True): "llama-bpe",  # Llama 3
    ((_THREE_DIGITS,), False): "dbrx",
    (("gpt2",), False): "gpt-2",
    (("digits", "gpt2"), False): "smollm",
}


@dataclass(slots=True)
class GgufTokenizer:
    """What goes into the file. `special` are ids by llama.cpp's key: `bos`, `eos`, `eot`, `eom`, `padding`."""

    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    add_bos: bool
    special: dict[str, int] = field(default_factory=dict)
    chat_template: str | None = None


def read_tokenizer(directory: Path, config: ModelConfig) -> GgufTokenizer:
    """The tokenizer of a model directory. Raises InputError where llama.cpp would not tokenise as it does."""
    path = directory / "tokenizer.json"
    spec = read_json(path, MAX_TOKENIZER_BYTES)
    try:
        made = _convert(spec, config)
        settings = _settings(directory)
        made.special = _special(spec, settings, config, directory)
        made.chat_template = _chat_template(directory, settings)
    except _NotHeld as error:
        raise InputError(f"{path}: {error}; llama.cpp cannot do that, so no file was written") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not a tokenizer.json: {error!r:.80}") from None
    return made


class _NotHeld(Exception):
    """What llama.cpp has no way to do; the text names it."""


def _convert(spec: Mapping[str, Any], config: ModelConfig) -> GgufTokenizer:
    model = spec["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or model.get("unk_token"):
        raise _NotHeld(f"a {model.get('type')} vocabulary that is not byte-level BPE")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise _NotHeld(f"BPE with {name} {model[name]!r}")
    _check_normalizer(spec.get("normalizer"))
    cuts = (_cuts(spec.get("pre_tokenizer")), bool(model.get("ignore_merges")))
    if cuts not in NAMES:
        raise _NotHeld(f"its pre-tokenizer cuts text by {' then '.join(cuts[0])[:160]!r}")
    tokens, kinds = _tokens(model["vocab"], spec.get("added_tokens") or [], config.vocab_size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if any(merge.count(" ") != 1 for merge in merges):
        raise _NotHeld("merges of pieces with spaces in them")
    return GgufTokenizer(NAMES[cuts], tokens, kinds, merges, _adds_bos(spec.get("post_processor")))


def _check_normalizer(normalizer: Mapping[str, Any] | None) -> None:
    if normalizer is None:
        return
    if normalizer.get("type") != "NFC":
        raise _NotHeld(f"normalizer {normalizer.get('type')!r:.40}")
    log.warn(
        "llama.cpp does not bring text to Unicode's NFC as this tokenizer does: text in other forms (some macOS file "
        "names, decomposed accents) gets other tokens there",
        event="nfc",
    )


def _cuts(pre_tokenizer: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The ways in which a text is cut, in order: regular expressions, `digits` and `gpt2`."""
    if pre_tokenizer is None:
        raise _NotHeld("no pre-tokenizer")
    parts = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    cuts = []
    for part in parts:
        if part["type"] == "Split" and part["behavior"] == "Isolated" and not part.get("invert"):
            cuts.append(part["pattern"]["Regex"])
        elif part["type"] == "Digits" and part.get("individual_digits"):
            cuts.append("digits")
        elif part["type"] == "ByteLevel" and part is parts[-1] and not part.get("add_prefix_space", True):
            cuts += ["gpt2"] if part.get("use_regex", True) else []
        else:
            raise _NotHeld(f"pre-tokenizer {json.dumps(part)[:120]}")
    if parts[-1]["type"] != "ByteLevel":
        raise _NotHeld("a pre-tokenizer that does not end in bytes")
    return tuple(cuts)


def _tokens(vocab: Mapping[str, int], added: list[Mapping[str, Any]], size: int) -> tuple[list[str], list[int]]:
    """Spelling and kind of each id of the model; ids without a token are named apart from all tokens."""
    by_id = {int(index): (text, NORMAL) for text, index in vocab.items()}
    for token in added:
        if token.get("lstrip") or token.get("rstrip") or token.get("single_word"):
            raise _NotHeld(f"the token {token['content']!r} takes the spaces around it, or whole words only")
        by_id[int(token["id"])] = (str(token["content"]), CONTROL if token.get("special") else USER_DEFINED)
    if by_id and not 0 <= min(by_id) <= max(by_id) < size:
        raise InputError(f"the tokenizer has ids up to {max(by_id)}, the model has {size}; they do not belong together")
    known = {text for text, _ in by_id.values()}
    if len(known) != len(by_id):
        raise _NotHeld("two ids for one token")
    for index in set(range(size)) - by_id.keys():
        name = f"[PAD{index}]"
        while name in known:
            name = f"[{name}]"
        known.add(name)
        by_id[index] = (name, UNUSED)
    return [by_id[i][0] for i in range(size)], [by_id[i][1] for i in range(size)]


def _adds_bos(post: Mapping[str, Any] | None) -> bool:
    """Whether one token is put before a text, as Llama 3 does. Others put nothing around it."""
    parts = [] if post is None else post["processors"] if post["type"] == "Sequence" else [post]
    adds = False
    for part in parts:
        if part["type"] == "ByteLevel":
            continue
        if part["type"] != "TemplateProcessing":
            raise _NotHeld(f"post-processor {part['type']!r:.40}")
        kinds = [next(iter(piece)) for piece in part["single"]]
        if kinds not in (["Sequence"], ["SpecialToken", "Sequence"]):
            raise _NotHeld(f"a post-processor that puts {' '.join(kinds)[:80]} for a text")
        adds |= len(kinds) == 2
    return adds


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    return read_json(path, MAX_TOKENIZER_BYTES) if path.exists() else {}


def _special(
    spec: Mapping[str, Any], settings: Mapping[str, Any], config: ModelConfig, directory: Path
) -> dict[str, int]:
    """Ids of special tokens. llama.cpp takes 11 for begin and end where a file names none, so both are named."""
    ids = dict(spec["model"]["vocab"]) | {token["content"]: token["id"] for token in spec.get("added_tokens") or []}

    def named(name: str) -> int | None:
        value = settings.get(f"{name}_token")
        return ids.get(value.get("content") if isinstance(value, dict) else value)

    ends = list(dict.fromkeys([*config.eos_token_ids, *_generation_eos(directory, config.vocab_size)]))
    if not ends and (eos := named("eos")) is not None:
        ends = [eos]
    bos = config.bos_token_id if config.bos_token_id is not None else named("bos")
    if bos is None:
        if _adds_bos(spec.get("post_processor")):
            raise _NotHeld("it puts a token before a text, and neither config.json nor tokenizer_config.json names it")
        bos = ends[0] if ends else None
    found = dict(zip(("eos", "eot", "eom"), ends, strict=False)) | {"bos": bos, "padding": named("pad")}
    if bos is None:
        raise InputError(f"{directory}: nothing says which token ends a text; set eos_token_id in config.json")
    return {name: int(token) for name, token in found.items() if token is not None}


def _generation_eos(directory: Path, vocab_size: int) -> list[int]:
    path = directory / "generation_config.json"
    value = read_json(path, MAX_TEMPLATE_BYTES).get("eos_token_id") if path.exists() else None
    ids = value if isinstance(value, list) else [value]
    return [token for token in ids if type(token) is int and 0 <= token < vocab_size]


def _chat_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if path.exists():
        return path.read_bytes()[:MAX_TEMPLATE_BYTES].decode()
    source = settings.get("chat_template")
    if isinstance(source, list):  # several by name
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    return source if isinstance(source, str) else None
