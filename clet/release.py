"""Releases of a run: immutable, numbered model directories, and the three links by which others find them.

    RUN/releases/<n>/    config.json, model.safetensors, tokenizer.json ... and release.json, what it is made of;
                         adapter/ where adapters were trained, which the weights have merged in
    RUN/realtime         the newest release that passed the breaker, moved by each new one
    RUN/live             the release that was found good: moved by promote, and by itself to each that passes all gates,
                         where gates were given; without gates the first release becomes live, so that a fresh run can
                         be served
    RUN/static           a release to compare with, moved by promote only
    RUN/links.jsonl      which releases were made, with the SHA-256 of their release.json; who pointed where, and when;
                         and which releases were recalled

A release that fails (`verdict` in its release.json), or that a trip of the breaker recalls, stays where it is, and no
link points to it by itself.

A release is built in a temporary directory beside its place, made durable and renamed: it is whole or it is not
there. A link is a relative symbolic link replaced by rename, so a reader always finds one release or the other. Two
processes may move links at once: the journal is locked meanwhile. The link counts, the journal follows: kill -9
between them loses a line of history, never points anybody to a release that was not meant.

No torch here: whoever serves, audits or lists releases need not load it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from clet.container import seal_line, unsealed
from clet.exits import CletError, InputError, UsageError, WriteError
from clet.log import log
from clet.record import format_time
from clet.state import fsync_directory, write_atomically

TIERS = ("static", "live", "realtime")
RELEASES = "releases"
FACTS = "release.json"
ADAPTER = "adapter"
LINKS = "links.jsonl"
MADE, RECALLED = "made", "recalled"  # in the journal, beside the names of tiers
MAX_FACTS_BYTES = 64 << 20
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its number, its model directory, and the object of its release.json."""

    number: int
    path: Path
    facts: dict[str, Any]

    def count(self, name: str) -> int:
        """A number that a trainer wrote into release.json: `step` or `tokens`. Raises InputError where it is not."""
        value = self.facts.get(name)
        if type(value) is not int or value < 0:
            raise InputError(f"{self.path / FACTS}: no number of {name}; restore it from a copy")
        return value


# ---- finding


def list_releases(run: str | Path) -> tuple[list[Release], list[str]]:
    """All releases of a run, oldest first, and what is wrong with those that cannot be read.

    Raises UsageError for what is no run.
    """
    check_run(run)
    whole, damaged = [], []
    for number in release_numbers(run):
        try:
            whole.append(read_release(run, number))
        except InputError as error:
            damaged.append(str(error))
    return whole, damaged


def release_numbers(run: str | Path) -> list[int]:
    """Numbers of all releases of a run, ascending."""
    try:
        names = os.listdir(Path(run) / RELEASES)
    except OSError:
        return []
    return sorted(int(name) for name in names if _NUMBER.match(name))


def read_release(run: str | Path, number: int) -> Release:
    """Release `number`. Raises UsageError where there is none, InputError where its release.json is damaged."""
    path = Path(run) / RELEASES / str(number)
    if not path.is_dir():
        raise UsageError(f"{run}: no release {number}; see clet release list {run}")
    return Release(number, path, read_facts(path))


def read_facts(directory: str | Path) -> dict[str, Any]:
    """The object of a model directory's release.json. Raises InputError where it is missing or malformed."""
    path = Path(directory) / FACTS
    try:
        with open(path, "rb") as file:
            body = file.read(MAX_FACTS_BYTES + 1)
        facts = orjson.loads(body) if len(body) <= MAX_FACTS_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; is this a release?") from None
    except orjson.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("number"), int):
        raise InputError(f"{path}: not the description of a release")
    return facts


def is_run(path: str | Path) -> bool:
    """Whether a directory is a run (it has releases, or a trainer has begun one), not a model directory."""
    path = Path(path)
    return not (path / "config.json").exists() and ((path / RELEASES).is_dir() or (path / "run.json").is_file())


def check_run(path: str | Path) -> None:
    """Raise UsageError for what is no run."""
    if not is_run(path):
        raise UsageError(f"{path}: not a run; name what clet train --run made")


def tier_number(run: str | Path, tier: str) -> int | None:
    """The number that a link points to, or None where the link is not set or points to nothing."""
    if tier not in TIERS:
        raise UsageError(f"no tier {tier!r}; choose one of {', '.join(TIERS)}")
    try:
        name = Path(os.readlink(Path(run) / tier)).name
    except OSError:
        return None
    return int(name) if _NUMBER.match(name) and (Path(run) / RELEASES / name).is_dir() else None


def find_release(run: str | Path, which: str | int = "live") -> Release:
    """The release that a tier's link points to, or the one with that number.

    Raises UsageError where there is none, with what to do about it.
    """
    if isinstance(which, int) or _NUMBER.match(which):
        return read_release(run, int(which))
    number = tier_number(run, which)
    if number is None:
        if not release_numbers(run):
            raise UsageError(f"{run}: no release yet; clet train --run {run} makes one")
        cure = f"clet release promote {run} {which} NUMBER" if which != "realtime" else "naming a release by its number"
        raise UsageError(f"{run}: nothing is {which} yet; try {cure}")
    return read_release(run, number)


def find_model(path: str | Path, which: str = "live") -> Path:
    """The model directory meant by a path: the path itself, or for a run the release of a tier (or number).

    Raises UsageError where there is neither.
    """
    path = Path(path)
    if is_run(path):
        return find_release(path, which).path
    if not (path / "config.json").is_file():
        raise UsageError(f"{path}: neither a model directory (config.json) nor a run (releases/)")
    return path


# ---- making


def publish(
    run: str | Path,
    number: int,
    fill: Callable[[Path], dict[str, Any]],
    now: datetime,
    *,
    sign: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Release:
    """Make release `number`: `fill(directory)` writes the model into an empty directory and returns its facts.

    `number` and `created` are added here, and what `sign` adds. The release appears whole, and links move to it as
    `announce` says. Raises WriteError, after which nothing has appeared; UsageError where the number is taken.
    """
    releases = Path(run) / RELEASES
    target, staging = releases / str(number), releases / f".{number}.tmp-{os.getpid()}"
    if target.exists():
        raise UsageError(f"{target}: exists; releases are immutable")
    try:
        releases.mkdir(parents=True, exist_ok=True)
        _clear_stale(releases)
        staging.mkdir()
        facts = {"number": number, "created": format_time(now)} | fill(staging)
        facts = sign(facts) if sign else facts
        write_atomically(staging / FACTS, _body(facts))
        _sync_tree(staging)
        os.rename(staging, target)
        fsync_directory(releases)
    except OSError as error:
        raise WriteError(f"{target}: {error.strerror}; nothing was released") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    made = Release(number, target, facts)
    announce(run, made, now)
    return made


def announce(run: str | Path, made: Release, now: datetime) -> None:
    """Note a new release, and point links to it, as its verdict says; nothing the second time.

    `realtime` to one that passed the breaker; `live` to one that passed all gates, or where none were ever given and
    nothing is live yet but what was recalled.
    """
    done = {move["link"] for move in link_history(run) if move["release"] == made.number}
    if MADE not in done:
        entry = {"time": format_time(now), "link": MADE, "release": made.number}
        entry["sha256"] = hashlib.sha256(_body(made.facts)).hexdigest()
        with _journal(run) as journal:
            _append(Path(run), journal, entry)
    verdict = made.facts.get("verdict") or {}
    if verdict.get("breaker"):
        return
    if "realtime" not in done:
        _move(run, "realtime", made.number, "release", now)
    if verdict.get("passed") and "live" not in done:
        _move(run, "live", made.number, "passed all gates", now)
    elif verdict.get("passed") is None and tier_number(run, "live") in (None, *recalled(run)) and not was_judged(run):
        _move(run, "live", made.number, "first release", now)


def _body(facts: dict[str, Any]) -> bytes:
    """release.json, as it is written."""
    return orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n"


def facts_hash(directory: str | Path) -> str:
    """SHA-256 (hex) of a release's release.json. Raises InputError where it cannot be read."""
    path = Path(directory) / FACTS
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; restore it from a copy") from None


def noted_hash(run: str | Path, number: int) -> str | None:
    """What `facts_hash` gave when a release was made, as the journal has it; None where it does not."""
    return next(
        (move.get("sha256") for move in link_history(run) if (move["link"], move["release"]) == (MADE, number)), None
    )


def was_judged(run: str | Path) -> bool:
    """Whether any release of a run had gates to pass: then none becomes live without."""
    for number in release_numbers(run):
        with contextlib.suppress(CletError):  # damaged: whoever wants it will be told
            if (read_release(run, number).facts.get("verdict") or {}).get("passed") is not None:
                return True
    return False


def was_signed(run: str | Path) -> bool:
    """Whether the newest release of a run is signed."""
    numbers = release_numbers(run)
    with contextlib.suppress(CletError):
        return bool(numbers) and read_release(run, numbers[-1]).facts.get("signature") is not None
    return False


def recall(run: str | Path, number: int, why: str, now: datetime) -> None:
    """Take a release back: `realtime` and `live`, where they point to it, go back to the newest before that was not.

    The release stays where it is. Where there is nothing to go back to, links stay until another release takes them,
    which is said.
    """
    taken_back = recalled(run)
    if number not in taken_back:
        with _journal(run) as journal:
            _append(Path(run), journal, {"time": format_time(now), "link": RECALLED, "release": number, "why": why})
    for tier in ("realtime", "live"):
        if tier_number(run, tier) != number:
            continue
        past = {move["release"] for move in link_history(run) if move["link"] == tier}
        good = [n for n in release_numbers(run) if n < number and n not in taken_back and n in past]
        if good:
            _move(run, tier, good[-1], "recall", now)
        else:
            log.warn(f"{run}: release {number} is recalled ({why}) and still {tier}: there is none before it")


def recalled(run: str | Path) -> dict[int, str]:
    """The releases that were taken back, and why."""
    return {move["release"]: str(move.get("why")) for move in link_history(run) if move["link"] == RECALLED}


def verdict_of(release: Release, taken_back: dict[int, str]) -> tuple[str, str | None]:
    """(`passed`, `failed`, `recalled` or `unjudged`, why) of a release."""
    if release.number in taken_back:
        return "recalled", taken_back[release.number]
    verdict = release.facts.get("verdict")
    verdict = verdict if isinstance(verdict, dict) else {}
    why = verdict.get("why")
    if verdict.get("breaker") or verdict.get("passed") is False:
        return "failed", None if why is None else str(why)
    return ("unjudged" if verdict.get("passed") is None else "passed"), None


def _clear_stale(releases: Path) -> None:
    for path in releases.glob(".*.tmp-*"):  # left by a killed trainer; the run's lock says that no other is at work
        shutil.rmtree(path, ignore_errors=True)


def _sync_tree(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            _sync_tree(path)
            continue
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    fsync_directory(directory)


# ---- the links


def promote(run: str | Path, tier: str, number: int, now: datetime) -> int | None:
    """Point `live` or `static` to a release; the number that it pointed to before, or None.

    Raises UsageError for `realtime`, which is always the newest, and for a release that is not there.
    """
    _check_movable(tier)
    before = tier_number(run, tier)
    read_release(run, number)
    if (why := recalled(run).get(number)) is not None:
        log.warn(f"{run}: release {number} was recalled: {why}")
    if before != number:
        _move(run, tier, number, "promote", now)
    return before


def rollback(run: str | Path, tier: str, now: datetime) -> tuple[int, int]:
    """Point a link back to where it was before; (number left, number now). Repeated, it goes further back.

    Raises UsageError where there is no earlier target, and for `realtime`, which is always the newest.
    """
    _check_movable(tier)
    current = tier_number(run, tier)
    with _journal(run) as journal:
        past = _history(journal, tier)
        taken_back = recalled(run)
        while past and (
            past[-1] == current or past[-1] in taken_back or not (Path(run) / RELEASES / str(past[-1])).is_dir()
        ):
            past.pop()
        if current is None or not past:
            raise UsageError(f"{run}: {tier} has pointed nowhere else before; see clet release list {run}")
        _write_move(Path(run), journal, tier, past[-1], "rollback", now)
    return current, past[-1]


def _check_movable(tier: str) -> None:
    if tier == "realtime":
        raise UsageError("realtime is always the newest release; move live or static")


def link_history(run: str | Path) -> list[dict[str, Any]]:
    """All entries of the journal, oldest first: {time, link, release, before, why}; of `made` {..., sha256}."""
    try:
        with open(Path(run) / LINKS, "rb") as file:
            return _parse_journal(file)
    except FileNotFoundError:
        return []


def _move(run: str | Path, tier: str, number: int, why: str, now: datetime) -> None:
    with _journal(run) as journal:
        _write_move(Path(run), journal, tier, number, why, now)


def _write_move(run: Path, journal: BinaryIO, tier: str, number: int, why: str, now: datetime) -> None:
    entry = {
        "time": format_time(now),
        "link": tier,
        "release": number,
        "before": tier_number(run, tier),
        "why": why,
    }
    tmp = run / f".{tier}.tmp-{os.getpid()}"
    try:
        for stale in run.glob(f".{tier}.tmp-*"):  # of somebody killed: the journal is ours
            stale.unlink(missing_ok=True)
        os.symlink(f"{RELEASES}/{number}", tmp)
        os.replace(tmp, run / tier)
        fsync_directory(run)
    except OSError as error:
        raise WriteError(f"{run / tier}: {error.strerror}; see clet release list {run}") from None
    _append(run, journal, entry)


def _append(run: Path, journal: BinaryIO, entry: dict[str, Any]) -> None:
    try:
        if _ends_torn(journal):
            journal.write(b"\n")
        journal.write(seal_line(orjson.dumps(entry)) + b"\n")
        journal.flush()
        os.fsync(journal.fileno())
    except OSError as error:
        raise WriteError(f"{run / LINKS}: {error.strerror}; see clet release list {run}") from None


@contextlib.contextmanager
def _journal(run: str | Path) -> Iterator[BinaryIO]:
    path = Path(run) / LINKS
    try:
        file = open(path, "a+b")  # noqa: SIM115 - closed below; a with-block would catch the caller's errors
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _ends_torn(journal: BinaryIO) -> bool:
    """Whether a crash cut the last line; it is kept, and passed over on reading."""
    if not journal.seek(0, os.SEEK_END):
        return False
    journal.seek(-1, os.SEEK_END)
    return journal.read(1) != b"\n"


def _parse_journal(file: BinaryIO) -> list[dict[str, Any]]:
    entries = []
    file.seek(0)
    for line in file:  # one that a crash has torn is passed over, and so is one that was changed
        if (body := unsealed(line.rstrip(b"\n"))) is not None:
            entries.append(orjson.loads(body))
    return entries


def _history(journal: BinaryIO, tier: str) -> list[int]:
    """Releases that a rollback can return to, the present one last: a promotion adds one, a rollback removes one."""
    past: list[int] = []
    for entry in _parse_journal(journal):
        if entry.get("link") != tier:
            continue
        if entry.get("why") == "rollback":
            while past and past[-1] != entry["release"]:
                past.pop()
        if not past or past[-1] != entry["release"]:
            past.append(entry["release"])
    return past
