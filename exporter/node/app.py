"""The endpoints of a node's exporter."""

import json
import time
from functools import partial
from weakref import WeakKeyDictionary

from aiohttp import hdrs, web

from exporter import paths
from exporter.node.members import ADDRESS, DIRECTORY
from exporter.node.page import render
from exporter.node.parts import Node
from exporter.web.answers import line
from exporter.web.app import SEND_TIMEOUT, make_application, routes
from exporter.web.engine_json import EngineJson
from exporter.web.metrics import MetricsHandler
from exporter.web.pages import Pages
from exporter.worker.found import FoundWorker


def make_worker_app(
    node: Node, worker: FoundWorker, *, max_requests: int, send_timeout: float = SEND_TIMEOUT
) -> web.Application:
    """Return the application of one worker's derived port: its metrics, and nothing else."""
    scrapes = MetricsHandler(
        node.scraper_of(worker),
        max_requests=max_requests,
        send_timeout=send_timeout,
        on_response=node.telemetry.count_scrape,
    )
    return make_application({paths.WORKER_METRICS: scrapes.handle}, send_timeout)


def make_app(node: Node, *, max_requests: int, send_timeout: float = SEND_TIMEOUT) -> web.Application:
    """Return the application. Of each endpoint, at most `max_requests` scrapes are in flight."""
    handler = partial(
        MetricsHandler,
        max_requests=max_requests,
        send_timeout=send_timeout,
        on_response=node.telemetry.count_scrape,
    )
    whole = handler(node.scraper)
    apart = WeakKeyDictionary[FoundWorker, MetricsHandler]()

    async def metrics(request: web.Request) -> web.Response:
        name = request.query.get("worker")
        if name is None:
            return await whole.handle(request)
        worker = node.worker(name)
        if worker is None:
            return line(404, "no worker of that name; /sd lists them")
        if worker not in apart:
            apart[worker] = handler(node.scraper_of(worker))
        return await apart[worker].handle(request)

    async def service_discovery(request: web.Request) -> web.Response:
        if node.problem:  # of an empty list, Prometheus would take all workers for gone
            return line(503, node.problem)
        groups = [
            {
                "targets": [request.host],
                "labels": {
                    "__param_worker": member.name,
                    **{name: member.labels[name] for name in (ADDRESS, DIRECTORY) if name in member.labels},
                },
            }
            for member in node.members.served.values()
        ]
        body = f"{json.dumps(groups, ensure_ascii=False)}\n".encode()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})

    pages = Pages(
        node.status,
        lambda status, found, worker: render(status, found, worker, now=time.time()),
        lambda: node.problem,
        node.views,
        has_many_workers=True,
    )
    handlers = {
        **routes(pages, EngineJson(node.views)),
        paths.NODE_METRICS: metrics,
        paths.SERVICE_DISCOVERY: service_discovery,
    }
    return make_application(handlers, send_timeout)
