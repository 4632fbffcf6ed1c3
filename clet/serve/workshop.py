"""How engines are made for this machine: device, number type, threads, limits; the same for every release to come."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from clet.exits import UsageError
from clet.serve.engine import Engine
from clet.serve.limits import choose_limits
from clet.serve.loading import load_served
from clet.serve.metrics import Metrics
from clet.serve.source import Source
from clet.serve.swap import Deck


def open_deck(
    source: Source,
    *,
    device: str = "auto",
    dtype: str | None = None,
    max_batch: int | None = None,
    max_len: int | None = None,
    jobs: int | None = None,
) -> Deck:
    """A deck whose first engine has answered its warm-up. `jobs` None takes the cores this process may use.

    Raises UsageError for what this machine cannot do, InputError for a model that fails its checks.
    """
    place = torch.device(_device(device))
    number_type = getattr(torch, dtype or ("bfloat16" if place.type == "cuda" else "float32"))
    torch.set_num_threads(jobs or len(os.sched_getaffinity(0)))
    metrics = Metrics()

    def make(directory: Path, tokenizer_fingerprint: str | None) -> Engine:
        served = load_served(directory, number_type, place, tokenizer_fingerprint=tokenizer_fingerprint)
        return Engine(served, choose_limits(served, max_batch, max_len), metrics)

    return Deck(source, make, metrics)


def _device(name: str) -> str:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda: no CUDA device here; use --device cpu")
    return ("cuda" if available else "cpu") if name == "auto" else name
