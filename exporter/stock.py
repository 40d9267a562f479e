"""prometheus_client's own merge behind the interface of ours, for comparison."""

import time
from collections.abc import Callable, Collection
from functools import partial

from prometheus_client.multiprocess import MultiProcessCollector

from exporter.errors import ScrapeError
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
        """Merge everything anew; ScrapeError where the stock collector fails, as it does at one bad file."""
        start = time.perf_counter()
        files = self._file_set()
        try:
            metrics = [] if files.problem else MultiProcessCollector(None, files.directory).collect()
        except Exception as error:
            raise ScrapeError(
                f"prometheus_client's own merge failed: {type(error).__name__}: {error}"
            ) from error
        self.snapshot = take_metrics(metrics, self._label)
        self.read_seconds = time.perf_counter() - start
