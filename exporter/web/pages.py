"""Everything but the metrics: health, readiness, the status page and its facts as JSON."""

import asyncio
import json
import re
import time
from collections.abc import Callable

from aiohttp import hdrs, web

from exporter.status import Status
from exporter.web.answers import line
from exporter.web.status_page import render

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Pages:
    """Answers from the facts of the moment."""

    def __init__(self, status: Callable[[], Status], *, telemetry_path: str) -> None:
        self._status = status
        self._telemetry_path = telemetry_path

    async def index(self, _request: web.Request) -> web.Response:
        """Answer with the status page."""
        page = render(self._status(), telemetry_path=self._telemetry_path, now=time.time())
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def status_json(self, _request: web.Request) -> web.Response:
        """Answer with the facts as JSON."""
        # Whole lists, unlike the page's: thousands of files take longer than the loop may stand still.
        body = await asyncio.to_thread(_as_json, self._status())
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})

    async def healthy(self, _request: web.Request) -> web.Response:
        """Say that the process serves."""
        return line(200, "ok")

    async def ready(self, _request: web.Request) -> web.Response:
        """Say whether there is something to serve, and if not, why."""
        problem = self._status().problem
        return line(503, problem) if problem else line(200, "ok")


def _as_json(status: Status) -> bytes:
    """Return UTF-8 JSON; a file name's stray bytes, which UTF-8 has no form for, as visible escapes."""
    text = json.dumps(status.as_json(), ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", lambda surrogate: f"\\\\u{ord(surrogate[0]):04x}", text)
    return f"{text}\n".encode()
