"""The whole program over HTTP: scrapes per second, blocks of the event loop, memory, time to the first answer."""

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.contenders import stock
from benchmarks.directories import LIVE_PIDS, add_dead_processes, recorded
from benchmarks.measuring import Contender
from benchmarks.report import Row, milliseconds, times
from benchmarks.running import (
    HEADERS,
    await_metrics,
    free_port,
    options,
    running,
    server,
    writers_alive,
)
from benchmarks.traffic import ALL, NOTHING, SOME, Traffic

_CONNECTIONS = 8
_MOST_SCRAPES = 4000
"""Most scrapes per connection; a run ends after them, or when its time is over."""
_PAUSE = 0.1
"""Seconds between two changes of the files during a run."""
_REQUEST = "\r\n".join(
    ("GET /metrics HTTP/1.1", "Host: localhost", *map(": ".join, HEADERS.items()), "", "")
).encode()

_SCRAPES = {
    "nothing changed, scraped again at once": (NOTHING, 50, 150),
    "nothing changed": (NOTHING, 1, 80),
    "20 % of lines changed": (SOME, 1, None),
    "every line changed": (ALL, 1, 20),
}
"""Measured scrapes: share of changed lines, scrapes in a row, and target."""
_LEAST_RATIO = 100
_LONGEST_BLOCK = 10e-3
_MOST_MEMORY, _MOST_GROWTH = 64.0, 1.0
"""Most MiB resident at the end, and most growth since a tenth of the scrapes."""
_LATEST_ANSWER = 0.7

Blocks = Sequence[tuple[float, float]]
"""Start (monotonic seconds) and duration of each block of the event loop."""


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
        """Return the longest block during the load, in seconds."""
        return max((length for when, length in blocks if self.start <= when <= self.end), default=0.0)


def scrape_rows(directory: Path, repeats: int) -> Iterator[Row]:
    """Measure our whole process for one scrape with gzip, beside stock's merge and rendering alone."""
    mine: dict[str, list[float]] = {case: [] for case in _SCRAPES}
    theirs: list[float] = []
    with (
        closing(Traffic(directory.glob("*.db"))) as traffic,
        closing(Contender("stock", stock, directory)) as contender,
        running(directory, "--liveness=off") as exporter,
    ):
        for _ in range(repeats):
            for case, (share, in_a_row, _) in _SCRAPES.items():
                traffic.change(share)
                theirs += (
                    contender.scrape().seconds.values()
                )  # this also replaces the contents of the processor's caches
                if in_a_row > 1:
                    exporter.scrape()
                mine[case].append(exporter.scrape_cost(in_a_row))
    for case, (_, _, target) in _SCRAPES.items():
        ratio = median(theirs) / median(mine[case])
        yield Row(
            f"HTTP, {directory.name}, one scrape with gzip, whole process, {case}",
            milliseconds(median(mine[case])),
            milliseconds(median(theirs)),
            ratio=times(ratio),
            target=f"≥ {target}x" if target else "",
            met=ratio >= target if target else None,
        )


def http_rows(directory: Path, seconds: float) -> Iterator[Row]:
    """Measure scrapes per second and event loop blocks, of ours and of a handler like SGLang's sidecar."""
    port = free_port()
    blocks: list[tuple[float, float]] = []
    their_blocks: list[tuple[float, float]] = []
    with closing(Traffic(directory.glob("*.db"))) as traffic:
        with server("exporter", *options(directory, port)):
            still = asyncio.run(_load(port, seconds))
            moving = asyncio.run(_load(port, seconds, traffic))
        with server("benchmarks.servers", "exporter", *options(directory, port), blocks=blocks):
            watched = asyncio.run(_load(port, seconds, traffic))
        with server("benchmarks.servers", "sidecar", str(directory), str(port), blocks=their_blocks):
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
    """Measure resident memory after given numbers of scrapes, with 20 % of lines changed between scrapes."""
    sizes = _memory(directory, counts, directory.glob("*.db"))
    return Row(
        f"resident memory, {directory.name}, after {', '.join(f'{count:,}' for count in counts)} scrapes",
        ", ".join(f"{size:.1f}" for size in sizes) + " MiB",
        target=f"≤ {_MOST_MEMORY:g} MiB, flat",
        met=max(sizes) <= _MOST_MEMORY and sizes[-1] - sizes[-2] <= _MOST_GROWTH,
    )


def dead_memory_row(parent: Path, dead: int, scrapes: int) -> Row:
    """Measure resident memory without, and with, files of dead processes."""
    sizes = []
    for count in (0, dead):
        (root := parent / f"memory-{count}").mkdir()
        directory = recorded("tp1", root)
        add_dead_processes(directory, count)
        with writers_alive(directory, LIVE_PIDS) as writers:
            files = chain.from_iterable(writers.values())
            sizes += _memory(directory, (scrapes,), files, "--liveness=on")
    return Row(
        f"resident memory, tp1, without and with {dead:,} dead processes, after {scrapes:,} scrapes",
        ", ".join(f"{size:.1f}" for size in sizes) + " MiB",
    )


def start_row(directory: Path, repeats: int) -> Row:
    """Measure the time from the start of the process to the first answer with the worker's metrics."""
    seconds = []
    for _ in range(repeats):
        port = free_port()
        start = time.monotonic()
        with server("exporter", *options(directory, port)):
            await_metrics(port)
            seconds.append(time.monotonic() - start)
    return Row(
        f"start to first answer, {directory.name}, best of {repeats}",
        milliseconds(min(seconds)),
        target=f"≤ {_LATEST_ANSWER:g} s",
        met=min(seconds) <= _LATEST_ANSWER,
    )


async def _load(port: int, seconds: float, traffic: Traffic | None = None) -> Load:
    """Scrape on several connections for `seconds`, while `traffic`, if given, changes the files."""
    await asyncio.to_thread(await_metrics, port)  # the first scrape does not count
    start = time.monotonic()
    changes = asyncio.create_task(_change(traffic)) if traffic else None
    counts = await asyncio.gather(*(_scrape(port, start + seconds) for _ in range(_CONNECTIONS)))
    end = time.monotonic()
    if changes:
        changes.cancel()
    return Load(sum(counts), start, end)


async def _scrape(port: int, until: float) -> int:
    """Scrape on one connection until a time; return the number of scrapes. Bodies are not parsed."""
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


def _memory(directory: Path, counts: Sequence[int], changing: Iterable[Path], *more: str) -> list[float]:
    """Return an exporter's resident MiB at ascending numbers of scrapes; `changing` files change in between."""
    sizes = []
    with closing(Traffic(changing)) as traffic, running(directory, *more) as exporter:
        for count in range(1, counts[-1] + 1):
            exporter.scrape()
            traffic.change(SOME)
            if count in counts:
                sizes.append(exporter.memory)
    return sizes
