"""A real server on a free loopback port, over hand-written sources."""

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from exporter.exposition.negotiation import Encoding, Representation
from exporter.web.access.access import Access
from exporter.web.listen import open_sockets
from exporter.web.server import Server
from exporter.worker.app import make_app
from exporter.worker.status import Status, WorkerStatus

T = TypeVar("T")

DEADLINE = 10.0
"""Seconds after which a test that waits has failed."""


@dataclass
class FakeSource:
    """Answers every scrape with `body`, once `gate` is open, or fails with `error`."""

    body: bytes = b"# HELP x y\n# TYPE x gauge\nx 1\n"
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: asyncio.Queue[tuple[Representation, float]] = field(default_factory=asyncio.Queue)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def scrape(self, wanted: Representation, timeout: float) -> bytes:  # noqa: ASYNC109 - the protocol's own
        self.arrivals.put_nowait((wanted, timeout))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error:
            raise self.error
        return gzip.compress(self.body) if wanted.encoding is Encoding.GZIP else self.body

    def delay(self) -> str:
        return ""


@dataclass
class FakeViews:
    """Answers each look with `view`, and keeps what was asked for."""

    view: dict[str, Any] | None = field(default_factory=lambda: {"time": 1.0, "workers": []})
    looks: list[tuple[str, float, bool]] = field(default_factory=list)

    async def look(
        self,
        make: Callable[[dict[str, Any]], T],
        worker: str = "",
        since: float = 0.0,
        *,
        brief: bool = False,
    ) -> T | None:
        self.looks.append((worker, since, brief))
        return None if self.view is None else make(self.view)


@dataclass
class Served:
    """A running server and what a test asks of it."""

    port: int
    server: Server
    source: FakeSource
    codes: asyncio.Queue[int]
    views: FakeViews

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def code(self) -> int:
        """Wait for the code of the next metrics answer."""
        async with asyncio.timeout(DEADLINE):
            return await self.codes.get()

    async def arrival(self) -> tuple[Representation, float]:
        """Wait for the next scrape to reach the source."""
        async with asyncio.timeout(DEADLINE):
            return await self.source.arrivals.get()


def a_worker(**facts: object) -> WorkerStatus:
    """Return the status of a worker that is well, but for `facts`."""
    well: dict[str, object] = {
        "labels": {"worker_addr": "grpc://127.0.0.1:8001"},
        "directory": "/run/prom",
        "problem": "",
        "worker_up": True,
    }
    counts = {
        f"{what}_counts": dict(Counter(one.state for one in facts.get(plural, ())))  # type: ignore[attr-defined]
        for what, plural in (("process", "processes"), ("file", "files"))
    }
    return WorkerStatus(**{**well, **counts, **facts})  # type: ignore[arg-type]


def a_status(**facts: object) -> Status:
    """Return the status of an exporter with one worker, where all is well but for `facts` of either."""
    well: dict[str, object] = {"version": "1.2.3", "collector": "incremental", "started": 1_700_000_000.0}
    of_status = {name: facts.pop(name) for name in Status.__dataclass_fields__.keys() & facts.keys()}
    return Status(**{**well, "workers": (a_worker(**facts),), **of_status})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(
    *,
    gated: bool = False,
    status: Callable[[], Status] = a_status,
    telemetry_path: str = "/metrics",
    max_requests: int = 40,
    send_timeout: float = DEADLINE,
    keepalive_timeout: float = 75,
    head_timeout: float = 10,
    access: Access | None = None,
) -> AsyncIterator[Served]:
    """Serve until the block ends; `gated` scrapes wait for the test to open the source's gate."""
    source, views = FakeSource(), FakeViews()
    if not gated:
        source.gate.set()
    codes: asyncio.Queue[int] = asyncio.Queue()
    app = make_app(
        source,
        lambda: status().problem,
        status,
        views,
        telemetry_path=telemetry_path,
        max_requests=max_requests,
        on_response=codes.put_nowait,
        send_timeout=send_timeout,
    )
    if access:
        access.protect(app)
    server = Server(
        app,
        keepalive_timeout=keepalive_timeout,
        head_timeout=head_timeout,
        tls=access.tls if access else None,
    )
    sockets = open_sockets(["127.0.0.1"], 0)
    await server.start(sockets)
    try:
        yield Served(sockets[0].getsockname()[1], server, source, codes, views)
    finally:
        await server.stop(grace=0.1)


class Connection:
    """A bare connection, to send what no HTTP client would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def get(self, path: str = "/healthz", headers: bytes = b"") -> bytes:
        """Ask and return the whole answer, for answers with a Content-Length."""
        self.send(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path.encode(), headers))
        async with asyncio.timeout(DEADLINE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"Content-Length:")
            )
            return head + await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return what comes until the server closes the connection; nothing where it resets it."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self._writer.close()

    def pause(self) -> None:
        """Take nothing until `resume`."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[Connection]:
    """Open a bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
