"""`smg-exporter serve`: one worker's metrics."""

from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from exporter.service.run import run
from exporter.settings import Settings
from exporter.web.listen import Endpoint
from exporter.worker.app import make_app
from exporter.worker.parts import Worker


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError where `--web-config` cannot be used."""
    return run(partial(make, settings), endpoint(settings), settings.web_config)


def endpoint(settings: Settings) -> Endpoint:
    """Return where these settings have a worker served."""
    return Endpoint(settings.listen_host, settings.metrics_port, settings.port_rule)


@asynccontextmanager
async def make(settings: Settings) -> AsyncIterator["WorkerDaemon"]:
    """Make the daemon of these settings."""
    yield WorkerDaemon(settings)


class WorkerDaemon:
    """A worker as what is run."""

    def __init__(self, settings: Settings) -> None:
        self.metrics_path = settings.telemetry_path
        self.facts = {"directory": settings.directory, "worker": settings.worker_address}
        self._worker = worker = Worker(settings)
        self.app = make_app(
            worker.scraper,
            worker.summary,
            worker.status,
            telemetry_path=settings.telemetry_path,
            max_requests=settings.max_requests,
            on_response=worker.telemetry.count_scrape,
        )

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The watch."""
        return {"the watch of the directory": self._worker.watcher.run(self._worker.after_look)}

    @property
    def problem(self) -> str:
        """Why there is nothing to serve of the worker; empty where there is."""
        return self._worker.summary().problem

    @property
    def ready(self) -> bool:
        """Whether the directory has been looked at."""
        return self._worker.watcher.last_look is not None

    async def look(self) -> None:
        """Look at the directory, and read its files."""
        await self._worker.watcher.look()
        await self._worker.scraper.read()

    def summary(self, port: int) -> str:
        """Return how the worker is, in a line."""
        summary = self._worker.summary()
        if summary.problem:
            return f"waiting for {summary.problem}"
        down = "the worker is down; " if summary.worker_up is False else ""
        count = sum(summary.process_counts.values())
        processes = f"{count} process{'es' * (count != 1)}"
        return f"{down}serving {summary.series} series of {processes} on port {port}"

    def stuck(self, longest: float) -> str:
        """Return what has not come to an end for longer than so many seconds."""
        return self._worker.stuck(longest)
