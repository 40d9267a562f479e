"""A worker's endpoints."""

import time
from collections.abc import Callable

from aiohttp import web

from exporter.web.app import SEND_TIMEOUT, make_application, routes
from exporter.web.engine_json import EngineJson, Views
from exporter.web.metrics import MetricsHandler, MetricsSource
from exporter.web.pages import Pages
from exporter.worker.page import render
from exporter.worker.status import Status


def make_app(
    metrics: MetricsSource,
    problem: Callable[[], str],
    status: Callable[[], Status],
    views: Views,
    *,
    telemetry_path: str,
    max_requests: int,
    on_response: Callable[[int], None],
    send_timeout: float = SEND_TIMEOUT,
) -> web.Application:
    """Return the application: `metrics` answers scrapes, `status` and the engine `views` feed the pages.

    `problem` tells, cheaply, why nothing can be served; an empty text if something can.
    `on_response` gets the status code of each scrape's answer, or 499 if the client went away. A client that does
    not receive an answer within `send_timeout` seconds is disconnected. ValueError if `telemetry_path` is no path.
    """
    scrapes = MetricsHandler(
        metrics, max_requests=max_requests, on_response=on_response, send_timeout=send_timeout
    )
    pages = Pages(
        status,
        lambda facts, found, worker: render(
            facts, found, worker, telemetry_path=telemetry_path, now=time.time()
        ),
        problem,
        views,
    )
    # The metrics come last, so that they replace a page with the same path.
    return make_application(
        {**routes(pages, EngineJson(views)), telemetry_path: scrapes.handle}, send_timeout
    )
