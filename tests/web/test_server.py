"""Connections: slow, oversized and idle ones, and the stop."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

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
