"""A tiny model of one token a byte, tiny shards of stories, and what a run wrote: for tests that train."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from clet.batch import Batch
from clet.record import make_record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEQ_LEN = 32


def make_model_dir(directory: Path, **changes: object) -> None:
    """Write a tiny random model and a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from clet.model.checkpoint import save_model
    from clet.model.config import ModelConfig
    from clet.model.decoder import Decoder
    from clet.model.initialise import initialise

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1}
    shape |= {"vocab_size": 257, "head_dim": 16, "max_positions": 128}
    model = Decoder(ModelConfig(**(shape | changes)))
    initialise(model, 3)
    save_model(model, directory)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = Tokenizer(models.BPE({c: i for i, c in enumerate([*alphabet, "<|endoftext|>"])}, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    (directory / "tokenizer.json").write_text(engine.to_str())


def make_shards(
    directory: Path,
    texts: list[str],
    *,
    model: Path,
    seq_len: int = SEQ_LEN,
    day: int = 1,
    origin: str = "tests",
    scores: list[float] | None = None,
) -> Path:
    """Add the texts, published on that day of March 2026, to a directory of shards; the directory."""
    from clet.shards.build import ShardPlan, build_shards
    from clet.shards.directory import ShardDirectory
    from clet.tokens import Tokenizer

    tokenizer = Tokenizer.load(model)
    plan = ShardPlan(seq_len, 1 << 12, tokenizer.fingerprint, 256, tokenizer.vocab_size)
    made = records(texts, day=day, origin=origin)
    for record, score in zip(made, scores or (), strict=False):
        record["priority"] = {"score": score}
    batch = Batch.from_records(made)
    batch = batch.with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)
    with ShardDirectory.open(directory, "2026-03-01T00:00:00Z") as shards:
        build_shards([batch], shards, plan, reject=None)
        shards.commit()
    return directory


def records(texts: list[str], *, day: int = 1, origin: str = "tests") -> list[dict[str, Any]]:
    """Records without tokens."""
    published = datetime(2026, 3, day, tzinfo=UTC)
    return [
        make_record(source="test", origin=origin, text=text, fetched=NOW, published=published, url=f"http://t/{i}")
        for i, text in enumerate(texts)
    ]


def story(number: int, length: int = 90) -> str:
    """A text of its own for every number, repetitive enough to be learned."""
    return (f"story {number} of the day tells of {number * 7919 % 1009}, and that " * (length // 40 + 1)).strip()


def step_lines(run: Path) -> list[dict]:
    """steps.jsonl without what depends on the moment."""
    from clet.train.accounting import MEASURED

    lines = [orjson.loads(line) for line in (run / "steps.jsonl").read_bytes().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


class Harm:
    """An outer optimiser that multiplies the updates of some steps, once: a rate set wrong for a moment."""

    def __init__(self, steps, factor=100.0):
        self.steps, self.factor = set(steps), factor

    def start(self, model, step):
        pass

    def before_step(self, model, step):
        self.before = [p.detach().clone() for p in model.parameters()] if step in self.steps else None

    def after_step(self, model, step, tokens):
        if self.before is not None:
            import torch

            self.steps.discard(step)
            with torch.no_grad():
                for parameter, before in zip(model.parameters(), self.before, strict=True):
                    parameter.copy_(before + self.factor * (parameter - before))
        return {}

    def state(self):
        return {}, {}

    def load_state(self, values, tensors):
        pass

    def close(self):
        pass
