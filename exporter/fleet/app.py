"""The fleet's endpoints."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from exporter.exposition.compression import Compressor
from exporter.exposition.negotiation import Encoding, Escaping, Offer, negotiate
from exporter.fleet.merge import merge
from exporter.fleet.page import render
from exporter.fleet.reading import read_own
from exporter.fleet.status import Observer
from exporter.model import Format
from exporter.threads import in_thread
from exporter.web.app import SEND_TIMEOUT, make_application, routes
from exporter.web.metrics import MetricsHandler, MetricsSource
from exporter.web.pages import Pages

METRICS_PATH = "/engine_metrics"
OWN_PATH = "/metrics"
SD_PATH = "/sd"


def make_app(
    metrics: MetricsSource,
    own: CollectorRegistry,
    observer: Observer,
    *,
    max_requests: int,
    on_response: Callable[[int], None],
    send_timeout: float = SEND_TIMEOUT,
) -> web.Application:
    """Return the application: `metrics` of the workers, `own` ones, and what `observer` tells.

    `on_response` gets the code of each answer about the workers, 499 where the client went away.
    """

    async def service_discovery(_request: web.Request) -> web.Response:
        text = await in_thread(lambda: json.dumps(observer.sd_groups(), ensure_ascii=False))
        return web.Response(body=f"{text}\n".encode(), headers={hdrs.CONTENT_TYPE: "application/json"})

    pages = Pages(observer.status, lambda status: render(status, now=time.time()), lambda: observer.problem)
    handler = partial(
        MetricsHandler, max_requests=max_requests, send_timeout=send_timeout, negotiate=_negotiate
    )
    workers = handler(metrics, on_response=on_response)
    ours = handler(_OwnMetrics(own), on_response=lambda _: None)
    paths = {METRICS_PATH: workers.handle, OWN_PATH: ours.handle, SD_PATH: service_discovery}
    return make_application({**routes(pages), **paths}, send_timeout)


def _negotiate(accept: str | None, accept_encoding: str | None) -> Offer:
    """Return the best offer that is ours: names are written as they are, which escaping by dots does not leave."""
    offer = negotiate(accept, accept_encoding)
    return replace(offer, escaping=Escaping.UNDERSCORES) if offer.escaping is Escaping.DOTS else offer


class _OwnMetrics:
    """A registry as a source of bodies."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def scrape(self, offer: Offer, timeout: float) -> list[bytes]:  # noqa: ARG002, ASYNC109 - the protocol's own
        return await in_thread(lambda: self._body(offer))

    def delay(self) -> str:
        return ""

    def _body(self, offer: Offer) -> list[bytes]:
        own = read_own(generate_latest(self._registry))
        chunks, _ = merge([], own, openmetrics=offer.format is Format.OPENMETRICS_1_0_0)
        return [Compressor().gzip(chunks, b"")] if offer.encoding is Encoding.GZIP else chunks
