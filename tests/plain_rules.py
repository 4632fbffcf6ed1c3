"""The counts of `clet.priority.textstats` written down slowly in plain Python, for comparison.

Words are cut with regular expressions on str, as spaCy's English rules are written; n-grams, lines and paragraphs are
counted on lists of strings, as datatrove does.
"""

# ruff: noqa: E501, SIM905 - escapes are wide, and a table reads better as words
from __future__ import annotations

import re
import unicodedata
from collections import Counter

PUNCT = "\u2026,:;!?\u00bf\u061f\u00a1()[]{}<>_#*&\u3002\uff1f\uff01\uff0c\u3001\uff1b\uff1a\uff5e\u00b7\u0964\u060c\u06d4\u061b\u066a"
QUOTES = "'\"\u201d\u201c`\u2018\u00b4\u2019\u201a\u201e\u00bb\u00ab\u300c\u300d\u300e\u300f\uff08\uff09\u3014\u3015\u3010\u3011"
QUOTES += "\u300a\u300b\u3008\u3009\u27e6\u27e7"
CURRENCY = "$\u00a3\u20ac\u00a5\u0e3f\ufdfc" + "".join(map(chr, range(0x20A0, 0x20C0)))
HYPHENS = "-\u2013\u2014~"
STOPS = set(".!?\u3002\uff01\uff1f\u061f\u06d4\u0964")
QUIET = set(
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2013\u2014\u2019\u201c\u201d\u201e\u2026\u00ab\u00bb\u3001\u3002\uff01\uff0c\uff1f\u061f\u06d4\u0964"
)
UNITS = "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mb MB kb KB gb GB tb TB T G M K am pm".split()
KEPT = [
    *"Mr Mrs Ms Dr Prof St Jr Sr Gen Rep Sen Gov Lt Col Capt Adm Rev Hon Inc Ltd Co Corp Bros vs v e.g i.e E.g".split(),
    *"I.e a.m p.m Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mt Ph.D".split(),
    *"abcdefghijklmnopqrstuvwxyz",
]
ENGLISH = ["the", "be", "to", "of", "and", "that", "have", "with"]


def is_upper(char: str) -> bool:
    return char.isalpha() and unicodedata.category(char) != "Ll"


def is_lower(char: str) -> bool:
    return char.isalpha() and unicodedata.category(char) not in ("Lu", "Lt")


def is_symbol(char: str) -> bool:
    return unicodedata.category(char) == "So"


def is_spaceless(char: str) -> bool:
    return char.isalpha() and (0x3040 <= ord(char) < 0xA000 or 0xE00 <= ord(char) < 0xEE0)


def cut_run(run: str, whole: bool) -> list[str]:
    front, core, back = [], run, []
    while core:
        found = re.match(r"\.\.+", core)
        if found:
            piece = found.group()
        elif core[0] == "+":
            if core[1:2].isascii() and core[1:2].isdigit():
                break
            piece = "+"
        elif core[0] in PUNCT + QUOTES + CURRENCY + "\u00a7%=\u2013\u2014" or is_symbol(core[0]):
            piece = core[0]
        else:
            break
        front.append(piece)
        core = core[len(piece) :]
    while core:
        piece = ending(core)
        if not piece:
            break
        back.insert(0, piece)
        core = core[: -len(piece)]
    return front + (cut_core(core, whole) if core else []) + back


def ending(core: str) -> str:
    last, previous = core[-1], core[-2:-1]
    digit = previous.isascii() and previous.isdigit()
    if last == ".":
        if previous == ".":
            return re.search(r"\.+$", core).group()
        if not previous or core[:-1] in KEPT:
            return ""
        if digit or is_lower(previous) or previous in QUOTES + PUNCT + HYPHENS + "%" or is_symbol(previous):
            return "."
        return "." if len(core) > 2 and is_upper(previous) and is_upper(core[-3]) else ""
    if last in "+%" or last in CURRENCY:
        return last if digit else ""
    if last in PUNCT + QUOTES + "\u2013\u2014" or is_symbol(last):
        return last
    if last in "sS" and previous in ("'", "\u2019"):
        return previous + last
    found = re.search(r"(?<=[0-9])[A-Za-z]{1,3}$", core)
    return found.group() if found and found.group() in UNITS else ""


def cut_core(core: str, whole: bool) -> list[str]:
    found = re.fullmatch(r"(.+)(n['\u2019]t|['\u2019](?:m|d|re|ve|ll))", core, re.IGNORECASE | re.DOTALL)
    if found:
        return list(found.groups())
    if re.match(r"[A-Za-z]+://.", core):
        return [core]
    if re.match(r"[0-9A-Za-z.-]{2,}?\.[a-z]{2,}(/|:[0-9])", core):
        return [core]
    pieces, start, at = [], 0, 0
    while at < len(core):
        char, stop = core[at], at + 1
        apart = is_symbol(char) or char == "\u2026" or (is_spaceless(char) and not whole)
        if not apart and re.match(r"\.\.", core[at:]):
            stop = at + len(re.match(r"\.+", core[at:]).group())
            apart = True
        elif not apart and 0 < at < len(core) - 1 and not char.isalpha() and unicodedata.category(char) != "Nd":
            before = core[at - 1]
            if char in HYPHENS:
                stop = at + 1 + len(re.match(r"-*", core[at + 1 :]).group())
            after = core[stop : stop + 1]
            if char in HYPHENS or char in ":<>=/":
                apart = (before.isalpha() or unicodedata.category(before) == "Nd") and after.isalpha()
            elif char == ",":
                apart = before.isalpha() and after.isalpha()
            elif char == ".":
                apart = (is_lower(before) or before in QUOTES) and (is_upper(after) or after in QUOTES)
            if char in "+-*^":
                apart |= before in "0123456789" and after != "" and after in "0123456789-"
        if apart:
            pieces += [core[start:at]] if start < at else []
            pieces.append(core[at:stop])
            start = stop
        at = stop
    return pieces + ([core[start:]] if start < len(core) else [])


def cut(text: str, *, whole: bool = False) -> list[str]:
    return [unit for run in text.split() for unit in cut_run(run, whole)]


def duplicates(parts: list[str]) -> tuple[int, int]:
    seen, count, chars = set(), 0, 0
    for part in parts:
        count += part in seen
        chars += len(part) if part in seen else 0
        seen.add(part)
    return count, chars


def top(units: list[str], n: int) -> tuple[int, int]:
    grams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    if not grams:
        return 0, 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(" ".join(gram)) * count, count


def repeated(units: list[str], n: int) -> int:
    seen, chars, at = set(), 0, 0
    while at + n <= len(units):
        gram = tuple(units[at : at + n])
        if gram in seen:
            chars += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return chars


def kept_sentences(line: str) -> int:
    """Sentences of a line where C4 keeps it, else 0; phrases left out."""
    line = line.strip()
    runs = line.split()
    line = re.sub(r"(\[\d*\]|\[edit\]|\[citation needed\])+$", "", line)
    if any(len(run) > 1000 for run in runs) or len(runs) < 3 or "{" in line:
        return 0
    if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
        return 0
    sentences, ended = 1, False
    for unit in cut(" ".join(runs)):
        if len(unit) == 1 and unit in STOPS:
            ended = True
        elif ended and not all(unicodedata.category(char).startswith("P") for char in unit):
            sentences, ended = sentences + 1, False
    return sentences


def counts(text: str) -> dict[str, float]:
    units = cut(text)
    loud = [unit for unit in units if any(char not in QUIET for char in unit)]
    lines = text.split("\n")
    full = [line for line in lines if line.strip()]
    raw = re.split("\n+", text)
    paragraphs = re.split(r"\n{2,}", text.strip("\n"))
    paragraphs = [part for part in paragraphs if part]
    found = {
        "CHARS": len(text),
        "NEWLINES": text.count("\n"),
        "UNITS": len(units),
        "LOUD_UNITS": len(loud),
        "LOUD_CHARS": sum(map(len, loud)),
        "LETTER_UNITS": sum(any(map(str.isalpha, unit)) for unit in units),
        "LETTERS": sum(map(str.isalpha, text)),
        "HASHES": text.count("#"),
        "ELLIPSES": text.count("...") + text.count("\u2026"),
        "GOPHER_STOPS": len(set(ENGLISH) & set(units)),
        "ALL_LINES": len(text.splitlines()) if text else 0,
        "LINES": len(full),
        "DASHED": sum(line.lstrip().startswith(("-", "\u2022")) for line in full),
        "DOTTED": sum(line.rstrip().endswith(("...", "\u2026")) for line in full),
        "TERMINAL": sum(line.endswith(tuple(STOPS)) for line in full),
        "SHORT_LINES": sum(len(line) <= 30 for line in full),
        "RAW_LINES": len(raw) if text else 0,
        "RAW_DUP_LINES": duplicates(raw)[0],
        "RAW_DUP_LINE_CHARS": duplicates(raw)[1],
        "FULL_DUP_CHARS": duplicates(full)[1],
        "PARAGRAPHS": len(paragraphs),
        "DUP_PARAGRAPHS": duplicates(paragraphs)[0],
        "DUP_PARAGRAPH_CHARS": duplicates(paragraphs)[1],
    }
    for n in (2, 3, 4):
        found[f"TOP_CHARS_{n}"], found[f"TOP_COUNT_{n}"] = top(units, n)
    for n in range(5, 11):
        found[f"DUP_CHARS_{n}"] = repeated(units, n)
    return found
