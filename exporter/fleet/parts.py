"""Builds the parts of a fleet's exporter from its options, and connects them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from functools import partial
from typing import Any

import aiohttp

from exporter.fleet.fanout import CONCURRENCY, Fanout
from exporter.fleet.last_reads import LastReads
from exporter.fleet.smg import SmgWorkers
from exporter.fleet.sources import Discovery, Source, every
from exporter.fleet.status import Observer
from exporter.fleet.targets import Target, from_option
from exporter.fleet.telemetry import Telemetry, target_metrics
from exporter.fleet.workers_file import INTERVAL, WorkersFile
from exporter.options.fleet import FleetOptions
from exporter.scraping.client import scrape
from exporter.service.engine_views import EngineViews

_SETTLE_INTERVAL = 1.0
"""Seconds between two scrapes of vanished targets."""


class Fleet:
    """The parts: `discovery` finds targets, `fanout` scrapes them, `telemetry` counts, `observer` has the status."""

    def __init__(self, options: FleetOptions, session: aiohttp.ClientSession, *, quiet: bool = False) -> None:
        """Build and connect the parts. `quiet`: do not log what the sources find."""
        source = partial(Source, quiet=quiet, was_up=self._was_up)
        file = source("file", WorkersFile(options.workers_file)) if options.workers_file else None
        smg = (
            source("smg", SmgWorkers(session, options.smg_url, options.smg_api_key_file))
            if options.smg_url
            else None
        )
        self._refreshes: dict[str, tuple[Source, float]] = {}
        """Sources and their refresh intervals in seconds, by task name."""
        if file:
            self._refreshes["the watch of the workers file"] = file, INTERVAL
        if smg:
            self._refreshes["the refresh of SMG's workers"] = smg, options.smg_refresh
        sources = [source for source in (file, smg) if source]
        self.discovery = Discovery([from_option(worker) for worker in options.worker], sources)
        self.fanout = Fanout(
            lambda: self.discovery.targets,
            partial(scrape, session, limit=options.max_target_bytes),
            target_metrics,
            labels=options.label,
            target_timeout=options.target_timeout,
            max_target_bytes=options.max_target_bytes,
            no_target=lambda: self.discovery.problem,
            observe=lambda durations: self.telemetry.registry.observe(durations),  # noqa: PLW0108 - made below
            after=lambda: self.views.offer(),  # noqa: PLW0108 - made below
        )
        self.views = EngineViews(self.fanout.read, LastReads(self.discovery, self.fanout).all)
        self.telemetry = Telemetry(self.discovery, self.fanout)
        self.observer = Observer(self.discovery, self.fanout)

    def _was_up(self, target: Target, since: float) -> bool | None:
        return self.fanout.was_up(target, since)  # which is made after the sources

    async def look(self) -> None:
        """Read all sources of targets."""
        async with asyncio.TaskGroup() as looks:
            for source in self.discovery.sources:
                looks.create_task(source.refresh())

    def close(self) -> None:
        """Cancel the readings of sources and the fan-out that are under way."""
        for source in self.discovery.sources:
            source.close()
        self.fanout.close()

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The tasks that keep the targets up to date, by name."""
        tasks = {name: source.run(every(seconds)) for name, (source, seconds) in self._refreshes.items()}
        return {**tasks, "the scrapes of vanished targets": self.settle(every(_SETTLE_INTERVAL))}

    async def settle(self, wakeups: AsyncIterator[None]) -> None:
        """At each wake-up, scrape the targets that have vanished since, to learn whether they are up; until cancelled.

        Nothing else may scrape them: a Prometheus that only reads `/sd` never asks for `/engine_metrics`.
        """
        async for _ in wakeups:
            undecided = self.discovery.undecided
            for start in range(0, len(undecided), CONCURRENCY):
                self.discovery.let_go(await self.fanout.ask(undecided[start : start + CONCURRENCY]))
