"""The cost of a running exporter outside of scrapes: at rest, beside many dead processes, when a process dies."""

import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from benchmarks.directories import add_dead_processes, recorded
from benchmarks.report import Row, milliseconds, times
from benchmarks.running import PATIENCE, Running, running, writers_alive

_STOCK = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, sys.argv[1])
generate_latest(registry)
"""
_INTERVAL = 15.0
"""A usual scrape interval of Prometheus, in seconds."""
_SETTLING = 7.0
"""Seconds until an exporter's work for its start is done."""
_FILES = 20_000
_FIRST_PID = 6_000_000
"""Above Linux' highest pid, and the pids of dead processes here."""

_MOST_OF_AN_INTERVAL = 10e-3
_LATEST_DEATH = 2.0
"""Seconds."""
_MOST_OF_STOCK = 1 / 3
_MOST_AT_REST, _MOST_WITH_NEW_FILES, _MOST_PER_FILE = 0.5, 3.0, 1.0
"""Percent of a core for the first two, kB for the last."""


def living_row(parent: Path, interval: float = _INTERVAL) -> Row:
    """Measure the CPU time for a living `tp8` worker in an interval with one scrape; then kill a writer."""
    directory = recorded("tp8", parent)
    pids = sorted({path.stem.rpartition("_")[2] for path in directory.glob("*.db")})
    with writers_alive(directory, pids) as writers, running(directory, "--liveness=on") as exporter:
        exporter.scrape_text()
        time.sleep(min(_SETTLING, interval))
        before = exporter.cpu_seconds
        exporter.scrape()
        time.sleep(interval)
        taken = exporter.cpu_seconds - before
        start = time.monotonic()
        next(iter(writers)).kill()
        while not re.search(rb'smg_exporter_processes{[^}]*state="dead"[^}]*} 1.0', exporter.scrape_text()):
            assert time.monotonic() < start + PATIENCE, "the death is not seen"
            time.sleep(0.01)
        seen = time.monotonic() - start
    return Row(
        f"a living tp8 worker, {len(pids)} processes, in {interval:g} s with one scrape, watch included",
        f"{milliseconds(taken)}; a death seen after {seen:.1f} s",
        target=f"≤ {milliseconds(_MOST_OF_AN_INTERVAL)}, ≤ {_LATEST_DEATH:g} s",
        met=taken <= _MOST_OF_AN_INTERVAL and seen <= _LATEST_DEATH,
    )


def first_row(parent: Path, dead: int, repeats: int) -> Row:
    """Measure from the program's start to the first answer, beside dead processes with the same keys."""
    directory = recorded("tp1", parent)
    add_dead_processes(directory, dead)
    mine = []
    for _ in range(repeats):
        with running(directory, "--liveness=on") as exporter:
            mine.append(exporter.cpu_seconds + exporter.child_cpu_seconds)
    theirs = min(_cpu_seconds_of_stock(directory) for _ in range(repeats))
    ratio = theirs / min(mine)
    files = len(list(directory.iterdir()))
    return Row(
        f"from the program's start to the first exposition, tp1 beside {dead:,} dead processes, {files:,} files",
        milliseconds(min(mine)),
        milliseconds(theirs),
        ratio=times(ratio),
        target=f"≥ {1 / _MOST_OF_STOCK:g}x",
        met=ratio >= 1 / _MOST_OF_STOCK,
    )


def _cpu_seconds_of_stock(directory: Path) -> float:
    """Return the CPU time of a program that does nothing but write one exposition."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _STOCK, directory], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def dead_rows(parent: Path, count: int = _FILES, seconds: int = 20) -> Iterator[Row]:
    """Measure the CPU share of watching beside dead processes, and the memory per dead process."""
    directory = parent / "worker"
    directory.mkdir()
    with _exporter_of(directory) as exporter:
        memory_without = exporter.memory
    for number in range(1, count):
        _add_file(directory, number)
    with _exporter_of(directory) as exporter:
        memory = (exporter.memory - memory_without) * 1024 / count
        time.sleep(min(_SETTLING, seconds))
        at_rest = _share(exporter, seconds)
        with_new_files = _share(exporter, seconds, directory)
    case = f"beside {count:,} dead processes with a file each"
    yield _share_row(f"{case}, at rest", at_rest, _MOST_AT_REST)
    yield _share_row(f"{case}, one new file a second", with_new_files, _MOST_WITH_NEW_FILES)
    yield Row(
        f"memory {case}, for each of them",
        f"{memory:.2f} kB",
        target=f"≤ {_MOST_PER_FILE:g} kB",
        met=memory <= _MOST_PER_FILE,
    )


@contextmanager
def _exporter_of(directory: Path) -> Iterator[Running]:
    """Run an exporter on a directory with one living process; yield it after a first scrape."""
    _add_file(directory, 0)
    with writers_alive(directory, [str(_FIRST_PID)]), running(directory, "--liveness=on") as exporter:
        exporter.scrape()
        yield exporter


def _add_file(directory: Path, number: int) -> None:
    file = MmapedDict(str(directory / f"counter_{_FIRST_PID + number}.db"))
    for route in range(5):
        file.write_value(mmap_key("sglang", "sglang_total", ["route"], [f"/{route}"], "Made up."), 1.0, 0.0)
    file.close()


def _share(exporter: Running, seconds: int, growing: Path | None = None) -> float:
    """Return the exporter's CPU use in percent of a core; a file per second is added to `growing`, if given."""
    before = exporter.cpu_seconds
    for number in range(seconds):
        if growing:
            _add_file(growing, 2_000_000 + number)
        time.sleep(1.0)
    return (exporter.cpu_seconds - before) / seconds * 100


def _share_row(case: str, share: float, most: float) -> Row:
    return Row(case, f"{share:.2f} % of a core", target=f"≤ {most:g} %", met=share <= most)
