"""Answers: one-line texts, large bodies, and sending with a time limit."""

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from exporter.printable import printable

_SLICE = 1 << 18


def line(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a plain text answer of one line."""
    return web.Response(status=status, text=f"{printable(text)}\n", headers=headers)


class LargeBody(Payload):
    """A body in chunks, written in slices: the transport buffers a copy of what it cannot send at once."""

    _value: Sequence[bytes]

    def __init__(self, chunks: Sequence[bytes]) -> None:
        super().__init__(chunks)
        self._size = sum(map(len, chunks))

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body, each slice once the transport has room."""
        for chunk in self._value:
            view = memoryview(chunk)
            for start in range(0, len(view), _SLICE):
                await writer.write(view[start : start + _SLICE])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return b"".join(self._value).decode(encoding, errors)


def make_body(body: bytes | Sequence[bytes]) -> bytes | LargeBody:
    """Return a whole body, or its chunks, as aiohttp takes it: a small one as it is, which is quicker to send."""
    if isinstance(body, bytes):
        return body if len(body) <= _SLICE else LargeBody([body])
    return LargeBody(body)


async def send(request: web.Request, response: web.StreamResponse, within: float) -> bool:
    """Send a whole response, and release its body; return whether the client received it `within` so many seconds.

    aiohttp alone would wait for a slow client for ever. It tries to send the response again after the handler, which
    then has no effect.
    """
    try:
        async with asyncio.timeout(within):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        return False
    except ConnectionError:
        return False
    if isinstance(response, web.Response):
        response.body = None  # aiohttp keeps the response until the connection's next request
    return True
