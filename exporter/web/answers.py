"""What all answers share: one-line texts, and sending that ends."""

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
    """A body in chunks, which are handed to the transport in slices: it would keep a copy of what it cannot send."""

    _value: Sequence[bytes]

    def __init__(self, chunks: Sequence[bytes]) -> None:
        super().__init__(chunks)
        self._size = sum(map(len, chunks))

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write it, each slice when the transport has room for it."""
        for chunk in self._value:
            view = memoryview(chunk)
            for start in range(0, len(view), _SLICE):
                await writer.write(view[start : start + _SLICE])

    async def close(self) -> None:
        """Forget the chunks, since who holds the response may hold it for long."""
        self._value = ()
        await super().close()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text."""
        return b"".join(self._value).decode(encoding, errors)


async def send(request: web.Request, response: web.StreamResponse, within: float) -> bool:
    """Send a whole response; return whether the client took it `within` so many seconds.

    aiohttp by itself waits for a client without end. After this, its own sending finds nothing left to do.
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
    return True
