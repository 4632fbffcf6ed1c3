"""From a training state to a release: the weights as they are, and everything that says where they came from.

The weights are written in float32, as they were trained, so that their hash proves them. Where adapters were trained
they are written merged into the base, so that whoever reads a release needs nothing else, and once more by themselves
in `adapter/`. release.json carries: number, created, parent, step, tokens, lineage_root, documents, watermark, shards
(name, root, lane, windows, learned), weights (hash of the tensors, see `clet.model.checkpoint.state_root`), adapter
(that of the adapters, or null), base (that of the starting model), tokenizer (fingerprint), seed, settings, evals.

Releasing the same state twice is releasing it once: a run that was killed between making a release and noting it
finds the release there and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from clet.model.adapter import save_adapter
from clet.model.checkpoint import save_model, state_root
from clet.model.decoder import Decoder
from clet.model.lora import is_adapted, merged
from clet.release import ADAPTER, Release, announce, publish, read_release, release_numbers


def newest_release(run: Path) -> Release | None:
    """The release with the highest number, or None."""
    numbers = release_numbers(run)
    return read_release(run, numbers[-1]) if numbers else None


def release_state(
    run: Path, model: Decoder, source: Path, describe: Callable[[], dict[str, Any]], *, step: int, now: datetime
) -> tuple[Release, bool]:
    """The release of a state at `step`, and whether it is new. `source` has the tokenizer's files.

    `describe()` gives all facts but those about the weights; it is called only if the release is made.
    """
    whole = merged(model)
    weights = state_root(whole)
    before = newest_release(run)
    if before is not None and before.facts.get("step") == step and before.facts.get("weights") == weights:
        announce(run, before.number, now)
        return before, False

    def fill(directory: Path) -> dict[str, Any]:
        save_model(whole, directory, source_dir=source)
        adapter = save_adapter(model, directory / ADAPTER, str(source.resolve())) if is_adapted(model) else None
        facts = {"parent": before.number if before else None, "step": step, "weights": weights, "adapter": adapter}
        return facts | describe()

    return publish(run, before.number + 1 if before else 1, fill, now), True
