"""Answers: one line whatever is in them, and sending that ends."""

import asyncio
from contextlib import closing

import pytest
from aiohttp import web

from exporter.web.answers import LargeBody, line, make_body, send
from exporter.web.listen import open_sockets
from exporter.web.server import Server
from tests.web.serving import DEADLINE


class Writer:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.slices: list[bytes] = []

    async def write(self, data: memoryview) -> None:
        self.slices.append(bytes(data))


def test_a_text_of_several_lines_becomes_one() -> None:
    answer = line(503, "no such\ndirectory: \udcff", {"Retry-After": "1"})
    assert (answer.status, answer.text) == (503, "no such\\ndirectory: \\udcff\n")
    assert (answer.headers["Retry-After"], answer.content_type) == ("1", "text/plain")


async def test_a_large_body_is_written_in_slices() -> None:
    chunks = [b"a" * 600_000, b"", b"b"]
    body, writer = LargeBody(chunks), Writer()
    assert body.size == 600_001
    await body.write(writer)  # type: ignore[arg-type]
    assert b"".join(writer.slices) == b"".join(chunks)
    assert max(map(len, writer.slices)) < 300_000
    assert body.decode() == b"".join(chunks).decode()


@pytest.mark.parametrize(("given", "size"), [(b"small", None), (b"x" * 300_000, 300_000), ([b"a", b"b"], 2)])
def test_a_small_body_is_left_as_it_is(given: bytes | list[bytes], size: int | None) -> None:
    made = make_body(given)
    assert made is given if size is None else isinstance(made, LargeBody) and made.size == size


async def test_sending_tells_whether_the_client_took_it_in_time() -> None:
    told: asyncio.Queue[bool] = asyncio.Queue()
    bodies: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        size = int(request.query["size"])
        response = web.Response(body=LargeBody([b"x" * size]))
        told.put_nowait(await send(request, response, 0.2))
        bodies.append(response.body)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    server = Server(app)
    (listener,) = open_sockets(["127.0.0.1"], 0)
    await server.start([listener])
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    with closing(writer):
        async with asyncio.timeout(DEADLINE):
            writer.write(b"GET /?size=3 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await told.get()
            assert (await reader.readuntil(b"xxx")).startswith(b"HTTP/1.1 200")
            assert bodies == [None], "a sent body is released"
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /?size=50000000 HTTP/1.1\r\nHost: x\r\n\r\n")  # more than the kernel takes
            assert not await told.get()
    await server.stop(grace=0.1)
