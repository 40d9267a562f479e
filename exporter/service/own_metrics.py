"""The metrics that every exporter tells of itself, in families that are rendered anew only where a value is another."""

import os
import platform
import resource
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from exporter import __version__, model
from exporter.model import Family, FamilyValues, add_labels
from exporter.multiproc.processes import find_process

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CODES = (200, 499, 500, 503)
"""Answers that are counted from the start: a rate needs a zero to start from."""

Described: TypeAlias = Mapping[str, tuple[str, ...]]
"""Metrics by name: the help text, and the names of the labels."""
Told: TypeAlias = Mapping[tuple[str, ...], float | None]
"""What a metric says, by the values of its labels; None for what is unknown."""

# What every exporter says. `process_*` are those of prometheus_client's ProcessCollector, which takes longer than all
# others together: it opens three files at each scrape.
_METRICS = {
    "process_cpu_seconds_total": ("Total user and system CPU time spent in seconds.",),
    "process_max_fds": ("Maximum number of open file descriptors.",),
    "process_open_fds": ("Number of open file descriptors.",),
    "process_resident_memory_bytes": ("Resident memory size in bytes.",),
    "process_start_time_seconds": ("Start time of the process since unix epoch in seconds.",),
    "process_virtual_memory_bytes": ("Virtual memory size in bytes.",),
    "smg_exporter_build_info": ("Version of the exporter and of Python.", "version", "python_version"),
}


class Metric:
    """A metric of ours: a gauge, or a counter where its name says `_total`."""

    def __init__(
        self, name: str, help_text: str, *label_names: str, labels: Collection[tuple[str, str]] = ()
    ) -> None:
        """Tell it by `label_names`, with `labels` added to every series."""
        self._sample = name
        """What its samples are called."""
        self._label_names = label_names
        self._labels = labels
        short = name.removesuffix("_total")
        self._family = Family(short, "gauge" if short == name else "counter", help_text)
        self._told: Sequence[tuple[str, ...]] = ()
        self._values = FamilyValues(self._family, [[]], [[]])

    @property
    def names(self) -> set[str]:
        """Every name that it takes up in some exposition."""
        return model.names(self._family.name, self._family.type)

    def tell(self, values: Told) -> FamilyValues:
        """Return what it says now; the same object where nothing is new."""
        known = {labels: float(value) for labels, value in values.items() if value is not None}
        told, numbers = list(known), list(known.values())
        if told != self._told:
            self._told = told
            own = (dict(zip(self._label_names, texts, strict=True)) for texts in told)
            samples = [(self._sample, add_labels(labels, self._labels)) for labels in own]
            self._values = FamilyValues(self._family, [samples], [numbers])
        elif numbers != self._values.values[0]:
            self._values = self._values._replace(values=[numbers])
        return self._values


def make_metrics(described: Described, labels: Collection[tuple[str, str]] = ()) -> dict[str, Metric]:
    """Return the metrics so described, by name and in that order; `labels` are added to every series."""
    return {
        name: Metric(name, help_text, *label_names, labels=labels)
        for name, (help_text, *label_names) in sorted(described.items())
    }


class OwnMetrics:
    """All metrics of an exporter: those that are its own, and those that every one has."""

    def __init__(
        self,
        described: Described,
        values: Callable[[], Mapping[str, Told]],
        labels: Collection[tuple[str, str]] = (),
    ) -> None:
        """Tell the metrics so described by `values`, but for the scrapes, which are counted here.

        `labels` are added to every series.
        """
        self._metrics = make_metrics({**_METRICS, **described}, labels)
        self._values = values
        self._scrapes = Counter(dict.fromkeys(_CODES, 0))

    @property
    def names(self) -> set[str]:
        """Every name that these metrics may take up in an exposition."""
        return {name for metric in self._metrics.values() for name in metric.names}

    def count_scrape(self, code: int) -> None:
        """Take note of an answer to a scrape."""
        self._scrapes[code] += 1

    def tell(self) -> list[FamilyValues]:
        """Return what the metrics say now, by name."""
        values: dict[str, Told] = {
            **_process(),
            "smg_exporter_build_info": {(__version__, platform.python_version()): 1.0},
            "smg_exporter_scrapes_total": by_label(self._scrapes),
            **self._values(),
        }
        return [metric.tell(values[name]) for name, metric in self._metrics.items()]


def by_label(values: Mapping[Any, float]) -> Told:
    """Return what a metric with one label says, in order."""
    # Copied at once: another thread counts on, and may add a label value.
    return {(str(label),): value for label, value in sorted(dict(values).items())}


def _process() -> Mapping[str, Told]:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib costs more than the read
        size, resident = map(int, file.read().split()[:2])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "process_cpu_seconds_total": {(): usage.ru_utime + usage.ru_stime},
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
    """Return how many files this process has open: since Linux 6.2 that is the size of the directory they are in."""
    path = "/proc/self/fd"
    return os.stat(path).st_size or len(os.listdir(path))  # noqa: PTH116, PTH208 - pathlib costs more than either
