"""Merges all files of a worker as prometheus_client's MultiProcessCollector does, but parses only what changed.

An update: file set -> each `Kind` reads and arranges its files -> `MetricNames`: which may be exported -> snapshot
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from exporter.multiproc.budget import TOO_MANY, Budget
from exporter.multiproc.faults import FILE_REASONS, SAMPLE_REASONS, Fault
from exporter.multiproc.fileset import File, FileSet, Plan
from exporter.multiproc.kind import Change, Findings, Kind
from exporter.multiproc.listing import gone_names, new_names
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.refusals import Refusals
from exporter.multiproc.series import Family

if TYPE_CHECKING:
    from exporter.model import Snapshot

DEFAULT_MAX_FILE_SIZE = 256 * 2**20


class Progress(NamedTuple):
    """How many of a worker's files the first read has read, and how many there are."""

    read: int
    total: int


class Engine:
    """Merges the files of one worker. One thread at a time may call `update`; any may read the public attributes."""

    takes_any_name = False
    """Whether every file whose name ends in `.db` is read, however it is named."""

    def __init__(
        self,
        file_set: Callable[[], FileSet],
        *,
        labels: Collection[tuple[str, str]] = (),
        per_process: bool = False,
        keep_gauges: bool = False,
        max_file_size: int = DEFAULT_MAX_FILE_SIZE,
        reserved_names: Collection[str] = (),
        max_series: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Merge, at each update, the files of the file set that `file_set` returns.

        `labels` are added to every series, and a `pid` label where `per_process` leaves processes unmerged.
        `keep_gauges` exports gauges even if every writer is dead. `max_file_size` is in bytes. `reserved_names` are
        metric names that the same exposition has from elsewhere. Series beyond `max_series` are left out. `clock` gives
        seconds, for all that depends on time.
        """
        self.snapshot: Snapshot = ()
        self.errors: Counter[str] = Counter(dict.fromkeys((*FILE_REASONS, *SAMPLE_REASONS), 0))
        """How many files and samples were left out since the start, by reason."""
        if max_series is not None:
            self.errors[TOO_MANY.reason] = 0
        self.refused: Mapping[str, Fault] = {}
        """Why files of the file set cannot be read, by file name; the cells of their last good read still count."""
        self.left_out: Mapping[str, Fault] = {}
        """Why samples of a file are left out, by file name."""
        self.last_stamp = 0.0
        """The newest stamp of a `mostrecent` gauge, in Unix seconds; 0 if there is none."""
        self.moved: Collection[str] = ()
        """Writers that are not known to live, but have files that changed between the last two reads."""
        self.observed_change = False
        """Whether the last update found a changed value."""
        self.read_seconds = 0.0
        """Seconds that the last update spent on reading files."""
        self._file_set = file_set
        self._labels = labels
        self._per_process = per_process
        self._keep_gauges = keep_gauges
        self._max_file_size = max_file_size
        self._reserved_names = reserved_names
        self._max_series = sys.maxsize if max_series is None else max_series
        self._clock = clock
        self._scratch = bytearray()
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_open = sys.maxsize if open_files == resource.RLIM_INFINITY else open_files // 2
        self._kinds: dict[str, Kind] = {}
        self._exported: Sequence[tuple[Kind, Family]] = ()
        self._start_anew()

    @property
    def progress(self) -> Progress | None:
        """Progress of the first read of this worker's files; None once it has ended."""
        return None if self._is_read else Progress(self._findings.read, len(self._files.files))

    @property
    def overdue(self) -> bool:
        """Whether some refused files are due for a look, as the last update had no time for them."""
        return self._refusals.overdue

    def update(self) -> None:
        """Read the files, and merge what changed."""
        try:
            self._update()
        except BaseException:
            self._start_anew()  # no error may leave a half-done merge behind
            raise

    def close(self) -> None:
        """Close all files. The next update starts anew."""
        self._start_anew()

    def _update(self) -> None:
        files, before = self._file_set(), self._files
        if files is not before:
            self._count_skipped(files)
            if files.epoch != before.epoch or files.directory != before.directory:
                self._start_anew(files.directory)
            self._follow(files)
        findings = self._findings = Findings(self.last_stamp, self._clock(), news=files is not before)
        start = time.perf_counter()
        for kind in self._kinds.values():
            kind.read(findings)
        for file, seen in self._refusals.due():
            self._kinds[file.listed.kind].retry(file, seen, findings)
        self.read_seconds = time.perf_counter() - start
        changes = {kind.arrange() for kind in self._kinds.values()}
        if Change.FAMILIES in changes or files.worker_up is not before.worker_up:
            self._exported = self._choose_families()
        if changes - {Change.NOTHING} or files.worker_up is not before.worker_up:
            self.snapshot = [kind.values[family] for kind, family in self._exported]
        if findings.news:
            self._note_faults()
        self.moved, self.observed_change = findings.moved, findings.change
        self.last_stamp = findings.last_stamp
        self._is_read = True

    def _start_anew(self, directory: str = "") -> None:
        """Forget everything: the directory is another worker's from now on, or an update failed."""
        for kind in self._kinds.values():
            kind.close()
        self._files = FileSet(directory)
        self._kinds = {}
        self._names = MetricNames(self._reserved_names)
        self._budget = Budget(self._max_series)
        self._refusals = Refusals(directory, self._clock)
        self._handovers = 0
        self._exported = ()
        self._findings = Findings(0.0, 0.0)
        self._is_read = False
        self.last_stamp = 0.0
        self.snapshot = ()

    def _count_skipped(self, files: FileSet) -> None:
        """Count in `errors` what the listing newly skips, by reason."""
        for name in files.skipped.keys() - self._files.skipped.keys():
            self.errors[files.skipped[name].reason] += 1

    def _follow(self, files: FileSet) -> None:
        """Go over to another file set: drop the files that went, and take the files that came or changed."""
        before, self._files = self._files.files, files
        for name in gone_names(files.files, before):
            self._kind(before[name]).drop(name)
        room = self._most_open - sum(kind.followed for kind in self._kinds.values())
        for name in sorted(new_names(files.files, before)):
            file, old = files.files[name], before.get(name)
            if old and old.identity != file.identity:
                self._kind(old).drop(name)
            if file.plan is Plan.LEAVE:
                self._kind(file).drop(name)
            else:
                kind = self._kind(file)
                followed = kind.followed
                # Young: a file that came after the first read.
                kind.take(file, is_young=self._is_read, stays_open=room > 0)
                room -= kind.followed - followed

    def _kind(self, file: File) -> Kind:
        name = file.listed.kind
        if name not in self._kinds:
            self._kinds[name] = Kind(
                name,
                self._files.directory,
                self._names,
                self._refusals,
                self.errors,
                labels=self._labels,
                per_process=self._per_process,
                max_file_size=self._max_file_size,
                scratch=self._scratch,
                budget=self._budget,
            )
        return self._kinds[name]

    def _choose_families(self) -> Sequence[tuple[Kind, Family]]:
        """Return the families to export, sorted by name."""
        hides_gauges = self._files.worker_up is False and not self._keep_gauges
        families = (
            (kind, family)
            for kind in self._kinds.values()
            if not (hides_gauges and kind.rule.type == "gauge")
            for family in kind.values
            if family not in self._names.refused
        )
        return sorted(families, key=lambda kind_and_family: kind_and_family[1].name)

    def _note_faults(self) -> None:
        """Renew `refused` and `left_out`. Both are replaced as a whole, since other threads read them."""
        if self._handovers != self._names.handovers:
            self._handovers = self._names.handovers
            for kind in self._kinds.values():
                kind.note_faults_again()
        self.refused = self._refusals.faults
        self.left_out = {
            name: fault for kind in self._kinds.values() for name, fault in kind.left_out.items()
        }
