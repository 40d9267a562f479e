"""Connections: slow, oversized and idle ones, and the stop."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from exporter.web.listen import open_sockets
from exporter.web.server import Server
from tests.web.serving import DEADLINE, Connection, Served, connected, serving


async def drip(connection: Connection) -> None:
    """Send a header a byte at a time, forever."""
    while True:
        connection.send(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("start", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: "])
async def test_a_connection_without_a_whole_request_ends(start: bytes) -> None:
    async with serving(head_timeout=0.2) as served, connected(served) as connection:
        connection.send(start)
        assert await connection.rest() == b""


async def test_dripping_bytes_do_not_prolong_it() -> None:
    async with serving(head_timeout=0.2) as served, connected(served) as connection:
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ")
        dripping = asyncio.create_task(drip(connection))
        assert await connection.rest() == b""
        dripping.cancel()


async def head_timeout_passes(served: Served) -> None:
    async with connected(served) as silent:
        assert await silent.rest() == b""


async def test_the_head_timeout_is_for_the_first_request_only() -> None:
    async with serving(head_timeout=0.1) as served, connected(served) as connection:
        assert (await connection.get()).startswith(b"HTTP/1.1 200")
        await head_timeout_passes(served)
        assert (await connection.get()).startswith(b"HTTP/1.1 200")


async def test_a_long_scrape_outlives_the_head_timeout() -> None:
    async with serving(head_timeout=0.1, gated=True) as served, connected(served) as connection:
        scrape = asyncio.create_task(connection.get("/metrics"))
        await served.arrival()
        await head_timeout_passes(served)
        served.source.gate.set()
        assert (await scrape).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("next_request", [b"", b"GET /heal"])
async def test_an_idle_connection_ends_after_the_keepalive_timeout(next_request: bytes) -> None:
    async with serving(keepalive_timeout=0.2) as served, connected(served) as connection:
        assert (await connection.get()).startswith(b"HTTP/1.1 200")
        connection.send(next_request)
        assert await connection.rest() == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 100 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 9000,
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\x00" * 100,
    ],
)
async def test_malformed_and_oversized_requests_are_400_and_harm_nobody(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served, connected(served) as good, connected(served) as bad:
        assert (await good.get()).startswith(b"HTTP/1.1 200")
        bad.send(request_)
        answer = await bad.rest()
        assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert len(answer) < 1000
        assert (await good.get()).startswith(b"HTTP/1.1 200")
    assert not caplog.records, "no client writes our log"


async def test_a_body_is_not_waited_for() -> None:
    async with serving() as served, connected(served) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"ok\n")


async def test_stop_lets_a_request_in_flight_finish() -> None:
    async with serving(gated=True) as served, aiohttp.ClientSession() as client:
        scrape = asyncio.create_task(client.get(f"{served.url}/metrics"))
        await served.arrival()
        stop = asyncio.create_task(served.server.stop(grace=DEADLINE))
        await until_refused(served)
        assert not stop.done()
        served.source.gate.set()
        answer = await scrape
        assert (answer.status, await answer.read()) == (200, served.source.body)
        async with asyncio.timeout(DEADLINE / 2):
            await stop
        assert await served.code() == 200


async def test_stop_closes_idle_connections_at_once() -> None:
    async with serving() as served, connected(served) as idle, connected(served) as untried:
        assert (await idle.get()).startswith(b"HTTP/1.1 200")
        untried.send(b"GET /")
        async with asyncio.timeout(DEADLINE / 2):
            await served.server.stop(grace=DEADLINE)
        assert (await idle.rest(), await untried.rest()) == (b"", b"")


async def test_stop_ends_with_its_grace() -> None:
    async with serving(gated=True) as served, connected(served) as connection:
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await served.arrival()
        started = asyncio.get_running_loop().time()
        await served.server.stop(grace=1)
        assert 0.9 < asyncio.get_running_loop().time() - started < 1.8
        assert await connection.rest() == b""
        assert await served.code() == 499


async def test_stop_is_harmless_before_start_and_twice() -> None:
    await Server(web.Application()).stop(grace=1)
    async with serving() as served:
        await served.server.stop(grace=1)
        await served.server.stop(grace=1)


async def until_refused(served: Served) -> None:
    """Connect until nobody listens."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                async with connected(served):
                    await asyncio.sleep(0)
            except ConnectionError:
                return


async def answer_more_than_the_kernel_takes(request: web.Request) -> web.StreamResponse:
    """Write until something stays behind in the process, and end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.get_write_buffer_size():
        await response.write(b"x" * 8192)
    await response.write_eof()
    return response


def read_to_the_end(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


@asynccontextmanager
async def unread_answer() -> AsyncIterator[tuple[Server, socket.socket]]:
    """Give a server and a client that has not read an answer, the end of which has not left the process."""
    app = web.Application()
    left_behind = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await answer_more_than_the_kernel_takes(request)
        finally:
            left_behind.set()

    app.router.add_get("/", handle)
    server = Server(app)
    (listener,) = open_sockets(["127.0.0.1"], 0)
    address = listener.getsockname()
    await server.start([listener])
    with socket.create_connection(address, timeout=DEADLINE) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await left_behind.wait()
        yield server, client


async def test_a_stop_waits_for_what_has_not_been_sent() -> None:
    async with unread_answer() as (server, client):
        stop = asyncio.create_task(server.stop(grace=DEADLINE))
        body = await asyncio.to_thread(read_to_the_end, client)
        await stop
    assert body.endswith(b"0\r\n\r\n")


async def test_it_waits_no_longer_than_its_grace_for_who_does_not_read() -> None:
    async with unread_answer() as (server, _):
        start = time.monotonic()
        await server.stop(grace=0.4)
        assert 0.4 <= time.monotonic() - start < DEADLINE
