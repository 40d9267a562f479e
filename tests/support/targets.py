"""Targets as real servers on loopback, well-behaved and not."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

DEADLINE = 15.0
"""Seconds after which a test that waits has failed."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
BODY = b"# HELP up_to Date.\n# TYPE up_to gauge\nup_to 1\n"

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A running target, and what it was asked."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    """The head of each request."""
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    @property
    def worker(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Answer every request by `behave`, on connections that are kept."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        server.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            while not writer.is_closing():
                server.requests.append(await reader.readuntil(b"\r\n\r\n"))
                server.in_flight += 1
                server.most_in_flight = max(server.most_in_flight, server.in_flight)
                try:
                    await behave(writer)
                    await writer.drain()
                finally:
                    server.in_flight -= 1
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def head(
    status: str = "200 OK", content_type: str | None = TEXT, length: int | None = None, more: str = ""
) -> bytes:
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"Content-Type: {content_type}"] * (content_type is not None)
    lines += [f"Content-Length: {length}"] * (length is not None)
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode()


def answer(
    body: bytes = BODY, status: str = "200 OK", content_type: str | None = TEXT, more: str = ""
) -> Behaviour:
    """Answer with a body."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, content_type, len(body), more) + body)

    return behave


def gzipped(body: bytes) -> Behaviour:
    """Answer with these bytes, said to be gzip."""
    return answer(body, more="Content-Encoding: gzip\r\n")


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""
    await asyncio.Event().wait()


async def hang_in_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(head(length=len(BODY)) + BODY[:5])
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time, without end."""
    writer.write(head(length=10**9))
    while True:
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.01)  # this is how slow it is; nothing waits for it


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head(more="Connection: close\r\n"))
    while True:
        writer.write(b"# more and more\n" * 4096)
        await writer.drain()


async def cut_off(writer: asyncio.StreamWriter) -> None:
    """Close in the middle of a body whose length was said."""
    writer.write(head(length=10**6) + BODY)
    await writer.drain()
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection instead of an answer."""
    writer.transport.abort()


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()
    writer.close()


async def long_header(writer: asyncio.StreamWriter) -> None:
    writer.write(head(length=len(BODY), more=f"X: {'x' * 100_000}\r\n") + BODY)


def bomb(size: int) -> bytes:
    """Return a small gzip body that becomes a large one."""
    return gzip.compress(b"#" * size)
