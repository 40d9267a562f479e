"""Which files count, and as what: pure decisions on a directory listing and on what is known of the processes."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import NamedTuple, Protocol

from exporter.multiproc.faults import Fault
from exporter.multiproc.listing import Listed, Listing, list_directory
from exporter.multiproc.merge import RULES, Rule
from exporter.multiproc.processes import Process

_CLOCK_SLACK = 2.0
"""Seconds by which a process's start and a file's mtime may disagree: boot time is known to the second."""


class State(StrEnum):
    """What is known of a process, or of the writer of a file."""

    LIVE = "live"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Plan(Enum):
    """What is done with a file."""

    FOLLOW = "read it at every scrape"
    ONCE = "read it once more, then keep what it says as a constant"
    LEAVE = "leave it out"


class Liveness(StrEnum):
    """Whether a writer's pid is looked up in this pid namespace."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class File:
    """A file that counts."""

    listed: Listed
    state: State
    plan: Plan
    process: Process | None
    """The process that wrote it last, if it was ever seen alive."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.listed.name

    @property
    def identity(self) -> tuple[int, int]:
        """(st_dev, st_ino)."""
        return self.listed.device, self.listed.inode

    @property
    def rule(self) -> Rule:
        """How it is merged."""
        return RULES[self.listed.kind]


class Writer(NamedTuple):
    """What is known of the process behind a file name."""

    state: State
    process: Process | None = None
    """The process that wrote, if it was ever seen alive."""
    suspect: bool = False
    """Whether another process has the pid now, which may be a new writer that goes on with the old files."""


_UNKNOWN = Writer(State.UNKNOWN)
_DEAD = Writer(State.DEAD)


@dataclass(frozen=True)
class FileSet:
    """The directory at one moment. A new object means that something changed."""

    directory: str
    epoch: int = 0
    """Grows when the directory has been emptied or replaced: all that follows is another worker's."""
    listing: Listing | None = None
    """What was found there."""
    problem: str = ""
    """Why the directory cannot be listed; empty when it can."""
    files: Mapping[str, File] = field(default_factory=dict)
    """By name."""
    removed: int = 0
    """How many files went while others stayed."""
    writers: Mapping[str, Writer] = field(default_factory=dict)
    """By pid, or by whatever the file names have in its place."""
    idle: frozenset[str] = frozenset()
    """Names of writers that exist, but have not set up any of their files: no writers yet."""
    seen_alive: bool = False
    """Whether some writer was ever seen alive, so that pids mean something here."""
    foreign: bool = False
    """Whether the writers' pids turned out to mean nothing in this pid namespace."""

    @property
    def identity(self) -> tuple[int, int] | None:
        """(st_dev, st_ino) of the directory."""
        return self.listing.identity if self.listing else None

    @property
    def skipped(self) -> Mapping[str, Fault]:
        """Entries that do not count, and why, by name."""
        return self.listing.skipped if self.listing else {}

    @cached_property
    def processes(self) -> Mapping[str, int]:
        """How many writers there are, by state."""
        return Counter(map(itemgetter(0), self.writers.values()))

    @property
    def worker_up(self) -> bool | None:
        """Whether some writer lives; None while that is unknown, or nobody has written."""
        if self.processes.get(State.LIVE):
            return True
        return None if self.processes.get(State.UNKNOWN) or not self.writers else False

    @cached_property
    def states(self) -> Mapping[str, int]:
        """How many files there are, by the state of their writer."""
        return Counter(map(attrgetter("state"), self.files.values()))

    @cached_property
    def living(self) -> Collection[str]:
        """The pids of writers that live."""
        return [name for name, writer in self.writers.items() if writer.state is State.LIVE]

    @cached_property
    def watched(self) -> Collection[str]:
        """Writers that are to be looked up each time: all but those whose pid nobody has."""
        return [
            name for name, writer in self.writers.items() if writer.state is not State.DEAD or writer.suspect
        ]


class Evidence(Protocol):
    """What can be found out of processes and files."""

    def pids(self) -> Iterable[str]:
        """Return the pids of all processes there are."""

    def find_process(self, pid: str) -> Process | None:
        """Return the process of that pid; None where none lives that could write files.

        PermissionError where one exists of which nothing may be known.
        """

    def is_set_up(self, name: str) -> bool:
        """Whether a writer has set up the file of that name."""

    def last_write(self, name: str) -> float:
        """Return a file's mtime in Unix seconds; 0 where it has gone."""


def every_file(before: FileSet) -> FileSet:
    """Return the directory's files as the stock collector takes them: all, whoever lives; raises OSError."""
    return decide(before, list_directory(before.directory, before.listing), None, Liveness.OFF)


def decide(
    before: FileSet,
    listing: Listing,
    evidence: Evidence | None,
    liveness: Liveness,
    moved: Collection[str] = (),
) -> FileSet:
    """Return what counts now, given what counted before; `before` itself where nothing changed.

    `moved` are writers not known to live, files of which changed between two reads. Where `liveness` is off no
    `evidence` is asked. Costs what is new, and a little for each file when anything is.
    """
    news = _news(before, listing)
    if news.is_another_worker:
        before = FileSet(before.directory, before.epoch + 1)
        news = _news(before, listing)
    found: Mapping[str, Writer]
    idle: frozenset[str]
    foreign = before.foreign or (liveness is Liveness.AUTO and _is_foreign(before, moved))
    if evidence is None or foreign or liveness is Liveness.OFF:
        names = news.writers if foreign is before.foreign else {*before.writers, *news.writers}
        found, idle = dict.fromkeys(names, _UNKNOWN), frozenset()
    else:
        found, idle = _look_up(before, listing, news, evidence, moved)
    changes = {name: writer for name, writer in found.items() if writer != before.writers.get(name)}
    if listing is before.listing and not changes and idle == before.idle:
        return before
    files = dict(before.files)
    for name in news.gone:
        del files[name]
    writers = {
        name: writer for name, writer in {**before.writers, **changes}.items() if name not in news.lost
    }
    seen_alive = before.seen_alive or any(writer.process for writer in changes.values())
    concerned = news.files
    if seen_alive is not before.seen_alive:
        concerned = list(listing.files.values())
    elif not changes.keys() <= news.writers - before.idle:  # files of theirs are known already
        concerned += (listed for listed in listing.files.values() if listed.writer in changes)
    # Where no writer has ever been seen alive, the pids may be another namespace's: keep reading, and see who moves.
    pids_are_ours = seen_alive or liveness is Liveness.ON
    for file in _count(concerned, writers, pids_are_ours=pids_are_ours):
        if file != files.get(file.name):
            files[file.name] = file
    return FileSet(
        before.directory,
        before.epoch,
        listing,
        files=files,
        removed=before.removed + len(news.gone) + news.replaced,
        writers=writers,
        idle=idle,
        seen_alive=seen_alive,
        foreign=foreign,
    )


def unreadable(before: FileSet, problem: str) -> FileSet:
    """Return the file set of a directory that cannot be listed now: what is to come is another worker's."""
    if before.problem == problem:
        return before
    return FileSet(before.directory, before.epoch + bool(before.files), problem=problem)


class _News(NamedTuple):
    """What a listing has that the one before had not."""

    files: list[Listed]
    """Files that are new, or took the name of another."""
    writers: set[str]
    """Writers that had no file."""
    gone: Collection[str]
    """Names that are there no more."""
    replaced: int
    """How many files went whose name another one has now."""
    lost: Collection[str]
    """Writers that have no file any more."""
    is_another_worker: bool
    """Whether the directory has been replaced, or none of the files is left."""


def _news(before: FileSet, listing: Listing) -> _News:
    if listing is before.listing:
        return _News([], set(), (), 0, (), is_another_worker=False)
    known = before.listing.files if before.listing else {}
    files = [listed for name, listed in listing.files.items() if known.get(name) is not listed]
    gone = known.keys() - listing.files.keys()
    others = [
        known[listed.name]
        for listed in files
        if listed.name in known and known[listed.name][:3] != listed[:3]
    ]
    lost: Collection[str] = ()
    if gone:
        lost = {known[name].writer for name in gone} - {listed.writer for listed in listing.files.values()}
    left = len(known) - len(gone) - len(others)
    return _News(
        files,
        {listed.writer for listed in files} - before.writers.keys(),
        gone,
        len(others),
        lost,
        is_another_worker=before.identity not in {None, listing.identity} or (bool(known) and not left),
    )


def _is_foreign(before: FileSet, moved: Collection[str]) -> bool:
    """Whether files move though no writer was ever seen alive: the pids are another namespace's."""
    return bool(moved) and not before.seen_alive and not before.watched


def _look_up(
    before: FileSet, listing: Listing, news: _News, evidence: Evidence, moved: Collection[str]
) -> tuple[Mapping[str, Writer], frozenset[str]]:
    """Return what is known now of the writers that may have changed, and who is idle.

    Of the dead only those are looked up whose pid exists again.
    """
    known = before.writers
    names = {*before.watched, *before.idle, *news.writers, *(known.keys() & set(evidence.pids()))}
    processes, hidden = _find_processes(names.difference(news.lost), evidence)
    doubtful = {
        name for name, process in processes.items() if process and not _is_same(before, name, process)
    }
    files_of = _files_of(doubtful, listing)
    idle = {name for name in doubtful - known.keys() if not any(map(evidence.is_set_up, files_of[name]))}
    found = dict.fromkeys(hidden, _UNKNOWN)
    for name in processes.keys() - idle:
        written = max(map(evidence.last_write, files_of[name]), default=0.0)
        found[name] = _writer(before, name, processes[name], written, moved)
    return found, frozenset(idle)


def _find_processes(
    names: Iterable[str], evidence: Evidence
) -> tuple[dict[str, Process | None], Collection[str]]:
    """Return the processes of writers, and the names of those of which nothing can be known."""
    processes = {}
    hidden = []
    for name in names:
        try:
            if not (name.isascii() and name.isdigit()):
                raise PermissionError  # noqa: TRY301 - what an application chose is no pid
            processes[name] = evidence.find_process(name)
        except PermissionError:
            hidden.append(name)
    return processes, hidden


def _is_same(before: FileSet, name: str, process: Process) -> bool:
    """Whether a process is the one that was seen writing under a name."""
    known = before.writers.get(name, _UNKNOWN).process
    return known is not None and known.start_ticks == process.start_ticks


def _files_of(writers: Collection[str], listing: Listing) -> Mapping[str, list[str]]:
    files: dict[str, list[str]] = defaultdict(list)
    for listed in listing.files.values() if writers else ():
        if listed.writer in writers:
            files[listed.writer].append(listed.name)
    return files


def _writer(
    before: FileSet, name: str, process: Process | None, written: float, moved: Collection[str]
) -> Writer:
    """Tell whether the process that has a pid now is the one that wrote.

    A writer creates its files after it starts. A process that started after a file's last change is a stranger that was
    given a dead writer's pid, or a new writer that goes on with the old file; only a change can tell.
    """
    known = before.writers.get(name, _DEAD).process
    if process is None:
        return Writer(State.DEAD, known) if known else _DEAD
    if _is_same(before, name, process) or name in moved or process.started <= written + _CLOCK_SLACK:
        return Writer(State.LIVE, process)
    return Writer(State.DEAD, known, suspect=True)


def _count(
    concerned: Iterable[Listed], writers: Mapping[str, Writer], *, pids_are_ours: bool
) -> Iterator[File]:
    """Yield files as what they count."""
    for listed in concerned:
        writer = writers.get(listed.writer, _UNKNOWN)
        yield File(
            listed, writer.state, _plan(listed.kind, writer, pids_are_ours=pids_are_ours), writer.process
        )


def _plan(kind: str, writer: Writer, *, pids_are_ours: bool) -> Plan:
    if writer.state is not State.DEAD:
        return Plan.FOLLOW
    if RULES[kind].live_only:
        return Plan.LEAVE
    return Plan.ONCE if pids_are_ours and not writer.suspect else Plan.FOLLOW
