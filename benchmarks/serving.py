"""The whole program over HTTP: scrapes per second, blocks of the event loop, memory, time to the first answer."""

import asyncio
import gzip
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.directories import LIVE_PIDS, add_dead_processes, recorded
from benchmarks.report import Row, milliseconds, times
from benchmarks.traffic import SOME, Traffic

_ROOT = Path(__file__).parents[1]
_CONNECTIONS = 8
_MOST_SCRAPES = 4000
"""Per connection. A run ends with them, or when its time is over."""
_PAUSE = 0.1
"""Seconds between two changes of the files, where they change during a run."""
_PATIENCE = 30.0
"""Seconds that a server has to start, to answer and to end."""
_HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
_REQUEST = "\r\n".join(
    ("GET /metrics HTTP/1.1", "Host: localhost", *map(": ".join, _HEADERS.items()), "", "")
).encode()

_LEAST_RATIO = 100
_LONGEST_BLOCK = 10e-3
_MOST_MEMORY, _MOST_GROWTH = 64.0, 1.0
"""MiB: resident at the end, and how much more than after a tenth of the scrapes."""
_LATEST_ANSWER = 0.7

Blocks = Sequence[tuple[float, float]]
"""When the event loop was blocked (monotonic clock), and for how many seconds."""


class Load(NamedTuple):
    """Scrapes by several clients at once."""

    scrapes: int
    start: float
    end: float
    """In seconds of the monotonic clock, as `start`."""

    @property
    def rate(self) -> float:
        """Scrapes per second."""
        return self.scrapes / (self.end - self.start)

    def longest(self, blocks: Blocks) -> float:
        """Return the longest block during it, in seconds."""
        return max((length for when, length in blocks if self.start <= when <= self.end), default=0.0)


def http_rows(directory: Path, seconds: float) -> Iterator[Row]:
    """Measure scrapes per second and blocks of the loop, of ours and of a handler as SGLang's sidecar has it."""
    port = _free_port()
    blocks: list[tuple[float, float]] = []
    their_blocks: list[tuple[float, float]] = []
    with closing(Traffic(directory.glob("*.db"))) as traffic:
        with _server("exporter", *_options(directory, port)):
            still = asyncio.run(_load(port, seconds))
            moving = asyncio.run(_load(port, seconds, traffic))
        with _server("benchmarks.servers", "exporter", *_options(directory, port), blocks=blocks):
            watched = asyncio.run(_load(port, seconds, traffic))
        with _server("benchmarks.servers", "sidecar", str(directory), str(port), blocks=their_blocks):
            theirs = asyncio.run(_load(port, seconds, traffic))
    case = f"HTTP, {directory.name}, gzip accepted, {_CONNECTIONS} connections"
    for changes, mine in (("nothing changes", still), ("20 % of lines change ten times a second", moving)):
        yield Row(
            f"{case}, {changes}",
            f"{mine.rate:,.0f} scrapes/s",
            f"{theirs.rate:.1f} scrapes/s (sidecar)",
            ratio=times(mine.rate / theirs.rate),
            target=f"≥ {_LEAST_RATIO}x",
            met=mine.rate / theirs.rate >= _LEAST_RATIO,
        )
    longest, their_longest = watched.longest(blocks), theirs.longest(their_blocks)
    yield Row(
        "longest block of the event loop meanwhile",
        milliseconds(longest),
        f"{milliseconds(their_longest)} (sidecar)",
        target=f"≤ {_LONGEST_BLOCK * 1e3:g} ms",
        met=longest <= _LONGEST_BLOCK,
    )


def memory_row(directory: Path, counts: Sequence[int]) -> Row:
    """Measure resident memory after so many scrapes, between which 20 % of lines change."""
    sizes = _memory(directory, counts, directory.glob("*.db"))
    return Row(
        f"resident memory, {directory.name}, after {', '.join(f'{count:,}' for count in counts)} scrapes",
        ", ".join(f"{size:.1f}" for size in sizes) + " MiB",
        target=f"≤ {_MOST_MEMORY:g} MiB, flat",
        met=max(sizes) <= _MOST_MEMORY and sizes[-1] - sizes[-2] <= _MOST_GROWTH,
    )


def dead_memory_row(parent: Path, dead: int, scrapes: int) -> Row:
    """Measure resident memory without and with files of dead processes."""
    sizes = []
    for count in (0, dead):
        (root := parent / f"memory-{count}").mkdir()
        directory = recorded("tp1", root)
        add_dead_processes(directory, count)
        with _writers_alive(directory) as files:
            sizes += _memory(directory, (scrapes,), files, "--liveness=on")
    return Row(
        f"resident memory, tp1, without and with {dead:,} dead processes, after {scrapes:,} scrapes",
        ", ".join(f"{size:.1f}" for size in sizes) + " MiB",
    )


def start_row(directory: Path, repeats: int) -> Row:
    """Measure the time from the start of the process to the first answer with the worker's metrics."""
    seconds = []
    for _ in range(repeats):
        port = _free_port()
        start = time.monotonic()
        with _server("exporter", *_options(directory, port)):
            _await_metrics(port)
            seconds.append(time.monotonic() - start)
    return Row(
        f"start to first answer, {directory.name}, best of {repeats}",
        milliseconds(min(seconds)),
        target=f"≤ {_LATEST_ANSWER:g} s",
        met=min(seconds) <= _LATEST_ANSWER,
    )


def _options(directory: Path, port: int, *options: str) -> list[str]:
    """Return the exporter's options; nobody has the pids of recorded files, so liveness is off by default."""
    words = ["--grpc-port=8001", "--listen-host=127.0.0.1", f"--listen-port={port}"]
    return [*words, f"--multiproc-dir={directory}", "--log-level=error", *(options or ("--liveness=off",))]


@contextmanager
def _server(
    module: str, *words: str, blocks: list[tuple[float, float]] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server as long as the block does; then put into `blocks` what a watched one has noted."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as server:
        try:
            yield server
        finally:
            server.terminate()
            output, _ = server.communicate(timeout=_PATIENCE)
    if blocks is not None:
        blocks += map(tuple, json.loads(output))


async def _load(port: int, seconds: float, traffic: Traffic | None = None) -> Load:
    """Scrape on several connections for so long, while traffic, if any, changes the files."""
    await asyncio.to_thread(_await_metrics, port)  # the first scrape is no part of the run
    start = time.monotonic()
    changes = asyncio.create_task(_change(traffic)) if traffic else None
    counts = await asyncio.gather(*(_scrape(port, start + seconds) for _ in range(_CONNECTIONS)))
    end = time.monotonic()
    if changes:
        changes.cancel()
    return Load(sum(counts), start, end)


async def _scrape(port: int, until: float) -> int:
    """Scrape on one connection until that time, as a light client does: bodies are counted, not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    count = 0
    while time.monotonic() < until and count < _MOST_SCRAPES:
        writer.write(_REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 "), head
        length = re.search(rb"\ncontent-length: *(\d+)", head)
        assert length, head
        await reader.readexactly(int(length[1]))
        count += 1
    writer.close()
    await writer.wait_closed()
    return count


async def _change(traffic: Traffic) -> None:
    while True:
        traffic.change(SOME)
        await asyncio.sleep(_PAUSE)


def _memory(directory: Path, counts: Sequence[int], changing: Iterable[Path], *options: str) -> list[float]:
    """Return the resident MiB of an exporter after so many scrapes, ascending; some files change between them."""
    port = _free_port()
    sizes = []
    with (
        closing(Traffic(changing)) as traffic,
        _server("exporter", *_options(directory, port, *options)) as server,
    ):
        _await_metrics(port)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
            for count in range(1, counts[-1] + 1):
                connection.request("GET", "/metrics", headers=_HEADERS)
                connection.getresponse().read()
                traffic.change(SOME)
                if count in counts:
                    sizes.append(_resident(server.pid))
    return sizes


def _resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) / 1024


@contextmanager
def _writers_alive(directory: Path) -> Iterator[list[Path]]:
    """Give the recorded files of `tp1` to processes that live as long as the block; yield where they are then."""
    with ExitStack() as stack:
        files = []
        for pid in LIVE_PIDS:
            writer = stack.enter_context(subprocess.Popen(["sleep", "3600"]))
            stack.callback(writer.kill)
            for path in directory.glob(f"*_{pid}.db"):
                files.append(path.rename(path.with_stem(path.stem.replace(pid, str(writer.pid)))))
                files[-1].touch()  # a process that is younger than its files is taken for a stranger
        yield files


def _await_metrics(port: int) -> None:
    """Return when the worker's metrics have been served."""
    deadline = time.monotonic() + _PATIENCE
    while b"sglang" not in _ask(port):
        assert time.monotonic() < deadline, "no metrics are served"
        time.sleep(0.002)


def _ask(port: int) -> bytes:
    """Return a body, decompressed; an empty one where nobody listens yet."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        try:
            connection.request("GET", "/metrics", headers=_HEADERS)
        except ConnectionRefusedError:
            return b""
        response = connection.getresponse()
        body = response.read()
    return gzip.decompress(body) if response.getheader("Content-Encoding") == "gzip" else body


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port
