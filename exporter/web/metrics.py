"""The metrics endpoint: content negotiation, limits, and the status code of a scrape."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from aiohttp import hdrs, web

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding, Representation, negotiate
from exporter.web.answers import line, make_body, send

logger = logging.getLogger(__name__)

TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
DEFAULT_TIMEOUT = 10.0
MAX_TIMEOUT = 60.0
CLIENT_GONE = 499
"""Counted as the status code if the client closed the connection before the answer; nginx uses the same number."""


class MetricsSource(Protocol):
    """Makes the bodies that the metrics endpoint serves."""

    # `timeout` is for the source to plan with: the caller cancels the call after it.
    async def scrape(self, wanted: Representation, timeout: float) -> bytes | list[bytes]:  # noqa: ASYNC109
        """Return a whole body, or its chunks, in the representation `wanted`; ScrapeError if the scrape fails.

        The call is cancelled after `timeout` seconds, or when the client goes away.
        """

    def delay(self) -> str:
        """Return why scrapes are slow now, such as an unfinished first read; an empty text if nothing is unusual."""


class MetricsHandler:
    """Answers scrapes, at most `max_requests` at a time."""

    def __init__(
        self,
        source: MetricsSource,
        *,
        max_requests: int,
        on_response: Callable[[int], None],
        send_timeout: float,
        negotiate: Callable[[str | None, str | None], Representation] = negotiate,
    ) -> None:
        self._source = source
        self._negotiate = negotiate
        self._max_requests = max_requests
        self._on_response = on_response
        self._send_timeout = send_timeout
        self._slots = asyncio.Semaphore(max_requests)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one scrape, and report its status code."""
        if self._slots.locked():
            self._on_response(503)
            in_flight = f"{self._max_requests} scrapes are in flight, as many as --max-requests allows"
            return line(503, in_flight, {hdrs.RETRY_AFTER: "1"})
        async with self._slots:  # never waits; held until the body is sent, and its memory is free
            code = CLIENT_GONE
            try:
                response = await self._answer(request)
                if await send(request, response, self._send_timeout):
                    code = response.status
            finally:
                self._on_response(code)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        wanted = self._negotiate(_header(request, hdrs.ACCEPT), _header(request, hdrs.ACCEPT_ENCODING))
        budget = time_budget(request.headers.get(TIMEOUT_HEADER))
        try:
            async with asyncio.timeout(budget):
                body = await self._source.scrape(wanted, budget)
        except ScrapeError as error:
            return line(503, str(error))
        except TimeoutError:
            delay = self._source.delay()
            late = f"scrape took longer than {budget:g} s, the scraper's timeout less a margin"
            return line(503, f"{late}: {delay}" if delay else late)
        except Exception:
            logger.exception("scrape failed")
            return line(500, "internal error: the log says more")
        return web.Response(body=make_body(body), headers=_headers(wanted))


def time_budget(header: str | None) -> float:
    """Return the seconds a scrape may take: the scraper's timeout less a margin for sending the answer."""
    timeout = _scraper_timeout(header)
    return timeout - min(0.5, 0.1 * timeout)


def _scraper_timeout(header: str | None) -> float:
    try:
        timeout = float(header or "")
    except ValueError:
        return DEFAULT_TIMEOUT
    return min(timeout, MAX_TIMEOUT) if 0 < timeout < math.inf else DEFAULT_TIMEOUT


def _header(request: web.Request, name: str) -> str | None:
    """Return a list header as one string, joined if it was sent in several lines; None if it is absent."""
    values = request.headers.getall(name, [])
    return ",".join(values) if values else None


def _headers(wanted: Representation) -> dict[str, str]:
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: wanted.content_type,
        hdrs.VARY: "Accept, Accept-Encoding",
    }
    if wanted.encoding is not Encoding.IDENTITY:
        headers[hdrs.CONTENT_ENCODING] = wanted.encoding
    return headers
