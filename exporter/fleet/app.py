"""The fleet's endpoints."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import hdrs, web

from exporter import paths
from exporter.exposition.compression import Encoder
from exporter.exposition.negotiation import Escaping, Representation, negotiate
from exporter.exposition.text import Renderer, ending
from exporter.fleet.page import render
from exporter.fleet.status import Observer
from exporter.service.own_metrics import OwnMetrics
from exporter.threads import DaemonThread, in_thread
from exporter.web.answers import line
from exporter.web.app import SEND_TIMEOUT, make_application, routes
from exporter.web.engine_json import EngineJson, Views
from exporter.web.metrics import MetricsHandler, MetricsSource
from exporter.web.pages import Pages


def make_app(
    metrics: MetricsSource,
    own: OwnMetrics,
    observer: Observer,
    views: Views,
    *,
    max_requests: int,
    on_response: Callable[[int], None],
    send_timeout: float = SEND_TIMEOUT,
) -> web.Application:
    """Return the application: `metrics` of the workers, `own` metrics, the status from `observer`, the engine `views`.

    `on_response` gets the status code of each answer to /engine_metrics, or 499 if the client went away.
    """

    async def service_discovery(_request: web.Request) -> web.Response:
        if unread := observer.unread:  # of a list that lacks targets, Prometheus would take them for gone
            return line(503, unread)
        text = await in_thread(lambda: json.dumps(observer.sd_groups(), ensure_ascii=False))
        return web.Response(body=f"{text}\n".encode(), headers={hdrs.CONTENT_TYPE: "application/json"})

    pages = Pages(
        observer.status,
        lambda status, found, worker: render(status, found, worker, now=time.time()),
        lambda: observer.problem,
        views,
        has_many_workers=True,
    )
    handler = partial(
        MetricsHandler, max_requests=max_requests, send_timeout=send_timeout, negotiate=_negotiate
    )
    workers = handler(metrics, on_response=on_response)
    ours = handler(_Own(own), on_response=lambda _: None)
    handlers = {
        **routes(pages, EngineJson(views)),
        paths.FLEET_METRICS: workers.handle,
        paths.FLEET_OWN_METRICS: ours.handle,
        paths.SERVICE_DISCOVERY: service_discovery,
    }
    return make_application(handlers, send_timeout)


def _negotiate(accept: str | None, accept_encoding: str | None) -> Representation:
    """Negotiate as usual, but with underscores in place of dots escaping, which doubles underscores in names."""
    wanted = negotiate(accept, accept_encoding)
    return replace(wanted, escaping=Escaping.UNDERSCORES) if wanted.escaping is Escaping.DOTS else wanted


class _Own:
    """The fleet exporter's own metrics, as a `MetricsSource`."""

    def __init__(self, metrics: OwnMetrics) -> None:
        self._metrics = metrics
        self._thread = DaemonThread()  # one thread, so that OwnMetrics serves one scrape at a time

    async def scrape(self, wanted: Representation, timeout: float) -> list[bytes]:  # noqa: ARG002, ASYNC109 - the protocol's own
        return await self._thread.run(lambda: self._body(wanted))

    def delay(self) -> str:
        return ""

    def _body(self, wanted: Representation) -> list[bytes]:
        chunks = Renderer(wanted.format).render(self._metrics.tell())
        return Encoder().encode(wanted.encoding, chunks, ending(wanted.format))
