"""prometheus_client's own merge behind the interface of ours, for comparison."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.multiprocess import MultiProcessCollector

from exporter.errors import ScrapeError
from exporter.model import Family, FamilyValues, Snapshot, add_labels
from exporter.multiproc.fileset import FileSet

if TYPE_CHECKING:
    from exporter.multiproc.faults import Fault


class StockEngine:
    """Serves the stock collector's families as they are, with labels added and in our order."""

    last_stamp = 0.0
    observed_change = False
    progress = None
    overdue = False

    def __init__(self, file_set: Callable[[], FileSet], labels: Collection[tuple[str, str]]) -> None:
        self.snapshot: Snapshot = ()
        self.read_seconds = 0.0
        self.errors: Counter[str] = Counter()
        self.refused: Mapping[str, Fault] = {}
        self.left_out: Mapping[str, Fault] = {}
        self.moved: Collection[str] = ()
        self._file_set = file_set
        self._labels = labels

    def update(self) -> None:
        """Merge everything anew; ScrapeError where the stock collector fails, as it does at one bad file."""
        start = time.perf_counter()
        files = self._file_set()
        try:
            metrics = [] if files.problem else list(MultiProcessCollector(None, files.directory).collect())
        except Exception as error:
            raise ScrapeError(
                f"prometheus_client's own merge failed: {type(error).__name__}: {error}"
            ) from error
        self.snapshot = [
            FamilyValues(
                Family(metric.name, metric.type, metric.documentation),
                [[(sample.name, add_labels(sample.labels, self._labels)) for sample in metric.samples]],
                [[float(sample.value) for sample in metric.samples]],
            )
            for metric in sorted(metrics, key=attrgetter("name"))
        ]
        self.read_seconds = time.perf_counter() - start
