"""Everything but the metrics: health, readiness, the status page and its facts as JSON."""

import json
import re
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import hdrs, web

from exporter.threads import DaemonThread
from exporter.web.answers import line

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Facts(Protocol):
    """What is known at one moment."""

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""


F = TypeVar("F", bound=Facts)


class Pages(Generic[F]):
    """Answers from the facts of the moment."""

    def __init__(self, status: Callable[[], F], page: Callable[[F], str], problem: Callable[[], str]) -> None:
        """Answer from `status`, of which `page` makes the status page, and from `problem`, which is asked often."""
        self._status = status
        self._page = page
        self._problem = problem
        self._thread = DaemonThread()  # one for all: however many ask, they cost one thread

    async def index(self, _request: web.Request) -> web.Response:
        """Answer with the status page."""
        # Thousands of files take longer than the loop may stand still.
        text = await self._thread.run(lambda: self._page(self._status()))
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def status_json(self, _request: web.Request) -> web.Response:
        """Answer with the facts as JSON."""
        body = await self._thread.run(lambda: _as_json(self._status()))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})

    async def healthy(self, _request: web.Request) -> web.Response:
        """Say that the process serves."""
        return line(200, "ok")

    async def ready(self, _request: web.Request) -> web.Response:
        """Say whether there is something to serve, and if not, why."""
        problem = self._problem()
        return line(503, problem) if problem else line(200, "ok")


def _as_json(status: Facts) -> bytes:
    """Return UTF-8 JSON; a file name's stray bytes, which UTF-8 has no form for, as visible escapes."""
    text = json.dumps(status.as_json(), ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", lambda surrogate: f"\\\\u{ord(surrogate[0]):04x}", text)
    return f"{text}\n".encode()
