"""Builds the parts of one worker from its options, and connects them."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_not

from exporter import __version__
from exporter.logs import by_number, fields, some
from exporter.multiproc.engine import Engine, Progress
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import FileSet, Liveness
from exporter.options import DumpOptions, ServeOptions
from exporter.worker.scrape import Collector, Scraper
from exporter.worker.status import PROCESS_STATES, FileStatus, ProcessStatus, Status, Summary, problem
from exporter.worker.stock import StockCollector
from exporter.worker.telemetry import Telemetry
from exporter.worker.watch import Watcher

_PROGRESS_PERIOD = 2.0
"""Seconds between two log lines on the progress of the first read."""

_logger = logging.getLogger(__name__)


class Worker:
    """The parts: `watcher` keeps the file set, `scraper` reads and renders it, `telemetry` counts."""

    def __init__(self, options: ServeOptions | DumpOptions, *, quiet: bool = False) -> None:
        """Build and connect the parts. `quiet`: do not log what happens to the worker."""
        self._collector = options.collector
        labels = tuple(options.static_labels.items())
        self._worker_addr = options.static_labels.get("worker_addr", "")
        self._started = time.time()
        self._last_change = 0.0
        self._series = 0
        self._snapshot: object = ()
        """The snapshot that `_series` was counted from."""
        self._skipped: Mapping[str, Fault] = {}
        """Skipped files that have been logged, by name."""
        self._faults: Sequence[Mapping[str, Fault]] = ({}, {})
        """The two mappings that `_skipped` was made from, to see whether they have been replaced."""
        self._counted: tuple[FileSet, Mapping[str, Fault], Mapping[str, int]] | None = None
        self._progress_told = 0.0
        self._progress_seen: Progress | None = None
        self._progress_time = 0.0
        self._quiet = quiet
        self.watcher = Watcher(str(options.directory), Liveness(options.liveness), quiet=quiet)
        self._served = self.watcher.current
        self.telemetry = Telemetry(lambda: self.summary(self._served), labels)
        names = set() if options.no_self_metrics else self.telemetry.names
        self.engine: Collector = (
            StockCollector(self._fresh, labels)
            if self._collector == "stock"
            else Engine(
                self._fresh,
                labels=labels,
                per_process=options.per_process,
                keep_gauges=options.when_worker_down == "keep-gauges",
                max_file_size=options.max_file_size,
                reserved_names=names,
            )
        )
        self.scraper = Scraper(
            self.engine,
            list if options.no_self_metrics else self.telemetry.tell,
            on_update=self._note_update,
            observe=self.telemetry.observe,
            own_names=names,
        )

    def status(self) -> Status:
        """Return the summary with all processes and files; slow if there are thousands of files."""
        files, refused, left_out = self.watcher.current, self.engine.refused, self.engine.left_out
        of_files = [
            FileStatus(name, "skipped", refused[name].text)
            if name in refused
            else FileStatus(name, file.state, left_out[name].text if name in left_out else "")
            for name, file in files.files.items()
        ]
        of_files += (FileStatus(name, "skipped", fault.text) for name, fault in self._unread(files).items())
        return Status(
            **vars(self.summary()),
            processes=tuple(
                ProcessStatus(name, files.writers[name].state) for name in by_number(files.writers)
            ),
            files=tuple(sorted(of_files, key=attrgetter("name"))),
        )

    def summary(self, files: FileSet | None = None) -> Summary:
        """Return the status without the lists: of `files`, else of the present ones."""
        files = files or self.watcher.current
        counts = self._count_files(files, self.engine.refused)
        return Summary(
            version=__version__,
            worker_addr=self._worker_addr,
            collector=self._collector,
            directory=files.directory,
            directory_readable=files.listing is not None,
            problem=problem(
                files,
                failure=self.scraper.problem,
                progress=self.engine.progress,
                readable=sum(counts.get(state, 0) for state in PROCESS_STATES),
            ),
            worker_up=files.worker_up,
            started=self._started,
            process_counts={str(state): count for state, count in files.processes.items()},
            file_counts=counts,
            series=self._series,
            last_scrape=self.scraper.last_scrape,
            scrape_durations=self.scraper.durations,
            last_update=max(self._last_change, self.engine.last_stamp) or None,
            file_errors=dict(self.engine.errors),
        )

    def _fresh(self) -> FileSet:
        """Return a fresh file set, and keep it: own metrics must not tell of a later look than the rest."""
        self._served = self.watcher.fresh()
        return self._served

    def after_look(self, changed: bool) -> bool:  # noqa: FBT001 - called by the watcher
        """Start a read if a look found changes or refused files are due; return whether to look again soon."""
        self._log_progress()
        overdue = self.engine.overdue
        if changed or overdue:
            self.scraper.refresh()
        return overdue

    def stuck(self, longest: float) -> str:
        """Return which look or read has been running for more than `longest` seconds; an empty text if none has.

        A first read that makes progress is not stuck, however long it takes.
        """
        now = time.monotonic()
        progress = self.engine.progress
        if progress != self._progress_seen:
            self._progress_seen, self._progress_time = progress, now
        if progress and now - self._progress_time <= longest:
            return ""
        for part, work in ((self.watcher, "listing"), (self.scraper, "reading the files of")):
            if part.busy_since is not None and now - part.busy_since > longest:
                return f"{work} {self.watcher.current.directory}"
        return ""

    def _unread(self, files: FileSet) -> Mapping[str, Fault]:
        """Return why entries are not read, by name. The stock collector reads every file whose name ends in `.db`."""
        return {} if self._collector == "stock" else files.skipped

    def _count_files(self, files: FileSet, refused: Mapping[str, Fault]) -> Mapping[str, int]:
        """Return the number of files by state; the last result, if file set and refusals are the same objects."""
        counted = self._counted
        if counted is None or counted[0] is not files or counted[1] is not refused:
            skipped = [name for name in refused if name in files.files]
            counts = Counter(files.states)
            counts.subtract(files.files[name].state for name in skipped)
            others = {"removed": files.removed, "skipped": len(skipped) + len(self._unread(files))}
            counted = self._counted = (
                files,
                refused,
                {**{str(state): count for state, count in counts.items()}, **others},
            )
        return counted[2]

    def _note_update(self) -> None:
        """After an update, in the engine's thread: copy its results to where other threads read them."""
        self.watcher.report_moved(self.engine.moved)
        if self._progress_told:
            self._progress_told = 0.0
            _logger.info("first read of all files done", extra=fields(files=len(self.watcher.current.files)))
        if self.engine.observed_change:
            self._last_change = time.time()
        if self.engine.snapshot is not self._snapshot:
            self._snapshot = self.engine.snapshot
            self._series = sum(map(len, chain.from_iterable(one.values for one in self.engine.snapshot)))
        faults = self._unread(self.watcher.current), self.engine.refused
        if any(map(is_not, faults, self._faults)) and not self._quiet:
            self._faults = faults
            self._log_skipped({name: fault for some_faults in faults for name, fault in some_faults.items()})

    def _log_progress(self) -> None:
        """Log the progress of the first read, at most every `_PROGRESS_PERIOD` seconds."""
        progress, now = self.engine.progress, time.monotonic()
        if progress and progress.read and now > self._progress_told + _PROGRESS_PERIOD and not self._quiet:
            self._progress_told = now
            _logger.info(
                "first read of all files in progress", extra=fields(read=progress.read, of=progress.total)
            )

    def _log_skipped(self, skipped: Mapping[str, Fault]) -> None:
        """Log files that are newly skipped, and files that are no longer skipped."""
        known, self._skipped = self._skipped, skipped
        if new := by_number(skipped.keys() - known.keys()):
            reasons = Counter(skipped[name].reason for name in new)
            _logger.warning("files skipped", extra=fields(count=len(new), names=some(new), **reasons))
        if good := by_number((known.keys() - skipped.keys()) & self.watcher.current.files.keys()):
            _logger.info("files no longer skipped", extra=fields(count=len(good), names=some(good)))
