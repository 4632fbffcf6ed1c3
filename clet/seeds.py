"""Named random streams derived from one seed.

Each use of randomness asks for its own stream by name (`"init"`, `"feed/shuffle/3"`), so that adding a use never
shifts the numbers another one sees, and a stream can be recreated at any point from (seed, name) alone: nothing
about randomness has to be stored to resume a run. The derivation is SHA-256 over both, hence independent of
platform, process and PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch

DEFAULT_SEED = 1


def integer(seed: int, name: str) -> int:
    """A 63-bit integer that is a pure function of (seed, name)."""
    digest = hashlib.sha256(f"clet/{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def python_random(seed: int, name: str) -> random.Random:
    """The stream `name` as a `random.Random`."""
    return random.Random(integer(seed, name))


def numpy_generator(seed: int, name: str) -> numpy.random.Generator:
    """The stream `name` as a numpy Philox generator (counter based: the same on every platform)."""
    import numpy

    return numpy.random.Generator(numpy.random.Philox(key=integer(seed, name)))


def torch_generator(seed: int, name: str, device: str = "cpu") -> torch.Generator:
    """The stream `name` as a torch generator on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(integer(seed, name))
