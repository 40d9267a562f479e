"""prometheus_client's own merge behind the interface of ours, for comparison."""

import time
from collections.abc import Callable, Collection

from prometheus_client.multiprocess import MultiProcessCollector

from exporter.exposition.text import FixedFamily
from exporter.multiproc.fileset import FileSet


class StockEngine:
    """Serves the stock collector's families as they are, with labels added and in our order."""

    def __init__(self, file_set: Callable[[], FileSet], labels: Collection[tuple[str, str]]) -> None:
        self.read_seconds = 0.0
        self._file_set = file_set
        self._labels = labels
        self._families: list[FixedFamily] = []

    def update(self) -> None:
        """Merge everything anew; raises what the stock collector raises."""
        start = time.perf_counter()
        files = self._file_set()
        metrics = [] if files.problem else MultiProcessCollector(None, files.directory).collect()
        families = [FixedFamily(metric, self._labels) for metric in metrics]
        self._families = sorted(families, key=lambda family: family.name)
        self.read_seconds = time.perf_counter() - start

    def families(self) -> list[FixedFamily]:
        """Return the families as of the last update."""
        return self._families
