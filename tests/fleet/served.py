"""A fleet's endpoints on a free loopback port."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp

from exporter.fleet.app import make_app
from exporter.fleet.fanout import Fanout
from exporter.fleet.last_reads import LastReads
from exporter.fleet.sources import Discovery, Source, SourceError
from exporter.fleet.status import Observer
from exporter.fleet.targets import Target
from exporter.fleet.telemetry import Telemetry, target_metrics
from exporter.scraping.client import make_session, scrape
from exporter.service.engine_views import EngineViews
from exporter.web.listen import open_sockets
from exporter.web.server import Server


@dataclass
class Served:
    """A running fleet."""

    url: str
    session: aiohttp.ClientSession

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], bytes]:
        plain = {"Accept-Encoding": "identity"}
        async with self.session.request(
            method, self.url + path, headers=plain | dict(headers or {})
        ) as response:
            return response.status, response.headers, await response.read()


class Away:
    async def read(self) -> list[Target]:
        raise SourceError("smg: away")


@asynccontextmanager
async def fleet(*targets: Target, source: Source | None = None) -> AsyncIterator[Served]:
    discovery = Discovery(targets, [source] if source else [])
    async with make_session(ssl.create_default_context()) as session:
        fanout = Fanout(
            lambda: discovery.targets,
            partial(scrape, session, limit=1 << 20),
            target_metrics,
            labels={},
            target_timeout=2.0,
            max_target_bytes=1 << 20,
            no_target=lambda: discovery.problem,
            observe=lambda _: None,
        )
        views = EngineViews(fanout.read, LastReads(discovery, fanout).all)
        telemetry = Telemetry(discovery, fanout)
        observer = Observer(discovery, fanout)
        app = make_app(
            fanout, telemetry.registry, observer, views, max_requests=4, on_response=telemetry.count_scrape
        )
        server = Server(app)
        sockets = open_sockets(["127.0.0.1"], 0)
        await server.start(sockets)
        try:
            yield Served(f"http://127.0.0.1:{sockets[0].getsockname()[1]}", session)
        finally:
            await server.stop(0.1)
            fanout.close()
