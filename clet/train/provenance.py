"""Provenance: from a release back to its documents, and the proof that what is written is what was done.

A release was made at a step; the lines of steps.jsonl up to it name every window that was learned, by shard and index;
the shards say which documents lie in a window, and the run's own copy of their document tables says where these came
from. So the table of documents survives the shards; windows of a shard that is gone are known, which of its documents
lay in them is not any more, and that is said.

`verify` trusts none of the summaries: it recomputes what release.json says from steps.jsonl, the shards and run.json,
checks the shards from first byte to last, compares the run's copies of their document tables, and hashes the weights.
What cannot be computed again (when, settings, evaluations, verdict) has to be as the run's journal noted it, by the
SHA-256 of release.json. A signature is for those who do not trust the run's directory.

Memory: the documents of one release, about 500 bytes each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clet import signing
from clet.exits import CletError, InputError, UsageError
from clet.log import log
from clet.record import Record
from clet.release import (
    ADAPTER,
    FACTS,
    LINKS,
    Release,
    facts_hash,
    find_release,
    is_run,
    noted_hash,
    read_facts,
    read_release,
    release_numbers,
)
from clet.shards.lineage import merkle_root
from clet.shards.reader import ShardReader
from clet.train.feed import Shard, whole_shards
from clet.train.history import read_steps, step_lines
from clet.train.release import BRANCH, file_hashes
from clet.train.rundir import ROOT_CHARS, read_documents, read_run, read_segments
from clet.train.savepoint import check_known

READ_WINDOWS = 256


@dataclass(slots=True)
class Learned:
    """When a window was learned: steps in which it was new, and replayed, and how often by the release's branch."""

    steps: list[int] = field(default_factory=list)
    replays: list[int] = field(default_factory=list)
    cooldown: int = 0


def find_audited(path: str, which: str) -> tuple[Path, Release]:
    """(run, release) meant by a run, or by the directory of one of its releases. Raises UsageError."""
    directory = Path(path).resolve()
    if is_run(directory):
        return directory, find_release(directory, which)
    if not (directory / FACTS).is_file():
        raise UsageError(f"{path}: neither a run nor a release (no {FACTS}): nothing says what it learned from")
    run = directory.parent.parent
    if not (run / "steps.jsonl").is_file():
        raise UsageError(f"{path}: taken out of its run, which has the steps; audit RUN, or put it back")
    facts = read_facts(directory)
    return run, Release(facts["number"], directory, facts)


@dataclass(slots=True)
class Steps:
    """What the lines of a release's steps add up to: every window learned {root prefix: {index: when}}, and tokens."""

    windows: dict[str, dict[int, Learned]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Learned)))
    tokens: int = 0


def read_learned(run: Path, release: Release) -> Steps:
    """The steps that a release was made of. Raises InputError where lines are missing or damaged."""
    steps = Steps()
    for where, entry in step_lines(run, release):
        if type(tokens := entry.get("tokens")) is not int:
            raise InputError(f"{where}: tokens {tokens!r:.40}; the run's record is damaged")
        steps.tokens += tokens
        for kind in ("windows", "replay"):
            for root, index in _named(entry, kind, where):
                when = steps.windows[root][index]
                (when.steps if kind == "windows" else when.replays).append(entry["step"])
    return steps


def branch_windows(release: Release) -> list[tuple[str, int, int]]:
    """(root prefix, index, step) of each window that the cooldown branch of a release learned again.

    Raises InputError where the branch has not the steps that release.json says it has.
    """
    claimed = release.facts.get("cooldown")
    claimed = claimed if isinstance(claimed, dict) else {}
    path = release.path / BRANCH
    if not claimed.get("steps") and not path.exists():
        return []
    found, tokens, step = [], 0, release.count("step")
    for where, entry in read_steps(path):
        step += 1
        if entry["step"] != step or entry.get("windows") != [] or type(entry.get("tokens")) is not int:
            raise InputError(f"{where}: not step {step} of a cooldown branch; the release is damaged")
        tokens += entry["tokens"]
        found += [(root, index, step) for root, index in _named(entry, "replay", where)]
    made = {"steps": step - release.count("step"), "tokens": tokens}
    if made != claimed:
        raise InputError(f"{release.path / FACTS}: cooldown {claimed}, recomputed {made}")
    return found


def _named(entry: dict[str, Any], kind: str, where: str) -> Iterator[tuple[str, int]]:
    """The windows that a line of a step names."""
    try:
        for root, indices in entry[kind]:
            for index in indices:
                if not isinstance(root, str) or type(index) is not int:
                    raise TypeError(f"{kind} of step {entry['step']}")
                yield root, index
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}; the run's record is damaged") from None


def documents_behind(run: Path, release: Release) -> Iterator[Record]:
    """One object a document of which something was learned, shards in the order in which the run met them.

    Each has the fields of the document table, `times` (windows learned, each time counted), `replayed` (how many of
    those were replay), `cooldown` (windows that the branch of the release learned again, counted likewise), and
    `learned`: [{shard, root, windows, steps}].
    """
    check_known(run)
    windows = read_learned(run, release).windows
    for root, index, _ in branch_windows(release):
        windows[root][index].cooldown += 1
    shards = _shards(run)
    if wrong := _misfits(run, windows, shards):
        raise InputError(wrong[0])
    found: dict[str, Record] = {}
    for prefix, shard in shards.items():
        if prefix in windows:
            _add_shard(found, run, shard, windows[prefix])
    yield from found.values()


def _add_shard(found: dict[str, Record], run: Path, shard: Shard, windows: dict[int, Learned]) -> None:
    table = read_documents(run, shard.root)
    for row, indices in _rows(shard, sorted(windows), len(table)).items():
        fields = dict(table[row])
        fields.pop("tokens", None)
        document = found.setdefault(fields["id"], fields | {"times": 0, "replayed": 0, "cooldown": 0, "learned": []})
        steps = [step for index in indices for step in windows[index].steps]
        replays = [step for index in indices for step in windows[index].replays]
        document["times"] += len(steps) + len(replays)
        document["replayed"] += len(replays)
        document["cooldown"] += sum(windows[index].cooldown for index in indices)
        entry = {"shard": shard.name, "root": shard.root, "windows": indices, "steps": sorted({*steps, *replays})}
        document["learned"].append(entry)


def _rows(shard: Shard, indices: list[int], num_documents: int) -> dict[int, list[int]]:
    """{row of the document table: learned windows in which it lies}, by row.

    Of a shard that is gone every document is named if all windows were learned, else it cannot be said which.
    """
    rows: dict[int, list[int]] = defaultdict(list)
    try:
        reader = _reader(shard)
    except CletError as error:
        if len(indices) < shard.windows:
            log.warn(f"{error}; which of its documents lie in the {len(indices)} windows learned cannot be said")
            return {}
        log.warn(f"{error}; its documents are named, their windows are not")
        return {row: [] for row in range(num_documents)}
    for at in range(0, len(indices), READ_WINDOWS):
        part = indices[at : at + READ_WINDOWS]
        for index, members in zip(part, reader.windows(part).documents, strict=True):
            for row in set(members.tolist()):
                rows[row].append(index)
    return dict(sorted(rows.items()))


def _reader(shard: Shard) -> ShardReader:
    reader = ShardReader.open(shard.path)
    if reader.root != shard.root or reader.num_windows != shard.windows:
        raise InputError(f"{shard.path}: is not the shard that was learned (root {shard.root[:12]})")
    return reader


def _shards(run: Path) -> dict[str, Shard]:
    """The shards of a run by the first digits of their root, as steps.jsonl names them."""
    return {shard.root[:ROOT_CHARS]: shard for segment in read_segments(run) for shard in segment.shards}


def _misfits(run: Path, windows: dict[str, dict[int, Learned]], shards: dict[str, Shard]) -> list[str]:
    """What steps.jsonl names and the run does not have: shards, and windows beyond the end of one."""
    path = run / "steps.jsonl"
    wrong = [f"{path}: windows of {root}, a shard that the run does not know" for root in windows.keys() - shards]
    for prefix in windows.keys() & shards.keys():
        size = shards[prefix].windows
        if not 0 <= min(windows[prefix]) <= max(windows[prefix]) < size:
            wrong.append(f"{path}: windows of {prefix} that it does not have, beyond its {size}")
    return wrong


# ---- verification


def verify(run: Path, release: Release, trust: str | None = None) -> list[str]:
    """What is wrong with a release, one line each; empty where every claim was recomputed and holds.

    With `trust` it also has to be signed by that key. Reads every shard of the release and its weights once.
    """
    facts, path = release.facts, release.path / FACTS
    wrong = [*_signature(release, trust), *_noted(run, release)]
    if wrong:
        return wrong  # whatever it says
    check_known(run)
    steps, shards = read_learned(run, release), _shards(run)
    wrong += _branch(release, steps.windows)
    wrong += _misfits(run, steps.windows, shards)
    documents, bad = _documents(run, steps.windows, shards)
    wrong += bad
    if not (began := read_run(run)):
        raise InputError(f"{run / 'run.json'}: missing; restore it from a copy")
    found = {
        "number": int(release.path.name) if release.path.name.isdecimal() else None,
        "tokens": steps.tokens,
        "weights": _weights(release.path),
        "adapter": _adapter(release.path),
        **{name: began.get(name) for name in ("seed", "base", "tokenizer")},
    }
    if documents is not None:
        found["lineage_root"] = merkle_root(map(bytes.fromhex, documents)).hex()
        found["documents"] = len(documents)
        found["watermark"] = max(filter(None, documents.values()), default=None)
    for name, value in found.items():
        if (claimed := facts.get(name)) != value:
            wrong.append(f"{path}: {name} {claimed}, recomputed {value}")
    wrong += _shards_named(release, run, steps.windows)
    wrong += _parent(run, release)
    if (files := file_hashes(release.path)) != facts.get("files"):
        wrong.append(f"{release.path}: files {_differing(facts.get('files'), files)} are not those that were released")
    return wrong


def _noted(run: Path, release: Release) -> list[str]:
    """What cannot be computed again has to be as it was noted when the release was made."""
    noted = noted_hash(run, release.number)
    if noted == facts_hash(release.path):
        return []
    what = "is not what was released" if noted else f"was not noted in {LINKS} when it was released"
    return [f"{release.path / FACTS}: {what}"]


def _documents(
    run: Path, windows: dict[str, dict[int, Learned]], shards: dict[str, Shard]
) -> tuple[dict[str, str | None] | None, list[str]]:
    """({id: published} of all documents in these windows, what is wrong); None where that cannot be said.

    Of a shard that was removed it can be where all of its windows were learned: then all of its documents were.
    """
    found: dict[str, str | None] = {}
    wrong: list[str] = []
    for prefix, shard in shards.items():
        if not (of_shard := windows.get(prefix)):
            continue
        table = rows = None
        if not Path(shard.path).exists() and len(of_shard) == shard.windows:
            log.warn(f"{shard.path}: was removed; all of it was learned, and its documents are those that the run kept")
            rows = range(shard.documents)
        else:
            try:
                reader = _verified(shard)
                table, rows = reader.documents(), _rows_in(reader, set(of_shard))
            except CletError as error:
                wrong.append(str(error))
        if bad := _kept(run, shard, table):
            wrong += bad
        elif rows is not None:
            table = read_documents(run, shard.root)
            found.update((table[row]["id"], table[row]["published"]) for row in rows)
    return None if wrong else found, wrong


def _shards_named(release: Release, run: Path, windows: dict[str, dict[int, Learned]]) -> list[str]:
    """Whether release.json names the shards learned from, with the windows learned of each."""
    found = [
        {"name": shard.name, "root": shard.root, "lane": shard.lane, "segment": segment.number}
        | {"windows": shard.windows, "learned": len(windows[prefix])}
        for segment in read_segments(run)
        for shard in whole_shards([segment], ())
        if (prefix := shard.root[:ROOT_CHARS]) in windows
    ]
    claimed = release.facts.get("shards")
    if claimed == found:
        return []
    if not isinstance(claimed, list) or len(claimed) != len(found):
        return [f"{release.path / FACTS}: does not name the {len(found)} shards that it learned from"]
    which, entry = next((c, f) for c, f in zip(claimed, found, strict=True) if c != f)
    return [f"{release.path / FACTS}: shard {which}, recomputed {entry}"]


def _parent(run: Path, release: Release) -> list[str]:
    """The release before it, if it is still there, has to be of an earlier step."""
    parent = release.facts.get("parent")
    if parent is None:
        return []
    path = release.path / FACTS
    if type(parent) is not int or not 0 < parent < release.number:
        return [f"{path}: parent {parent!r:.40} is no release before it"]
    if parent not in release_numbers(run):
        return []
    try:
        step = read_release(run, parent).count("step")
    except CletError as error:
        return [str(error)]
    return [f"{path}: parent {parent} is of step {step}, later"] if step > release.count("step") else []


def _signature(release: Release, trust: str | None) -> list[str]:
    try:
        signing.check(release.facts, release.path / FACTS, trust)
        return []
    except InputError as error:
        return [str(error)]


def _branch(release: Release, windows: dict[str, dict[int, Learned]]) -> list[str]:
    """A cooldown branch may only have learned what the run had learned before it."""
    try:
        strange = [f"{root}/{i}" for root, i, _ in branch_windows(release) if i not in windows.get(root, {})]
    except InputError as error:
        return [str(error)]
    return [f"{release.path / BRANCH}: window {strange[0]} was not learned by the run before"] if strange else []


def _differing(claimed: Any, found: dict[str, str]) -> str:
    if not isinstance(claimed, dict):
        return "of which nothing is said"
    return ", ".join(sorted(name for name in claimed.keys() | found.keys() if claimed.get(name) != found.get(name)))


def _verified(shard: Shard) -> ShardReader:
    """The reader of a shard whose frames fill its file and whose documents have its root."""
    reader = _reader(shard)
    reader.check_layout()
    if merkle_root(bytes.fromhex(row["id"]) for row in reader.documents()).hex() != reader.root:
        raise InputError(f"{shard.path}: its documents do not have the root {reader.root}")
    return reader


def _rows_in(reader: ShardReader, indices: set[int]) -> set[int]:
    """Rows of the document table that lie in the windows named; every window is read and checked."""
    found: set[int] = set()
    at = 0
    for part in reader.all_windows():
        for members in part.documents:
            if at in indices:
                found.update(members.tolist())
            at += 1
    return found


def _kept(run: Path, shard: Shard, documents: list[dict[str, Any]] | None) -> list[str]:
    """What is wrong with the document table that a run kept of a shard; `documents` is the shard's own, if known."""
    path = run / "documents" / f"{shard.root}.jsonl.zst"
    try:
        table = read_documents(run, shard.root)
        root = merkle_root(bytes.fromhex(row["id"]) for row in table).hex()
    except InputError as error:
        return [str(error)]
    except ValueError:
        return [f"{path}: damaged: not a table of documents"]
    if root != shard.root:
        return [f"{path}: its documents have Merkle root {root}, their shard has {shard.root}"]
    if documents is not None and table != documents:
        return [f"{path}: differs from the document table of {shard.path}"]
    return []


def _weights(directory: Path) -> str:
    from clet.model.checkpoint import load_model, state_root

    return state_root(load_model(directory))


def _adapter(directory: Path) -> str | None:
    from clet.model.adapter import adapter_root

    return adapter_root(directory / ADAPTER) if (directory / ADAPTER).is_dir() else None
