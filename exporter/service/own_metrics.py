"""The metrics of the exporter itself. A family whose values did not change is the same object as at the last scrape."""

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from exporter import __version__, model
from exporter.model import Family, FamilyValues, add_labels
from exporter.multiproc.processes import find_process
from exporter.service.histogram import Histogram

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CODES = (200, 499, 500, 503)
"""Status codes whose counters exist from the start, at 0: `rate()` misses the first event of a new series."""

Described: TypeAlias = Mapping[str, tuple[str, ...]]
"""By metric name: the help text, then the label names."""
Told: TypeAlias = Mapping[tuple[str, ...], float | None]
"""A metric's values, by label values. A series whose value is None is left out."""

# Metrics of every exporter. The names of `process_*` are those of prometheus_client's ProcessCollector. It is not used:
# it opens three files at each scrape, and takes longer than all the other metrics together.
_METRICS = {
    "process_cpu_seconds_total": ("Total user and system CPU time spent in seconds.",),
    "process_max_fds": ("Maximum number of open file descriptors.",),
    "process_open_fds": ("Number of open file descriptors.",),
    "process_resident_memory_bytes": ("Resident memory size in bytes.",),
    "process_start_time_seconds": ("Start time of the process since unix epoch in seconds.",),
    "process_virtual_memory_bytes": ("Virtual memory size in bytes.",),
    "smg_exporter_build_info": (
        "Always 1; the labels are the versions of the exporter and of Python.",
        "version",
        "python_version",
    ),
}
_PHASES = "smg_exporter_scrape_phase_seconds"
_PHASES_HELP = "Seconds that scrapes took, by phase; scrapes that share a read count once."


class Metric:
    """An own metric: a counter if its name ends in `_total`, else a gauge."""

    def __init__(
        self, name: str, help_text: str, *label_names: str, labels: Collection[tuple[str, str]] = ()
    ) -> None:
        """Give each series a value for every one of `label_names`, and add the constant `labels`."""
        self._sample = name
        """The name of its samples."""
        self._label_names = label_names
        self._labels = labels
        short = name.removesuffix("_total")
        self._family = Family(short, "gauge" if short == name else "counter", help_text)
        self._told: Told = {}
        self._shown: Sequence[tuple[str, ...]] = ()
        """The label values of the series."""
        self._values = FamilyValues(self._family, [[]], [[]])

    @property
    def names(self) -> set[str]:
        """Every name that the metric takes up in any format."""
        return model.names(self._family.name, self._family.type)

    def tell(self, values: Told) -> FamilyValues:
        """Return the family with these values; the same object as last time if no value changed."""
        if values == self._told:
            return self._values
        self._told = values
        known = {labels: float(value) for labels, value in values.items() if value is not None}
        shown, numbers = list(known), list(known.values())
        if shown != self._shown:
            self._shown = shown
            own = (dict(zip(self._label_names, texts, strict=True)) for texts in shown)
            samples = [(self._sample, add_labels(labels, self._labels)) for labels in own]
            self._values = FamilyValues(self._family, [samples], [numbers])
        elif numbers != self._values.values[0]:
            self._values = self._values._replace(values=[numbers])
        return self._values


def make_metrics(described: Described, labels: Collection[tuple[str, str]] = ()) -> dict[str, Metric]:
    """Return the metrics that `described` names, sorted by name; `labels` are added to every series."""
    return {
        name: Metric(name, help_text, *label_names, labels=labels)
        for name, (help_text, *label_names) in sorted(described.items())
    }


class OwnMetrics:
    """All own metrics of a daemon: those of its command, and those that all daemons have."""

    def __init__(
        self,
        described: Described,
        values: Callable[[], Mapping[str, Told]],
        phases: Sequence[str],
        labels: Collection[tuple[str, str]] = (),
    ) -> None:
        """Take the values of the `described` metrics from `values`, except what is counted here.

        That is scrapes, and the durations of their `phases`. `labels` are added to every series.
        """
        self._metrics = make_metrics({**_METRICS, **described}, labels)
        self._phases = Histogram(_PHASES, _PHASES_HELP, phases, labels)
        self._phases_at = sorted([*self._metrics, _PHASES]).index(_PHASES)
        self._values = values
        self._scrapes = Counter(dict.fromkeys(_CODES, 0))

    @property
    def names(self) -> set[str]:
        """Every name that these metrics may take up in an exposition."""
        return self._phases.names.union(*(metric.names for metric in self._metrics.values()))

    def observe(self, durations: Mapping[str, float]) -> None:
        """Count the seconds that a scrape took, by phase."""
        self._phases.observe(durations)

    def count_scrape(self, code: int) -> None:
        """Count an answer to a scrape, by its status code."""
        self._scrapes[code] += 1

    def tell(self) -> list[FamilyValues]:
        """Return all families with their present values, sorted by name."""
        values: dict[str, Told] = {
            **_process(),
            "smg_exporter_build_info": {(__version__, platform.python_version()): 1.0},
            "smg_exporter_scrapes_total": by_label(self._scrapes),
            **self._values(),
        }
        told = [metric.tell(values[name]) for name, metric in self._metrics.items()]
        told.insert(self._phases_at, self._phases.tell())
        return told


def by_label(values: Mapping[Any, float]) -> Told:
    """Return the values of a metric with one label, sorted by label value."""
    # dict() copies in one step: another thread may add a label value meanwhile.
    return {(str(label),): value for label, value in sorted(dict(values).items())}


def _process() -> Mapping[str, Told]:
    size, resident = map(int, os.pread(_opened("statm"), 128, 0).split()[:2])
    return {
        "process_cpu_seconds_total": {(): time.process_time()},
        "process_max_fds": {(): resource.getrlimit(resource.RLIMIT_NOFILE)[0]},
        "process_open_fds": {(): _open_files()},
        "process_resident_memory_bytes": {(): resident * _PAGE_BYTES},
        "process_start_time_seconds": {(): _started()},
        "process_virtual_memory_bytes": {(): size * _PAGE_BYTES},
    }


@cache
def _started() -> float:
    myself = find_process(str(os.getpid()))
    return myself.started if myself else 0.0


def _open_files() -> int:
    """Return how many files this process has open. Since Linux 6.2, st_size of /proc/self/fd is their number."""
    return os.fstat(_opened("fd")).st_size or len(os.listdir(_opened("fd")))


@cache
def _opened(name: str) -> int:
    """Return a descriptor of /proc/self/NAME, which stays open: opening it takes longer than all else here."""
    return os.open(f"/proc/self/{name}", os.O_RDONLY | os.O_CLOEXEC)
