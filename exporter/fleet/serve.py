"""`smg-exporter fleet`: the metrics of many workers in one answer."""

import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from exporter.fleet.app import make_app
from exporter.fleet.parts import Fleet
from exporter.options.fleet import FleetOptions
from exporter.paths import FLEET_METRICS
from exporter.scraping.client import make_session, trusting
from exporter.service.run import load_access, run
from exporter.web.listen import Endpoint


def serve(options: FleetOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError if a file cannot be used."""
    tls, access = trusting(options.target_ca_file), load_access(options.web_config)
    return run(partial(make, options, tls), endpoint(options), access)


def endpoint(options: FleetOptions) -> Endpoint:
    """Return the hosts and the port to listen on."""
    return Endpoint(options.listen_host, options.metrics_port, options.port_rule)


@asynccontextmanager
async def make(options: FleetOptions, tls: ssl.SSLContext) -> AsyncIterator["FleetDaemon"]:
    """Make a fleet's daemon; `tls` verifies https workers."""
    async with make_session(tls) as session:
        fleet = Fleet(options, session)
        try:
            yield FleetDaemon(fleet, options.max_requests)
        finally:
            fleet.close()


class FleetDaemon:
    """A fleet, as a `service.run.Daemon`."""

    metrics_path = FLEET_METRICS
    ready = True

    def __init__(self, fleet: Fleet, max_requests: int) -> None:
        self._fleet = fleet
        self.app = make_app(
            fleet.fanout,
            fleet.telemetry.registry,
            fleet.observer,
            fleet.views,
            max_requests=max_requests,
            on_response=fleet.telemetry.count_scrape,
        )

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What keeps the targets up to date, by name."""
        return self._fleet.tasks

    @property
    def facts(self) -> Mapping[str, object]:
        """The number of targets, for the log."""
        return {"targets": len(self._fleet.discovery.targets)}

    @property
    def problem(self) -> str:
        """Why there are no targets; empty if there are some."""
        return self._fleet.discovery.problem

    async def look(self) -> None:
        """Read all sources of targets."""
        await self._fleet.look()

    def summary(self, port: int) -> str:
        """Return the fleet's state in one line."""
        count = len(self._fleet.discovery.targets)
        failed = sum(outcome.reading is None for outcome in self._fleet.fanout.outcomes.values())
        trouble = f"; {failed} cannot be scraped" if failed else ""
        return self.problem or f"serving {count} target{'s' * (count != 1)} on port {port}{trouble}"

    def stuck(self, longest: float) -> str:  # noqa: ARG002 - the protocol's own
        """Return an empty text: scrapes have deadlines, and a source that hangs leaves the targets as they are."""
        return ""
