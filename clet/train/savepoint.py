"""The saved training state: everything that the next step depends on, in two or three slots, whole or not at all.

    RUN/state/a, b, c      <group>.safetensors (weights, moments, learned, outer) and state.json, written last

A save goes into a slot that holds neither the newest state, nor the newest *verified* one (what the breaker's checks
found good), nor, if it can be helped, the newest of an earlier step, so a third slot is used only where these are two.
Its state.json is taken away first and comes back, by rename, after all tensors are durable. So kill -9 at any
instruction leaves both, and the newest whole one is the state. state.json carries the xxh3 of itself and of every
tensor file: a flipped bit is found, and another slot is used with a warning (training then repeats some steps, bit for
bit). Nothing is pickled.

A state can become untrue without being touched: the breaker went back to before it. Who reads says which are `true`;
those that are not are as good as absent.

Cost: the bytes of weights and moments two or three times on disk (12 bytes a parameter and slot); a save writes them
once and reads them back through the page cache for the checksum.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clet.exits import InputError, WriteError
from clet.log import log
from clet.state import fsync_directory, write_atomically
from clet.train.breaker import is_true, read_trips
from clet.train.rundir import UNDONE, read_segments

SLOTS = ("a", "b", "c")
HEAD = "state.json"
MAX_HEAD_BYTES = 64 << 20
VERSION = 3

Tensors = dict[str, torch.Tensor]
Heads = dict[str, dict[str, Any]]  # slot -> the object of its state.json


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A saved state: JSON `values`, and tensors by group and name."""

    values: dict[str, Any]
    tensors: dict[str, Tensors]
    generation: int = 0
    verified: bool = False


def any_state(values: dict[str, Any]) -> bool:
    """Every state is true."""
    return True


def save(
    directory: Path,
    values: dict[str, Any],
    tensors: dict[str, Tensors],
    *,
    verified: bool = False,
    true: Callable[[dict[str, Any]], bool] = any_state,
) -> Path:
    """Write a state; the slot's folder. Raises WriteError, after which the states saved before stand."""
    heads = _heads(directory)
    generation = max((head["generation"] for head in heads.values()), default=0) + 1
    slot = directory / _slot_to_write(heads, true, values["position"]["step"])
    left = "the state saved before stands" if heads else "no state is saved"
    try:
        slot.mkdir(parents=True, exist_ok=True)
        (slot / HEAD).unlink(missing_ok=True)
        fsync_directory(slot)
        digests = {group: _write_group(slot, group, members) for group, members in sorted(tensors.items())}
        fsync_directory(slot)
    except OSError as error:
        raise WriteError(f"{slot}: {error.strerror}; {left}") from None
    except SafetensorError as error:
        raise WriteError(f"{slot}: {error}; {left}") from None
    head = {"version": VERSION, "generation": generation, "verified": verified, "files": digests, "values": values}
    body = orjson.dumps(head)
    write_atomically(slot / HEAD, body + b"\n" + xxhash.xxh3_64_hexdigest(body).encode() + b"\n")
    return slot


def _slot_to_write(heads: Heads, true: Callable[[dict[str, Any]], bool], step: int) -> str:
    """The oldest slot that can be spared for a state of `step`: an untrue one first, an empty one last."""
    good = {slot: head["generation"] for slot, head in heads.items() if true(head["values"])}
    verified = {slot: generation for slot, generation in good.items() if heads[slot]["verified"]}
    # One step may be saved twice, before and after a release: who trips the run then has to find a state before it.
    earlier = {slot: made for slot, made in good.items() if heads[slot]["values"]["position"]["step"] < step}
    kept = {max(which, key=which.__getitem__) for which in (good, verified) if which}
    with_earlier = kept | {max(earlier, key=earlier.__getitem__)} if earlier else kept
    kept = with_earlier if len(with_earlier) < len(SLOTS) else kept
    spare = [slot for slot in SLOTS if slot not in kept]
    return min(spare, key=lambda slot: (slot not in heads, slot in good, good.get(slot, 0)))


def load(directory: Path, true: Callable[[dict[str, Any]], bool] = any_state) -> Savepoint | None:
    """The newest whole state that is true, or None where there is none. Raises InputError where all are damaged."""
    every = _heads(directory)
    heads = {slot: head["generation"] for slot, head in every.items() if true(head["values"])}
    # A head appears by rename: one that is there and does not check was damaged afterwards.
    broken = [directory / slot / HEAD for slot in SLOTS if slot not in every and (directory / slot / HEAD).exists()]
    damaged = [f"{path}: checksum differs: the file was damaged" for path in broken]
    for slot in sorted(heads, key=heads.__getitem__, reverse=True):
        try:
            found = _read_slot(directory / slot)
        except InputError as error:
            damaged.append(str(error))
            continue
        for message in damaged:
            log.warn(f"{message}; going on from another state", event="damaged")
        return found
    if damaged:
        raise InputError(f"{damaged[0]}; no whole state is left: start a new --run from the newest release")
    return None


def list_states(directory: Path, true: Callable[[dict[str, Any]], bool] = any_state) -> list[tuple[int, bool]]:
    """(step, whether it is verified) of all true states, newest first; tensors are not looked at."""
    heads = sorted(_heads(directory).values(), key=lambda head: head["generation"], reverse=True)
    return [(head["values"]["position"]["step"], head["verified"]) for head in heads if true(head["values"])]


def check_known(run: Path) -> int:
    """Are a run's files what its newest state knows of? How many bytes of steps.jsonl it stands for.

    Raises InputError where segments or trips were lost, or lines of steps changed since they were written. A trainer
    may be at work meanwhile: what it has just changed is looked at again.
    """
    while True:
        heads, trips, segments = _heads(run / "state"), read_trips(run), read_segments(run)
        try:
            return _check(run, list(heads.values()), trips, len(segments))
        except InputError:
            if (heads, trips, len(segments)) == (_heads(run / "state"), read_trips(run), len(read_segments(run))):
                raise


def _check(run: Path, heads: list[dict[str, Any]], trips: list[dict[str, Any]], num_segments: int) -> int:
    known = max((head["values"]["segments"] for head in heads), default=0)
    if known > num_segments:
        path = run / "segments.jsonl"
        raise InputError(f"{path}: has {num_segments} segments, the saved state {known}; restore it from a copy")
    known = max((head["values"]["breaker"]["trips"] for head in heads), default=0)
    if known > len(trips):
        path = run / "breaker.json"
        raise InputError(f"{path}: has {len(trips)} trips, the saved state {known}; restore it from a copy")
    for number, trip in enumerate(trips, 1):
        _check_lines(run / UNDONE / f"{number}.jsonl", None, trip["lines"])
    true = [head for head in heads if is_true(head["values"], trips)]
    if not true:
        return 0
    values = max(true, key=lambda head: head["generation"])["values"]
    _check_lines(run / "steps.jsonl", values["steps_bytes"], values["steps_digest"])
    return values["steps_bytes"]


def _check_lines(path: Path, length: int | None, digest: str) -> None:
    """Raise InputError where a file, or its first `length` bytes, has another digest."""
    found = xxhash.xxh3_64()
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size if length is None else length
            while left and (chunk := file.read(min(left, 1 << 22))):
                found.update(chunk)
                left -= len(chunk)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; restore it from a copy") from None
    if found.hexdigest() != digest:
        raise InputError(f"{path}: damaged since it was written; restore it from a copy")


def _heads(directory: Path) -> Heads:
    return {slot: head for slot in SLOTS if (head := _read_head(directory / slot)) is not None}


def _write_group(slot: Path, group: str, members: Tensors) -> str:
    path = slot / f"{group}.safetensors"
    path.unlink(missing_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in members.items()}, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return _digest(path)


def _read_head(slot: Path) -> dict[str, Any] | None:
    """The state.json of a slot, or None where it is missing (then the slot was being written) or damaged."""
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        with open(slot / HEAD, "rb") as file:
            body, _, digest = file.read(MAX_HEAD_BYTES).rstrip(b"\n").rpartition(b"\n")
        if xxhash.xxh3_64_hexdigest(body).encode() == digest:
            head = orjson.loads(body)
            return head if head.get("version") == VERSION else None
    return None


def _read_slot(slot: Path) -> Savepoint:
    head = _read_head(slot)
    tensors = {}
    for group, digest in head["files"].items():
        path = slot / f"{group}.safetensors"
        try:
            if _digest(path) != digest:
                raise InputError(f"{path}: checksum differs: the file was damaged")
            # Cloned: a mapped file has no alignment, and the slot is written again under it.
            tensors[group] = {name: tensor.clone() for name, tensor in load_file(path).items()}
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except SafetensorError as error:
            raise InputError(f"{path}: {error}") from None
    return Savepoint(head["values"], tensors, head["generation"], head["verified"])


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
