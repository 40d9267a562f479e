"""The engine view over HTTP: `GET /engine.json`."""

import json
import math
from collections.abc import Awaitable
from functools import partial
from typing import Any, Protocol

from aiohttp import hdrs, web

from exporter.threads import in_thread
from exporter.web.answers import line


class Views(Protocol):
    """The engine views of a daemon's workers."""

    def look(
        self, worker: str = "", since: float = 0.0, *, brief: bool = False
    ) -> Awaitable[dict[str, Any] | None]:
        """Return the views as JSON values, of all workers or of one; None if there is no such worker.

        The history is that after `since`, in Unix seconds. `brief`: without ranks, with a short history.
        """


class Live:
    """Answers requests for the engine view."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def engine_json(self, request: web.Request) -> web.Response:
        """Answer with the views; `?worker=` chooses one, `?since=` what of the history, `?brief` leaves things out."""
        worker, since = request.query.get("worker", ""), request.query.get("since", "0")
        try:
            after = float(since)
        except ValueError:
            after = math.nan
        if not math.isfinite(after):
            return line(400, f"since={since!r} is no time; it takes Unix seconds, such as 1795519944.2")
        found = await self._views.look(worker, after, brief="brief" in request.query)
        if found is None:
            return line(404, f"no worker {worker!r}; /engine.json without ?worker= lists all")
        body = await in_thread(partial(_encoded, found))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})


def _encoded(views: dict[str, Any]) -> bytes:
    return f"{json.dumps(views, separators=(',', ':'), allow_nan=False)}\n".encode()
