"""The worker that listens on a port, found by itself: waits for it, serves it, goes over to the one after it."""

import asyncio
import logging
import os
import pwd
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from exporter.discovery.finder import Finder
from exporter.discovery.obstacles import why_not_found
from exporter.discovery.workers import Worker as Finding
from exporter.errors import SettingsError
from exporter.logs import fields
from exporter.model import Labels
from exporter.multiproc.fileset import FileSet
from exporter.multiproc.liveness import Liveness
from exporter.options.worker import DumpOptions, ServeOptions
from exporter.worker.found import FoundWorker, SharedNamespaces, open_directory
from exporter.worker.looks import Looks
from exporter.worker.roster import Roster
from exporter.worker.watch import Watcher
from exporter.worker.worker import Collector, Worker

_PERIOD, _WAITING_PERIOD = 1.0, 0.5
"""Seconds between two looks, and while there is no worker: its first file is to be served within a second."""

_logger = logging.getLogger(__name__)


class Sought(NamedTuple):
    """What a look found on the port."""

    finding: Finding | None = None
    address: str = ""
    descriptor: int = -1
    """Its directory, open; -1 if it is served already."""
    problem: str = ""
    """Why there is nothing to serve; empty if there is something."""
    is_ambiguous: bool = False
    """Whether that is because there are several directories."""

    def close(self) -> None:
        """Close the directory, which nobody is going to serve."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Seeker:
    """Keeps the one worker of a roster that listens on a port."""

    def __init__(
        self,
        port: int,
        node_name: str,
        roster: Roster,
        looks: Looks,
        make: Callable[[Finding, str, int], FoundWorker],
        *,
        quiet: bool = False,
    ) -> None:
        """`make` makes a worker of what was found, its address, and the descriptor of its directory.

        `quiet`: log nothing.
        """
        self._port = port
        self._node_name = node_name
        self._roster = roster
        self._looks = looks
        self._make = make
        self._quiet = quiet
        self._is_first = True
        self._current: FoundWorker | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            is_served = self._current is not None and not self._current.is_ended
            await asyncio.sleep(_PERIOD if is_served else _WAITING_PERIOD)
            await self.look()

    async def look(self) -> None:
        """Look once, and serve what is there; SettingsError if the first look finds several directories."""
        sought = await self._looks.look(self._seek)
        if sought is None:
            return
        is_first, self._is_first = self._is_first, False
        if is_first and sought.is_ambiguous:
            raise SettingsError(f"--grpc-port: {sought.problem}")
        if sought.descriptor >= 0 and sought.finding:
            self._current = self._make(sought.finding, sought.address, sought.descriptor)
            self._roster.replace([self._current])
            if not self._quiet:
                about = fields(directory=sought.finding.path, worker=sought.address)
                _logger.info("found the worker", extra=about)
            await self._current.look()
        elif sought.problem:
            (worker,) = self._roster.workers
            if worker.watcher.current.problem != sought.problem and not self._quiet:
                _logger.info("waiting for the worker", extra=fields(problem=sought.problem))
            _tell(worker, sought.problem)

    def _seek(self, finder: Finder) -> Sought:
        """Decide what to serve, in the thread of the look."""
        found = on_port(finder, self._port)
        if len(found) > 1:
            return Sought(problem=several(self._port, found), is_ambiguous=True)
        if not found:
            return Sought(problem=waiting_for(self._port, finder))
        (finding,) = found
        if (
            self._current
            and not self._current.is_ended
            and finding.identity == self._current.finding.identity
        ):
            return Sought(finding)
        try:
            descriptor = open_directory(finding, finder)
        except OSError as error:
            return Sought(problem=f"{finding.path}: {error.strerror or error}")
        return Sought(finding, finder.address(finding, self._node_name), descriptor)


def make_seeker(
    options: ServeOptions | DumpOptions,
    roster: Roster,
    make_engine: Callable[[Labels, Callable[[], FileSet]], Collector],
    *,
    quiet: bool,
) -> Seeker:
    """Return what finds the worker that `options` name by its port. `make_engine` gets the labels that it has then."""
    looks = Looks(lambda visits: Finder(longest_wait=1.0, visits=visits))
    namespaces = SharedNamespaces(looks.finder.proc)

    def make(finding: Finding, address: str, descriptor: int) -> FoundWorker:
        labels = tuple(options.labels_of(options.found_address(address)).items())
        return FoundWorker(
            finding,
            descriptor,
            namespaces,
            partial(make_engine, labels),
            labels,
            may_judge=options.liveness != "off",
            keep_gauges=options.when_worker_down == "keep-gauges",
            quiet=quiet,
        )

    return Seeker(options.worker_port or 0, socket.gethostname(), roster, looks, make, quiet=quiet)


def on_port(finder: Finder, port: int) -> Sequence[Finding]:
    """Return the workers whose server listens on the port: in our network namespace, if one does, else in any."""
    found = [
        worker
        for worker in finder.findings.workers
        if port in {server.port for server in (worker.server, *worker.others) if server}
    ]
    near = [worker for worker in found if finder.is_near(worker)]
    return near or found


def several(port: int, found: Sequence[Finding]) -> str:
    """Return the problem of several directories."""
    paths = ", ".join(sorted(worker.path for worker in found))
    return f"the processes of port {port} write into several directories: {paths}; set --multiproc-dir to one of them"


def waiting_for(port: int, finder: Finder) -> str:
    """Return why there is no worker on a port."""
    own = finder.processes.get(os.getpid())
    return why_not_found(port, finder, own, user_name) if own else f"no process listens on port {port}"


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def nobody(problem: str) -> Watcher:
    """Return the watcher of a worker that is not there yet, as `problem` says."""
    watcher = Watcher("none found yet", Liveness.OFF, _Never())
    watcher.stop(problem)
    return watcher


class _Never:
    """Never wakes."""

    async def wait(self, _files: FileSet, *, hurry: bool) -> None:  # noqa: ARG002 - the interface is a Waker's
        """Wait until cancelled."""
        await asyncio.Event().wait()

    def close(self) -> None:
        """Do nothing."""


def _tell(worker: Worker, problem: str) -> None:
    """Have a worker that is not there, or no longer, tell why."""
    if isinstance(worker, FoundWorker):
        worker.retire(problem)
    else:
        worker.watcher.stop(problem)
