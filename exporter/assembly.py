"""Settings -> the parts of one worker's exporter, wired together."""

import time
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from exporter import __version__
from exporter.multiproc.collector import IncrementalCollector
from exporter.multiproc.dbfile import BadDataError, BadFileError
from exporter.multiproc.fileset import FileSet, Liveness
from exporter.scrape import Scraper
from exporter.settings import Settings
from exporter.status import PROCESS_STATES, FileStatus, ProcessStatus, Status
from exporter.stock import StockEngine
from exporter.telemetry import Telemetry, own_names
from exporter.watch import Watcher


class _Inventory(NamedTuple):
    """The processes and files of a file set, for the status."""

    files_of: FileSet
    problems: Mapping[str, BadDataError]
    processes: tuple[ProcessStatus, ...]
    files: tuple[FileStatus, ...]


class Exporter:
    """The parts: `watcher` keeps the file set, `scraper` reads and renders it, `telemetry` counts."""

    def __init__(self, settings: Settings) -> None:
        labels = tuple(settings.static_labels.items())
        self._worker_addr = settings.static_labels.get("worker_addr", "")
        self._started = time.time()
        self._assembled = time.monotonic()
        self._last_change = 0.0
        self._series = 0
        self._inventory: _Inventory | None = None
        self.watcher = Watcher(str(settings.directory), Liveness(settings.liveness))
        self.telemetry = Telemetry(self.status)
        names = set() if settings.no_self_metrics else own_names()
        self.collector = IncrementalCollector(
            None,
            file_set=lambda: self.watcher.current,
            labels=labels,
            per_process=settings.per_process,
            keep_gauges=settings.when_worker_down == "keep-gauges",
            max_file_size=settings.max_file_size,
            reserved_names=names,
        )
        self._engine = (
            StockEngine(lambda: self.watcher.current, labels)
            if settings.collector == "stock"
            else self.collector
        )
        self.scraper = Scraper(
            self._engine,
            list if settings.no_self_metrics else self.telemetry.registry.collect,
            labels,
            on_update=self._note_update,
            own_names=names,
        )

    def status(self) -> Status:
        """Return the facts as they are known now."""
        files = self.watcher.current
        inventory = self._take_inventory(files, dict(self.collector.problems))
        return Status(
            version=__version__,
            worker_addr=self._worker_addr,
            directory=files.directory,
            directory_readable=files.listing is not None,
            problem=_problem(files, inventory.files),
            worker_up=files.worker_up,
            started=self._started,
            processes=inventory.processes,
            files=inventory.files,
            series=self._series,
            last_scrape=self.scraper.last_scrape,
            scrape_durations=self.scraper.durations,
            last_update=max(self._last_change, self.collector.last_stamp) or None,
            file_errors=dict(self.collector.errors),
        )

    def stuck(self, longest: float) -> str:
        """Say what has not come to an end for longer than so many seconds; an empty text where all goes on."""
        now = time.monotonic()
        if now - (self.watcher.last_look or self._assembled) > longest:
            return f"looking at {self.watcher.current.directory}"
        if now - (self.scraper.busy_since or now) > longest:
            return f"reading {self.watcher.current.directory}"
        return ""

    def _take_inventory(self, files: FileSet, problems: Mapping[str, BadDataError]) -> "_Inventory":
        """Return the last inventory, while it holds. The scrape's thread asks too, so it is replaced as a whole."""
        inventory = self._inventory
        if inventory is None or inventory.files_of is not files or inventory.problems != problems:
            processes = sorted(files.writers.items(), key=lambda item: int(item[0]))
            inventory = self._inventory = _Inventory(
                files,
                problems,
                tuple(ProcessStatus(pid, writer.state) for pid, writer in processes),
                _file_statuses(files, problems),
            )
        return inventory

    def _note_update(self) -> None:
        """Take from the collector, in its thread, what others ask for in theirs."""
        self.watcher.report_moved(self.collector.moved)
        if self.collector.observed_change:
            self._last_change = time.time()
        self._series = sum(map(len, self._engine.snapshot.blocks))


def _file_statuses(files: FileSet, problems: Mapping[str, BadDataError]) -> tuple[FileStatus, ...]:
    counted = [
        FileStatus(
            file.name, "skipped" if isinstance(problem, BadFileError) else file.state, str(problem or "")
        )
        for file in files.files
        for problem in [problems.get(file.name)]
    ]
    skipped = [FileStatus(name, "skipped", text) for name, (_, text) in files.skipped.items()]
    removed = [FileStatus(name, "removed") for name in files.removed]
    return tuple(sorted((*counted, *skipped, *removed), key=attrgetter("name")))


def _problem(files: FileSet, statuses: Iterable[FileStatus]) -> str:
    """Return why there is nothing to serve of the worker, or an empty text."""
    if files.problem:
        return files.problem
    if not files.listing:
        return f"{files.directory}: not looked at yet"
    skipped = 0
    for status in statuses:
        if status.state in PROCESS_STATES:
            return ""
        skipped += status.state == "skipped"
    if skipped:
        return f"{files.directory}: none of its {skipped} .db files can be read"
    return (
        f"{files.directory}: no .db file yet; is the worker running, with PROMETHEUS_MULTIPROC_DIR set to it?"
    )
