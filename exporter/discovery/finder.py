"""Looks at all processes, again and again: what is new costs something, what is known next to nothing."""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from exporter.discovery.agenda import Agenda
from exporter.discovery.parsing import DIRECTORY_VARIABLE, OpenFiles, Socket, is_multiprocess_file
from exporter.discovery.proc import Proc
from exporter.discovery.rooted import birth
from exporter.discovery.servers import Host, Process, worker_address
from exporter.discovery.visits import Visit, Visits
from exporter.discovery.workers import Clue, Worker, find_workers

_FIRST_PAUSE = 2.0
"""Seconds after which a new process is inspected again; it may have run another program meanwhile."""

_LONGEST_PAUSE = 600.0
"""Seconds between two inspections of an old process, to which the pause grows."""

_GROWTH = 4
"""How many times as long each pause is as the one before."""

_LAUNCHERS = {"bash", "busybox", "dash", "env", "ksh", "sh", "tini", "zsh"}
"""Programs that may become another one at any time, such as a container's entry script that ends in `exec python`."""

_LONGEST_KNOWN_PAUSE = 60.0
"""The same for a process of a worker, which may go over to another directory."""

_SETTLED = 32.0
"""The pause after which a process is only asked whether it runs the same program, and has opened a metrics file."""

_LONGEST_TRUST = 3.0
"""Seconds for which no new pid counts as no new process. It may be of another pid namespace, or not be the kernel's."""

_MOST_INSPECTIONS = 100
"""Known processes that one look inspects again at most."""

_MOST_ENTRIES = 10_000
"""Entries of a directory that is only named in an environment, among which a metrics file is looked for."""

_NOTHING = OpenFiles(frozenset(), frozenset(), frozenset())


@dataclass(slots=True)
class _Seen:
    """A process, and what was found in it."""

    process: Process
    pause: float = _FIRST_PAUSE / _GROWTH
    """Seconds between the last inspection and the next one."""
    program: str = ""
    """The path of its executable."""
    files: OpenFiles = _NOTHING
    named: str = ""
    """The directory that its environment names."""
    may_write: bool = False
    """Whether it is looked at again in every look: a Python program that has no metrics file open yet."""
    launcher: bytes = b""
    """The name of a process that may become another program at any time; empty for all others."""
    is_denied: bool = False
    """Whether we may not look into it."""
    clues: tuple[Clue, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why a directory of its files cannot be opened, by path."""

    @property
    def is_watched(self) -> bool:
        """Whether each look looks into it."""
        return bool(self.clues or self.may_write or self.launcher)


@dataclass(frozen=True)
class Findings:
    """What a look found."""

    workers: Sequence[Worker] = ()
    denied: Mapping[int, int] = field(default_factory=dict)
    """How many processes may not be looked into, by the number of their user."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why directories of metrics cannot be opened, by path."""
    processes: int = 0
    """The number of processes that can be seen, but for kernel threads."""
    is_alone: bool = False
    """Whether no processes but our own can be seen: those of other containers are hidden from us."""
    hides_others: bool = False
    """Whether /proc hides the processes of other users from us."""
    seconds: float = 0.0
    """How long the look took."""


class Finder:
    """Finds workers. Only one thread at a time may call it."""

    def __init__(
        self,
        proc: Proc | None = None,
        clock: Callable[[], float] = time.monotonic,
        longest_wait: float = 30.0,
        visits: Visits | None = None,
    ) -> None:
        """Look at the processes of `proc`, all of this host by default. `clock` gives seconds.

        While a worker has no server, it is looked for after 1 s, 2 s, ... up to every `longest_wait` seconds. Who waits
        for looks in another thread sees in `visits` at which process they are.
        """
        self.proc = proc or Proc()
        self.findings = Findings()
        """What the last look found."""
        self._clock = clock
        self._own_network = self.proc.namespace(os.getpid(), "net")
        self.visits = visits or Visits()
        self._longest_wait = longest_wait
        self._listing: Mapping[int, int] = {}
        self._listed = -math.inf
        """When that was, by the clock."""
        self._last_pid = 0
        """The last pid that had been given then."""
        self._agenda = Agenda()
        self._seen: dict[int, _Seen] = {}
        """All processes but kernel threads and those that have ended, though still listed."""
        self._notable: dict[int, _Seen] = {}
        """Those of them that are watched, or that findings tell of; most processes of a host are not."""
        self._holders: Mapping[int, int] = {}
        """The pid of the process that holds a socket, as `holder` found it last."""
        self._clues: Sequence[Clue] = ()
        """The clues that the present workers were decided from."""
        self._decide_again = 0.0
        self._decide_pause = _FIRST_PAUSE / 2

    def address(self, worker: Worker, node_name: str) -> str:
        """Return the address that names a worker of this host; empty if it has no port."""
        if worker.server is None:
            return ""
        addresses = [] if self.is_near(worker) else [*self.proc.addresses(worker.server.pid)]
        return worker_address(worker.server, node_name, addresses)

    def is_near(self, worker: Worker) -> bool:
        """Whether a worker's processes are in our network namespace, as far as is known."""
        seen = self._seen.get(worker.pids[0])
        return seen is None or seen.process.net_namespace in {0, self._own_network}

    @property
    def processes(self) -> Mapping[int, Process]:
        """The processes as of the last look, by pid."""
        return {pid: seen.process for pid, seen in self._seen.items()}

    def lives(self, visit: Visit) -> bool:
        """Whether a process lived at the last look."""
        seen = self._seen.get(visit.pid)
        return seen is not None and seen.process.start_ticks == visit.start_ticks

    def visit(self, pid: int) -> None:
        """Begin a visit of a process; GivenUpError if nobody waits for the look that this is a part of."""
        seen = self._seen.get(pid)
        self.visits.enter(pid, seen.process.start_ticks if seen else 0)

    def look(self) -> Findings:
        """Look at what is new or due, and return what there is; blocks. GivenUpError if nobody waits any more."""
        start = time.perf_counter()
        self.visits.leave()
        self._list()
        self._doubt_moved()
        self._inspect()
        self.visits.leave()
        notable = self._notable.values()
        self.findings = Findings(
            self._find_workers(),
            Counter(seen.process.uid for seen in notable if seen.is_denied),
            {path: why for seen in notable for path, why in seen.unreadable.items()},
            len(self._seen),
            self._is_alone(),
            self.proc.hides_others(),
            time.perf_counter() - start,
        )
        return self.findings

    def listening(self, port: int) -> Mapping[int, Socket]:
        """Return the sockets that listen on a port in our network namespace, by inode number."""
        return {inode: one for inode, one in self.proc.listeners().items() if one.port == port}

    def holder(self, inodes: Collection[int]) -> int | None:
        """Return the pid of the first process that holds one of these sockets; None if no process shows them."""
        for inode in inodes:
            if self._holders.get(inode) in self._seen:
                return self._holders[inode]
        for pid in sorted(self._seen):
            for inode in self._sockets(pid) & set(inodes):
                self._holders = {inode: pid}
                return pid
        return None

    def _list(self) -> None:
        """List the processes: forget those that have ended, and have those that are new inspected.

        A listing of thousands costs more than all else, so there is none where nothing new can be in it; who has ended
        is forgotten a little later then, but for those that are looked into anyway.
        """
        last_pid, now = self.proc.last_pid(), self._clock()
        if last_pid and last_pid == self._last_pid and now < self._listed + _LONGEST_TRUST:
            return
        self._last_pid, self._listed = last_pid, now
        before, self._listing = self._listing, self.proc.listing()
        for pid in before.keys() - self._listing.keys():
            self._forget(pid)
        for pid, mark in self._listing.items():
            if before.get(pid) != mark and not self._is_same(pid):
                self._forget(pid)
                self._agenda.put(pid, 0.0)

    def _is_same(self, pid: int) -> bool:
        """Whether the process that has a pid now is the one that is known; its number in the listing is another one."""
        with suppress(Exception):  # then it is inspected
            stat = self.proc.stat(pid) if pid in self._seen else None
            return stat is not None and stat.start_ticks == self._seen[pid].process.start_ticks
        return False

    def _forget(self, pid: int) -> None:
        self._seen.pop(pid, None)
        self._notable.pop(pid, None)
        self._agenda.drop(pid)

    def _process(self, pid: int) -> Process | None:
        """Begin a visit of a process, and return what anybody may read of it; None if it has ended.

        Its command line is not read if it is avoided: a process can make that hang.
        """
        try:
            stat, status = self.proc.stat(pid), self.proc.status(pid)
            if stat is None or status is None:
                return None
            return Process(
                pid,
                stat.parent,
                stat.start_ticks,
                stat.group,
                status.uid,
                self.proc.command(pid) if self.visits.enter(pid, stat.start_ticks) else (),
                status.capabilities,
                status.pids,
                name=stat.name,
            )
        except PermissionError:  # hidden from us, though listed
            return None

    def _doubt_moved(self) -> None:
        """Have the processes of workers whose directory was deleted or replaced inspected again."""
        for worker in self.findings.workers:
            self.visit(worker.pids[0])
            try:
                is_same = self._directory(worker.pids[0], worker.path, is_writer=True) == worker.identity[:3]
            except OSError:
                is_same = False
            for pid in () if is_same else worker.pids:
                if pid in self._seen:
                    self._agenda.put(pid, 0.0)

    def _inspect(self) -> None:
        """Look into the processes that are due, and into those that may open a metrics file at any time."""
        now = self._clock()
        due = self._agenda.take(now)
        new = [pid for pid in due if pid not in self._seen]
        # The youngest first: they change most. What is too much waits for the next look.
        known = sorted(self._seen.keys() & set(due), key=lambda pid: self._seen[pid].pause)
        for pid in known[_MOST_INSPECTIONS:]:
            self._agenda.put(pid, now)
        whole = [*new, *known[:_MOST_INSPECTIONS]]
        again = self._notable.keys() - whole
        for pid in whole:
            with suppress(Exception):  # no process may end a look
                self._inspect_whole(pid, now)
        for pid in again:
            with suppress(Exception):
                self._inspect_again(pid, now)

    def _inspect_whole(self, pid: int, now: float) -> None:
        self._agenda.put(pid, now)  # in the next look, if this one fails
        seen = self._seen.get(pid)
        if seen and self._is_as_before(pid, seen):
            self._put_off(pid, seen, now)
            return
        process = self._process(pid)
        if process is None:
            self._forget(pid)
            return
        if seen is None or seen.process.start_ticks != process.start_ticks:
            seen = _Seen(process)
        self._seen[pid] = self._notable[pid] = seen
        seen.process = process
        if self.visits.at is None:  # it is avoided
            self._deny(seen)
            return
        self._put_off(pid, seen, now)
        self._look_into(pid, seen)
        if not (seen.is_watched or seen.is_denied or seen.unreadable):
            del self._notable[pid]

    def _put_off(self, pid: int, seen: _Seen, now: float) -> None:
        """Make the next appointment of a process."""
        seen.pause = min(_GROWTH * seen.pause, _LONGEST_KNOWN_PAUSE if seen.clues else _LONGEST_PAUSE)
        # Not all at once: processes that were there at the first look would stay in step.
        self._agenda.put(pid, now + seen.pause * (1 + pid % 16 / 16))

    def _is_as_before(self, pid: int, seen: _Seen) -> bool:
        """Whether a process that nothing was found in for a while need not be looked into any further."""
        if pid in self._notable or seen.pause < _SETTLED:
            return False
        known, stat = seen.process, self.proc.stat(pid)
        if stat != (known.parent, known.group, known.start_ticks, known.name):
            return False
        try:
            files = self.proc.open_files(pid)
            return self.proc.executable(pid) == seen.program and not (files.directories or files.deleted)
        except PermissionError:
            return False

    def _look_into(self, pid: int, seen: _Seen) -> None:
        """Find out which program a process runs, and which metrics files it has open."""
        try:
            seen.process = self._with_namespaces(seen.process)
            seen.named = self.proc.variable(pid, DIRECTORY_VARIABLE)
            seen.program = sys.intern(self.proc.executable(pid))
            program = os.path.basename(seen.program)  # noqa: PTH119 - a plain string
            is_python = "python" in program
            seen.may_write = is_python or bool(seen.named)
            # The name was read before the program: a change between the two is seen in the next look.
            seen.launcher = seen.process.name if program in _LAUNCHERS else b""
            seen.files = self._files(pid, thorough=is_python)
            seen.is_denied = False
        except PermissionError:
            self._deny(seen)
        self._note_clues(pid, seen)

    def _inspect_again(self, pid: int, now: float) -> None:
        """Look into a process that has metrics files open, or may have by now."""
        seen = self._notable[pid]
        if seen.clues or seen.launcher:
            stat = self.proc.stat(pid)
            if stat is None or stat.start_ticks != seen.process.start_ticks:
                self._forget(pid)
                self._agenda.put(pid, now)  # another process may have its pid
                return
            if seen.launcher and stat.name != seen.launcher:
                seen.pause = _FIRST_PAUSE / _GROWTH
                self._inspect_whole(pid, now)
                return
        if (seen.clues or seen.may_write) and not any(clue.is_writer for clue in seen.clues):
            self.visit(pid)
            files = self._files(pid, thorough=False)
            if files.directories or seen.named:
                seen.files = files
                self._note_clues(pid, seen)

    def _with_namespaces(self, process: Process) -> Process:
        """Return a process with its namespaces; PermissionError if they may not be seen."""
        is_ours = len(process.pids) == 1  # of the pid namespace that /proc shows
        return replace(
            process,
            pid_namespace=0 if is_ours else self.proc.namespace(process.pid, "pid"),
            net_namespace=self.proc.namespace(process.pid, "net"),
        )

    def _files(self, pid: int, *, thorough: bool) -> OpenFiles:
        """Return what a process has open; `thorough`: mapped, too. Writers keep open what they map."""
        try:
            files = self.proc.open_files(pid)
        except PermissionError:  # CAP_SYS_PTRACE alone shows mappings, but no descriptors
            return self.proc.mapped(pid)
        if files.directories or not thorough:
            return files
        try:
            mapped = self.proc.mapped(pid)
        except PermissionError:  # of some processes, mappings are refused to root, too
            return files
        return OpenFiles(mapped.directories, files.deleted | mapped.deleted, files.sockets)

    @staticmethod
    def _deny(seen: _Seen) -> None:
        """Note that a process may not be looked into."""
        seen.is_denied, seen.may_write, seen.files, seen.named = True, False, _NOTHING, ""
        seen.launcher, seen.clues, seen.unreadable = b"", (), {}

    def _note_clues(self, pid: int, seen: _Seen) -> None:
        """Find out which directories a process's paths are."""
        clues = []
        unreadable = dict.fromkeys(seen.files.deleted - seen.files.directories, "its files were deleted")
        for path in {*seen.files.directories, *([seen.named] if seen.named.startswith("/") else [])}:
            is_writer = path in seen.files.directories
            try:
                directory = self._directory(pid, path, is_writer=is_writer)
            except FileNotFoundError:
                continue
            except OSError as error:
                if is_writer:
                    unreadable[path] = error.strerror or str(error)
                continue
            if directory:
                clues.append(Clue(pid, path, directory, is_writer))
        seen.clues, seen.unreadable = tuple(clues), unreadable

    def _directory(self, pid: int, path: str, *, is_writer: bool) -> tuple[int, int, int] | None:
        """Return a directory's device, inode and birth; None if it holds no metrics file."""
        descriptor = self.proc.open_directory(pid, path)
        try:
            if not is_writer and not _holds_metrics(descriptor):
                return None
            info = os.fstat(descriptor)
            return info.st_dev, info.st_ino, birth(descriptor)
        finally:
            os.close(descriptor)

    def _find_workers(self) -> Sequence[Worker]:
        """Return the workers; the same as at the last look if what they depend on is as it was.

        A server may begin to listen long after its processes open their files. Tables of sockets are slow to read, so
        they are read ever more rarely.
        """
        now = self._clock()
        clues = [clue for seen in self._notable.values() for clue in seen.clues]
        servers = [worker.server for worker in self.findings.workers]
        is_same = clues == self._clues and all(server.pid in self._seen for server in servers if server)
        if is_same and now < self._decide_again:
            return self.findings.workers
        self._clues = clues
        workers = find_workers(clues, Host(self.processes, self._sockets, self._listeners()))
        self._decide_pause = min(2 * self._decide_pause, self._longest_wait) if is_same else _FIRST_PAUSE / 2
        is_decided = all(worker.server for worker in workers)
        self._decide_again = now + (_LONGEST_KNOWN_PAUSE if is_decided else self._decide_pause)
        return workers

    def _sockets(self, pid: int) -> frozenset[int]:
        try:
            return self.proc.open_files(pid).sockets
        except (OSError, ValueError):
            return frozenset()

    def _listeners(self) -> Callable[[Process], Mapping[int, Socket]]:
        """Return a function that gives the listening sockets of a process's network namespace, read once each."""
        known: dict[int, Mapping[int, Socket]] = {}

        def listeners(process: Process) -> Mapping[int, Socket]:
            if process.net_namespace not in known:
                known[process.net_namespace] = self.proc.listeners(process.pid)
            return known[process.net_namespace]

        return listeners

    def _is_alone(self) -> bool:
        """Whether only our own processes can be seen: this one, its ancestors and its children."""
        pid = own = os.getpid()
        family = {own}
        while pid in self._seen and (pid := self._seen[pid].process.parent) not in family:
            family.add(pid)
        # Mostly over at the first strangers.
        return all(pid in family or seen.process.parent == own for pid, seen in self._seen.items())


def _holds_metrics(descriptor: int) -> bool:
    with os.scandir(f"/proc/self/fd/{descriptor}") as entries:
        names: Iterator[str] = (entry.name for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False))
        return any(map(is_multiprocess_file, names))
