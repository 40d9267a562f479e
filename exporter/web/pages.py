"""The pages beside the metrics: health, readiness, and the status as HTML and JSON."""

import json
import re
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import hdrs, web

from exporter.threads import DaemonThread
from exporter.web.answers import line

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Facts(Protocol):
    """A status, of a worker or a fleet."""

    def as_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""


F = TypeVar("F", bound=Facts)


class Pages(Generic[F]):
    """Answers requests for the pages from the present status."""

    def __init__(self, status: Callable[[], F], page: Callable[[F], str], problem: Callable[[], str]) -> None:
        """`status` returns the status, `page` its HTML, `problem` (cheap) the reason for not being ready."""
        self._status = status
        self._page = page
        self._problem = problem
        self._thread = DaemonThread()  # one for all requests, however many come

    async def index(self, _request: web.Request) -> web.Response:
        """Answer with the status page."""
        # In a thread: with thousands of files the page takes too long for the event loop.
        text = await self._thread.run(lambda: self._page(self._status()))
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
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
