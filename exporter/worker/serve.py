"""`smg-exporter serve`: one worker's metrics."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter.logs import fields
from exporter.model import Labels
from exporter.options.worker import ServeOptions, WorkerServing
from exporter.service.run import load_access, run
from exporter.web.listen import Endpoint
from exporter.worker.app import make_app
from exporter.worker.parts import Parts, reserved_names
from exporter.worker.status import common_problem

if TYPE_CHECKING:
    from exporter.worker.also import Also

AMBIGUOUS_ADDRESS = "workers on other hosts may have the same address"
WAY_OUT = "set --grpc-host to what others call this host"

_logger = logging.getLogger(__name__)


def serve(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError if `--web-config` cannot be used."""
    return run(partial(make, options, warn=True), endpoint(options), load_access(options.web_config))


def endpoint(options: WorkerServing) -> Endpoint:
    """Return the hosts and the port to listen on."""
    return Endpoint(options.listen_host, options.metrics_port, options.port_rule)


@asynccontextmanager
async def make(options: ServeOptions, *, warn: bool = False) -> AsyncIterator["WorkerDaemon"]:
    """Make a worker's daemon; `warn` of an address that workers on other hosts may have too."""
    if warn and options.multiproc_dir and options.has_ambiguous_address:
        _logger.warning(AMBIGUOUS_ADDRESS, extra=fields(worker=options.worker_address, hint=WAY_OUT))
    async with _fetching(options, lambda: daemon.parts.labels) as also:
        daemon = WorkerDaemon(options, also)
        yield daemon


def _fetching(
    options: ServeOptions, labels: Callable[[], Labels]
) -> AbstractAsyncContextManager[Sequence["Also"]]:
    """Make an `Also` for each exposition of `--also`, for as long as the context lasts."""
    if not options.also:
        return nullcontext(())
    from exporter.worker.also import fetching  # noqa: PLC0415 - takes time and memory; others do without

    return fetching(options.also, labels, reserved_names(options))


class WorkerDaemon:
    """One worker, as a `service.run.Daemon`."""

    def __init__(self, options: ServeOptions, also: Sequence["Also"] = ()) -> None:
        self.metrics_path = options.telemetry_path
        self.parts = parts = Parts(options, also)
        self._roster = parts.roster
        names = ", ".join(worker.watcher.name for worker in parts.roster.workers)
        directory = f"to be found through port {options.grpc_port}" if parts.seeker else names
        address = dict(parts.labels).get("worker_addr") or options.worker_address or "no address"
        self.facts = {"directory": directory, "worker": address}
        self.app = make_app(
            parts.scraper,
            lambda: self.problem,
            parts.status,
            parts.views,
            telemetry_path=options.telemetry_path,
            max_requests=options.max_requests,
            on_response=parts.telemetry.count_scrape,
        )

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The watch of the directory, and the search for it where it is not given."""
        tasks = {"the watch of the directory": self._roster.run()}
        return tasks | ({"the search for the worker": seeker.run()} if (seeker := self.parts.seeker) else {})

    @property
    def problem(self) -> str:
        """Why none of the worker's metrics can be served; empty if they can."""
        return self._roster.problem

    @property
    def ready(self) -> bool:
        """Whether the directory has been listed once."""
        return all(worker.watcher.last_look is not None for worker in self._roster.workers)

    async def look(self) -> None:
        """Look at the directory, and read its files."""
        if self.parts.seeker:
            await self.parts.seeker.look()
        await self._roster.look()

    def summary(self, port: int) -> str:
        """Return the workers' state in one line."""
        workers = self._roster.summaries
        if problem := common_problem(workers):
            return f"waiting{':' if self.parts.seeker else ' for'} {problem}"
        is_down = all(worker.worker_up is False for worker in workers)
        count = sum(sum(worker.process_counts.values()) for worker in workers)
        what = f"{sum(worker.series for worker in workers)} series of {count} process{'es' * (count != 1)}"
        several = f" of {len(workers)} workers" if len(workers) > 1 else ""
        return f"{'the worker is down; ' * is_down}serving {what}{several} on port {port}"

    def stuck(self, longest: float) -> str:
        """Return which look or read has been running for more than `longest` seconds; an empty text if none has."""
        return self._roster.stuck(longest)
