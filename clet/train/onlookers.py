"""Who looks on while a run learns: metrics, the live view, a report at the end. None changes what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clet.exits import CletError, UsageError, WriteError
from clet.log import log
from clet.sinks import file_to_replace
from clet.state import write_atomically
from clet.train import view


class Onlookers:
    """Passes on what the loop emits; `metrics` is where to publish them, `report` the file of a page, if wanted.

    Close it whatever happens. Raises UsageError for what cannot be had.
    """

    def __init__(self, metrics: str | None, report: str | None) -> None:
        self._report, self._run = file_to_replace(report, "--report") if report else None, None
        if self._report and not self._report.parent.is_dir():
            raise UsageError(f"--report {report}: want a file in a folder that is there")
        self._metrics = self._exporter = self._view = None
        self._seconds = self._wait_s = 0.0
        self.is_viewed = view.is_wanted()
        self.failed = False  # to write the report
        if metrics is not None:
            from clet.train.exporter import open_exporter
            from clet.train.metrics import Metrics

            self._metrics = Metrics()
            self._exporter = open_exporter(self._metrics, metrics)

    def begin(self, run: Path) -> None:
        """The run is open: what it did before is to be known too."""
        self._run = run
        if self._metrics:
            self._metrics.begin(run)
        if self.is_viewed:
            self._view = view.LiveView(run)

    def see(self, fields: dict[str, Any]) -> None:
        """Something was emitted."""
        if "event" not in fields:
            self._seconds += fields["seconds"]
            self._wait_s += fields["wait_s"]
        if self._metrics:
            self._metrics.see(fields)
            self._exporter.tick()
        if self._view:
            self._view.see(fields)

    @property
    def wait_share(self) -> float:
        """The share of the steps' time that was waiting for data."""
        return round(self._wait_s / self._seconds, 5) if self._seconds else 0.0

    def close(self) -> None:
        """Publish the last state and leave."""
        if self._view:
            self._view.close()
        if self._exporter:
            self._exporter.close()
        if self._report and self._run:
            self._write_report(self._report, self._run)

    def _write_report(self, path: Path, run: Path) -> None:
        from clet.train.report.gather import gather
        from clet.train.report.page import page

        try:
            write_atomically(path, page(gather(run)))
        except CletError as error:  # the run is done, or failed for a reason of its own, which must be seen
            log.warn(f"--report: {error}; see clet release report {run}", event="report")
            self.failed = isinstance(error, WriteError)
