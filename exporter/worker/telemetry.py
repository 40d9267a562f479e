"""The exporter's own metrics of one worker."""

from collections.abc import Callable, Collection, Mapping

from exporter.service.own_metrics import OwnMetrics, Told, by_label
from exporter.worker.status import FILE_STATES, PROCESS_STATES, Summary

PHASES = ("read", "merge", "render", "compress")

_METRICS = {
    "smg_exporter_file_errors_total": (
        "Files skipped and samples left out since the start, by reason.",
        "reason",
    ),
    "smg_exporter_files": (
        ".db files by state: live, dead, unknown (state of the writer); removed; skipped.",
        "state",
    ),
    "smg_exporter_last_update_timestamp_seconds": ("Unix time of the last change of the worker's metrics.",),
    "smg_exporter_processes": ("Processes that wrote .db files, by state: live, dead, unknown.", "state"),
    "smg_exporter_scrape_duration_seconds": ("Seconds that the last scrape took, by phase.", "phase"),
    "smg_exporter_scrapes_total": ("Scrapes by HTTP status code; 499: the client went away.", "code"),
    "smg_exporter_series": ("Series that the worker's files hold now.",),
    "smg_exporter_up": ("1 if the worker's directory could be read, else 0.",),
    "smg_exporter_worker_up": (
        "1 if a process of the worker is alive, 0 if all are dead; absent if unknown.",
    ),
}


class Telemetry(OwnMetrics):
    """The exporter's own metrics: scrape counts, and the values of a `Summary`."""

    def __init__(self, summary: Callable[[], Summary], labels: Collection[tuple[str, str]] = ()) -> None:
        """Add `labels` to every series."""
        super().__init__(_METRICS, lambda: _values(summary()), PHASES, labels)


def _values(summary: Summary) -> Mapping[str, Told]:
    return {
        "smg_exporter_file_errors_total": by_label(summary.file_errors),
        "smg_exporter_files": {(state,): summary.file_counts.get(state, 0) for state in FILE_STATES},
        "smg_exporter_last_update_timestamp_seconds": {(): summary.last_update},
        "smg_exporter_processes": {
            (state,): summary.process_counts.get(state, 0) for state in PROCESS_STATES
        },
        "smg_exporter_scrape_duration_seconds": {
            (phase,): summary.scrape_durations.get(phase, 0.0) for phase in PHASES
        },
        "smg_exporter_series": {(): summary.series},
        "smg_exporter_up": {(): summary.directory_readable},
        "smg_exporter_worker_up": {(): summary.worker_up},
    }
