"""The figures of `clet bench ingest` for people: a table a part."""

from __future__ import annotations

import statistics
from typing import Any

from clet.bench import extraction, report


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    machine = f"{result['cores']} x {result['cpu']}"
    for part, show_part in _PARTS.items():
        if part in result:
            show_part(result[part], machine)


def _read(rows: list[dict[str, Any]], machine: str) -> None:
    columns = ["source", "members", "documents", "dropped", "failed", "complaints", "seconds"]
    cells = [
        [
            row["source"].rpartition("/")[2] or row["source"],
            row["members"],
            row["documents"],
            sum(row["rejected"].values()),
            row["failed"],
            len(row["complaints"]),
            row["seconds"],
        ]
        for row in rows
    ]
    report.show(f"read by clet ingest, {machine}", columns, cells)


def _feeds(found: dict[str, Any], machine: str) -> None:
    rows = [
        ["files", found["num_files"]],
        ["files with as many entries as the judge finds", found["num_agreeing"]],
        ["entries", found["num_entries"]],
        ["titles that differ", found["num_titles_differing"]],
        ["links that differ", found["num_links_differing"]],
        ["entries/s", found["entries_per_s"]],
    ]
    differing = [file for file in found["files"] if file["expected"] != file["found"]]
    notes = [f"{file['file']}: {file['found']} of {file['expected']} ({file['judge']})" for file in differing]
    report.show(f"entries of feeds, {machine}", ["what", "number"], rows, notes)


def _replay(replay: dict[str, Any], machine: str) -> None:
    names = ["polls", "feeds", "identical_polls", "unchanged", "documents", "expected_documents", "repeated_ids"]
    names += ["missing", "versions", "expected_versions", "dangling_supersedes", "cursor_bytes_mean", "seconds"]
    rows = [[name.replace("_", " "), replay[name]] for name in names]
    report.show(f"captures replayed in the order of their dates, {machine}", ["what", "number"], rows)


def _pages(sets: dict[str, Any], machine: str) -> None:
    for name, found in sets.items():
        columns, rows, notes = extraction.table(found)
        versions = [f"{peer} {version}" for peer, version in found["versions"].items() if version]
        report.show(f"main text of {name}, {machine}", columns, rows, [*notes, ", ".join(versions)])


def _speed(speed: dict[str, Any], machine: str) -> None:
    command_s, once_s, alone_s = (statistics.median(speed[name]) for name in ("command_s", "once_s", "tokenizer_s"))
    seconds = {
        "clet ingest jsonl:, the whole process": command_s,
        "the same without what is paid once": command_s - once_s,
        f"{speed['engine']} alone": alone_s,
        f"{speed['reference']} alone": speed["reference_s"],
    }
    rows = [[name, each, speed["tokens"] / each, speed["text_bytes"] / each / 1e6] for name, each in seconds.items()]
    notes = [f"{speed['ratio']:.2f} times as long as {speed['engine']} alone"]
    notes += [f"{speed['reference_ratio']:.2f} times as long as {speed['reference']} alone"]
    notes += [f"paid once, to start and to load the tokenizer: {once_s:.2f} s"]
    report.show(f"{speed['tokens']:,} tokens, {machine}", ["what", "wall s", "tokens/s", "MB/s"], rows, notes)


def _arrival(arrival: dict[str, Any], machine: str) -> None:
    names = {"stdin": "lines of standard input", "feed": "entries of a polled feed", "batch": "collected, then run"}
    rows = [
        [names[name], each["documents"], *(1000 * each[key] for key in ("median_s", "p99_s", "max_s"))]
        for name, each in arrival.items()
    ]
    sooner = arrival["batch"]["median_s"] / arrival["stdin"]["median_s"]
    columns = ["way in", "documents", "median ms", "p99 ms", "max ms"]
    report.show(
        f"from arrival to tokens, {machine}", columns, rows, [f"median {sooner:,.0f} times sooner than collected"]
    )


def _memory(memory: dict[str, Any], machine: str) -> None:
    rows = [[memory["records"], memory["early_mb"], memory["most_mb"], memory["growth_mb"], memory["seconds"]]]
    columns = ["records", "most in the first tenth MB", "most after MB", "growth MB", "seconds"]
    report.show(f"memory of clet ingest, {machine}", columns, rows)


def _many(many: dict[str, Any], machine: str) -> None:
    rows = [[name.replace("_", " "), each] for name, each in many.items()]
    report.show(f"{many['feeds']:,} feeds followed by one process, {machine}", ["what", "number"], rows)


_PARTS = {
    "read": _read,
    "feeds": _feeds,
    "replay": _replay,
    "pages": _pages,
    "speed": _speed,
    "arrival": _arrival,
    "memory": _memory,
    "many": _many,
}
