"""A model directory for others: whole in Hugging Face's layout, in the type that is asked for.

Tokenizer, chat template and generation settings come along byte for byte, `exported.json` says which release it was.
Weights beyond what float16 holds are refused and never become infinite. Memory: the model once, in the type written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from clet.exits import InputError
from clet.model.checkpoint import DTYPE_NAMES, load_model, save_model, write_json
from clet.model.initialise import appearing

TYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


def export_whole(directory: Path, target: str, dtype: str | None, facts: Mapping[str, object]) -> str:
    """Copy a model to a new directory `target` in `dtype` (None: as stored), with `facts`; the type that it has.

    Raises InputError for weights that the type cannot hold, UsageError where `target` has something in it.
    """
    with appearing(target) as staging:
        model = load_model(directory, dtype=None if dtype is None else TYPES[dtype])
        for name, tensor in model.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{directory}: {name} has weights that are not finite, or beyond what {dtype} holds")
        save_model(model, staging, source_dir=directory)
        dtype = DTYPE_NAMES[model.head_weight.dtype]
        write_json(staging / "exported.json", dict(facts) | {"dtype": dtype})
    return dtype
