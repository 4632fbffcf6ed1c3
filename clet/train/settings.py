"""How a run learns: the settings that persist with it, so that the next invocation goes on as the last one did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from clet.exits import InputError, UsageError
from clet.train.schedule import SCHEDULES

DTYPES = ("auto", "float32", "bfloat16")
ON_TRIP = ("continue", "pause")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run. `lr` None takes the default for the model's width; `threads` None takes torch's own number.

    `batch_size` counts windows of one step, computed in `accumulate` parts. `replay` is a share of the windows,
    `warmup`, `cooldown`, `save_every` and `check_every` count steps, `release_every` tokens, `release_minutes` minutes
    (None: at the end of an invocation only), `drift` nats a token.
    """

    batch_size: int = 8
    accumulate: int = 1
    epochs: int = 1
    replay: float = 0.05
    lr: float | None = None
    warmup: int = 50
    schedule: str = "infinite"
    release_every: int | None = None
    release_minutes: float | None = None
    cooldown: int = 20
    save_every: int = 100
    check_every: int = 100
    drift: float = 0.5
    max_trips: int = 3
    on_trip: str = "continue"
    dtype: str = "auto"
    compile: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "epochs", "save_every", "check_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1")
        if self.accumulate > self.batch_size:
            raise UsageError(f"--accumulate {self.accumulate} parts of --batch-size {self.batch_size} windows")
        if not 0.0 <= self.replay <= 0.9:
            raise UsageError(f"--replay {self.replay} is not between 0 and 0.9")
        if self.lr is not None and not 0.0 < self.lr < 1.0:
            raise UsageError(f"--lr {self.lr} is not between 0 and 1")
        for name in ("warmup", "cooldown"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name} must not be negative")
        if not 0.0 < self.drift < 100.0:
            raise UsageError(f"--drift {self.drift} is not between 0 and 100")
        if self.release_minutes is not None and not self.release_minutes > 0:
            raise UsageError("--release-minutes must be above 0")
        if self.on_trip not in ON_TRIP:
            raise UsageError(f"no --on-trip {self.on_trip!r}; choose one of {', '.join(ON_TRIP)}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"no schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}")
        if self.dtype not in DTYPES:
            raise UsageError(f"no dtype {self.dtype!r}; choose one of {', '.join(DTYPES)}")

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
