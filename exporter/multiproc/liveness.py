"""Whether writers live: pure decisions from pids, starts of processes, and last changes of files."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from exporter.multiproc.listing import Listing
from exporter.multiproc.processes import Process

_CLOCK_SLACK = 2.0
"""Seconds by which a process's start and a file's mtime may disagree: /proc gives the boot time in whole seconds."""


class State(StrEnum):
    """Whether a writer lives, as far as is known."""

    LIVE = "live"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Liveness(StrEnum):
    """Whether a writer's pid is looked up in this pid namespace."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Writer(NamedTuple):
    """What is known of the writer that a file's name names."""

    state: State
    process: Process | None = None
    """The process that wrote the writer's files; None if it was never seen alive."""
    suspect: bool = False
    """Whether a dead writer's pid is another process's now, which may be a new writer that goes on with the files."""


UNKNOWN = Writer(State.UNKNOWN)
DEAD = Writer(State.DEAD)
"""A dead writer that was never seen alive."""


class Evidence(Protocol):
    """What decisions ask of processes and files."""

    def existing(self, pids: frozenset[str]) -> Collection[str]:
        """Return which of these are pids of processes that can be seen."""

    def find_process(self, pid: str) -> Process | None:
        """Return the process of that pid; None if there is none, or only a zombie or a kernel thread.

        Raises PermissionError if the process exists, but may not be looked into.
        """

    def is_set_up(self, name: str) -> bool:
        """Whether a writer has set up the file of that name."""

    def last_write(self, name: str) -> float:
        """Return a file's mtime in Unix seconds; 0 if the file is gone."""


def are_foreign(moved: Collection[str], watched: Collection[str], *, seen_alive: bool) -> bool:
    """Whether files moved though no writer was ever seen alive, nor may be: their pids are of another pid namespace."""
    return bool(moved) and not seen_alive and not watched


def look_up(
    names: Iterable[str],
    known: Mapping[str, Writer],
    listing: Listing,
    evidence: Evidence,
    moved: Collection[str],
) -> tuple[Mapping[str, Writer], frozenset[str]]:
    """Return the writers of these names as they are now, and the names of idle ones: live, without a file set up.

    `known` are all writers as of the last look; `moved`, those not known to live whose files changed since.
    """
    processes, hidden = _find_processes(names, evidence)
    doubtful = {name for name, process in processes.items() if process and not _is_same(known, name, process)}
    files_of = _files_of(doubtful, listing)
    idle = {name for name in doubtful - known.keys() if not any(map(evidence.is_set_up, files_of[name]))}
    found = dict.fromkeys(hidden, UNKNOWN)
    for name in processes.keys() - idle:
        written = max(map(evidence.last_write, files_of[name]), default=0.0)
        found[name] = _writer(known, name, processes[name], written, moved)
    return found, frozenset(idle)


def _find_processes(
    names: Iterable[str], evidence: Evidence
) -> tuple[dict[str, Process | None], Collection[str]]:
    """Return the process of each writer, None if dead, and the names of writers that cannot be looked up."""
    processes = {}
    hidden = []
    for name in names:
        if not (name.isascii() and name.isdigit()):  # a text that the application chose
            hidden.append(name)
            continue
        try:
            processes[name] = evidence.find_process(name)
        except PermissionError:
            hidden.append(name)
    return processes, hidden


def _is_same(known: Mapping[str, Writer], name: str, process: Process) -> bool:
    """Whether the process is the one that is known as the writer of that name."""
    process_then = known.get(name, UNKNOWN).process
    return process_then is not None and process_then.start_ticks == process.start_ticks


def _files_of(writers: Collection[str], listing: Listing) -> Mapping[str, list[str]]:
    files: dict[str, list[str]] = defaultdict(list)
    for listed in listing.files.values() if writers else ():
        if listed.writer in writers:
            files[listed.writer].append(listed.name)
    return files


def _writer(
    known: Mapping[str, Writer], name: str, process: Process | None, written: float, moved: Collection[str]
) -> Writer:
    """Return the writer of that name, given the process that has its pid now and the newest mtime of its files.

    A writer creates its files after it starts. So a process that started after the last change is a stranger that got a
    dead writer's pid, or a new writer that goes on with the old files; only a further change of the files can tell.
    """
    wrote = known.get(name, DEAD).process
    if process is None:
        return Writer(State.DEAD, wrote) if wrote else DEAD
    if _is_same(known, name, process) or name in moved or process.started <= written + _CLOCK_SLACK:
        return Writer(State.LIVE, process)
    return Writer(State.DEAD, wrote, suspect=True)
