"""The mixture: which origins to take more of, learned from what the trainer says it gained from each.

Online data mixing (Albalak et al. 2023, 2312.02406): origins are the arms of an adversarial bandit (EXP3, Auer et al.
2002). With K arms after t updates,

    epsilon_t = min(1 / K, sqrt(ln K / (K t)))
    p_i       = (1 - K epsilon_t) softmax(epsilon_(t-1) * G)_i + epsilon_t
    G_i      <- MEMORY * G_i + (1 - MEMORY) * reward_i / p_i

There the reward is the loss of a domain; here it is the *improvement* of an origin's loss within what the trainer
learned since the last update: what is hard and stays hard (noise) earns nothing. The value of a document is multiplied
by (K p_i) clipped to [1 / SPREAD, SPREAD]: this tilts the order, and the long tail is never shut out: an arm cannot
fall below its floor epsilon_t, and everything beyond the MAX_ARMS largest origins shares one arm.

Losses come from `steps.jsonl` of the run, whose lines have `origins`: {origin: [windows, sum of their mean losses]},
windows counted by the share that the origin's documents have in them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

MAX_ARMS = 64
MEMORY = 0.9
SPREAD = 2.0
OTHERS = "(others)"
MIN_WINDOWS = 4.0  # of an origin in each half, before its improvement means anything
MAX_LINE_BYTES = 4 << 20


class Mixture:
    """Gains by origin, and the probabilities that follow from them."""

    def __init__(self, saved: Mapping[str, Any] | None = None):
        saved = saved or {}
        self.gains: dict[str, float] = {str(k): float(v) for k, v in saved.get("gains", {}).items()}
        self.updates = int(saved.get("updates", 0))
        self.offset = int(saved.get("offset", 0))  # bytes of steps.jsonl that were read

    def to_json(self) -> dict[str, Any]:
        """For the state."""
        return {"gains": self.gains, "updates": self.updates, "offset": self.offset}

    @property
    def epsilon(self) -> float:
        """The least probability of an arm."""
        count = max(1, len(self.gains))
        return min(1 / count, math.sqrt(math.log(max(2, count)) / (count * max(1, self.updates))))

    def probabilities(self) -> dict[str, float]:
        """p of each arm; they add up to 1."""
        if not self.gains:
            return {}
        names = list(self.gains)
        scaled = self.epsilon * np.array([self.gains[name] for name in names])
        powers = np.exp(scaled - scaled.max())
        p = (1 - len(names) * self.epsilon) * powers / powers.sum() + self.epsilon
        return dict(zip(names, p.tolist(), strict=True))

    def factor(self, origin: str) -> float:
        """What the value of a document of an origin is multiplied with."""
        p = self.probabilities()
        arm = origin if origin in p else OTHERS
        return 1.0 if arm not in p else min(SPREAD, max(1 / SPREAD, len(p) * p[arm]))

    def update(self, rewards: Mapping[str, float]) -> None:
        """Learn from the rewards, in [0, 1], of the arms that were drawn."""
        for name in rewards:
            if name not in self.gains and len(self.gains) < MAX_ARMS - 1:
                self.gains[name] = 0.0
        self.gains.setdefault(OTHERS, 0.0)
        p = self.probabilities()
        others = [reward for name, reward in rewards.items() if name not in self.gains]
        seen = {name: reward for name, reward in rewards.items() if name in self.gains}
        if others:
            seen[OTHERS] = sum(others) / len(others)
        for name in self.gains:
            earned = seen[name] / p[name] if name in seen else 0.0
            self.gains[name] = MEMORY * self.gains[name] + (1 - MEMORY) * earned
        self.updates += 1

    def read(self, run: str | Path) -> int:
        """Learn from the lines that a run's trainer wrote since the last time; how many there were."""
        path = Path(run) / "steps.jsonl"
        try:
            size = os.path.getsize(path)
            with open(path, "rb") as file:
                if size < self.offset:
                    self.offset = 0  # cut back to a saved state: what is made again is read again
                file.seek(self.offset)
                lines = _whole_lines(file.read(size - self.offset))
        except OSError:
            return 0
        self.offset += sum(len(line) + 1 for line in lines)
        steps = [found for line in lines if (found := _origins(line))]
        if rewards := improvements(steps):
            self.update(rewards)
        return len(steps)


def tokens_learned(run: str | Path) -> int:
    """How many tokens a run has learned, by the last whole line of its steps.jsonl; 0 where it says nothing."""
    try:
        with open(Path(run) / "steps.jsonl", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2 * MAX_LINE_BYTES))
            lines = _whole_lines(file.read())
        return max(0, int(orjson.loads(lines[-1])["total_tokens"])) if lines else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _whole_lines(body: bytes) -> list[bytes]:
    whole, newline, _ = body.rpartition(b"\n")
    return whole.split(b"\n") if newline else []


def _origins(line: bytes) -> dict[str, tuple[float, float]]:
    """Windows and loss by origin of one step; {} where the line says nothing of it."""
    try:
        found = orjson.loads(line).get("origins") if len(line) <= MAX_LINE_BYTES else None
        pairs = {str(name): (float(windows), float(loss)) for name, (windows, loss) in (found or {}).items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return {}
    return {name: pair for name, pair in pairs.items() if pair[0] > 0 and math.isfinite(pair[1])}


def improvements(steps: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """By how much each origin's mean loss fell from the first half of some steps to the second, over the most."""
    half = len(steps) // 2
    first, second = _means(steps[:half]), _means(steps[half:])
    falls = {name: max(0.0, first[name] - second[name]) for name in first.keys() & second.keys()}
    most = max(falls.values(), default=0.0)
    return {name: falls[name] / most if most else 0.0 for name in sorted(falls)}


def _means(steps: Iterable[dict[str, tuple[float, float]]]) -> dict[str, float]:
    windows: dict[str, float] = {}
    losses: dict[str, float] = {}
    for step in steps:
        for name, (count, loss) in step.items():
            windows[name] = windows.get(name, 0.0) + count
            losses[name] = losses.get(name, 0.0) + loss
    return {name: losses[name] / windows[name] for name in windows if windows[name] >= MIN_WINDOWS}
