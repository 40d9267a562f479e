"""What serves the simulated workers: the exporter of one; of several, a node that finds them as it finds real ones."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.demo.processes import DemoError, SimulatedWorker
from exporter.demo.worker import HOST
from exporter.discovery.finder import Finder
from exporter.discovery.proc import Proc
from exporter.node import serve as node
from exporter.options.demo import DemoOptions
from exporter.service import run
from exporter.web.listen import Endpoint, ListenError
from exporter.worker import serve as worker

if TYPE_CHECKING:
    from exporter.web.access.access import Access

PATIENCE = 10.0
"""Seconds within which node has to find all workers."""
_PAUSE = 0.5
"""Seconds between two looks for them."""


class SimulatedProcesses(Proc):
    """The processes of simulated workers: a demo looks into no others."""

    def __init__(self, workers: Sequence[SimulatedWorker]) -> None:
        super().__init__()
        self._workers = workers

    def listing(self) -> dict[int, int]:
        """Return the workers' processes, as `Proc.listing` does."""
        pids = (pid for each in self._workers for pid in each.pids)
        return {pid: mark for pid in pids if (mark := self.mark(pid))}


def problem(options: DemoOptions) -> str:
    """Return why a port cannot be listened on; an empty text if all can."""
    return _endpoint(options).problem() or _problem_of_workers(options)


def serve(
    options: DemoOptions,
    workers: Sequence[SimulatedWorker],
    stop_on: Collection[signal.Signals],
    on_start: Callable[[], None],
) -> int:
    """Serve workers until a signal of `stop_on`; return the exit code. DemoError if they cannot be found.

    `on_start` is called once, when all are served.
    """
    access = run.load_access(options.web_config)
    if len(workers) == 1:
        make = partial(worker.make, options.serving(workers[0].directory))
        return run.run(make, _endpoint(options), access, stop_on, on_start)
    make_node = partial(_make_node, options, workers, access)
    return run.run(make_node, _endpoint(options), access, stop_on, on_start)


def _endpoint(options: DemoOptions) -> Endpoint:
    """Return where the page of all workers is."""
    return node.endpoint(options.node) if options.workers > 1 else worker.endpoint(options.serving(Path()))


def _problem_of_workers(options: DemoOptions) -> str:
    """Return why a worker's port, or one that is derived from it, cannot be listened on."""
    for number in range(options.workers):
        ports: list[tuple[Sequence[str], int]] = [((HOST,), options.port(number))]
        if options.workers > 1:
            ports.append((options.listen_host, options.serving(Path(), number).metrics_port))
        for hosts, port in ports:
            try:
                Endpoint(hosts, port, "").attempt()
            except ListenError as error:
                return f"{error}; it is for simulated worker {number + 1}: choose others with --grpc-port"
    return ""


@asynccontextmanager
async def _make_node(
    options: DemoOptions, workers: Sequence[SimulatedWorker], access: "Access | None" = None
) -> AsyncIterator[node.NodeDaemon]:
    """Make a node's daemon that has found all workers; DemoError if it does not within `PATIENCE`."""
    async with node.make(options.node, access, partial(Finder, SimulatedProcesses(workers))) as daemon:
        try:
            async with asyncio.timeout(PATIENCE):
                await daemon.look()
                while len(daemon.node.members.live) < len(workers):
                    await asyncio.sleep(_PAUSE)
                    await daemon.look()
        except TimeoutError:
            reason = daemon.problem or "their processes may not be looked into"
            raise DemoError(
                f"node does not find the {len(workers)} simulated workers: {reason}; one worker, without --workers, "
                "is served without a look at processes"
            ) from None
        yield daemon
