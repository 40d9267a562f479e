"""prometheus_client's own merge behind the interface of ours, for comparison."""

import time
from collections.abc import Callable, Collection
from functools import partial

from prometheus_client.multiprocess import MultiProcessCollector

from exporter.exposition.text import FixedSnapshot, take_metrics
from exporter.multiproc.families import add_labels
from exporter.multiproc.fileset import FileSet


class StockEngine:
    """Serves the stock collector's families as they are, with labels added and in our order."""

    def __init__(self, file_set: Callable[[], FileSet], labels: Collection[tuple[str, str]]) -> None:
        self.snapshot = FixedSnapshot((), ())
        self.read_seconds = 0.0
        self._file_set = file_set
        self._label = partial(add_labels, added=labels)

    def update(self) -> None:
        """Merge everything anew; raises what the stock collector raises."""
        start = time.perf_counter()
        files = self._file_set()
        metrics = [] if files.problem else MultiProcessCollector(None, files.directory).collect()
        self.snapshot = take_metrics(metrics, self._label)
        self.read_seconds = time.perf_counter() - start
