"""The pages beside the metrics: health, readiness, and the status as HTML and JSON."""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import hdrs, web

from exporter.threads import DaemonThread
from exporter.web import html
from exporter.web.answers import line
from exporter.web.engine_json import Views
from exporter.web.engine_page import View


class Facts(Protocol):
    """A status, of a worker or a fleet."""

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""


F = TypeVar("F", bound=Facts)


class Pages(Generic[F]):
    """Answers requests for the pages from the present status."""

    def __init__(
        self,
        status: Callable[[], F],
        page: Callable[[F, Sequence[View], str], str],
        problem: Callable[[], str],
        views: Views,
        *,
        has_many_workers: bool = False,
    ) -> None:
        """`status` returns the status, `problem` (cheap) why it is not ready.

        `page` returns its HTML with engine views: of the worker whose address is the third argument; of all if empty.
        """
        self._views = views
        self._has_many_workers = has_many_workers
        self._status = status
        self._page = page
        self._problem = problem
        self._thread = DaemonThread()  # one for all requests, however many come

    async def index(self, request: web.Request) -> web.Response:
        """Answer with the status page, of one worker where the query says which."""
        worker = request.query.get("worker", "")
        found = await self._views.look(dict, worker, math.inf, brief=self._has_many_workers and not worker)
        if found is None:
            return line(404, f"no worker {worker!r}; / shows all")
        # In a thread: with thousands of files the page takes too long for the event loop.
        text = await self._thread.run(lambda: self._page(self._status(), found["workers"], worker))
        headers = {"Content-Security-Policy": html.CONTENT_SECURITY_POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def status_json(self, _request: web.Request) -> web.Response:
        """Answer with the status as JSON."""
        body = await self._thread.run(lambda: _as_json(self._status()))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})

    async def healthy(self, _request: web.Request) -> web.Response:
        """Answer 200: the process serves."""
        return line(200, "ok")

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 if there is something to serve, else 503 and why not."""
        problem = self._problem()
        return line(503, problem) if problem else line(200, "ok")


def _as_json(status: Facts) -> bytes:
    """Return UTF-8 JSON. Surrogates, which stand for undecodable bytes of file names, become visible escapes."""
    text = json.dumps(status.as_json(), ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", lambda surrogate: f"\\\\u{ord(surrogate[0]):04x}", text)
    return f"{text}\n".encode()
