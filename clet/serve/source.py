"""What a server serves: a link of a run, or a model directory. No torch here: a wrong path is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clet.exits import UsageError
from clet.release import RELEASES, find_release, is_run, tier_number

DEFAULT_TIER = "live"


@dataclass(frozen=True, slots=True)
class Source:
    """What the user named: a run and one of its tiers, or a model directory (watched where it is a symbolic link)."""

    path: Path
    tier: str | None

    @staticmethod
    def find(path: str, tier: str | None) -> Source:
        """The source of an operand; the tier of a run is `live` unless named. Raises UsageError."""
        source = Path(path)
        if is_run(source):
            find_release(source, tier or DEFAULT_TIER)
            return Source(source, tier or DEFAULT_TIER)
        if not (source / "config.json").is_file():
            raise UsageError(f"{path}: neither a run (releases/) nor a model directory (config.json)")
        if tier is not None:
            raise UsageError(f"--tier {tier}: {path} is a model directory; only a run has tiers")
        return Source(source, None)

    @property
    def names(self) -> list[str]:
        """Names that requests may give in `model`, the default first."""
        own = self.path.absolute().name or "model"
        return [own] if self.tier is None else [self.tier, own]

    def target(self) -> Path | None:
        """The model directory meant at this moment; None where a link points nowhere."""
        if self.tier is None:
            return self.path.resolve()
        number = tier_number(self.path, self.tier)
        return None if number is None else (self.path / RELEASES / str(number)).resolve()
