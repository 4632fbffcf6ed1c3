"""From a training state to a release: weights, and everything that says where they came from and how good they are.

The weights are written in float32, as they were trained, so that their hash proves them. Where adapters were trained
they are written merged into the base, so that whoever reads a release needs nothing else, and once more by themselves
in `adapter/`. release.json carries: number, created, parent, step, tokens, lineage_root, documents, watermark, shards
(name, root, lane, windows, learned), weights (hash of the tensors, see `clet.model.checkpoint.state_root`), adapter
(that of the adapters, or null), files (SHA-256 of the others), cooldown, base (the starting model's hash), tokenizer
(fingerprint), seed, settings, evals, verdict, and signer and signature.

A candidate is evaluated, judged and written aside while the run goes on. What the verdict is decides which links move
(see `clet.release`), not whether the release is there: a failed candidate is kept, and named as one.

Releasing the same state twice is releasing it once: a run that was killed between making a release and noting it
finds the release there and goes on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from clet.exits import WriteError
from clet.model.adapter import ADAPTER_WEIGHTS, save_adapter
from clet.model.checkpoint import WEIGHTS, save_model, state_root
from clet.model.decoder import Decoder
from clet.model.lora import is_adapted, merged
from clet.release import ADAPTER, FACTS, Release, publish, read_release, release_numbers
from clet.train.learned import Learned
from clet.train.rundir import RunDirectory, read_documents
from clet.train.settings import Settings

BRANCH = "cooldown.jsonl"  # one line a step of the branch, as in steps.jsonl


def newest_release(run: Path, without: Collection[int] = ()) -> Release | None:
    """The release with the highest number that is not among `without`, or None."""
    numbers = [number for number in release_numbers(run) if number not in without]
    return read_release(run, numbers[-1]) if numbers else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Weights to be released, and what is known of them. Everything is the candidate's own: the run goes on.

    `describe()` gives the facts that take time: lineage and the like.
    """

    model: Decoder
    source: Path  # has the tokenizer's files
    step: int
    branch: list[dict[str, Any]]  # lines of the cooldown branch
    describe: Callable[[], dict[str, Any]]


# model -> (evals, verdict), see `clet.train.verdict`
Judge = Callable[[Decoder], tuple[dict[str, Any], dict[str, Any]]]
Sign = Callable[[dict[str, Any]], dict[str, Any]]


def make_release(
    run: Path, candidate: Candidate, parent: Release | None, judge: Judge, sign: Sign | None, now: datetime
) -> Release:
    """Evaluate, judge, write and sign a candidate; links move as its verdict says. Raises WriteError."""
    candidate.model.eval()
    evals, verdict = judge(candidate.model)

    def fill(directory: Path) -> dict[str, Any]:
        model, source = candidate.model, candidate.source
        whole = merged(model)
        save_model(whole, directory, source_dir=source)
        adapter = save_adapter(model, directory / ADAPTER, str(source.resolve())) if is_adapted(model) else None
        lines = b"".join(orjson.dumps(line) + b"\n" for line in candidate.branch)
        if lines:
            _write(directory / BRANCH, lines)
        return {
            "parent": parent.number if parent else None,
            "step": candidate.step,
            "weights": state_root(whole),
            "adapter": adapter,
            "files": file_hashes(directory),
            "cooldown": {"steps": len(candidate.branch), "tokens": sum(line["tokens"] for line in candidate.branch)},
            **candidate.describe(),
            "evals": evals,
            "verdict": verdict,
        }

    numbers = release_numbers(run)
    return publish(run, numbers[-1] + 1 if numbers else 1, fill, now, sign=sign)


def describer(
    run: RunDirectory, learned: Learned, tokens: int, seed: int, settings: Settings
) -> Callable[[], dict[str, Any]]:
    """What is to be said of the present state, computed later: from copies."""
    learned = Learned.from_arrays({name: bits.copy() for name, bits in learned.arrays().items()})
    segments, facts, path = list(run.segments), run.facts, run.path

    def describe() -> dict[str, Any]:
        lineage = learned.lineage(segments, lambda root: read_documents(path, root))
        told = {"base": facts["base"], "tokenizer": facts["tokenizer"], "seed": seed, "settings": settings.to_json()}
        return {"tokens": tokens, **lineage.to_json(), **told}

    return describe


def file_hashes(directory: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file of a release, in folders too, by its path.

    Not of weights and adapters, whose tensors have hashes of their own. Of a symbolic link, which no release has, it is
    that of where it points to.
    """
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if name in (WEIGHTS, FACTS, f"{ADAPTER}/{ADAPTER_WEIGHTS}"):
            continue
        if path.is_symlink():
            found[name] = hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _write(path: Path, body: bytes) -> None:
    try:
        path.write_bytes(body)
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror}; nothing was released") from None
