"""A byte-level BPE vocabulary learned from a corpus (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2).

The text is cut by Qwen's regular expression (GPT-4's with single digits), so that published tools and fast engines
know the form; merges are learned within the cuts. There is no normaliser and every byte has a token: any text comes
back from its ids unchanged. The result is a function of the corpus alone. Time: about 5 MB of text a second and core,
then a few seconds of merging; memory: one counter a distinct word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from clet.exits import InputError, UsageError

END_OF_TEXT = "<|endoftext|>"  # between documents
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)  # ids 0, 1, 2
EOS_IDS = (0, 2)  # an answer ends with its document or with its turn

MIN_VOCAB = 256 + len(SPECIAL_TOKENS)
MAX_VOCAB = 1 << 20
MAX_CORPUS_CHARS = 256 << 20  # more text changes few merges of a vocabulary this small, and costs memory

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# ChatML: a system turn only where the caller gives one.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def check_vocab_size(vocab_size: int) -> None:
    """Raise UsageError for a size without room for the bytes, or beyond any published vocabulary."""
    if not MIN_VOCAB <= vocab_size <= MAX_VOCAB:
        raise UsageError(f"a vocabulary of {vocab_size} is not possible; choose {MIN_VOCAB} to {MAX_VOCAB}")


def train_vocabulary(texts: Iterable[str], vocab_size: int) -> str:
    """The content of a `tokenizer.json` with at most `vocab_size` ids, learned from `texts` in their order.

    A small corpus may yield fewer. Raises as `check_vocab_size`; InputError for no text at all.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    check_vocab_size(vocab_size)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    counted = _Bounded(texts)
    tokenizer.train_from_iterator(iter(counted), trainer=trainer)
    if not counted.num_chars:
        raise InputError("the corpus has no text; name text files, or records as clet ingest jsonl:FILE writes them")
    return tokenizer.to_str(pretty=True) + "\n"


def tokenizer_config(max_positions: int) -> dict[str, object]:
    """The object of `tokenizer_config.json` beside it: document end, padding and the ChatML template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "additional_special_tokens": [TURN_START, TURN_END],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_positions,
    }


def num_tokens(tokenizer_json: str) -> int:
    """Number of ids that a `tokenizer.json` uses: its largest id plus one. InputError when it is not a tokenizer."""
    try:
        document = json.loads(tokenizer_json)
        vocab = document["model"]["vocab"]
        ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
        added = [token["id"] for token in document.get("added_tokens", [])]
        return max((*ids, *added)) + 1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("tokenizer.json is not a Hugging Face fast tokenizer") from None


class _Bounded:
    """The texts up to `MAX_CORPUS_CHARS`, counting them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.num_chars = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.num_chars += len(text)
            yield text
            if self.num_chars >= MAX_CORPUS_CHARS:
                return
