"""The exporter's own metrics: of the process, and of each worker."""

from collections.abc import Callable, Collection, Mapping, Sequence

from exporter.model import FamilyValues
from exporter.service.own_metrics import OwnMetrics, Told, by_label, make_metrics
from exporter.worker.status import FILE_STATES, PROCESS_STATES, AlsoStatus, Summary

PHASES = ("read", "merge", "render", "compress")

_OF_PROCESS = {
    "smg_exporter_scrape_duration_seconds": ("Seconds that the last scrape took, by phase.", "phase"),
    "smg_exporter_scrapes_total": ("Scrapes by HTTP status code; 499: the client went away.", "code"),
}
_OF_SEVERAL = {
    "smg_exporter_conflicting_families": (
        "Families left out of the last answer: another worker has the same name with another type.",
    ),
}
_OF_WORKER = {
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
    "smg_exporter_series": ("Series that the worker's files hold now.",),
    "smg_exporter_up": ("1 if the worker's directory could be read, else 0.",),
    "smg_exporter_worker_up": (
        "1 if a process of the worker is alive, 0 if all are dead; absent if unknown.",
    ),
}
_OF_ALSO = {
    "smg_exporter_also_left_out_total": (
        "Lines, series and families of --also expositions left out of answers, by reason.",
        "url",
        "reason",
    ),
    "smg_exporter_also_up": ("1 if the last fetch of an --also exposition brought metrics, else 0.", "url"),
}
_AMONG_SEVERAL = {
    "smg_exporter_answers_without_worker_total": (
        "Answers without this worker's metrics, by reason: its read was late, or failed.",
        "reason",
    ),
}


class Telemetry(OwnMetrics):
    """The metrics of the process: scrape counts, and how long scrapes take."""

    def __init__(
        self,
        durations: Callable[[], Mapping[str, float]],
        labels: Collection[tuple[str, str]] = (),
        conflicts: Callable[[], int] | None = None,
    ) -> None:
        """`durations` returns the seconds of the last scrape by phase; `labels` are added to every series.

        `conflicts` returns how many families the last answer lacks, where there may be several workers.
        """
        described = _OF_PROCESS | (_OF_SEVERAL if conflicts else {})
        super().__init__(described, lambda: _of_process(durations(), conflicts), PHASES, labels)


class WorkerTelemetry:
    """The metrics of one worker: the values of a `Summary`."""

    def __init__(
        self,
        summary: Callable[[], Summary],
        labels: Collection[tuple[str, str]] = (),
        *,
        among_several: bool = False,
    ) -> None:
        """Add `labels` to every series. `among_several`: tell also of answers without this worker."""
        self._summary = summary
        self._metrics = make_metrics(_OF_WORKER | (_AMONG_SEVERAL if among_several else {}), labels)
        self._told_of: Summary | None = None
        self._told: Sequence[FamilyValues] = ()

    def tell(self) -> Sequence[FamilyValues]:
        """Return all families with their present values, sorted by name; the same object if the summary is equal."""
        summary = self._summary()
        if summary != self._told_of:
            values = _of_worker(summary)
            self._told = [metric.tell(values[name]) for name, metric in self._metrics.items()]
            self._told_of = summary
        return self._told


class AlsoTelemetry:
    """The metrics of other expositions that are served too."""

    def __init__(
        self, statuses: Callable[[], Sequence[AlsoStatus]], labels: Collection[tuple[str, str]] = ()
    ) -> None:
        """Add `labels` to every series."""
        self._statuses = statuses
        self._metrics = make_metrics(_OF_ALSO, labels)

    def tell(self) -> Sequence[FamilyValues]:
        """Return all families with their present values, sorted by name; none without such an exposition."""
        statuses = self._statuses()
        if not statuses:
            return []
        values: Mapping[str, Told] = {
            "smg_exporter_also_left_out_total": {
                (one.url, reason): count for one in statuses for reason, count in one.left_out.items()
            },
            "smg_exporter_also_up": {(one.url,): one.up for one in statuses},
        }
        return [metric.tell(values[name]) for name, metric in self._metrics.items()]


def own_names() -> set[str]:
    """Return every name that own metrics may take up in an exposition."""
    others = make_metrics(_OF_WORKER | _AMONG_SEVERAL | _OF_ALSO).values()
    return Telemetry(dict, conflicts=int).names.union(*(metric.names for metric in others))


def _of_process(durations: Mapping[str, float], conflicts: Callable[[], int] | None) -> Mapping[str, Told]:
    return {
        "smg_exporter_conflicting_families": {(): conflicts() if conflicts else None},
        "smg_exporter_scrape_duration_seconds": {(phase,): durations.get(phase, 0.0) for phase in PHASES},
    }


def _of_worker(summary: Summary) -> Mapping[str, Told]:
    return {
        "smg_exporter_file_errors_total": by_label(summary.file_errors),
        "smg_exporter_files": {(state,): summary.file_counts.get(state, 0) for state in FILE_STATES},
        "smg_exporter_last_update_timestamp_seconds": {(): summary.last_update},
        "smg_exporter_answers_without_worker_total": by_label(summary.left_out),
        "smg_exporter_processes": {
            (state,): summary.process_counts.get(state, 0) for state in PROCESS_STATES
        },
        "smg_exporter_series": {(): summary.series},
        "smg_exporter_up": {(): summary.directory_readable},
        "smg_exporter_worker_up": {(): summary.worker_up},
    }
