"""A worker that discovery found: its directory is opened inside its own root, and its pids are of its own namespace."""

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial

from exporter.discovery.finder import Finder
from exporter.discovery.namespaces import PidNamespaces
from exporter.discovery.proc import Proc
from exporter.discovery.rooted import birth
from exporter.discovery.workers import Worker as Finding
from exporter.model import Labels, Snapshot
from exporter.multiproc.evidence import HostEvidence
from exporter.multiproc.fileset import FileSet
from exporter.multiproc.liveness import Liveness
from exporter.multiproc.processes import Process, find_process
from exporter.worker.watch import EventsAndTicks, Watcher
from exporter.worker.worker import Collector, Worker


def open_directory(finding: Finding, finder: Finder) -> int:
    """Return a descriptor of a found worker's directory, through any of its processes; OSError if that fails.

    Each is a visit of the `finder`.
    """
    for pid in finding.pids:
        finder.visit(pid)
        try:
            descriptor = finder.proc.open_directory(pid, finding.path)
        except OSError:
            continue
        info = os.fstat(descriptor)
        if (info.st_dev, info.st_ino, birth(descriptor)) == finding.identity[:3]:
            return descriptor
        os.close(descriptor)
    raise FileNotFoundError(f"{finding.path}: no process leads to it any more")


class SharedNamespaces(PidNamespaces):
    """`PidNamespaces` for the threads of many workers."""

    def __init__(self, proc: Proc) -> None:
        super().__init__(proc)
        self._lock = threading.Lock()

    def pids(self, namespace: int) -> Mapping[str, int]:
        """Return what `PidNamespaces.pids` does; one thread at a time."""
        with self._lock:
            return super().pids(namespace)


class NamespaceEvidence(HostEvidence):
    """What this host knows of a directory's files, and of writers in a pid namespace that is not ours."""

    def __init__(self, directory: str, namespaces: PidNamespaces, number: int) -> None:
        super().__init__(directory)
        self._namespaces = namespaces
        self._number = number

    def existing(self, pids: frozenset[str]) -> Collection[str]:
        """Return which of these pids processes have in the namespace."""
        return self._namespaces.pids(self._number).keys() & pids

    def find_process(self, pid: str) -> Process | None:
        """Return the process that has that pid in the namespace; None if there is none."""
        ours = self.own_pid(pid) or self._namespaces.pids(self._number).get(pid)
        found = find_process(str(ours)) if ours else None
        return found._replace(pid=pid) if found else None

    def own_pid(self, pid: str) -> int | None:
        """Return our pid of a process that was found, by its pid in the namespace; None if it has ended."""
        return self._namespaces.known_pid(self._number, pid)


class FoundWorker(Worker):
    """A worker for as long as discovery sees it, and its last counters after that."""

    def __init__(
        self,
        finding: Finding,
        descriptor: int,
        namespaces: PidNamespaces,
        make_engine: Callable[[Callable[[], FileSet]], Collector],
        labels: Labels,
        *,
        may_judge: bool = True,
        keep_gauges: bool = False,
        among_several: bool = False,
        quiet: bool = False,
    ) -> None:
        """Serve the directory that is open as `descriptor`, which is closed at the end.

        `may_judge`: look up which writers live. `keep_gauges`: gauges stay with the last counters.
        """
        self.finding = finding
        self._descriptor = descriptor
        self._last: Snapshot = ()
        """The last snapshot with anything in it."""
        self._kept: Snapshot | None = None
        """What of it is served while the files are gone; None while they are there."""
        self._ended = asyncio.Event()
        path = f"/proc/self/fd/{descriptor}"
        evidence = self._evidence(path, namespaces)
        self._keeps_gauges = keep_gauges
        is_known = may_judge and len(finding.pid_namespaces) == 1
        watcher = Watcher(
            path,
            Liveness.ON if is_known else Liveness.OFF,
            EventsAndTicks(own_pid=evidence.own_pid if isinstance(evidence, NamespaceEvidence) else int),
            evidence,
            name=finding.path,
            quiet=quiet,
        )
        super().__init__(watcher, make_engine, labels, among_several=among_several, quiet=quiet)

    @property
    def is_ended(self) -> bool:
        """Whether its last process has ended."""
        return self._ended.is_set()

    @property
    def snapshot(self) -> Snapshot:
        """All families and values at the last read; only the last counters once the files are gone."""
        if current := self.engine.snapshot:
            self._last, self._kept = current, None
            return current
        if self._kept is None:
            self._kept = [
                values for values in self._last if self._keeps_gauges or values.family.type != "gauge"
            ]
        return self._kept

    async def watch(self) -> None:
        """Follow the directory until the worker has ended."""
        watching = asyncio.ensure_future(super().watch())
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            watching.cancel()
            await asyncio.gather(watching, ending, return_exceptions=True)
        if not self.is_ended:
            watching.result()

    def read(self) -> None:
        """Read and merge the files, unless the worker has ended."""
        if not self.is_ended:
            super().read()
            _ = self.snapshot  # keeps it

    def retire(self, problem: str) -> None:
        """Close the files, as the last process has ended, end the thread, and tell `problem`; the last counters stay.

        Open files would keep a container's volume from being removed. It may be retired again, for another problem.
        """
        self._ended.set()
        self._reads.rest(partial(self._close, problem))

    def end(self) -> None:
        """Close all files, and end the worker's thread, once no read is running."""
        self._ended.set()
        self._reads.end(partial(self._close, "no longer served"))

    def _close(self, problem: str) -> None:
        """Close everything, in the reading thread, once no look is running that needs the descriptor."""
        self.watcher.stop(problem)
        self.engine.close()
        self._served = self.watcher.current
        self._count_series(self.snapshot)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _evidence(self, path: str, namespaces: PidNamespaces) -> HostEvidence:
        number = self.finding.identity.pid_namespace
        return NamespaceEvidence(path, namespaces, number) if number else HostEvidence(path)
