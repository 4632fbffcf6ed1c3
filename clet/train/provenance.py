"""Provenance: from a release back to its documents, and the proof that what is written is what was done.

A release was made at a step; the lines of steps.jsonl up to it name every window that was learned, by shard and index;
the shards say which documents lie in a window, and the run's own copy of their document tables says where these came
from. So the table of documents survives the shards; windows of a shard that is gone are known, which of its documents
lay in them is not any more, and that is said.

`verify` trusts none of the summaries: it recomputes the lineage root of release.json from steps.jsonl and the shards,
checks the shards from first byte to last, compares the run's copies of their document tables, and hashes the weights.

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
from clet.release import ADAPTER, FACTS, Release, find_release, is_run, read_facts
from clet.shards.lineage import merkle_root
from clet.shards.reader import ShardReader
from clet.train.feed import Shard
from clet.train.history import read_steps, step_lines
from clet.train.release import BRANCH, file_hashes
from clet.train.rundir import ROOT_CHARS, read_documents, read_segments

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


def learned_windows(run: Path, release: Release) -> dict[str, dict[int, Learned]]:
    """Every window that a release learned: {root prefix: {index: when}}. Raises InputError where lines are missing."""
    windows: dict[str, dict[int, Learned]] = defaultdict(lambda: defaultdict(Learned))
    for where, entry in step_lines(run, release):
        for kind in ("windows", "replay"):
            for root, index in _named(entry, kind, where):
                when = windows[root][index]
                (when.steps if kind == "windows" else when.replays).append(entry["step"])
    return windows


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
    windows = learned_windows(run, release)
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
    facts = release.facts
    wrong: list[str] = []
    wrong += _signature(release, trust)
    windows = learned_windows(run, release)
    wrong += _branch(release, windows)
    ids: set[bytes] = set()
    shards = _shards(run)
    wrong += _misfits(run, windows, shards)
    for prefix, shard in shards.items():
        of_shard = windows.get(prefix)
        if not of_shard:
            continue
        documents = None
        try:
            reader = _verified(shard)
            documents = reader.documents()
            ids.update(_ids_in(reader, documents, set(of_shard)))
        except CletError as error:
            wrong.append(str(error))
        wrong += _kept(run, shard, documents)
    root = merkle_root(ids).hex()
    if root != facts.get("lineage_root"):
        wrong.append(f"{release.path / FACTS}: lineage root {facts.get('lineage_root')}, recomputed {root}")
    learned = {prefix: len(of_shard) for prefix, of_shard in windows.items()}
    if learned != (claimed := _claimed(release)):
        wrong.append(f"{release.path / FACTS}: windows learned by shard {claimed}, recomputed {learned}")
    if len(ids) != facts.get("documents"):
        wrong.append(f"{release.path / FACTS}: {facts.get('documents')} documents, recomputed {len(ids)}")
    if (weights := _weights(release.path)) != facts.get("weights"):
        wrong.append(f"{release.path}: weights {facts.get('weights')}, recomputed {weights}")
    if (files := file_hashes(release.path)) != facts.get("files"):
        wrong.append(f"{release.path}: files {_differing(facts.get('files'), files)} are not those that were released")
    if (adapter := _adapter(release.path)) != facts.get("adapter"):
        wrong.append(f"{release.path / ADAPTER}: hash {facts.get('adapter')}, recomputed {adapter}")
    return wrong


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


def _claimed(release: Release) -> dict[str, Any]:
    """How many windows of each shard release.json says were learned. Raises InputError where it says nothing."""
    try:
        return {entry["root"][:ROOT_CHARS]: entry["learned"] for entry in release.facts["shards"]}
    except (KeyError, TypeError):
        raise InputError(f"{release.path / FACTS}: no list of shards learned from; restore it from a copy") from None


def _verified(shard: Shard) -> ShardReader:
    """The reader of a shard whose frames fill its file and whose documents have its root."""
    reader = _reader(shard)
    reader.check_layout()
    if merkle_root(bytes.fromhex(row["id"]) for row in reader.documents()).hex() != reader.root:
        raise InputError(f"{shard.path}: its documents do not have the root {reader.root}")
    return reader


def _ids_in(reader: ShardReader, documents: list[dict[str, Any]], indices: set[int]) -> set[bytes]:
    """Ids of the documents in the windows named; every window is read and checked."""
    learned: set[int] = set()
    at = 0
    for part in reader.all_windows():
        for members in part.documents:
            if at in indices:
                learned.update(members.tolist())
            at += 1
    return {bytes.fromhex(documents[row]["id"]) for row in learned}


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
