"""Main text measured: how much of a page's own text each extractor finds, how much else, and how fast.

Two kinds of reference, told by what the folder holds:

- pages with their text (`NAME/source.html`, `NAME/expected.html`, as in Mozilla's Readability): multisets of words
  (runs of letters and digits, case folded) are compared. A page's precision is the share of the words found that are
  expected, recall the share of the expected that are found, each counted as often as it occurs. Precision, recall and
  F1 are means over pages; micro F1 adds the words of all pages first, so that long ones count more. The expected text
  is that of expected.html by lxml, with white space wherever an element is not an inline one.
- pages with strings that must and must not be found (`evaldata.json`, as in Trafilatura): its own test. White space
  is collapsed, and a string counts as found where it occurs in the text. All strings are added up.

Every extractor gets the same decoded markup. They take turns page by page, so that what else the machine does falls on
all alike, and their processor time is taken; pages a second is the median of passes. Figures are also given for two
halves, by a hash of the page's name: constants of clet's extractor were set on `half_0` alone.
"""

from __future__ import annotations

import hashlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from clet.exits import UsageError
from clet.sources.text.decode import decode_text
from clet.sources.text.extract import fragment_text, page_text

Extractor = Callable[[str], str]

_WORD = re.compile(r"\w+")
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins"),
    *(
        "kbd",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ),
}


@dataclass(frozen=True)
class Case:
    """A page and what is known of its text: the words of it, or strings in it and not in it."""

    name: str
    markup: str
    words: Counter[str] | None = None
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    @property
    def half(self) -> int:
        """0 or 1, by the name."""
        return int(hashlib.sha256(self.name.encode()).hexdigest()[:8], 16) & 1


def measure(folder: Path, runs: int = 3) -> dict[str, Any]:
    """Scores and speed of each extractor on the pages of a folder. Raises UsageError where it holds none."""
    cases = list(read_cases(folder))
    if not cases:
        raise UsageError(f"{folder}: evaldata.json names no page")
    extractors = _extractors()
    texts, seconds, failures = _run(cases, extractors, runs)
    score = _score_words if cases[0].words is not None else _score_strings
    found: dict[str, Any] = {}
    for name in extractors:
        pairs = list(zip(cases, texts[name], strict=True))
        halves = [[pair for pair in pairs if pair[0].half == half] for half in (0, 1)]
        found[name] = {
            **score(pairs),
            **{f"half_{half}": score(half_pairs) for half, half_pairs in enumerate(halves) if half_pairs},
            "pages_per_s": len(cases) / statistics.median(seconds[name]),
            "seconds": seconds[name],
            "failures": failures[name],
        }
    return {
        "reference": "words" if cases[0].words is not None else "strings",
        "num_pages": len(cases),
        "markup_chars": sum(len(case.markup) for case in cases),
        "versions": {name: _version(name) for name in ("trafilatura", "resiliparse", "lxml")},
        "extractors": found,
    }


def table(found: dict[str, Any]) -> tuple[list[str], list[list[Any]], list[str]]:
    """What `measure` found, as columns, rows and notes of a table."""
    words = found["reference"] == "words"
    names = ["precision", "recall", "f1", "micro_f1" if words else "accuracy"]
    halves = [half for half in ("half_0", "half_1") if all(half in each for each in found["extractors"].values())]
    columns = ["extractor", *[name.replace("_", " ") for name in names]]
    columns += [f"f1 {half.replace('_', ' ')}" for half in halves] + ["pages/s"]
    rows: list[list[Any]] = []
    for name, each in found["extractors"].items():
        scores = [*[each[key] for key in names], *[each[half]["f1"] for half in halves]]
        rows.append([name, *[f"{score:.4f}" for score in scores], float(each["pages_per_s"])])
    against = "words of the reference text" if words else "strings that must and must not occur"
    notes = [f"{found['num_pages']} pages of {found['markup_chars'] / found['num_pages'] / 1000:.0f} KB; {against}"]
    speeds = {name: each["pages_per_s"] for name, each in found["extractors"].items()}
    if "trafilatura" in speeds:
        notes.append(f"clet is {speeds['clet'] / speeds['trafilatura']:.1f} times as fast as trafilatura")
    return columns, rows, notes


def read_cases(folder: Path) -> Iterator[Case]:
    """The pages of a folder, with what is known of them. Raises UsageError."""
    if (folder / "evaldata.json").is_file():
        yield from _string_cases(folder)
        return
    sources = sorted(folder.glob("*/source.html"))
    if not sources:
        raise UsageError(f"{folder}: holds neither evaldata.json nor NAME/source.html")
    for source in sources:
        expected = decode_text((source.parent / "expected.html").read_bytes(), markup=True)
        yield Case(source.parent.name, decode_text(source.read_bytes(), markup=True), words_of(shown(expected)))


def _string_cases(folder: Path) -> Iterator[Case]:
    try:
        entries = list(orjson.loads((folder / "evaldata.json").read_bytes()).values())
        files = {path.name: path for path in folder.rglob("*.html")}
        for entry in entries:
            markup = decode_text(files[entry["file"]].read_bytes(), markup=True)
            wanted, unwanted = (tuple(map(_one_space, entry[key])) for key in ("with", "without"))
            yield Case(entry["file"], markup, None, wanted, unwanted)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder}/evaldata.json: {type(error).__name__}: {error}") from None


def shown(markup: str) -> str:
    """All text of a piece of markup, by lxml, with a space where an element that is no inline one begins or ends."""
    from lxml import html

    tree = html.fromstring(f"<div>{markup}</div>")
    for element in list(tree.iter("script", "style", "template")):
        element.drop_tree()
    for element in tree.iter():
        if isinstance(element.tag, str) and element.tag not in _INLINE:
            element.text = f" {element.text or ''}"
            element.tail = f" {element.tail or ''}"
    return tree.text_content()


def words_of(text: str) -> Counter[str]:
    """How often each word occurs."""
    return Counter(_WORD.findall(text.casefold()))


def _extractors() -> dict[str, Extractor]:
    """Those that are installed."""
    extractors: dict[str, Extractor] = {"clet": page_text}
    if _version("trafilatura"):
        import logging

        import trafilatura

        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
        extractors["trafilatura"] = lambda markup: trafilatura.extract(markup) or ""
        extractors["trafilatura, no comments"] = lambda markup: (
            trafilatura.extract(markup, include_comments=False) or ""
        )
        extractors["trafilatura, fast"] = lambda markup: trafilatura.extract(markup, fast=True) or ""
    if _version("resiliparse"):
        from resiliparse.extract.html2text import extract_plain_text

        extractors["resiliparse"] = lambda markup: extract_plain_text(
            markup.encode("utf-8", "replace").decode(), main_content=True
        )
    extractors["whole page"] = fragment_text
    return extractors


def _run(
    cases: Sequence[Case], extractors: dict[str, Extractor], runs: int
) -> tuple[dict[str, list[str]], dict[str, list[float]], dict[str, int]]:
    """(texts of all pages, processor seconds of each pass, failures) of each extractor."""
    texts: dict[str, list[str]] = {name: [] for name in extractors}
    seconds: dict[str, list[float]] = {name: [] for name in extractors}
    failures = dict.fromkeys(extractors, 0)
    for extract in extractors.values():
        extract("<html><body><p>One page before the clock runs.</p></body></html>")  # imports, tables
    for run in range(runs):
        spent = dict.fromkeys(extractors, 0.0)
        for case in cases:
            for name, extract in extractors.items():
                start = time.thread_time()
                try:
                    text = extract(case.markup)
                except Exception:
                    text = ""  # an extractor that fails on a page found nothing in it
                    failures[name] += run == 0
                spent[name] += time.thread_time() - start
                if run == 0:
                    texts[name].append(text)
        for name, total in spent.items():
            seconds[name].append(total)
    return texts, seconds, failures


def _score_words(pairs: Sequence[tuple[Case, str]]) -> dict[str, float]:
    precisions, recalls, f1s = [], [], []
    common_all = expected_all = found_all = 0
    for case, text in pairs:
        words = words_of(text)
        common, expected, found = (case.words & words).total(), case.words.total(), words.total()
        precisions.append(common / found if found else float(not expected))
        recalls.append(common / expected if expected else 1.0)
        f1s.append(_f1(common, expected, found))
        common_all, expected_all, found_all = common_all + common, expected_all + expected, found_all + found
    return {
        "precision": statistics.fmean(precisions),
        "recall": statistics.fmean(recalls),
        "f1": statistics.fmean(f1s),
        "micro_f1": _f1(common_all, expected_all, found_all),
    }


def _score_strings(pairs: Sequence[tuple[Case, str]]) -> dict[str, float]:
    right = wrong = wanted = unwanted = 0
    for case, text in pairs:
        text = _one_space(text)
        right += sum(string in text for string in case.wanted)
        wrong += sum(string in text for string in case.unwanted)
        wanted += len(case.wanted)
        unwanted += len(case.unwanted)
    return {
        "precision": right / (right + wrong) if right + wrong else 0.0,
        "recall": right / wanted if wanted else 0.0,
        "f1": _f1(right, wanted, right + wrong),
        "accuracy": (right + unwanted - wrong) / (wanted + unwanted) if wanted + unwanted else 0.0,
    }


def _f1(common: int, expected: int, found: int) -> float:
    return 2 * common / (expected + found) if expected + found else 1.0


def _one_space(text: str) -> str:
    return " ".join(text.split())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
