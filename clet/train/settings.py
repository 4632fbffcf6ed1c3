"""How a run learns: the settings that persist with it, so that the next invocation goes on as the last one did."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from clet.exits import InputError, UsageError
from clet.train.clipping import CLIPS
from clet.train.gates import GATES
from clet.train.memory import MEMORIES
from clet.train.optimizer import OPTIMIZERS
from clet.train.schedule import SCHEDULES
from clet.train.share import EVERY_LANE, WHOLE, check_lanes, parse_share

DTYPES = ("auto", "float32", "bfloat16")
BASE_DTYPES = ("float32", "stored")
ADAPTERS = ("lora", "lora_alpha", "lora_targets", "lora_rs", "lora_base")
MAX_RANK = 4096
MAX_ALPHA = 1e6
CHOICES: dict[str, Collection[str]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "clip": CLIPS,
    "gate": GATES,
    "memory": MEMORIES,
    "dtype": DTYPES,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run. `lr` None takes the default for the model's width; `threads` None takes torch's own number.

    `batch_size` counts windows of one step, computed in `accumulate` parts. `replay` is a share of the windows,
    `warmup` and `save_every` count steps, `release_every` tokens (None: at the end of an invocation only). `dtype`
    "auto" is decided by measuring once, and kept as decided. `lora` is the rank of adapters, None for training
    all weights; a run cannot change `ADAPTERS` once it has begun. `lanes` and `share` say which windows are this
    trainer's (see `share`).
    """

    batch_size: int = 8
    accumulate: int = 1
    epochs: int = 1
    replay: float = 0.05
    lr: float | None = None
    warmup: int = 50
    schedule: str = "infinite"
    release_every: int | None = None
    save_every: int = 100
    max_trips: int = 3
    optimizer: str = "adamw"
    clip: str = "zclip"
    gate: str = "always"
    memory: str = "none"
    dtype: str = "auto"
    compile: bool = False
    recompute: bool = False
    threads: int | None = None
    lora: int | None = None
    lora_alpha: float | None = None
    lora_targets: str = "all"
    lora_rs: bool = False
    lora_base: str = "float32"
    lanes: str = EVERY_LANE
    share: str = WHOLE

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "epochs", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1")
        if self.accumulate > self.batch_size:
            raise UsageError(f"--accumulate {self.accumulate} parts of --batch-size {self.batch_size} windows")
        if not 0.0 <= self.replay <= 0.9:
            raise UsageError(f"--replay {self.replay} is not between 0 and 0.9")
        if self.lr is not None and not 0.0 < self.lr < 1.0:
            raise UsageError(f"--lr {self.lr} is not between 0 and 1")
        if self.warmup < 0:
            raise UsageError("--warmup must not be negative")
        for name, table in CHOICES.items():
            if (chosen := getattr(self, name)) not in table:
                raise UsageError(f"no {name} {chosen!r}; choose one of {', '.join(table)}")
        check_lanes(self.lanes)
        parse_share(self.share)
        self._check_adapters()

    def _check_adapters(self) -> None:
        if self.lora is None:
            if [getattr(self, name) for name in ADAPTERS] != [_DEFAULTS[name] for name in ADAPTERS]:
                raise UsageError("--lora-alpha, --lora-targets, --lora-rs and --lora-base need --lora R")
            return
        if not 1 <= self.lora <= MAX_RANK:
            raise UsageError(f"--lora {self.lora} is not a rank from 1 to {MAX_RANK}")
        if self.lora_alpha is not None and not 0.0 < self.lora_alpha <= MAX_ALPHA:
            raise UsageError(f"--lora-alpha {self.lora_alpha} is not between 0 and {MAX_ALPHA:g}")
        if self.lora_base not in BASE_DTYPES:
            raise UsageError(f"--lora-base {self.lora_base}: choose one of {', '.join(BASE_DTYPES)}")

    def changed(self, given: Mapping[str, Any]) -> Settings:
        """These settings with those of `given` that are not None. Raises UsageError for a value out of bounds."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        """As run.json and release.json keep them."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Settings:
        """Settings as `to_json` gave them; what is not there has its default. Raises InputError."""
        known = {field.name for field in fields(Settings)}
        try:
            return Settings(**{name: value for name, value in values.items() if name in known})
        except (TypeError, UsageError) as error:
            raise InputError(f"settings of the run: {error}") from None


_DEFAULTS = {field.name: field.default for field in fields(Settings)}
