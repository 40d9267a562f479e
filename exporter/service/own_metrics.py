"""Metrics of ours, as families that are rendered anew only where a value is another."""

import os
import resource
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.model import Labels, add_labels
from exporter.multiproc.processes import find_process

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class OwnFamily(NamedTuple):
    """A family, but for the samples."""

    name: str
    type: str
    help: str


class OwnValues(NamedTuple):
    """A family and its values at one moment."""

    family: OwnFamily
    samples: Sequence[Sequence[tuple[str, Labels]]]
    """Name and labels of each, in one block."""
    values: Sequence[Sequence[float]]


class Metric:
    """A metric of ours: a gauge, or a counter where its name says `_total`."""

    def __init__(
        self, name: str, help_text: str, *label_names: str, labels: Collection[tuple[str, str]] = ()
    ) -> None:
        """Tell it by `label_names`, with `labels` added to every series."""
        self.sample = name
        """What its samples are called."""
        self._label_names = label_names
        self._labels = labels
        short = name.removesuffix("_total")
        self._family = OwnFamily(short, "gauge" if short == name else "counter", help_text)
        self._told: Sequence[tuple[str, ...]] = ()
        self._values = OwnValues(self._family, [[]], [[]])

    @property
    def names(self) -> Iterable[str]:
        """Every name that it takes up in some exposition."""
        return {self._family.name, self.sample}

    def tell(self, values: Mapping[tuple[str, ...], float]) -> OwnValues:
        """Return what it says now: `values` by the values of its labels; the same object where nothing is new."""
        told, numbers = list(values), [float(value) for value in values.values()]
        if told != self._told:
            self._told = told
            own = (dict(zip(self._label_names, texts, strict=True)) for texts in told)
            samples = [(self.sample, add_labels(labels, self._labels)) for labels in own]
            self._values = OwnValues(self._family, [samples], [numbers])
        elif numbers != self._values.values[0]:
            self._values = self._values._replace(values=[numbers])
        return self._values

    def tell_one(self, value: float) -> OwnValues:
        """Return what it says now, as a metric without labels of its own."""
        return self.tell({(): value})


class ProcessMetrics:
    """What every exporter says of its own process, by the names that prometheus_client gives these metrics.

    Its ProcessCollector takes longer than all of ours together: it opens three files at each scrape.
    """

    def __init__(self, labels: Collection[tuple[str, str]] = ()) -> None:
        self._metrics = {
            name: Metric(f"process_{name}", help_text, labels=labels)
            for name, help_text in {
                "cpu_seconds_total": "Total user and system CPU time spent in seconds.",
                "max_fds": "Maximum number of open file descriptors.",
                "open_fds": "Number of open file descriptors.",
                "resident_memory_bytes": "Resident memory size in bytes.",
                "start_time_seconds": "Start time of the process since unix epoch in seconds.",
                "virtual_memory_bytes": "Virtual memory size in bytes.",
            }.items()
        }
        myself = find_process(str(os.getpid()))
        self._started = myself.started if myself else 0.0

    @property
    def names(self) -> set[str]:
        """Every name that they take up in some exposition."""
        return {name for metric in self._metrics.values() for name in metric.names}

    def tell(self) -> list[OwnValues]:
        """Return what they say now."""
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib costs more than the read
            size, resident = map(int, file.read().split()[:2])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        values = {
            "cpu_seconds_total": usage.ru_utime + usage.ru_stime,
            "max_fds": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            "open_fds": float(_open_files()),
            "resident_memory_bytes": float(resident * _PAGE_BYTES),
            "start_time_seconds": self._started,
            "virtual_memory_bytes": float(size * _PAGE_BYTES),
        }
        return [self._metrics[name].tell_one(value) for name, value in values.items()]


def _open_files() -> int:
    """Return how many files this process has open: since Linux 6.2 that is the size of the directory they are in."""
    path = "/proc/self/fd"
    return os.stat(path).st_size or len(os.listdir(path))  # noqa: PTH116, PTH208 - pathlib costs more than either
