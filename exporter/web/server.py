"""Serves the application on sockets, with connection timeouts, and a stop that lets requests finish."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from exporter.web.listen import BACKLOG

KEEPALIVE_TIMEOUT = 75.0
"""Longer than the usual scrape interval of a minute, so that a scraper's connection lasts."""
HEAD_TIMEOUT = 10.0
MAX_LINE = 8190
"""Most bytes of a request line, and of a header field; longer ones get 400."""
MAX_FIELDS = 64
_LAST_GRACE = 0.05
"""Seconds that cancelled requests get to end."""
_LOOK_INTERVAL = 0.01

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Log filter: drop records of malformed requests, which are the client's fault and answered with 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


logger.addFilter(_is_ours)


class Server:
    """Serves an application.

    aiohttp uses `keepalive_timeout` both for idle connections and for requests that never become complete. Here, the
    first request of a connection must be complete within `head_timeout`; later ones have `keepalive_timeout`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        keepalive_timeout: float = KEEPALIVE_TIMEOUT,
        head_timeout: float = HEAD_TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._head_timeout = head_timeout
        self._tls: dict[str, Any] = {}
        if tls:
            # `_close_untried` cannot end a connection during its TLS handshake: that needs these timeouts.
            self._tls = {
                "ssl": tls,
                "ssl_handshake_timeout": head_timeout,
                "ssl_shutdown_timeout": head_timeout,
            }
        self._untried: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._busy: set[web.RequestHandler] = set()
        """Connections with a request in flight."""
        app.middlewares.insert(0, self._note_requests())
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=logger,
            keepalive_timeout=keepalive_timeout,
            lingering_time=0,  # do not wait for the rest of a request body
            handler_cancellation=True,  # a client that goes away ends its scrape
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
        )
        self._listeners: list[asyncio.Server] = []

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on listening sockets; the server closes them at its stop."""
        loop = asyncio.get_running_loop()
        await self._runner.setup()
        connection = partial(self._connection, cast("web.Server", self._runner.server))  # set by setup
        for sock in sockets:
            listener = await loop.create_server(connection, sock=sock, backlog=BACKLOG, **self._tls)
            self._listeners.append(listener)

    async def stop(self, grace: float) -> None:
        """Stop accepting, close idle connections, and give requests in flight `grace` seconds to finish."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        server = self._runner.server
        if server is not None:
            await asyncio.sleep(0)  # so that just accepted connections are registered
            server.pre_shutdown()
            for connection in set(server.connections) - self._busy:
                connection.force_close()
            await _until_gone(server, grace)
            # aiohttp waits this long twice: for the request handler, then for the connection's task.
            await server.shutdown(_LAST_GRACE)
        await self._runner.cleanup()

    def _connection(self, server: web.Server) -> web.RequestHandler:
        connection = server()
        loop = asyncio.get_running_loop()
        self._untried[connection] = loop.call_later(self._head_timeout, self._close_untried, connection)
        return connection

    def _close_untried(self, connection: web.RequestHandler) -> None:
        del self._untried[connection]
        connection.force_close()

    def _note_requests(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def note(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if timer := self._untried.pop(request.protocol, None):
                timer.cancel()
            self._busy.add(request.protocol)
            try:
                return await handler(request)  # the handler sends the answer too: see answers.send
            finally:
                self._busy.discard(request.protocol)

        return note


async def _until_gone(server: web.Server, within: float) -> None:
    """Wait until all connections are closed, and so all answers handed to the kernel.

    aiohttp's own shutdown waits for handlers only: the part of an answer still buffered in the process would be lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while server.connections:  # noqa: ASYNC110 - aiohttp has no event for the last one
                await asyncio.sleep(_LOOK_INTERVAL)
