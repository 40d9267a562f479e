"""The exporter's own metrics of one worker."""

import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from exporter import __version__
from exporter.service.own_metrics import Metric, OwnValues, ProcessMetrics
from exporter.worker.status import FILE_STATES, PROCESS_STATES, Summary

PHASES = ("read", "merge", "render", "compress")
_CODES = (200, 499, 500, 503)
"""Answers that are counted from the start: a rate needs a zero to start from."""

# By name, in order: the help text, and the names of the labels.
_METRICS = {
    "build_info": ("Version of the exporter and of Python.", "version", "python_version"),
    "file_errors_total": ("Files and samples that were left out, by reason.", "reason"),
    "files": ("The worker's .db files, by state: their writer's, removed or skipped.", "state"),
    "last_update_timestamp_seconds": ("When the worker's metrics changed last.",),
    "processes": ("Processes that wrote metrics, by state: live, dead, unknown.", "state"),
    "scrape_duration_seconds": ("What the last scrape took, by phase.", "phase"),
    "scrapes_total": ("Scrapes, by HTTP status code.", "code"),
    "series": ("Series of the worker.",),
    "up": ("Whether the worker's directory could be read.",),
    "worker_up": ("Whether some process of the worker lives.",),
}


class Telemetry:
    """Counts scrapes, and tells as metrics what a summary says."""

    def __init__(self, summary: Callable[[], Summary], labels: Collection[tuple[str, str]] = ()) -> None:
        """Add `labels` to every series."""
        self._summary = summary
        self._scrapes = Counter(dict.fromkeys(_CODES, 0))
        self._process = ProcessMetrics(labels)
        self._metrics = {
            name: Metric(f"smg_exporter_{name}", help_text, *label_names, labels=labels)
            for name, (help_text, *label_names) in _METRICS.items()
        }

    @property
    def names(self) -> set[str]:
        """Every name that these metrics may take up in an exposition."""
        return self._process.names.union(*(metric.names for metric in self._metrics.values()))

    def count_scrape(self, code: int) -> None:
        """Take note of an answer to a scrape."""
        self._scrapes[code] += 1

    def tell(self) -> list[OwnValues]:
        """Return what the metrics say now, by name."""
        summary = self._summary()
        values: dict[str, Mapping[tuple[str, ...], float | None]] = {
            "build_info": {(__version__, platform.python_version()): 1.0},
            "file_errors_total": {(reason,): count for reason, count in sorted(summary.file_errors.items())},
            "files": {(state,): summary.file_counts.get(state, 0) for state in FILE_STATES},
            "last_update_timestamp_seconds": {(): summary.last_update},
            "processes": {(state,): summary.process_counts.get(state, 0) for state in PROCESS_STATES},
            "scrape_duration_seconds": {
                (phase,): summary.scrape_durations.get(phase, 0.0) for phase in PHASES
            },
            "scrapes_total": {(str(code),): count for code, count in sorted(self._scrapes.copy().items())},
            "series": {(): summary.series},
            "up": {(): summary.directory_readable},
            "worker_up": {(): summary.worker_up},
        }
        own = [
            self._metrics[name].tell(known)
            for name, told in values.items()
            if (known := {labels: value for labels, value in told.items() if value is not None})
        ]
        return [*self._process.tell(), *own]
