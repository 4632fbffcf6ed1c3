"""What a worker and the sync server say to each other: layout of parameters, identity of a model, answers, limits.

Parameters travel as one flat float32 vector. Names are sorted and every tensor starts at a multiple of `BLOCK`
elements (the gap is zero), so that a quantisation block never mixes two tensors and a message is a plain range of
numbers; `Layout` maps between the vector and the tensors. Both sides derive the layout from the model they hold and
compare its hash when a worker joins (`Identity`), so shapes never have to be trusted from a message.

clet-sync(7) describes the requests. Nothing here does input or output.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson

from clet.exits import InputError

BLOCK = 256  # elements; also the block of the int8 codec
VERSION_HEADER = "clet-version"
DEFAULT_MAX_STALENESS = 4
MAX_JOIN_BYTES = 64 << 10
MAX_NUMBER = 1 << 53  # whole numbers that JSON readers keep exactly
MAX_TOKENS = 1 << 40  # a round; more is a lie
_WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Outcome(StrEnum):
    """What became of a delta: the `status` of an answer."""

    ACCEPTED = "accepted"
    STALE = "stale"  # beyond the bound, or of a version this server never had: pull the newest and go on
    REFUSED = "refused"  # judged harmful; `reason` says why
    REPEATED = "repeated"  # of a sequence long answered; was not applied again


HTTP_STATUS = {Outcome.ACCEPTED: 200, Outcome.REPEATED: 200, Outcome.STALE: 409, Outcome.REFUSED: 422}


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in the flat vector. `size` counts its elements, gaps included."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    size: int

    @staticmethod
    def of(shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """The layout of parameters given by name and shape."""
        names = tuple(sorted(shapes))
        starts, at = [], 0
        for name in names:
            starts.append(at)
            at += -(-math.prod(shapes[name]) // BLOCK) * BLOCK
        return Layout(names, tuple(tuple(shapes[name]) for name in names), tuple(starts), at)

    def views(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The tensors inside `vector` [size], by name, sharing its memory."""
        return {
            name: vector[start : start + math.prod(shape)].reshape(shape)
            for name, shape, start in zip(self.names, self.shapes, self.starts, strict=True)
        }

    def flatten(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """A new float32 vector [size] of tensors that have the layout's names and shapes."""
        vector = np.zeros(self.size, np.float32)
        for name, view in self.views(vector).items():
            view[...] = tensors[name]
        return vector

    def digest(self) -> str:
        """128 bits (hex) over names and shapes."""
        return _digest([[name, list(shape)] for name, shape in zip(self.names, self.shapes, strict=True)])


@dataclass(frozen=True)
class Identity:
    """What must agree before weights may meet: 128-bit hashes of configuration, tokenizer and parameters."""

    config: str
    tokenizer: str
    parameters: str

    @staticmethod
    def of(config: Mapping[str, Any], tokenizer: str, layout: Layout) -> Identity:
        """The identity of a model: its configuration as JSON values, its tokenizer's fingerprint, its parameters."""
        return Identity(_digest(config), tokenizer, layout.digest())

    @staticmethod
    def parse(value: Any) -> Identity:
        """The identity in a decoded join request. Raises InputError."""
        names = ("config", "tokenizer", "parameters")
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in names):
            raise InputError("identity: want an object of config, tokenizer and parameters, all strings")
        if any(len(value[name]) > 128 for name in names):
            raise InputError("identity: a hash is at most 128 characters")
        return Identity(*(value[name] for name in names))

    def differences(self, other: Identity) -> list[str]:
        """Names of the parts that differ."""
        mine, theirs = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True)
class DeltaHeader:
    """The query of POST /v1/delta: who sends, which incarnation, which message, made on which version."""

    worker: str
    epoch: int
    sequence: int
    base: int
    tokens: int

    @staticmethod
    def parse(query: Mapping[str, str]) -> DeltaHeader:
        """Checked values of a query string. Raises InputError."""
        numbers = {}
        for name in ("epoch", "sequence", "base", "tokens"):
            largest = MAX_TOKENS if name == "tokens" else MAX_NUMBER
            text = query.get(name, "")
            if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > largest:
                raise InputError(f"{name}: want a whole number from 0 to {largest}")
            numbers[name] = int(text)
        if not numbers["sequence"] or not numbers["tokens"]:
            raise InputError("sequence and tokens start at 1")
        return DeltaHeader(worker_name(query.get("worker")), **numbers)

    def query(self) -> dict[str, str]:
        """The same as a query."""
        return {name: str(value) for name, value in asdict(self).items()}


def worker_name(value: Any) -> str:
    """A valid worker name: 1 to 64 letters, digits, dots, dashes, underscores. Raises InputError."""
    if not isinstance(value, str) or not _WORKER.fullmatch(value):
        raise InputError("worker: want a name of 1 to 64 letters, digits, dots, dashes and underscores")
    return value


def max_message_bytes(size: int) -> int:
    """The largest honest body for a vector of `size` elements: float32 as it is, and the frames around it."""
    return size * 4 + (size * 4 >> 6) + (1 << 16)


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
