"""Builds the parts of a worker's exporter from its options, and connects them."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.exposition.combine import Combiner
from exporter.model import Labels, Snapshot
from exporter.multiproc.directories import Directories
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet
from exporter.multiproc.liveness import Liveness
from exporter.options.values import Directory
from exporter.options.worker import DumpOptions, ServeOptions
from exporter.service.engine_views import EngineViews, Reads
from exporter.worker.reads import asked
from exporter.worker.roster import Roster
from exporter.worker.scrape import Scraper
from exporter.worker.status import AlsoStatus, Status
from exporter.worker.stock import StockCollector
from exporter.worker.telemetry import AlsoTelemetry, Telemetry, own_names
from exporter.worker.watch import EventsAndTicks, Watcher
from exporter.worker.worker import Collector, Worker

if TYPE_CHECKING:
    from exporter.worker.also import Also
    from exporter.worker.seek import Seeker

_SEVERAL_TICK = 1.0
"""Seconds between two looks at a worker's several directories."""

_name = attrgetter("family.name")


class Parts:
    """`roster` holds the workers, `scraper` and `views` serve them, `telemetry` counts scrapes."""

    def __init__(
        self, options: ServeOptions | DumpOptions, also: Sequence["Also"] = (), *, quiet: bool = False
    ) -> None:
        """Build and connect the parts. `also` is served too. `quiet`: do not log what happens to the workers."""
        labels = labels_at_first(options)
        names = reserved_names(options)
        workers = options.workers
        self.roster = Roster(
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
        self.seeker: Seeker | None = None
        """What finds the worker; None if a directory is given."""
        if not workers:
            from exporter.worker import seek  # noqa: PLC0415 - discovery takes time and memory; others do without

            engine = partial(make_engine, options, names)
            nobody = seek.nobody("the worker has not been looked for yet")
            self.roster.replace([Worker(nobody, partial(engine, labels), labels)])
            self.seeker = seek.make_seeker(options, self.roster, engine, quiet=quiet)
        self.telemetry = Telemetry(
            lambda: self.scraper.durations,
            labels,
            conflicts=(lambda: self.scraper.conflicts) if len(workers) > 1 else None,
        )
        self.scraper = Scraper(
            lambda: self.roster.workers,
            list if options.no_self_metrics else self._own_metrics,
            observe=self.telemetry.observe,
            own_names=names,
            after=lambda: self.views.offer(),  # noqa: PLW0108 - made below
            guests=also,
        )
        self.views = EngineViews(self._read, self._last_reads)
        self._also = also
        self._labels = labels
        self._also_telemetry = AlsoTelemetry(self._also_statuses, labels)
        self._combiner = Combiner()
        self._collector = options.collector
        self._started = time.time()

    async def look_only(self) -> None:
        """Look for the worker if no directory is given, and look at the directories."""
        if self.seeker:
            await self.seeker.look()
        await self.roster.look_only()

    def status(self) -> Status:
        """Return the status of the exporter and of all its workers; slow if there are thousands of files."""
        return Status(
            version=__version__,
            collector=self._collector,
            started=self._started,
            workers=tuple(worker.status() for worker in self.roster.workers),
            last_scrape=self.scraper.last_scrape,
            scrape_durations=self.scraper.durations,
            also=self._also_statuses(),
        )

    @property
    def labels(self) -> Labels:
        """The labels of a lone worker, which may change when it is found; of several, the exporter's."""
        workers = self.roster.workers
        return workers[0].labels if len(workers) == 1 else self._labels

    def _own_metrics(self) -> Snapshot:
        of_workers = self._combiner.combine(self.roster.tell())
        return sorted(chain(self.telemetry.tell(), self._also_telemetry.tell(), of_workers), key=_name)

    async def _read(self) -> None:
        """Read all workers, and what is served too."""
        await asyncio.gather(self.roster.read(), *(asked(one) for one in self._also))

    def _last_reads(self) -> Reads:
        """Return what the last read of each worker gave; to a lone worker belongs what is served too."""
        reads = self.roster.last_reads()
        more = [one.snapshot for one in self._also]
        if len(reads) > 1 or not more:
            return reads
        return {key: read.with_more(more) for key, read in reads.items()}

    def _also_statuses(self) -> tuple[AlsoStatus, ...]:
        return tuple(one.status for one in self._also)


def reserved_names(options: ServeOptions | DumpOptions) -> set[str]:
    """Return the names of own metrics, which nothing else in the answer may use."""
    return set() if options.no_self_metrics else own_names()


def labels_at_first(options: ServeOptions | DumpOptions) -> Labels:
    """Return the labels of the exporter, and of its worker as long as that is to be found."""
    if options.multiproc_dir:
        return tuple(options.static_labels.items())
    address = f"grpc://{socket.gethostname()}:{options.worker_port}"
    return tuple(options.labels_of(options.found_address(address)).items())


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
    watcher = make_watcher(patterns, Liveness(options.liveness), quiet=quiet)
    engine = partial(make_engine, options, names, labels)
    return Worker(watcher, engine, labels, among_several=among_several, quiet=quiet)


def make_engine(
    options: ServeOptions | DumpOptions, names: set[str], labels: Labels, file_set: Callable[[], FileSet]
) -> Collector:
    """Return an engine that merges as `options` say; `names` are those of own metrics, which it may not use."""
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


def make_watcher(patterns: Sequence[str], liveness: Liveness, *, quiet: bool) -> Watcher:
    """Return the watcher of a directory, or of all directories that match patterns."""
    if len(patterns) == 1 and not Directory(patterns[0]).is_pattern:
        return Watcher(patterns[0], liveness, quiet=quiet)
    directories = Directories(patterns)
    # There is no event where a directory comes: a look must find it.
    waker = EventsAndTicks(_SEVERAL_TICK)
    return Watcher(
        directories.base, liveness, waker, lister=directories, name=", ".join(patterns), quiet=quiet
    )
