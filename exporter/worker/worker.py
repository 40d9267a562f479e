"""One worker: its directory watched, its files read when asked, and what is known of it."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from operator import attrgetter
from typing import Protocol

from exporter.errors import ScrapeError
from exporter.logs import by_number, fields
from exporter.model import Labels, Snapshot
from exporter.multiproc.engine import Progress
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import FileSet
from exporter.service import engine_views
from exporter.worker.journal import Journal
from exporter.worker.reads import Reads, Then, asked
from exporter.worker.scrape import REASONS
from exporter.worker.status import (
    PROCESS_STATES,
    FileStatus,
    ProcessStatus,
    Summary,
    WorkerStatus,
    how_far,
    problem,
)
from exporter.worker.telemetry import WorkerTelemetry
from exporter.worker.watch import Watcher

_LONGEST_READ = 10.0
"""Seconds of a running read after which the engine view no longer shows the figures of the read before."""

_logger = logging.getLogger(__name__)


class Collector(Protocol):
    """Merges a worker's files; `--collector` selects one. Attributes hold the results of the last update."""

    snapshot: Snapshot
    """All families and values at the last update."""
    errors: Counter[str]
    """The number of files and samples left out since the start, by reason."""
    refused: Mapping[str, Fault]
    """Why files cannot be read, by file name."""
    left_out: Mapping[str, Fault]
    """Why samples of files are left out, by file name."""
    last_stamp: float
    """The newest time stamp of a gauge, in Unix seconds; 0 if there is none."""
    moved: Collection[str]
    """Writers not known to live that changed a file between the last two reads."""
    observed_change: bool
    """Whether the last update found a changed value."""
    read_seconds: float
    """Seconds of the last update that were spent on reading files."""
    takes_any_name: bool
    """Whether every file whose name ends in `.db` is read, however it is named."""

    @property
    def progress(self) -> Progress | None:
        """The progress of the first read of a worker's files; None once it has ended."""

    @property
    def overdue(self) -> bool:
        """Whether refused files are due to be looked at that the last update had no time for."""

    def update(self) -> None:
        """Read and merge the files as they are now; ScrapeError if none can be served."""

    def close(self) -> None:
        """Close all files."""


class Worker:
    """A part of the answer (`scrape.Part`). Nothing of one worker waits for another."""

    def __init__(
        self,
        watcher: Watcher,
        make_engine: Callable[[Callable[[], FileSet]], Collector],
        labels: Labels = (),
        *,
        among_several: bool = False,
        quiet: bool = False,
    ) -> None:
        """Read the files of `watcher` with the engine that `make_engine` makes, given what returns a fresh file set.

        `labels` are on every series of the worker, the engine's too. `among_several`: tell also of answers without this
        worker. `quiet`: log nothing of its files.
        """
        self.labels = labels
        self.watcher = watcher
        self.engine = make_engine(self._fresh)
        self.seconds: Mapping[str, float] = {}
        """Seconds that the last read took, by phase: read, merge."""
        self.left_out = Counter(dict.fromkeys(REASONS, 0))
        """Answers without this worker, by reason."""
        self._telemetry = WorkerTelemetry(
            lambda: self.summary(self._served), labels, among_several=among_several
        )
        self._reads = Reads(self.read)
        self._journal = Journal(watcher.name, quiet=quiet)
        self._served = watcher.current
        """The file set of the last read: own metrics must not tell of a later look than the rest."""
        self._among_several = among_several
        self._problem = ""
        """Why the last read failed; empty if it succeeded."""
        self._last_change = 0.0
        self._series = 0
        self._snapshot: object = ()
        """The snapshot that `_series` was counted from."""
        self._counted: tuple[FileSet, Mapping[str, Fault], Mapping[str, int]] | None = None
        self._progress_seen: Progress | None = None
        self._progress_time = 0.0

    # --- As a part of answers ---

    @property
    def snapshot(self) -> Snapshot:
        """All families and values at the last read."""
        return self.engine.snapshot

    @property
    def busy_since(self) -> float | None:
        """When the running read began, in seconds of the monotonic clock; None if none is running."""
        return self._reads.busy_since

    @property
    def busy_for(self) -> float:
        """Seconds since the running read began; 0 if none is running."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since

    def ask(self, then: Then | None = None) -> None:
        """Have a read begin after this call, and call `then` after it, in the worker's thread."""
        self._reads.ask(then)

    def withdraw(self, then: Then) -> None:
        """Do not call `then`, unless its read has begun."""
        self._reads.withdraw(then)

    def leave_out(self, reason: str) -> None:
        """Count an answer without this worker."""
        self.left_out[reason] += 1

    def delay(self) -> str:
        """Return the progress of an unfinished first read, for which scrapes wait; an empty text if there is none."""
        progress = self.engine.progress
        if progress is None or not progress.total:
            return ""
        return how_far(progress.read, progress.total)

    def tell(self) -> Snapshot:
        """Return the own metrics of this worker."""
        return self._telemetry.tell()

    # --- Over time ---

    async def watch(self) -> None:
        """Follow the directory, until cancelled: look at it, and read what changed."""
        await self.watcher.run(self.after_look)

    async def look(self) -> None:
        """Look at the directory, and read its files. An error of the read is ignored: the next scrape meets it too."""
        await self.watcher.look()
        await self.refresh()

    async def refresh(self) -> None:
        """Read the files, in a read that begins after this call."""
        await asked(self)

    def last_read(self) -> engine_views.Read:
        """Return what the last read gave, for the engine view; nothing if a read hangs."""
        summary, snapshot = self.summary(), self.snapshot
        labels = summary.labels or {"directory": summary.directory}
        is_known = summary.ready and self.busy_for <= _LONGEST_READ
        return engine_views.Read(labels, (lambda: snapshot) if is_known else None, summary.worker_up)

    def after_look(self, changed: bool) -> bool:  # noqa: FBT001 - called by the watcher
        """Start a read if a look found changes or refused files are due; return whether to look again soon."""
        self._journal.note_progress(self.engine.progress)
        overdue = self.engine.overdue
        if changed or overdue:
            self.ask()
        return overdue

    def read(self) -> None:
        """Read and merge the files, and note the results where other threads read them; ScrapeError if that fails."""
        start = time.perf_counter()
        try:
            self.engine.update()
        except Exception as error:
            is_known = isinstance(error, ScrapeError)
            self._note_problem(str(error) if is_known else f"{self.watcher.name}: {error!r}")
            raise
        self._note_problem("")
        self._note_update()
        read = self.engine.read_seconds
        self.seconds = {"read": read, "merge": time.perf_counter() - start - read}

    def end(self) -> None:
        """Close all files, and end the worker's thread, once no read is running."""
        self._reads.end(self.engine.close)

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
        for since, work in ((self.watcher.busy_since, "listing"), (self.busy_since, "reading the files of")):
            if since is not None and now - since > longest:
                return f"{work} {self.watcher.name}"
        return ""

    # --- What is known ---

    def status(self) -> WorkerStatus:
        """Return the summary with all processes and files; slow if there are thousands of files."""
        files, refused, left_out = self.watcher.current, self.engine.refused, self.engine.left_out
        of_files = [
            FileStatus(name, "skipped", refused[name].text)
            if name in refused
            else FileStatus(name, file.state, left_out[name].text if name in left_out else "")
            for name, file in files.files.items()
        ]
        of_files += (FileStatus(name, "skipped", fault.text) for name, fault in self._unread(files).items())
        return WorkerStatus(
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
            labels=dict(self.labels),
            directory=self.watcher.name,
            directory_readable=files.listing is not None,
            problem=problem(
                files,
                directory=self.watcher.name,
                failure=self._problem,
                progress=self.engine.progress,
                readable=sum(counts.get(state, 0) for state in PROCESS_STATES),
            ),
            worker_up=files.worker_up,
            process_counts={str(state): count for state, count in files.processes.items()},
            file_counts=counts,
            series=self._series,
            last_update=max(self._last_change, self.engine.last_stamp) or None,
            file_errors=dict(self.engine.errors),
            left_out=dict(self.left_out),
        )

    def _fresh(self) -> FileSet:
        self._served = self.watcher.fresh()
        return self._served

    def _unread(self, files: FileSet) -> Mapping[str, Fault]:
        """Return why entries are not read, by name."""
        return {} if self.engine.takes_any_name else files.skipped

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

    def _note_problem(self, problem: str) -> None:
        """Note why a read failed. A lone worker's is in the answer to the scrape, others' must be logged."""
        if problem and problem != self._problem and self._among_several:
            _logger.error("files cannot be read", extra=fields(directory=self.watcher.name, problem=problem))
        self._problem = problem

    def _count_series(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._series = sum(map(len, chain.from_iterable(one.values for one in snapshot)))

    def _note_update(self) -> None:
        """After an update, in the reading thread: copy its results to where other threads read them."""
        self.watcher.report_moved(self.engine.moved)
        if self.engine.observed_change:
            self._last_change = time.time()
        if self.engine.snapshot is not self._snapshot:
            self._count_series(self.engine.snapshot)
        files = self.watcher.current
        self._journal.note_read(files, self._unread(files), self.engine.refused)
