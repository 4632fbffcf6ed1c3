"""Who looks on while a run learns: metrics and the live view, as far as wanted. None changes what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clet.train import view


class Onlookers:
    """Passes on what the loop emits; `metrics` is where to publish them, if anywhere. Close it whatever happens."""

    def __init__(self, metrics: str | None) -> None:
        self._metrics = self._exporter = self._view = None
        self.is_viewed = view.is_wanted()
        if metrics is not None:
            from clet.train.exporter import open_exporter
            from clet.train.metrics import Metrics

            self._metrics = Metrics()
            self._exporter = open_exporter(self._metrics, metrics)

    def begin(self, run: Path) -> None:
        """The run is open: what it did before is to be known too."""
        if self._metrics:
            self._metrics.begin(run)
        if self.is_viewed:
            self._view = view.LiveView(run)

    def see(self, fields: dict[str, Any]) -> None:
        """Something was emitted."""
        if self._metrics:
            self._metrics.see(fields)
            self._exporter.tick()
        if self._view:
            self._view.see(fields)

    def close(self) -> None:
        """Publish the last state and leave."""
        if self._view:
            self._view.close()
        if self._exporter:
            self._exporter.close()
