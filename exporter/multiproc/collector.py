"""The engine as a prometheus_client collector, to be used in place of its MultiProcessCollector."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.model import Snapshot
from exporter.multiproc.engine import DEFAULT_MAX_FILE_SIZE, Engine
from exporter.multiproc.fileset import FileSet, every_file


class IncrementalCollector(MultiProcessCollector):
    """A MultiProcessCollector that remembers parsed keys, so that a scrape parses only new ones.

    It merges every file of the directory, of live and dead writers, as the stock collector does. Not thread-safe: one
    call at a time.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None,
        path: str | None = None,
        *,
        labels: Collection[tuple[str, str]] = (),
        per_process: bool = False,
        max_file_size: int = DEFAULT_MAX_FILE_SIZE,
        reserved_names: Collection[str] = (),
    ) -> None:
        """Collect from the directory at `path`, by default PROMETHEUS_MULTIPROC_DIR; for the options see `Engine`.

        Raises ValueError if there is no such directory, as the stock collector does.
        """
        super().__init__(None, path)  # type: ignore[no-untyped-call]
        self._files = FileSet(str(self._path))
        self.engine = Engine(
            self._look,
            labels=labels,
            per_process=per_process,
            max_file_size=max_file_size,
            reserved_names=reserved_names,
        )
        if registry is not None:  # last, for the registry may call `collect` at once
            registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read what changed, and return all families as prometheus_client's `Metric` objects."""
        self.engine.update()
        return list(metrics(self.engine.snapshot))

    def _look(self) -> FileSet:
        self._files = every_file(self._files)
        return self._files


def metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of a snapshot as prometheus_client's `Metric` objects."""
    for family, samples, values in snapshot:
        metric = Metric(family.name, family.help, family.type)
        for (name, labels), value in zip(chain(*samples), chain(*values), strict=True):
            metric.add_sample(name, dict(labels), value)
        yield metric
