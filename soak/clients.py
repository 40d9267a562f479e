"""Clients in crowds, clients that send a byte at a time, and clients that read nothing."""

import asyncio
import gzip
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain, repeat
from typing import NamedTuple

from benchmarks.directories import recorded, workspace
from exporter.web.app import SEND_TIMEOUT
from exporter.web.listen import UNREAD_TIMEOUT_MS
from exporter.web.server import HEAD_TIMEOUT
from soak.exporter import exporter
from soak.parts import Part, Promise
from soak.samples import of_stock, read
from tests.support.waiting import DEADLINE

_OPTIONS = ("--liveness=off", "--no-self-metrics")
_CROWD = 1_000
_DRIPPING = 500
_NEVER_READING = 200
_BYTE = 0.5
"""Seconds between two bytes of a dripping client, which sends its request byte by byte."""
_FIRST_VISIT = 2
"""Rounds with slow clients before memory is noted, to compare with later."""
_LEAST_ROUNDS = int((HEAD_TIMEOUT + 2) / _BYTE)
"""Least number of rounds of the main visit: long enough that dripping clients are dropped."""
_SLACK = 3.0
"""Seconds that a busy machine may add to a time limit."""
_UNREAD_TIMEOUT = SEND_TIMEOUT + UNREAD_TIMEOUT_MS / 1000
"""Seconds until a client that reads nothing is dropped: the exporter's timeout, then the kernel's."""
_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
_AT_ONCE = _REQUEST + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n"
_IN_FLIGHT = b"scrapes are in flight, as many as --max-requests allows"
_ESTABLISHED = 1
"""TCP_ESTABLISHED, the first byte of TCP_INFO for a connection that neither side closed."""


def crowd(part: Part) -> None:
    """Scrape a thousand times at once, with the default limit of scrapes in flight and with a raised one."""
    limited = part.promise("1,000 scrapes at once: each 200, or 503 for --max-requests")
    raised = part.promise("1,000 scrapes at once with --max-requests=1000: each 200")
    whole = part.promise("bodies are whole, and equal stock's")
    with workspace() as room:
        directory = recorded("tp1", room)
        expected = of_stock(directory.iterdir())
        with (
            exporter(part, directory, *_OPTIONS) as as_it_is,
            exporter(part, directory, *_OPTIONS, f"--max-requests={_CROWD}") as with_more,
        ):
            for number in part.rounds(least=2):
                for subject, promise in ((as_it_is, limited), (with_more, raised)):
                    answers = Counter(asyncio.run(_scrape_at_once(subject.daemon.port)))
                    for (status, body), count in answers.items():
                        allowed = status == b"200" or (promise is limited and _IN_FLIGHT in body)
                        for _ in range(count):
                            promise.check(allowed, f"round {number}: got {status!r}: {body[:200]!r}")
                        part.done[f"answered with {status.decode()}"] += count
                        if status == b"200":
                            samples = read(gzip.decompress(body)).samples
                            whole.equal(expected, samples, f"round {number}, {count} bodies")
                    whole.equal(expected, subject.scrape().samples, f"round {number}, one scrape afterwards")
                    if number == 0:
                        subject.note_resources()
            as_it_is.check_resources()
            with_more.check_resources()


async def _scrape_at_once(port: int) -> list[tuple[bytes, bytes]]:
    """Return status and body of each answer; `none` and the error if no answer came."""
    connections = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(_CROWD)))
    return await asyncio.gather(*(_answer(*connection) for connection in connections))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
    try:
        writer.write(_AT_ONCE)
        async with asyncio.timeout(DEADLINE):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1], body
    except (OSError, TimeoutError, IndexError) as error:
        return b"none", repr(error).encode()
    finally:
        writer.close()


def slow_clients(part: Part) -> None:
    """Scrape beside dripping clients and clients that never read."""
    beside = part.promise(
        f"scrapes beside {_DRIPPING} dripping, {_NEVER_READING} never-reading clients equal stock's"
    )
    head_timeout = part.promise(f"a dripping client is dropped after {HEAD_TIMEOUT:g} s")
    unread_timeout = part.promise(f"a never-reading client is dropped after {_UNREAD_TIMEOUT:g} s")
    with workspace() as room:
        directory = recorded("tp8", room)
        expected = of_stock(directory.iterdir())
        with exporter(part, directory, *_OPTIONS, f"--max-requests={_NEVER_READING + 40}") as subject:
            beside.equal(expected, subject.scrape().samples, "before them")
            subject.note_resources()
            port = subject.daemon.port

            def visit(rounds: Iterable[int]) -> None:
                with (
                    closing(_SlowClients(port, _DRIPPING, _drip, HEAD_TIMEOUT, head_timeout)) as dripping,
                    closing(
                        _SlowClients(port, _NEVER_READING, _ask, _UNREAD_TIMEOUT, unread_timeout)
                    ) as unread,
                ):
                    for number in rounds:
                        start = time.monotonic()
                        part.done["dripping clients dropped"] += dripping.go_on()
                        part.done["never-reading clients dropped"] += unread.go_on()
                        while time.monotonic() < start + _BYTE:
                            beside.equal(expected, subject.scrape().samples, f"round {number}")

            visit(range(_FIRST_VISIT))
            subject.note_memory()
            visit(part.rounds(least=_LEAST_ROUNDS))
            subject.check_resources()


def _drip() -> Iterator[bytes]:
    return (bytes([byte]) for byte in chain(_REQUEST + b"X: ", repeat(ord("x"))))


def _ask() -> Iterator[bytes]:
    return iter([_REQUEST + b"\r\n"])


class _SlowClients:
    """`count` clients that send the pieces of `send`, one per round, and read nothing."""

    def __init__(
        self, port: int, count: int, send: Callable[[], Iterator[bytes]], timeout: float, kept: Promise
    ) -> None:
        """Connect. The promise `kept` is checked: each client is dropped after `timeout` seconds."""
        self._address = "127.0.0.1", port
        self._send = send
        self._timeout = timeout
        self._kept = kept
        self._clients = [self._connected() for _ in range(count)]

    def go_on(self) -> int:
        """Send the next piece of each client; replace the clients that were dropped, and return their number."""
        dropped = 0
        for place, client in enumerate(self._clients):
            if client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
                self._close(client)
                self._clients[place] = self._connected()
                dropped += 1
            with suppress(OSError):
                client.sock.send(next(client.text, b""))
        return dropped

    def close(self) -> None:
        """Close all."""
        for client in self._clients:
            self._close(client)

    def _connected(self) -> "_SlowClient":
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(DEADLINE)
        sock.connect(self._address)
        sock.settimeout(0)
        return _SlowClient(sock, self._send(), time.monotonic())

    def _close(self, client: "_SlowClient") -> None:
        client.sock.close()
        age = time.monotonic() - client.since
        self._kept.check(age <= self._timeout + _SLACK, f"one is still connected after {age:.1f} s")


class _SlowClient(NamedTuple):
    sock: socket.socket
    text: Iterator[bytes]
    since: float
