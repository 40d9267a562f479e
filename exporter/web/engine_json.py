"""The engine view over HTTP: `GET /engine.json`."""

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from aiohttp import hdrs, web

from exporter.web.answers import line

T = TypeVar("T")


class Views(Protocol):
    """The engine views of a daemon's workers."""

    def look(
        self,
        make: Callable[[dict[str, Any]], T],
        worker: str = "",
        since: float = 0.0,
        *,
        brief: bool = False,
    ) -> Awaitable[T | None]:
        """Return what `make` makes of the views as JSON values, of all workers or of one; None if there is none such.

        `make` is called in a thread. The history is that after `since`, in Unix seconds. `brief`: without ranks, with a
        short history.
        """


class EngineJson:
    """Answers requests for the engine view."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with the views; `?worker=` chooses one, `?since=` what of the history, `?brief` leaves things out."""
        worker, since = request.query.get("worker", ""), request.query.get("since", "0")
        try:
            after = float(since)
        except ValueError:
            after = math.nan
        if not math.isfinite(after):
            return line(400, f"since={since!r} is no time; it takes Unix seconds, such as 1795519944.2")
        body = await self._views.look(_encoded, worker, after, brief="brief" in request.query)
        if body is None:
            return line(404, f"no worker {worker!r}; /engine.json without ?worker= lists all")
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})


def _encoded(views: dict[str, Any]) -> bytes:
    return f"{json.dumps(views, separators=(',', ':'), allow_nan=False)}\n".encode()
