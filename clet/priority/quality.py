"""Quality of a text: rules that drop what is no text worth learning, and a score for the rest.

The rules are those of Gopher (Rae et al. 2021, 2112.11446, table A1), C4 (Raffel et al. 2020), FineWeb (Penedo et al.
2024, 2406.17557) and Ntoulas et al. (WWW 2006, spam pages), each a named constant below with its source. Where a limit
is wider than published the comment says why: those were set for billions of web pages, where losing half is fine; here
a feed item of three sentences may be the only one that has the news.

Source code is judged by length and repetition only: it has few stop words, many symbols, short lines without sentence
ends, and would fail every rule for prose. A record counts as code if it came through the adapters `git` or `file` and
its name ends like source code, or has no telling name and looks like it (`looks_like_code`). A publisher on the web
cannot choose this.

The score in [0, 1] is the product of five factors that fall from 1 to FLOOR as the text approaches the limit of the
rule behind them: length, letters, function words, repetition, sentences. Records without text (left out to save
space) are not judged; they get NEUTRAL.

Cost: one pass in compiled code (`clet.priority.textstats`), then arithmetic on columns. What the rules cannot see:
fluent lies, fluent machine text, facts; for these, see where a document comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from clet.batch import Batch
from clet.priority.textstats import Stat, measure
from clet.record import Record

# ---- limits of prose
MIN_WORDS = 20  # Gopher: 50. A feed item is often one paragraph; below 20 words there is no context to learn from
MEAN_WORD_CHARS = (3.0, 10.0)  # Gopher
MAX_SYMBOLS = 0.1  # runs of '#', and ellipses, a word: Gopher
MAX_MARKS = 0.5  # lone punctuation a word: tables and drawings; no published limit, Gopher counts it as words
MAX_BULLET_LINES = 0.9  # Gopher
MAX_DOTTED_LINES = 0.3  # lines ending with an ellipsis: Gopher
MIN_LETTER_WORDS = 0.8  # words with a letter: Gopher
MIN_STOP_WORDS = 2  # different function words of one language: Gopher; 1 below GOOD_WORDS; Latin script only
MAX_DUP_LINES = 0.3  # Gopher
MAX_DUP_LINE_CHARS = 0.2  # Gopher
MAX_TOP_SHARES = (0.20, 0.18, 0.16)  # characters in the most frequent 2-, 3-, 4-gram: Gopher
MAX_DUP_SHARES = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)  # characters in repeated 5- to 10-grams: Gopher
MIN_ENDED_LINES = 0.12  # FineWeb drops below; here only together with the next, since headlines end without a mark
MAX_SHORT_LINES = 0.67  # FineWeb: lines of at most 30 characters
ALLOWED_WORDS = 25  # added to the n-gram limits as a share of the text: Gopher's suit long pages, while 150 words of
# news may well name "the captain of the research ship Frodette" five times. At 1000 words it adds 0.025
MAX_TOP_WORD = 0.15  # keyword stuffing (Ntoulas et al.); prose about one thing names it in 2 to 10% of its words
MIN_TOP_WORD = 8  # occurrences, before a share means anything
MAX_LINKS = 0.5  # addresses a word: a link farm; newsletters in Markdown have up to 0.3
MIN_LISTED = 10  # lines, or words for links, before such a share means anything
PLACEHOLDER = b"lorem ipsum"  # C4

# ---- limits of source code (Chen et al. 2021, Codex; Li et al. 2023, StarCoder)
MIN_CODE_WORDS = 5
MAX_CODE_LINE_BYTES = 1000  # the longest line: above, it is minified or data
MAX_CODE_MEAN_LINE_BYTES = 100
MAX_CODE_DUP_LINE_CHARS = 0.6  # no published limit; closing braces repeat by nature, tables of data more
CODE_SOURCES = ("git", "file")
CODE_SUFFIXES = frozenset(
    """.asm .bash .bat .c .cc .cfg .clj .cmake .cpp .cs .css .cu .cxx .dart .el .ex .f90 .go .h .hpp .hs .html .in .ini
    .ipynb .java .jl .js .json .jsx .kt .lisp .lua .m .mk .ml .mm .nix .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rs
    .scala .scm .sh .sql .swift .tcl .toml .ts .tsx .v .vue .xml .yaml .yml .zig .zsh""".split()  # noqa: SIM905 - a table reads better as words
)
PROSE_SUFFIXES = frozenset((".md", ".markdown", ".rst", ".txt", ".adoc", ".tex", ".org", ".htm", ".pdf"))

# ---- the score
FLOOR = 0.2
NEUTRAL = 0.5
GOOD_WORDS = 50  # Gopher's minimum: from here on length costs nothing
GOOD_STOP_SHARE = 0.1  # function words a word; running prose has 0.15 to 0.4 of them


class Verdict(NamedTuple):
    """What the rules say of one record: `rule` is None where it passed, else with the `value` that broke it."""

    score: float
    rule: str | None = None
    value: float = 0.0


class Rule(NamedTuple):
    """A reason for dropping and, for each record of a batch, the value it was judged by and whether it failed."""

    reason: str
    values: np.ndarray  # [n]
    failed: np.ndarray  # [n] bool


def judge(batch: Batch, fields: Sequence[Record]) -> list[Verdict]:
    """The verdict on each record of a batch; `fields` are their parsed heads."""
    stats = measure(batch.text)
    code = np.array([_is_code(batch, row, fields[row]) for row in range(len(batch))], bool)
    rules = prose_rules(stats, batch)
    strict = code_rules(stats)
    scores = np.where(code, _code_score(stats), prose_score(stats))
    verdicts = []
    for row in range(len(batch)):
        if not batch.has_text[row]:
            verdicts.append(Verdict(NEUTRAL))
            continue
        broken = next((rule for rule in (strict if code[row] else rules) if rule.failed[row]), None)
        if broken is None:
            verdicts.append(Verdict(round(float(scores[row]), 4)))
        else:
            verdicts.append(Verdict(0.0, broken.reason, round(float(broken.values[row]), 4)))
    return verdicts


def _per(stats: np.ndarray, stat: int, per: int) -> np.ndarray:
    return stats[:, stat] / np.maximum(stats[:, per], 1.0)


def _words(stats: np.ndarray) -> np.ndarray:
    """Words, where two characters of a script without spaces are about one."""
    return stats[:, Stat.WORDS] - stats[:, Stat.SPACELESS] / 2


def _spaceless(stats: np.ndarray) -> np.ndarray:
    return _per(stats, Stat.SPACELESS, Stat.LETTERS) > 0.3


def _latin(stats: np.ndarray) -> np.ndarray:
    return _per(stats, Stat.LATIN, Stat.LETTERS) > 0.7


def prose_rules(stats: np.ndarray, batch: Batch) -> list[Rule]:
    """The rules for prose over counts `[n, NUM_STATS]`, in the order in which they name the reason."""
    words, lines = _words(stats), stats[:, Stat.LINES]
    mean_chars = _per(stats, Stat.WORD_CHARS, Stat.WORDS)
    symbols = (stats[:, Stat.HASHES] + stats[:, Stat.ELLIPSES]) / np.maximum(words, 1.0)
    marks = stats[:, Stat.MARKS] / np.maximum(words, 1.0)
    letters = _per(stats, Stat.LETTER_WORDS, Stat.WORDS)
    bullets, dotted = _per(stats, Stat.BULLETS, Stat.LINES), _per(stats, Stat.DOTTED, Stat.LINES)
    short = _per(stats, Stat.SHORT_LINES, Stat.LINES)
    listed = (lines >= MIN_LISTED) & (short > MAX_SHORT_LINES) & (_per(stats, Stat.ENDED, Stat.LINES) < MIN_ENDED_LINES)
    links = stats[:, Stat.LINKS] / np.maximum(words, 1.0)
    top = _per(stats, Stat.TOP_WORD, Stat.WORDS)
    distinct = stats[:, Stat.STOP_DISTINCT]
    spaced = ~_spaceless(stats)
    repetition = _repetition(stats)
    uncommon = (mean_chars < MEAN_WORD_CHARS[0]) | (mean_chars > MEAN_WORD_CHARS[1])
    placeholder = np.array([PLACEHOLDER in batch.text.bytes_at(row).lower() for row in range(len(batch))], bool)
    return [
        Rule("short", words, words < MIN_WORDS),
        Rule("placeholder", placeholder * 1.0, placeholder & (words < 1000)),
        Rule("few-letters", letters, letters < MIN_LETTER_WORDS),
        Rule("word-length", mean_chars, spaced & uncommon),
        Rule("symbols", symbols, (symbols > MAX_SYMBOLS) & (words >= GOOD_WORDS)),
        Rule("symbols", marks, marks > MAX_MARKS),
        Rule("links", links, (links > MAX_LINKS) & (words >= MIN_LISTED)),
        Rule("repetition", repetition, repetition > 1.0),
        Rule("stuffing", top, spaced & (top > MAX_TOP_WORD) & (stats[:, Stat.TOP_WORD] >= MIN_TOP_WORD)),
        Rule("bullets", bullets, (bullets > MAX_BULLET_LINES) & (lines >= MIN_LISTED)),
        Rule("ellipses", dotted, (dotted > MAX_DOTTED_LINES) & (lines >= MIN_LISTED)),
        Rule("list", short, listed),
        Rule("stop-words", distinct, _latin(stats) & (distinct < np.where(words < GOOD_WORDS, 1, MIN_STOP_WORDS))),
    ]


def code_rules(stats: np.ndarray) -> list[Rule]:
    """The rules for source code over counts `[n, NUM_STATS]`."""
    words, repeated = stats[:, Stat.WORDS], _per(stats, Stat.DUP_LINE_CHARS, Stat.LINE_CHARS)
    longest, mean = stats[:, Stat.LONGEST_LINE], _per(stats, Stat.LINE_CHARS, Stat.LINES)
    wide = (longest > MAX_CODE_LINE_BYTES) | (mean > MAX_CODE_MEAN_LINE_BYTES)
    return [
        Rule("short", words, words < MIN_CODE_WORDS),
        Rule("long-lines", longest, wide),
        Rule("repetition", repeated, repeated > MAX_CODE_DUP_LINE_CHARS),
    ]


def _repetition(stats: np.ndarray) -> np.ndarray:
    """The worst of the repetition measures, each in units of its limit: above 1 a limit is broken."""
    first, tops = Stat.DUP_SHARE, Stat.TOP_SHARE
    many = stats[:, Stat.LINES] >= MIN_LISTED  # two equal lines of four are a heading, not a flood
    extra = (ALLOWED_WORDS / np.maximum(stats[:, Stat.WORDS], ALLOWED_WORDS))[:, None]
    parts = [
        many * _per(stats, Stat.DUP_LINES, Stat.LINES) / MAX_DUP_LINES,
        many * _per(stats, Stat.DUP_LINE_CHARS, Stat.LINE_CHARS) / MAX_DUP_LINE_CHARS,
        (stats[:, tops : tops + len(MAX_TOP_SHARES)] / (MAX_TOP_SHARES + extra)).max(1),
        (stats[:, first : first + len(MAX_DUP_SHARES)] / (MAX_DUP_SHARES + extra)).max(1),
    ]
    return np.maximum.reduce(parts)


def _ramp(values: np.ndarray, worst: float, best: float) -> np.ndarray:
    """FLOOR at `worst`, 1 at `best`, linear between, constant beyond."""
    return FLOOR + (1 - FLOOR) * np.clip((values - worst) / (best - worst), 0.0, 1.0)


def prose_score(stats: np.ndarray) -> np.ndarray:
    """Scores `[n]` in [0, 1] of prose from counts `[n, NUM_STATS]`."""
    words = _words(stats)
    stop_share = _per(stats, Stat.STOP_WORDS, Stat.WORDS)
    function = np.where(_latin(stats), _ramp(stop_share, 0.0, GOOD_STOP_SHARE), 1.0)
    ended = _ramp(_per(stats, Stat.ENDED, Stat.LINES), 0.0, 3 * MIN_ENDED_LINES)
    return (
        _ramp(words, MIN_WORDS, GOOD_WORDS)
        * _ramp(_per(stats, Stat.LETTER_WORDS, Stat.WORDS), MIN_LETTER_WORDS, 0.9)
        * function
        * _ramp(_repetition(stats), 1.0, 0.5)
        * ended
    )


def _code_score(stats: np.ndarray) -> np.ndarray:
    repeated = _per(stats, Stat.DUP_LINE_CHARS, Stat.LINE_CHARS)
    return _ramp(stats[:, Stat.WORDS], MIN_CODE_WORDS, GOOD_WORDS) * _ramp(
        repeated, MAX_CODE_DUP_LINE_CHARS, MAX_CODE_DUP_LINE_CHARS / 3
    )


def _is_code(batch: Batch, row: int, fields: Record) -> bool:
    if fields.get("source") not in CODE_SOURCES or not batch.has_text[row]:
        return False
    suffix = _suffix(fields)
    if suffix in CODE_SUFFIXES:
        return True
    return suffix not in PROSE_SUFFIXES and looks_like_code(batch.text_at(row))


def _suffix(fields: Record) -> str:
    meta = fields.get("meta") or {}
    for name in (meta.get("path"), fields.get("url"), fields.get("title")):
        if isinstance(name, str) and (suffix := PurePosixPath(name.partition("#")[0]).suffix.lower()):
            return suffix
    return ""


def looks_like_code(text: str) -> bool:
    """Whether at least three in ten of the first 200 lines end like statements: with one of `;{}:,()` or a comment."""
    lines = [line.strip() for line in text[: 1 << 15].split("\n")[:200]]
    lines = [line for line in lines if line]
    marked = sum(line[-1] in ";{}:,()=\\" or line.startswith(("#", "//", "/*")) for line in lines)
    return bool(lines) and marked >= 0.3 * len(lines)
