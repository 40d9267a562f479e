"""`--collector stock`: prometheus_client's own merge at each scrape, as a `Collector` like our engine."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.errors import ScrapeError
from exporter.model import Family, FamilyValues, Snapshot, add_labels
from exporter.multiproc.fileset import FileSet

if TYPE_CHECKING:
    from exporter.multiproc.faults import Fault

FAILED = "stock_failed"
"""The reason under which a failed merge is counted: MultiProcessCollector does not say which file is bad."""


class StockCollector:
    """Serves MultiProcessCollector's families with labels added, sorted by name."""

    last_stamp = 0.0
    progress = None
    overdue = False
    takes_any_name = True

    def __init__(self, file_set: Callable[[], FileSet], labels: Collection[tuple[str, str]]) -> None:
        self.snapshot: Snapshot = ()
        self.read_seconds = 0.0
        self.errors = Counter({FAILED: 0})
        self.refused: Mapping[str, Fault] = {}
        self.left_out: Mapping[str, Fault] = {}
        self.moved: Collection[str] = ()
        self.observed_change = False
        self._file_set = file_set
        self._labels = labels
        self._files: FileSet | None = None

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def update(self) -> None:
        """Merge all files; ScrapeError if MultiProcessCollector fails, as one bad file makes it do."""
        start = time.perf_counter()
        files = self._file_set()
        try:
            metrics = [] if files.problem else list(MultiProcessCollector(None, files.directory).collect())
        except Exception as error:
            self.errors[FAILED] += 1
            fault = f"{type(error).__name__}: {error}"
            raise ScrapeError(f"{files.directory}: prometheus_client's own merge failed: {fault}") from error
        before, self.snapshot = self.snapshot, _snapshot(metrics, self._labels)
        self.observed_change = files is self._files and _values(before) != _values(self.snapshot)
        # MultiProcessCollector does not say whose file changed. But if no writer was ever found alive, any change
        # shows that a writer lives unseen.
        is_sign = self.observed_change and not (files.seen_alive or files.watched)
        self.moved = files.writers if is_sign else ()
        self._files = files
        self.read_seconds = time.perf_counter() - start


def _snapshot(metrics: Iterable[Metric], labels: Collection[tuple[str, str]]) -> Snapshot:
    return [
        FamilyValues(
            Family(metric.name, metric.type, metric.documentation),
            [[(sample.name, add_labels(sample.labels, labels)) for sample in metric.samples]],
            [[float(sample.value) for sample in metric.samples]],
        )
        for metric in sorted(metrics, key=attrgetter("name"))
    ]


def _values(snapshot: Snapshot) -> str:
    """Return all values as text, to compare them: as text, NaN equals NaN."""
    return str([one.values for one in snapshot])
