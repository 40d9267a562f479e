"""Builds the parts of a worker's exporter from its options, and connects them."""

import time
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter

from exporter import __version__
from exporter.exposition.combine import Combiner
from exporter.model import Labels, Snapshot
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet, Liveness
from exporter.multiproc.span import Span
from exporter.options import DumpOptions, ServeOptions
from exporter.service.engine_views import EngineViews
from exporter.values import Directory
from exporter.worker.also import Also
from exporter.worker.room import Room
from exporter.worker.scrape import Scraper
from exporter.worker.status import AlsoStatus, Status
from exporter.worker.stock import StockCollector
from exporter.worker.telemetry import AlsoTelemetry, Telemetry, own_names
from exporter.worker.watch import EventsAndTicks, Watcher
from exporter.worker.worker import Collector, Worker

_SPAN_TICK = 1.0
"""Seconds between two looks at a worker's several directories."""

_name = attrgetter("family.name")


class Parts:
    """`room` holds the workers, `scraper` and `views` serve them, `telemetry` counts scrapes."""

    def __init__(
        self, options: ServeOptions | DumpOptions, also: Sequence[Also] = (), *, quiet: bool = False
    ) -> None:
        """Build and connect the parts. `also` is served too. `quiet`: do not log what happens to the workers."""
        labels = tuple(options.static_labels.items())
        names = reserved_names(options)
        workers = options.workers
        self.room = Room(
            make_worker(
                options,
                paths,
                (*labels, *own_labels),
                names,
                among_several=len(workers) > 1,
                quiet=quiet,
            )
            for own_labels, paths in workers.items()
        )
        self.telemetry = Telemetry(
            lambda: self.scraper.durations,
            labels,
            conflicts=(lambda: self.scraper.conflicts) if len(workers) > 1 else None,
        )
        self.scraper = Scraper(
            lambda: self.room.workers,
            list if options.no_self_metrics else self._own_metrics,
            observe=self.telemetry.observe,
            own_names=names,
            after=lambda: self.views.offer(),  # noqa: PLW0108 - made below
            guests=also,
        )
        self.views = EngineViews(self.room.read, self.room.last_reads)
        self._also = also
        self._also_telemetry = AlsoTelemetry(self._also_statuses, labels)
        self._combiner = Combiner()
        self._collector = options.collector
        self._started = time.time()

    def status(self) -> Status:
        """Return the status of the exporter and of all its workers; slow if there are thousands of files."""
        return Status(
            version=__version__,
            collector=self._collector,
            started=self._started,
            workers=tuple(worker.status() for worker in self.room.workers),
            last_scrape=self.scraper.last_scrape,
            scrape_durations=self.scraper.durations,
            also=self._also_statuses(),
        )

    def _own_metrics(self) -> Snapshot:
        of_workers = self._combiner.combine(self.room.tell())
        return sorted(chain(self.telemetry.tell(), self._also_telemetry.tell(), of_workers), key=_name)

    def _also_statuses(self) -> tuple[AlsoStatus, ...]:
        return tuple(one.status for one in self._also)


def reserved_names(options: ServeOptions | DumpOptions) -> set[str]:
    """Return the names of own metrics, which nothing else in the answer may use."""
    return set() if options.no_self_metrics else own_names()


def make_worker(
    options: ServeOptions | DumpOptions,
    patterns: Sequence[str],
    labels: Labels,
    names: set[str],
    *,
    among_several: bool,
    quiet: bool,
) -> Worker:
    """Return a worker that merges, as `options` say, the files of all directories that match `patterns`.

    `names` are those of own metrics, which it may not use.
    """

    def make_engine(file_set: Callable[[], FileSet]) -> Collector:
        if options.collector == "stock":
            return StockCollector(file_set, labels)
        return Engine(
            file_set,
            labels=labels,
            per_process=options.per_process,
            keep_gauges=options.when_worker_down == "keep-gauges",
            max_file_size=options.max_file_size,
            reserved_names=names,
        )

    watcher = make_watcher(patterns, Liveness(options.liveness), quiet=quiet)
    return Worker(watcher, make_engine, labels, among_several=among_several, quiet=quiet)


def make_watcher(patterns: Sequence[str], liveness: Liveness, *, quiet: bool) -> Watcher:
    """Return the watcher of a directory, or of all directories that match patterns."""
    if len(patterns) == 1 and not Directory(patterns[0]).is_pattern:
        return Watcher(patterns[0], liveness, quiet=quiet)
    span = Span(patterns)
    # There is no event where a directory comes: a look must find it.
    waker = EventsAndTicks(_SPAN_TICK)
    return Watcher(span.base, liveness, waker, lister=span, name=", ".join(patterns), quiet=quiet)
