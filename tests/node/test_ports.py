import logging
import urllib.request

import pytest
from aiohttp import web

from exporter.node.ports import DerivedPorts
from exporter.threads import in_thread
from exporter.web.listen import open_sockets
from exporter.web.server import Server
from exporter.worker.found import FoundWorker
from tests.support.daemon import free_port


class Served:
    """Stands for a worker: it has labels, and its name is the answer."""

    def __init__(self, name: str) -> None:
        self.labels = (("worker_addr", name),)


def worker(name: str) -> FoundWorker:
    return Served(name)  # type: ignore[return-value] # nothing else of a worker is used


def make_server(one: FoundWorker) -> Server:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=dict(one.labels)["worker_addr"])

    app = web.Application()
    app.router.add_get("/metrics", answer)
    return Server(app)


async def get(port: int) -> str:
    """Return what is served on a port; empty if nobody listens."""

    def ask() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    return await in_thread(ask)


async def test_each_worker_has_its_port_for_as_long_as_it_is_served() -> None:
    ports = DerivedPorts(["127.0.0.1"], make_server)
    first, second, a, b = free_port(), free_port(), worker("a"), worker("b")
    await ports.follow({a: first, b: second})
    assert [await get(first), await get(second)] == ["a", "b"]
    await ports.follow({b: second})
    assert [await get(first), await get(second)] == ["", "b"]
    await ports.follow({worker("c"): first, b: second})
    assert await get(first) == "c"
    await ports.close()
    assert [await get(first), await get(second)] == ["", ""]


async def test_a_port_in_use_is_one_line_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ports = DerivedPorts(["127.0.0.1"], make_server)
    port, a = free_port(), worker("a")
    (holder,) = open_sockets(["127.0.0.1"], port)
    with holder:
        for _ in range(3):
            await ports.follow({a: port})
    assert [record.getMessage() for record in caplog.records] == ["a worker has no derived port"]
    await ports.follow({a: port})
    assert await get(port) == "a", "the port is free now"
    await ports.close()
