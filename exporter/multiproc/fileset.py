"""Which files count, and as what: pure decisions on a directory listing and on what is known of the processes."""

import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from exporter.multiproc.merge import RULES, Rule
from exporter.multiproc.processes import Process

_NAME = re.compile(r"(?P<kind>[a-z]+(?:_[a-z]+)?)_(?P<pid>[1-9][0-9]*)\.db")
_CLOCK_SLACK = 2.0
"""Seconds by which a process's start and a file's mtime may disagree: boot time is known to the second."""


class State(StrEnum):
    """What is known of a process, or of the writer of a file."""

    LIVE = "live"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Plan(Enum):
    """What the collector does with a file."""

    FOLLOW = "read it at every scrape"
    ONCE = "read it once more, then keep its share as a constant"
    LEAVE = "leave it out"


class Liveness(StrEnum):
    """Whether a writer's pid is looked up in this pid namespace."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Listed(NamedTuple):
    """A `.db` file of a listing whose name says what it holds."""

    name: str
    identity: tuple[int, int]
    kind: str
    pid: str


@dataclass(frozen=True)
class Listing:
    """A directory as it was listed once."""

    identity: tuple[int, int]
    """(st_dev, st_ino) of the directory."""
    files: tuple[Listed, ...]
    """By name."""
    skipped: Mapping[str, tuple[str, str]]
    """Entries that do not count: name -> (reason in one word, reason for people)."""
    written: Mapping[str, float]
    """The newest mtime of a pid's files, in Unix seconds."""

    def same_files(self, other: "Listing") -> bool:
        """Whether nothing but mtimes differ."""
        return (self.identity, self.files, self.skipped) == (other.identity, other.files, other.skipped)


@dataclass(frozen=True)
class File:
    """A file that counts."""

    name: str
    identity: tuple[int, int]
    kind: str
    """A key of `RULES`."""
    pid: str
    state: State
    plan: Plan
    writer: Process | None
    """The process that wrote it last, if it was ever seen alive."""

    @property
    def key(self) -> tuple[str, tuple[int, int]]:
        """What tells it from any other file, of the same name too."""
        return self.name, self.identity

    @property
    def rule(self) -> Rule:
        """How it is merged."""
        return RULES[self.kind]


@dataclass(frozen=True)
class Writer:
    """What is known of the process behind a pid."""

    state: State
    process: Process | None = None
    """The process that wrote, if it was ever seen alive."""
    suspect: bool = False
    """Whether another process has the pid now, which may be a new writer that goes on with the old files."""


_UNSEEN = Writer(State.UNKNOWN)


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
    files: tuple[File, ...] = ()
    """By name."""
    removed: frozenset[str] = frozenset()
    """Names of files that went while others stayed."""
    writers: Mapping[str, Writer] = field(default_factory=dict)
    """By pid."""
    foreign: bool = False
    """Whether the writers' pids turned out to mean nothing in this pid namespace."""

    @property
    def identity(self) -> tuple[int, int] | None:
        """(st_dev, st_ino) of the directory."""
        return self.listing.identity if self.listing else None

    @property
    def skipped(self) -> Mapping[str, tuple[str, str]]:
        """Entries that do not count: name -> (reason in one word, reason for people)."""
        return self.listing.skipped if self.listing else {}

    @property
    def worker_up(self) -> bool | None:
        """Whether some writer lives; None while that is unknown, or nobody has written."""
        states = {writer.state for writer in self.writers.values()}
        return None if not states or State.UNKNOWN in states else State.LIVE in states


def list_directory(path: str) -> Listing:
    """List a directory's `.db` entries; raises OSError."""
    info = os.stat(path)  # noqa: PTH116 - this module works on plain strings, as os.scandir does
    files: list[Listed] = []
    skipped: dict[str, tuple[str, str]] = {}
    written: dict[str, float] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if not name.endswith(".db") or name.startswith("."):
                continue
            match = _NAME.fullmatch(name)
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not match or match["kind"] not in RULES:
                skipped[name] = (
                    "bad_name",
                    "is not named TYPE_PID.db or gauge_MODE_PID.db with a known type and mode",
                )
            elif not stat.S_ISREG(found.st_mode):
                skipped[name] = "not_regular", "is not a regular file"
            else:
                kind, pid = match.groups()
                files.append(Listed(name, (found.st_dev, found.st_ino), kind, pid))
                written[pid] = max(found.st_mtime, written.get(pid, 0.0))
    return Listing((info.st_dev, info.st_ino), tuple(sorted(files)), skipped, written)


def every_file(before: FileSet) -> FileSet:
    """Return the directory's files as the stock collector takes them: all, whoever lives; raises OSError."""
    return decide(before, list_directory(before.directory), lambda _: None, Liveness.OFF)


def decide(
    before: FileSet,
    listing: Listing,
    find_process: Callable[[str], Process | None],
    liveness: Liveness,
    moved: Collection[str] = (),
) -> FileSet:
    """Return what counts now, given what counted before; `before` itself where nothing changed.

    `moved` are the pids of writers not known to live, files of which changed between two reads.
    """
    present = {file[:2] for file in listing.files}
    known = {(file.name, file.identity) for file in before.files}
    if before.identity not in (None, listing.identity) or (known and not known & present):
        before = FileSet(before.directory, before.epoch + 1)  # another worker
        known = set()
    foreign = before.foreign or (liveness is Liveness.AUTO and _is_foreign(before, moved))
    if foreign or liveness is Liveness.OFF:
        writers = dict.fromkeys(listing.written, _UNSEEN)
    else:
        writers = {
            pid: _writer(before.writers.get(pid, _UNSEEN), find_process(pid), written, moved=pid in moved)
            for pid, written in listing.written.items()
        }
    if before.listing and before.listing.same_files(listing) and writers == before.writers:
        return before
    # Where no writer has ever been seen alive, the pids may be another namespace's: keep reading, and see who moves.
    settled = liveness is Liveness.ON or any(writer.process for writer in writers.values())
    plans = {(kind, pid): _plan(kind, writers[pid], settled=settled) for _, _, kind, pid in listing.files}
    return FileSet(
        before.directory,
        before.epoch,
        listing,
        files=tuple(
            File(*file, writers[file.pid].state, plans[file.kind, file.pid], writers[file.pid].process)
            for file in listing.files
        ),
        removed=(before.removed | {name for name, _ in known - present})
        - {file.name for file in listing.files},
        writers=writers,
        foreign=foreign,
    )


def unreadable(before: FileSet, problem: str) -> FileSet:
    """Return the file set of a directory that cannot be listed now: what is to come is another worker's."""
    if before.problem == problem:
        return before
    return FileSet(before.directory, before.epoch + bool(before.files), problem=problem)


def _writer(before: Writer, process: Process | None, mtime: float, *, moved: bool) -> Writer:
    """Tell whether the process that has a pid now is the one that wrote.

    A writer creates its files after it starts. A process that started after a file's last change is a stranger that was
    given a dead writer's pid, or a new writer that goes on with the old file; only a change can tell.
    """
    if process is None:
        return Writer(State.DEAD, before.process)
    same = before.process is not None and before.process.start_ticks == process.start_ticks
    if same or moved or process.started <= mtime + _CLOCK_SLACK:
        return Writer(State.LIVE, process)
    return Writer(State.DEAD, before.process, suspect=True)


def _is_foreign(before: FileSet, moved: Collection[str]) -> bool:
    """Whether files move though no writer was ever seen alive: the pids are another namespace's."""
    return bool(moved) and not any(writer.process or writer.suspect for writer in before.writers.values())


def _plan(kind: str, writer: Writer, *, settled: bool) -> Plan:
    if writer.state is not State.DEAD:
        return Plan.FOLLOW
    if RULES[kind].live_only:
        return Plan.LEAVE
    return Plan.ONCE if settled and not writer.suspect else Plan.FOLLOW
