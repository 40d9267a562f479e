"""Settings -> the parts of a fleet's exporter, wired together."""

from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import aiohttp

from exporter.fleet.client import scrape
from exporter.fleet.fanout import Fanout
from exporter.fleet.sources import FILE_INTERVAL, Discovery, SmgWorkers, Source, WorkersFile, every
from exporter.fleet.status import Observer
from exporter.fleet.targets import from_option
from exporter.fleet.telemetry import Telemetry, target_metrics
from exporter.settings import Settings


class Fleet:
    """The parts: `discovery` knows the targets, `fanout` scrapes them, `telemetry` counts, `observer` tells."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        file = Source("file", WorkersFile(settings.workers_file)) if settings.workers_file else None
        smg = (
            Source("smg", SmgWorkers(session, settings.smg_url, settings.smg_api_key_file))
            if settings.smg_url
            else None
        )
        self._refreshes: dict[str, tuple[Source, float]] = {}
        """Sources with how often each is read, in seconds, by what that is called."""
        if file:
            self._refreshes["the watch of the workers file"] = file, FILE_INTERVAL
        if smg:
            self._refreshes["the refresh of SMG's workers"] = smg, settings.smg_refresh
        sources = [source for source in (file, smg) if source]
        self.discovery = Discovery([from_option(worker) for worker in settings.worker], sources)
        self.fanout = Fanout(
            lambda: self.discovery.targets,
            partial(scrape, session, limit=settings.max_target_bytes),
            target_metrics,
            labels=settings.label,
            target_timeout=settings.target_timeout,
            max_target_bytes=settings.max_target_bytes,
            no_target=lambda: self.discovery.problem,
        )
        self.telemetry = Telemetry(self.discovery, self.fanout)
        self.observer = Observer(self.discovery, self.fanout)

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What keeps the targets up to date, by name."""
        return {name: source.run(every(seconds)) for name, (source, seconds) in self._refreshes.items()}
