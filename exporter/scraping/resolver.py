"""Addresses of hosts, looked up in daemon threads: a name server that hangs holds up neither other hosts nor the stop.

aiohttp's own resolver has a few threads for the whole process, for which asyncio waits at the end.
"""

import asyncio
import socket
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.threads import in_thread

_LOOKUPS = 128
"""Most lookups at the same time, each of which takes a thread."""


class Resolver(AbstractResolver):
    """Looks hosts up as the system does, some of them beside each other."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host; OSError if there are none."""
        look_up = partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        async with self._free:
            found = await in_thread(look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: lookups that hang are left to themselves."""
