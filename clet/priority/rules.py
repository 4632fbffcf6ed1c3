"""The rules of quality: one table of limits, clet's own beside the published ones, and what each set makes of counts.

Published are those of Gopher (Rae et al. 2021, 2112.11446, table A1), C4 (Raffel et al. 2020) and FineWeb (Penedo et
al. 2024, 2406.17557), in the form in which datatrove computes them; keyword stuffing is from Ntoulas et al. (WWW 2006).
Where clet's limit is wider the table says why: theirs were set for billions of web pages, where losing half is fine;
here a feed item of three sentences may be the only one that has the news.

A set of rules is a function from counts `[n, NUM_STATS]` to rules in the order in which they name the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clet.priority import lines as ln
from clet.priority.repetition import DUPLICATE_LIMITS, TOP_LIMITS, TOP_MIN
from clet.priority.textstats import MANY_SPACELESS, Least, Stat


class Limit(NamedTuple):
    """A limit by name: clet's value, the published one (None where there is none) and who published it."""

    own: float
    published: float | None
    source: str
    why: str = ""


LIMITS = {
    "min_words": Limit(20, 50, "Gopher", "a feed item is often one paragraph; below there is no context to learn from"),
    "max_words": Limit(float("inf"), 100_000, "Gopher", "a book is worth learning; the packer cuts it"),
    "min_word_chars": Limit(3, 3, "Gopher"),
    "max_word_chars": Limit(10, 10, "Gopher"),
    "max_symbols": Limit(0.1, 0.1, "Gopher", "number signs, and ellipses, a word; headings count once each"),
    "max_marks": Limit(0.5, None, "", "lone punctuation a word: tables and drawings; Gopher counts it as words"),
    "max_bullets": Limit(0.9, 0.9, "Gopher"),
    "max_dotted": Limit(0.3, 0.3, "Gopher", "lines that end with an ellipsis"),
    "min_letter_words": Limit(0.8, 0.8, "Gopher"),
    "min_stop_words": Limit(2, 2, "Gopher", "of one language of eight, in Latin script only; 1 below good_words"),
    "max_dup_lines": Limit(0.3, 0.3, "Gopher"),
    "max_dup_line_chars": Limit(0.2, 0.2, "Gopher"),
    "max_dup_paragraphs": Limit(float("inf"), 0.3, "Gopher", "a repeated paragraph is repeated lines"),
    "max_dup_paragraph_chars": Limit(float("inf"), 0.2, "Gopher", "as before"),
    "max_top_2": Limit(TOP_LIMITS[0], TOP_LIMITS[0], "Gopher"),
    "max_top_3": Limit(TOP_LIMITS[1], TOP_LIMITS[1], "Gopher"),
    "max_top_4": Limit(TOP_LIMITS[2], TOP_LIMITS[2], "Gopher"),
    "max_dup_5": Limit(DUPLICATE_LIMITS[0], DUPLICATE_LIMITS[0], "Gopher"),
    "max_dup_6": Limit(DUPLICATE_LIMITS[1], DUPLICATE_LIMITS[1], "Gopher"),
    "max_dup_7": Limit(DUPLICATE_LIMITS[2], DUPLICATE_LIMITS[2], "Gopher"),
    "max_dup_8": Limit(DUPLICATE_LIMITS[3], DUPLICATE_LIMITS[3], "Gopher"),
    "max_dup_9": Limit(DUPLICATE_LIMITS[4], DUPLICATE_LIMITS[4], "Gopher"),
    "max_dup_10": Limit(DUPLICATE_LIMITS[5], DUPLICATE_LIMITS[5], "Gopher"),
    "allowed_words": Limit(25, 0, "", "added to the n-gram limits as a share of the text: Gopher's suit long pages, "
                           "while 150 words of news may name the captain of a ship five times; 0.025 at 1000 words"),
    "top_min": Limit(TOP_MIN, 1, "", "how often the most frequent n-gram occurs before a share means anything"),
    "min_ended": Limit(0.12, 0.12, "FineWeb", "only together with max_short, since headlines end without a mark"),
    "max_short": Limit(0.67, 0.67, "FineWeb", "lines of at most 30 characters"),
    "max_full_dup": Limit(float("inf"), 0.01, "FineWeb", "weekly letters repeat their frame"),
    "max_newlines": Limit(float("inf"), 0.3, "FineWeb", "newlines a word; verse and minutes have as many"),
    "min_sentences": Limit(0, 5, "C4", "as min_words"),
    "max_top_word": Limit(0.15, None, "Ntoulas", "keyword stuffing; prose names its subject in 2 to 10% of its words"),
    "top_word_min": Limit(8, None, "", "occurrences before a share means anything"),
    "max_links": Limit(0.5, None, "", "addresses a word: a link farm; newsletters in Markdown have up to 0.3"),
    "min_listed": Limit(10, None, "", "lines, or words for links, before a share of them means anything"),
    "good_words": Limit(50, 50, "Gopher", "from here on length costs nothing"),
    # source code: Chen et al. 2021 (Codex), Li et al. 2023 (StarCoder)
    "code_min_words": Limit(5, None, ""),
    "code_max_line": Limit(1000, 1000, "Codex", "bytes of the longest line: above, it is minified or data"),
    "code_max_mean_line": Limit(100, 100, "Codex"),
    "code_max_dup_line_chars": Limit(0.6, None, "", "closing braces repeat by nature, tables of data more"),
}  # fmt: skip
OWN = {name: limit.own for name, limit in LIMITS.items()}
PUBLISHED = {name: limit.published for name, limit in LIMITS.items() if limit.published is not None}

# Repetition that costs nothing: half of the lowest limit, where scores begin to fall; of the published just below it.
# Of clet's own rules those on words come before those on repetition, and none on code asks for n-grams.
OWN_LEAST = Least(
    OWN["max_top_4"] / 2,
    OWN["max_dup_10"] / 2,
    OWN["allowed_words"],
    stop=True,
    letters=OWN["min_letter_words"],
    shortest=OWN["min_word_chars"],
    longest=OWN["max_word_chars"],
)
PUBLISHED_LEAST = Least(PUBLISHED["max_top_4"] * 0.99, PUBLISHED["max_dup_10"] * 0.99, 0.0, stop=True)


class Rule(NamedTuple):
    """A reason for dropping and, for each record, the value it was judged by and whether it failed."""

    reason: str
    values: np.ndarray  # [n]
    failed: np.ndarray  # [n] bool


def per(stats: np.ndarray, stat: int, divisor: int) -> np.ndarray:
    """A count a unit of another, 0 where there is none of either."""
    return stats[:, stat] / np.maximum(stats[:, divisor], 1.0)


def words(stats: np.ndarray) -> np.ndarray:
    """Words, where two characters of a script without spaces are about one."""
    return stats[:, Stat.WORDS] - stats[:, Stat.SPACELESS] / 2


def is_latin(stats: np.ndarray) -> np.ndarray:
    """Which texts are in Latin script, so that function words can be looked for."""
    return per(stats, Stat.LATIN, Stat.LETTERS) > 0.7


def _line(stat: int) -> int:
    return Stat.LINE + stat


_LINES = _line(ln.LINES)


def prose(stats: np.ndarray) -> list[Rule]:
    """clet's own rules for prose."""
    limit = OWN
    num_words, lines = words(stats), stats[:, _LINES]
    at_least = np.maximum(num_words, 1.0)
    mean_chars = per(stats, Stat.WORD_CHARS, Stat.WORDS)
    symbols = (stats[:, Stat.HASH_RUNS] + stats[:, Stat.ELLIPSES]) / at_least
    marks, links = stats[:, Stat.MARKS] / at_least, stats[:, Stat.LINKS] / at_least
    letters = per(stats, Stat.LETTER_WORDS, Stat.WORDS)
    bullets, dotted = per(stats, _line(ln.BULLETS), _LINES), per(stats, _line(ln.DOTTED), _LINES)
    short, ended = per(stats, _line(ln.SHORT_LINES), _LINES), per(stats, _line(ln.ENDED), _LINES)
    many = lines >= limit["min_listed"]
    listed = many & (short > limit["max_short"]) & (ended < limit["min_ended"])
    top = per(stats, Stat.TOP_WORD, Stat.WORDS)
    distinct = stats[:, Stat.STOP_DISTINCT]
    spaced = per(stats, Stat.SPACELESS, Stat.LETTERS) <= MANY_SPACELESS
    repeated = repetition(stats)
    uncommon = (mean_chars < limit["min_word_chars"]) | (mean_chars > limit["max_word_chars"])
    placeholder = stats[:, Stat.PLACEHOLDER]
    stuffed = (top > limit["max_top_word"]) & (stats[:, Stat.TOP_WORD] >= limit["top_word_min"])
    stops = np.where(num_words < limit["good_words"], 1, limit["min_stop_words"])
    return [
        Rule("short", num_words, num_words < limit["min_words"]),
        Rule("placeholder", placeholder, (placeholder > 0) & (num_words < 1000)),
        Rule("few-letters", letters, letters < limit["min_letter_words"]),
        Rule("word-length", mean_chars, spaced & uncommon),
        Rule("symbols", symbols, (symbols > limit["max_symbols"]) & (num_words >= limit["good_words"])),
        Rule("symbols", marks, marks > limit["max_marks"]),
        Rule("links", links, (links > limit["max_links"]) & (num_words >= limit["min_listed"])),
        Rule("repetition", repeated, repeated > 1.0),
        Rule("stuffing", top, spaced & stuffed),
        Rule("bullets", bullets, many & (bullets > limit["max_bullets"])),
        Rule("ellipses", dotted, many & (dotted > limit["max_dotted"])),
        Rule("list", short, listed),
        Rule("stop-words", distinct, is_latin(stats) & (distinct < stops)),
    ]


def code(stats: np.ndarray) -> list[Rule]:
    """clet's own rules for source code: length and repetition only."""
    limit = OWN
    num_words, repeated = stats[:, Stat.WORDS], per(stats, _line(ln.DUP_LINE_CHARS), _line(ln.LINE_CHARS))
    longest, mean = stats[:, _line(ln.LONGEST_LINE)], per(stats, _line(ln.LINE_CHARS), _LINES)
    wide = (longest > limit["code_max_line"]) | (mean > limit["code_max_mean_line"])
    return [
        Rule("short", num_words, num_words < limit["code_min_words"]),
        Rule("long-lines", longest, wide),
        Rule("repetition", repeated, repeated > limit["code_max_dup_line_chars"]),
    ]


def repetition(stats: np.ndarray) -> np.ndarray:
    """The worst of the measures of repetition, each in units of clet's limit: above 1 a limit is broken."""
    limit = OWN
    many = stats[:, _LINES] >= limit["min_listed"]  # two equal lines of four are a heading, not a flood
    allowed = limit["allowed_words"]
    extra = allowed / np.maximum(stats[:, Stat.WORDS], allowed)
    parts = [
        many * per(stats, _line(ln.DUP_LINES), _LINES) / limit["max_dup_lines"],
        many * per(stats, _line(ln.DUP_LINE_CHARS), _line(ln.LINE_CHARS)) / limit["max_dup_line_chars"],
    ]
    for n in range(2, 5):
        often = stats[:, Stat.TOP_COUNT + n - 2] >= limit["top_min"]
        parts.append(often * per(stats, Stat.TOP_CHARS + n - 2, Stat.CHARS) / (limit[f"max_top_{n}"] + extra))
    for n in range(5, 11):
        parts.append(per(stats, Stat.DUP_CHARS + n - 5, Stat.CHARS) / (limit[f"max_dup_{n}"] + extra))
    return np.maximum.reduce(parts)


def gopher_quality(stats: np.ndarray) -> list[Rule]:
    """Gopher's rules of quality, with the published limits."""
    limit = PUBLISHED
    loud = stats[:, Stat.LOUD_UNITS]
    mean = per(stats, Stat.LOUD_CHARS, Stat.LOUD_UNITS)
    hashes, ellipses = per(stats, Stat.HASHES, Stat.UNITS), per(stats, Stat.ELLIPSES, Stat.UNITS)
    bullets = per(stats, _line(ln.DASHED), _line(ln.ALL_LINES))
    dotted = per(stats, _line(ln.DOTTED), _line(ln.ALL_LINES))
    letters = per(stats, Stat.LETTER_UNITS, Stat.UNITS)
    stops = stats[:, Stat.GOPHER_STOPS]
    return [
        Rule("gopher-short", loud, loud < limit["min_words"]),
        Rule("gopher-long", loud, loud > limit["max_words"]),
        Rule("gopher-word-length", mean, (mean < limit["min_word_chars"]) | (mean > limit["max_word_chars"])),
        Rule("gopher-hashes", hashes, hashes > limit["max_symbols"]),
        Rule("gopher-ellipses", ellipses, ellipses > limit["max_symbols"]),
        Rule("gopher-bullets", bullets, bullets > limit["max_bullets"]),
        Rule("gopher-dotted", dotted, dotted > limit["max_dotted"]),
        Rule("gopher-few-letters", letters, letters < limit["min_letter_words"]),
        Rule("gopher-stop-words", stops, stops < limit["min_stop_words"]),
    ]


def gopher_repetition(stats: np.ndarray) -> list[Rule]:
    """Gopher's rules of repetition, with the published limits."""
    limit = PUBLISHED
    paragraphs = per(stats, _line(ln.DUP_PARAGRAPHS), _line(ln.PARAGRAPHS))
    paragraph_chars = per(stats, _line(ln.DUP_PARAGRAPH_CHARS), Stat.CHARS)
    lines = per(stats, _line(ln.RAW_DUP_LINES), _line(ln.RAW_LINES))
    line_chars = per(stats, _line(ln.RAW_DUP_LINE_CHARS), Stat.CHARS)
    rules = [
        Rule("gopher-dup-paragraphs", paragraphs, paragraphs > limit["max_dup_paragraphs"]),
        Rule("gopher-dup-paragraphs", paragraph_chars, paragraph_chars > limit["max_dup_paragraph_chars"]),
        Rule("gopher-dup-lines", lines, lines > limit["max_dup_lines"]),
        Rule("gopher-dup-lines", line_chars, line_chars > limit["max_dup_line_chars"]),
    ]
    for n in range(2, 5):
        share = per(stats, Stat.TOP_CHARS + n - 2, Stat.CHARS)
        rules.append(Rule(f"gopher-top-{n}", share, share > limit[f"max_top_{n}"]))
    for n in range(5, 11):
        share = per(stats, Stat.DUP_CHARS + n - 5, Stat.CHARS)
        rules.append(Rule(f"gopher-dup-{n}", share, share > limit[f"max_dup_{n}"]))
    return rules


def gopher(stats: np.ndarray) -> list[Rule]:
    """Both, in the order in which datatrove's pipelines run them."""
    return [*gopher_repetition(stats), *gopher_quality(stats)]


def c4(stats: np.ndarray) -> list[Rule]:
    """C4's rules for whole documents, on the sentences of the lines that it keeps."""
    placeholder, curly = stats[:, _line(ln.PLACEHOLDER)], stats[:, _line(ln.CURLY)]
    sentences = stats[:, _line(ln.SENTENCES)]
    return [
        Rule("c4-placeholder", placeholder, placeholder > 0),
        Rule("c4-curly-bracket", curly, curly > 0),
        Rule("c4-few-sentences", sentences, sentences < PUBLISHED["min_sentences"]),
    ]


def fineweb(stats: np.ndarray) -> list[Rule]:
    """FineWeb's own rules, which it adds to the others."""
    limit = PUBLISHED
    ended, short = per(stats, _line(ln.TERMINAL), _LINES), per(stats, _line(ln.SHORT_LINES), _LINES)
    repeated = stats[:, _line(ln.FULL_DUP_CHARS)] / np.maximum(stats[:, Stat.CHARS] - stats[:, Stat.NEWLINES], 1.0)
    newlines = per(stats, Stat.NEWLINES, Stat.UNITS)
    return [
        Rule("fineweb-ended", ended, ended < limit["min_ended"]),
        Rule("fineweb-short-lines", short, short > limit["max_short"]),
        Rule("fineweb-dup-lines", repeated, repeated > limit["max_full_dup"]),
        Rule("fineweb-newlines", newlines, newlines > limit["max_newlines"]),
    ]


SETS: dict[str, Callable[[np.ndarray], list[Rule]]] = {
    "gopher": gopher,
    "gopher-quality": gopher_quality,
    "gopher-repetition": gopher_repetition,
    "c4": c4,
    "fineweb": fineweb,
}
CLET = "clet"


def _reasons() -> tuple[str, ...]:
    nothing = np.zeros((0, int(Stat.LINE) + ln.NUM_LINE_STATS))
    found = [rule.reason for make in (prose, code, *SETS.values()) for rule in make(nothing)]
    return ("", *dict.fromkeys(found))


REASONS = _reasons()  # a rule's code is its place here; 0 is that of what passed


def first_broken(rules: list[Rule], size: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes `[size]` int16, values `[size]`) of the first rule that each record fails; 0 and 0 for none."""
    codes, values = np.zeros(size, np.int16), np.zeros(size)
    for rule in reversed(rules):
        codes[rule.failed] = REASONS.index(rule.reason)
        values[rule.failed] = rule.values[rule.failed]
    return codes, values
