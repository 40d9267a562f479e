"""The incremental collector: equal to MultiProcessCollector, at the price of what changed since the last time."""

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import chain

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.dbfile import UNREAD, BadDataError, BadFileError, BadKeyError, DbFile
from exporter.multiproc.families import Families
from exporter.multiproc.fileset import File, FileSet, Plan, State, every_file
from exporter.multiproc.series import STAMP, Family, Series
from exporter.multiproc.table import Snapshot, Table

DEFAULT_MAX_FILE_SIZE = 256 * 2**20

_CLOCK_SLACK = 60.0
"""Seconds by which a writer's clock may be ahead of ours."""


class _Tracked:
    """A file that is read, and where its numbers go."""

    def __init__(self, file: File, directory: str, max_size: int, scratch: bytearray) -> None:
        self.file = file
        self.db = DbFile(
            f"{directory}/{file.name}",
            file.identity,
            stamped=file.rule.stamped,
            max_size=max_size,
            scratch=scratch,
        )
        self.series: list[Series] = []
        """Those that it has a share in."""
        self.placed = 0
        """How many of its numbers have been given a place."""
        self.restarts = 0
        """Those of `db` that `series` knows of."""
        self.read_as_dead = False
        """Whether it has been read since its writer is dead."""
        self.settled = False
        """Whether its share is a constant now."""
        self.stays_open = True
        """Whether it is open between two reads, which makes them cheaper."""


class IncrementalCollector(MultiProcessCollector):
    """A MultiProcessCollector that keeps what it has parsed, and reads again only values.

    It follows the file set it is given: files of dead writers cost nothing, a bad file costs itself, and a counter does
    not fall when some of the files go. Not thread-safe: one call at a time.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None,
        path: str | None = None,
        *,
        file_set: Callable[[], FileSet] | None = None,
        labels: Collection[tuple[str, str]] = (),
        per_process: bool = False,
        keep_gauges: bool = False,
        max_file_size: int = DEFAULT_MAX_FILE_SIZE,
        reserved_names: Collection[str] = (),
    ) -> None:
        """Collect what `file_set` says at each call; by default every file of the directory at `path`, as stock does.

        `labels` are added to every series, and a `pid` where `per_process` leaves processes unmerged.
        `keep_gauges` keeps them when every writer is dead. `max_file_size` is in bytes. `reserved_names` are
        those of other collectors of the same exposition. Raises ValueError where stock does: no such directory.
        """
        if file_set is None:
            super().__init__(None, path)  # type: ignore[no-untyped-call]
        self._file_set = file_set or self._every_file
        self._new_families: Callable[[], Families] = lambda: Families(
            labels, reserved_names, per_process=per_process
        )
        self._keep_gauges = keep_gauges
        self._max_file_size = max_file_size
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_open = sys.maxsize if open_files == resource.RLIM_INFINITY else open_files // 2
        self._scratch = bytearray()
        self._files = FileSet("")
        self._tracked: dict[tuple[str, tuple[int, int]], _Tracked] = {}
        self._followed: list[_Tracked] = []
        self._families = self._new_families()
        self._table = Table((), ())
        self._stale = False
        self._changed: set[DbFile] = set()
        self._left_out: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """How many files and samples were left out since the start, by reason."""
        self.problems: dict[str, BadDataError] = {}
        """Why files of the present set, or samples of them, are left out, by file name."""
        self.last_stamp = 0.0
        """The newest time at which a gauge was set, in Unix seconds; 0 where none tells."""
        self.moved: set[str] = set()
        """Pids of writers not known to live, a file of which changed between the last two reads."""
        self.observed_change = False
        """Whether the last update found a value other than that of the update before."""
        self.read_seconds = 0.0
        """What reading took, of the last update."""
        if registry is not None:
            registry.register(self)

    @property
    def snapshot(self) -> Snapshot:
        """The families and values as of the last update; the same object while nothing changes."""
        return self._table.snapshot

    def collect(self) -> Iterable[Metric]:
        """Update, and return the families as prometheus_client's objects."""
        self.update()
        values = chain.from_iterable(self.snapshot.blocks)
        metrics = []
        for family in self.snapshot.families:
            metric = Metric(family.name, family.help, family.type)
            for (name, labels), value in zip(family.samples, values, strict=False):
                metric.add_sample(name, dict(labels), value)
            metrics.append(metric)
        return metrics

    def update(self) -> None:
        """Read what changed, and merge it."""
        self.moved.clear()
        self.observed_change = False
        files = self._file_set()
        self._count_skipped(files)
        if (files is not self._files and self._take_up(files)) or self._read():
            self._rebuild()
        if self._stale or (self._changed and not self._table.update(self._changed)):
            self._table = Table(self._exported(), [tracked.db for tracked in self._followed])
            self._stale = False

    def _count_skipped(self, files: FileSet) -> None:
        """Count the entries that the file set leaves out, when they come."""
        for name in files.skipped.keys() - self._files.skipped.keys():
            self.errors[files.skipped[name][0]] += 1

    def _every_file(self) -> FileSet:
        return every_file(self._files if self._files.directory else FileSet(str(self._path)))

    def _exported(self) -> Iterable[Family]:
        """Return the families that are to be exported."""
        drop_gauges = self._files.worker_up is False and not self._keep_gauges
        return (family for family in self._families if not (drop_gauges and family.type == "gauge"))

    def _forget(self) -> None:
        """Start from nothing."""
        for tracked in self._tracked.values():
            tracked.db.close()
        self._files = FileSet("")
        self._tracked = {}
        self._followed = []
        self._families = self._new_families()
        self._left_out = Counter()
        self.last_stamp = 0.0

    def _take_up(self, files: FileSet) -> bool:
        """Go over to another file set; return whether a share must be taken back that was merged already.

        That of a gauge whose file went must; that of a sum stays.
        """
        if files.epoch != self._files.epoch and self._files.identity:  # another worker
            self._forget()
            self.problems = {}
            self._counted = Counter()
        wanted = {file.key: file for file in files.files if file.plan is not Plan.LEAVE}
        self._files = files
        self._stale = True
        take_back = False
        for key, tracked in list(self._tracked.items()):
            file = wanted.get(key)
            if file is None:
                take_back = take_back or tracked.file.rule.type == "gauge"
                self.problems.pop(tracked.file.name, None)
                self._let_go(key)
            elif tracked.settled and (file.plan is Plan.FOLLOW or file.writer != tracked.file.writer):
                take_back = True  # another process goes, or went, on with it
        for key, file in wanted.items():
            tracked = self._tracked.get(key) or _Tracked(
                file, files.directory, self._max_file_size, self._scratch
            )
            tracked.read_as_dead = tracked.read_as_dead and file.state is State.DEAD
            tracked.file = file
            self._tracked[key] = tracked
        self._followed = [tracked for tracked in self._tracked.values() if not tracked.settled]
        for tracked in self._followed[self._max_open :]:
            tracked.stays_open = False
        return take_back

    def _let_go(self, key: tuple[str, tuple[int, int]]) -> None:
        """Read a file no more; what it said stays in the sums."""
        tracked = self._tracked.pop(key)
        if tracked.file.rule.type != "gauge":
            self._settle(tracked)

    def _rebuild(self) -> None:
        """Merge anew from the files there are; what files gone had in the sums is kept."""
        files, before = self._files, self._families
        settled = {key for key, tracked in self._tracked.items() if tracked.settled}
        self._forget()
        self.problems = {  # bad keys are found anew
            name: problem for name, problem in self.problems.items() if isinstance(problem, BadFileError)
        }
        # First the files whose shares are in the constants already: what they lack of those now is of files gone.
        self._take_up(replace(files, files=tuple(file for file in files.files if file.key in settled)))
        self._read()
        self._families.keep_constants(before)
        self._take_up(files)
        self._read()

    def _read(self) -> bool:
        """Read the followed files; return whether one lost what it had."""
        start = time.perf_counter()
        self._changed = set()
        for tracked in self._followed:
            before = tracked.db.values
            changed = self._read_file(tracked)
            if tracked.restarts != tracked.db.restarts and tracked.series:
                tracked.db.values = before
                self._let_go(tracked.file.key)  # what it says from now on is another file's
                return True
            if changed:
                self._changed.add(tracked.db)
                self._take_in(tracked)
                self._observe(tracked, first=before is UNREAD)
            if tracked.file.state is State.DEAD:
                self._watch_dead(tracked, changed=changed)
                if tracked.file.plan is Plan.ONCE and tracked.db.used:
                    self._settle(tracked)
        if any(tracked.settled for tracked in self._followed):
            self._followed = [tracked for tracked in self._followed if not tracked.settled]
        self.read_seconds = time.perf_counter() - start
        return False

    def _read_file(self, tracked: _Tracked) -> bool:
        """Read one file; return whether it changed. What stands in the way is noted."""
        changed = False
        try:
            changed = tracked.db.read()
        except FileNotFoundError:
            pass  # the next file set will tell
        except BadFileError as error:
            if str(self.problems.get(tracked.file.name)) != str(error):
                self.problems[tracked.file.name] = error
                self.errors[error.reason] += 1
        if not tracked.stays_open:
            tracked.db.rest()
        return changed

    def _take_in(self, tracked: _Tracked) -> None:
        """Place the entries that are new in a file."""
        file, db = tracked.file, tracked.db
        if tracked.restarts != db.restarts:
            tracked.restarts = db.restarts
            tracked.placed = 0
        if isinstance(self.problems.get(file.name), BadFileError):  # samples left out stay so
            del self.problems[file.name]
        fresh: set[Series] = set()
        keys = db.take_new_keys()
        for key in keys:
            index = tracked.placed
            tracked.placed += 2 if file.rule.stamped else 1
            try:
                series, column = self._families.place(file.kind, file.pid, key)
            except BadKeyError as error:
                self._leave_out(file, error)
                continue
            series.add(db, index, column)
            if file.rule.stamped:
                series.add(db, index + 1, STAMP)
            fresh.add(series)
        for series in fresh:
            series.arrange()
        tracked.series = list({*tracked.series, *fresh}) if fresh else tracked.series
        self._stale = self._stale or bool(keys)

    def _settle(self, tracked: _Tracked) -> None:
        """Turn the share of a file that will not change any more into constants."""
        for series in tracked.series:
            series.settle(tracked.db)
        tracked.db.discard()
        tracked.series = []
        tracked.settled = True
        self._stale = True

    def _watch_dead(self, tracked: _Tracked, *, changed: bool) -> None:
        if changed and tracked.read_as_dead:
            self.moved.add(tracked.file.pid)
        tracked.read_as_dead = True

    def _observe(self, tracked: _Tracked, *, first: bool) -> None:
        self.observed_change = self.observed_change or not first
        if tracked.file.rule.stamped:
            now = time.time() + _CLOCK_SLACK  # what lies beyond is no time at which anything was set
            stamps = [stamp for places in tracked.db.changes for stamp in tracked.db.values[places][1::2]]
            self.last_stamp = max((self.last_stamp, *(stamp for stamp in stamps if stamp <= now)))

    def _leave_out(self, file: File, error: BadKeyError) -> None:
        self._left_out[file.name] += 1
        self.problems[file.name] = BadKeyError(
            error.reason, f"{self._left_out[file.name]} of its samples left out: {error}"
        )
        if self._left_out[file.name] > self._counted[file.name]:  # a rebuild comes by again
            self._counted[file.name] += 1
            self.errors[error.reason] += 1
