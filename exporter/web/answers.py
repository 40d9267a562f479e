"""What all answers share: one-line texts, and sending that ends."""

import asyncio
from collections.abc import Mapping

from aiohttp import web


def printable(text: str) -> str:
    """Return `text` with its unprintable characters and a file name's stray bytes as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a plain text answer of one line."""
    return web.Response(status=status, text=f"{printable(text)}\n", headers=headers)


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
