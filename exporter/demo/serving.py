"""What serves the simulated workers: the exporter of one, or an exporter for each of several and a fleet over them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from exporter.fleet import serve as fleet
from exporter.options.demo import DemoOptions
from exporter.options.worker import ServeOptions
from exporter.scraping.client import trusting
from exporter.service import run
from exporter.web.listen import Endpoint
from exporter.web.server import Server
from exporter.worker import serve as worker

GRACE = 1.0
"""Seconds that scrapes in flight get to finish, once the fleet has ended."""


def problem(options: DemoOptions) -> str:
    """Return why a port cannot be listened on; an empty text if all can."""
    return next(filter(None, (endpoint.problem() for endpoint in _endpoints(options))), "")


def serve(
    options: DemoOptions,
    directories: Sequence[Path],
    stop_on: Collection[signal.Signals],
    on_start: Callable[[], None],
) -> int:
    """Serve the workers that write into these directories until a signal of `stop_on`; return the exit code.

    `on_start` is called once, when all are served.
    """
    exporters = [options.serving(directory, number) for number, directory in enumerate(directories)]
    if len(exporters) == 1:
        (exporter,) = exporters
        make, endpoint = partial(worker.make, exporter), worker.endpoint(exporter)
        return run.run(make, endpoint, run.load_access(exporter.web_config), stop_on, on_start)
    try:
        return asyncio.run(_serve_several(options, exporters, stop_on, on_start))
    except asyncio.CancelledError:  # a second signal
        return 1


def _endpoints(options: DemoOptions) -> Iterator[Endpoint]:
    for number in range(options.workers):
        yield worker.endpoint(options.serving(Path(), number))
    if options.workers > 1:
        yield fleet.endpoint(options.fleet)


async def _serve_several(
    options: DemoOptions,
    exporters: Sequence[ServeOptions],
    stop_on: Collection[signal.Signals],
    on_start: Callable[[], None],
) -> int:
    endpoint = fleet.endpoint(options.fleet)
    async with AsyncExitStack() as stack:
        for exporter in exporters:
            await stack.enter_async_context(_served(exporter))
        make = partial(fleet.make, options.fleet, trusting(options.fleet.target_ca_file))
        return await run.serve(make, endpoint.open(), endpoint.rule, stop_on=stop_on, on_start=on_start)


@asynccontextmanager
async def _served(options: ServeOptions) -> AsyncIterator[None]:
    """Serve a worker in the block."""
    async with worker.make(options) as daemon, asyncio.TaskGroup() as group:
        server = Server(daemon.app)
        await daemon.look()
        await server.start(worker.endpoint(options).open())
        tasks = [group.create_task(work, name=name) for name, work in daemon.tasks.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await server.stop(GRACE)
