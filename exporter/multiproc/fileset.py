"""Which files count, and how each is read: pure decisions from a directory listing and the state of processes."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import NamedTuple

from exporter.multiproc.faults import Fault
from exporter.multiproc.listing import Listed, Listing, gone_names, list_directory, new_names
from exporter.multiproc.liveness import DEAD, UNKNOWN, Evidence, Liveness, State, Writer, are_foreign, look_up
from exporter.multiproc.merge import RULES, Rule
from exporter.multiproc.processes import Process


class Plan(Enum):
    """How a file is read."""

    FOLLOW = "read it at every scrape"
    ONCE = "read it once more, then keep its cells as a constant"
    LEAVE = "leave it out"


@dataclass(frozen=True, slots=True)
class File:
    """A multiprocess file of the directory, with the state of its writer and the plan for reading it."""

    listed: Listed
    state: State
    plan: Plan
    process: Process | None
    """The process that wrote the file last; None if it was never seen alive."""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.listed.name

    @property
    def identity(self) -> tuple[int, int]:
        """(st_dev, st_ino) of the file."""
        return self.listed.device, self.listed.inode

    @property
    def rule(self) -> Rule:
        """The rule by which the file is merged."""
        return RULES[self.listed.kind]


@dataclass(frozen=True)
class FileSet:
    """The files and writers of the directory at one moment; a new object only if something changed."""

    directory: str
    epoch: int = 0
    """The number of the worker: grows when the directory was emptied or replaced, as only another worker does."""
    listing: Listing | None = None
    """The listing with these files; None if there was none yet, or if it failed."""
    problem: str = ""
    """Why the directory cannot be listed; empty if it can."""
    files: Mapping[str, File] = field(default_factory=dict)
    """The files that count, by name."""
    removed: int = 0
    """Number of files of this worker that went while others stayed."""
    writers: Mapping[str, Writer] = field(default_factory=dict)
    """The writers by pid, or by the text that file names have in its place."""
    idle: frozenset[str] = frozenset()
    """Pids of live processes none of whose files is set up: they are no writers yet."""
    seen_alive: bool = False
    """Whether any writer was ever seen alive, which shows that the writers' pids are of this pid namespace."""
    foreign: bool = False
    """Whether the writers' pids turned out to be another pid namespace's: nothing is known of the processes."""

    @property
    def identity(self) -> tuple[int, int] | None:
        """(st_dev, st_ino) of the directory."""
        return self.listing.identity if self.listing else None

    @property
    def skipped(self) -> Mapping[str, Fault]:
        """Why other `.db` entries of the directory do not count, by name."""
        return self.listing.skipped if self.listing else {}

    @cached_property
    def processes(self) -> Mapping[str, int]:
        """Number of writers by state."""
        return Counter(map(itemgetter(0), self.writers.values()))

    @property
    def worker_up(self) -> bool | None:
        """Whether any writer lives; None if that is unknown, or if there is no writer."""
        if self.processes.get(State.LIVE):
            return True
        return None if self.processes.get(State.UNKNOWN) or not self.writers else False

    @cached_property
    def states(self) -> Mapping[str, int]:
        """Number of files by the state of their writer."""
        return Counter(map(attrgetter("state"), self.files.values()))

    @cached_property
    def living(self) -> Collection[str]:
        """The pids of writers that live."""
        return [name for name in self.watched if self.writers[name].state is State.LIVE]

    @cached_property
    def watched(self) -> Collection[str]:
        """The writers to look up each time: all but dead ones whose pid no process has."""
        return [
            name for name, writer in self.writers.items() if writer.state is not State.DEAD or writer.suspect
        ]

    @cached_property
    def dead(self) -> frozenset[str]:
        """The other writers."""
        return frozenset(self.writers).difference(self.watched)


def every_file(before: FileSet) -> FileSet:
    """Return the directory's file set as the stock collector has it, dead writers' files included; raises OSError."""
    return decide(before, list_directory(before.directory, before.listing), None, Liveness.OFF)


def decide(
    before: FileSet,
    listing: Listing,
    evidence: Evidence | None,
    liveness: Liveness,
    moved: Collection[str] = (),
) -> FileSet:
    """Return the file set of a new listing, given the one `before`; that one itself if nothing changed.

    `moved` are writers that are not known to live, but have files that changed between two reads. If `liveness` is off,
    `evidence` is not asked. The cost depends on what is new, plus a little for each file if anything is.
    """
    news = _news(before, listing)
    if news.is_another_worker:
        before = FileSet(before.directory, before.epoch + 1)
        news = _news(before, listing)
    found: Mapping[str, Writer]
    idle: frozenset[str]
    foreign = before.foreign or (
        liveness is Liveness.AUTO and are_foreign(moved, before.watched, seen_alive=before.seen_alive)
    )
    if evidence is None or foreign or liveness is Liveness.OFF:
        names = news.writers if foreign is before.foreign else {*before.writers, *news.writers}
        found, idle = dict.fromkeys(names, UNKNOWN), frozenset()
    else:
        # A dead writer is looked up only if some process has its pid again.
        again = evidence.existing(before.dead) if before.dead else ()
        names = {*before.watched, *before.idle, *news.writers, *again}.difference(news.lost)
        found, idle = look_up(names, before.writers, listing, evidence, moved)
    changes = {name: writer for name, writer in found.items() if writer != before.writers.get(name)}
    if listing is before.listing and not changes and idle == before.idle:
        return before
    files = dict(before.files)
    for name in news.gone:
        del files[name]
    writers = {**before.writers, **changes}
    for name in news.lost:
        writers.pop(name, None)  # an idle process is no writer
    seen_alive = before.seen_alive or any(writer.process for writer in changes.values())
    concerned = news.files
    if seen_alive is not before.seen_alive:
        concerned = list(listing.files.values())
    elif not changes.keys() <= news.writers - before.idle:  # some changed writer has known files
        concerned = [*concerned, *(listed for listed in listing.files.values() if listed.writer in changes)]
    # Until some writer is seen alive, the pids may be another namespace's: follow all files, to see if any change.
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
    """Return the file set of a directory that cannot be listed now: files that come later are another worker's."""
    if before.problem == problem:
        return before
    return FileSet(before.directory, before.epoch + bool(before.files), problem=problem)


def ended(before: FileSet, problem: str) -> FileSet:
    """Return the file set of a worker whose processes have all ended, and whose files are let go."""
    dead = dict.fromkeys(before.writers, DEAD)
    return FileSet(before.directory, before.epoch, problem=problem, writers=dead)


class _News(NamedTuple):
    """How a listing differs from the one before."""

    files: list[Listed]
    """Files that are new, or another file under a known name."""
    writers: set[str]
    """Writers that had no file before."""
    gone: Collection[str]
    """Names of the files that went."""
    replaced: int
    """Number of files that went, with another file under their name now."""
    lost: Collection[str]
    """Writers whose last file went."""
    is_another_worker: bool
    """Whether the directory was replaced, or none of its files is left."""


def _news(before: FileSet, listing: Listing) -> _News:
    if listing is before.listing:
        return _News([], set(), (), 0, (), is_another_worker=False)
    known = before.listing.files if before.listing else {}
    files = [listing.files[name] for name in new_names(listing.files, known)]
    gone = gone_names(listing.files, known)
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


def _count(
    concerned: Iterable[Listed], writers: Mapping[str, Writer], *, pids_are_ours: bool
) -> Iterator[File]:
    """Yield each listed file with the state of its writer and the plan for reading it."""
    for listed in concerned:
        writer = writers.get(listed.writer, UNKNOWN)
        yield File(
            listed, writer.state, _plan(listed.kind, writer, pids_are_ours=pids_are_ours), writer.process
        )


def _plan(kind: str, writer: Writer, *, pids_are_ours: bool) -> Plan:
    if writer.state is not State.DEAD:
        return Plan.FOLLOW
    if RULES[kind].live_only:
        return Plan.LEAVE
    return Plan.ONCE if pids_are_ours and not writer.suspect else Plan.FOLLOW
