"""The saved training state: everything that the next step depends on, in two slots, whole or not at all.

    RUN/state/a, RUN/state/b      <group>.safetensors (weights, moments, learned, outer) and state.json, written last

A save goes into the slot that is not the newest: its state.json is taken away first and comes back, by rename, after
all tensors are durable. So kill -9 at any instruction leaves at least one whole slot, and the newer whole one is the
state. state.json carries the xxh3 of itself and of every tensor file: a flipped bit is found, and the other slot is
used with a warning (training then repeats some steps, bit for bit). Nothing is pickled.

Cost: the bytes of weights and moments twice on disk (12 bytes a parameter and slot); a save writes them once and
reads them back through the page cache for the checksum.
"""

from __future__ import annotations

import contextlib
import os
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

SLOTS = ("a", "b")
HEAD = "state.json"
MAX_HEAD_BYTES = 64 << 20
VERSION = 1

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A saved state: JSON `values`, and tensors by group and name."""

    values: dict[str, Any]
    tensors: dict[str, Tensors]
    generation: int = 0


def save(directory: Path, values: dict[str, Any], tensors: dict[str, Tensors]) -> Path:
    """Write a state into the older slot; the slot's folder. Raises WriteError, after which the older states stand."""
    heads = {slot: head for slot in SLOTS if (head := _read_head(directory / slot)) is not None}
    generation = max((head["generation"] for head in heads.values()), default=0) + 1
    oldest = min(SLOTS, key=lambda slot: heads[slot]["generation"] if slot in heads else 0)
    slot = directory / oldest
    try:
        slot.mkdir(parents=True, exist_ok=True)
        (slot / HEAD).unlink(missing_ok=True)
        fsync_directory(slot)
        digests = {group: _write_group(slot, group, members) for group, members in sorted(tensors.items())}
        fsync_directory(slot)
    except OSError as error:
        raise WriteError(f"{slot}: {error.strerror}; the state saved before stands") from None
    except SafetensorError as error:
        raise WriteError(f"{slot}: {error}; the state saved before stands") from None
    body = orjson.dumps({"version": VERSION, "generation": generation, "files": digests, "values": values})
    write_atomically(slot / HEAD, body + b"\n" + xxhash.xxh3_64_hexdigest(body).encode() + b"\n")
    return slot


def load(directory: Path) -> Savepoint | None:
    """The newest whole state, or None where there is none at all. Raises InputError where all are damaged."""
    heads = [(head["generation"], slot) for slot in SLOTS if (head := _read_head(directory / slot)) is not None]
    # A head appears by rename: one that is there and does not check was damaged afterwards.
    whole = {slot for _, slot in heads}
    broken = [directory / slot / HEAD for slot in SLOTS if slot not in whole and (directory / slot / HEAD).exists()]
    damaged = [f"{path}: checksum differs: the file was damaged" for path in broken]
    for _, slot in sorted(heads, reverse=True):
        try:
            found = _read_slot(directory / slot)
        except InputError as error:
            damaged.append(str(error))
            continue
        for message in damaged:
            log.warn(f"{message}; going on from the other state", event="damaged")
        return found
    if damaged:
        raise InputError(f"{damaged[0]}; no whole state is left: start a new --run from the newest release")
    return None


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
    return Savepoint(head["values"], tensors, head["generation"])


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
