"""Real processes that write metrics with prometheus_client in multiprocess mode, when a test tells them to.

This file is also what such a process runs: a line of JSON on stdin is one change, a line on stdout its completion.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

BUCKETS = (0.1, 1.0, 10.0)


class Writer:
    """One process of a worker."""

    def __init__(self, directory: Path) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._tell("counter", name, amount, labels)

    def set(self, name: str, value: float, mode: str = "mostrecent", **labels: str) -> None:
        """Set a gauge of that mode."""
        self._tell(f"gauge_{mode}", name, value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Observe a value in a histogram of `BUCKETS`."""
        self._tell("histogram", name, value, labels)

    def observe_summary(self, name: str, value: float, **labels: str) -> None:
        """Observe a value in a summary."""
        self._tell("summary", name, value, labels)

    def files(self, directory: Path) -> list[Path]:
        """Return the files that this process has written."""
        return sorted(directory.glob(f"*_{self.pid}.db"))

    def kill(self) -> None:
        """End it as the kernel ends a process that is out of memory."""
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        """End it."""
        self.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe:
                pipe.close()

    def _tell(self, kind: str, name: str, value: float, labels: dict[str, str]) -> None:
        """Have a value written; return when it has been."""
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.write(json.dumps([kind, name, value, labels]) + "\n")
        self._popen.stdin.flush()
        assert self._popen.stdout.readline() == "done\n"


@contextmanager
def writers(directory: Path, count: int = 1) -> Iterator[list[Writer]]:
    """Run so many writers; they end with the block, and their files stay."""
    processes: list[Writer] = []
    try:
        processes += (Writer(directory) for _ in range(count))
        yield processes
    finally:
        for process in processes:
            process.close()


@contextmanager
def writer(directory: Path) -> Iterator[Writer]:
    """Run one writer."""
    with writers(directory) as (process,):
        yield process


def _main() -> None:
    metrics: dict[str, Any] = {}
    registry = CollectorRegistry()
    for line in sys.stdin:
        kind, name, value, labels = json.loads(line)
        if name not in metrics:
            metrics[name] = _metric(kind, name, list(labels), registry)
        metric = metrics[name].labels(**labels) if labels else metrics[name]
        if kind == "counter":
            metric.inc(value)
        elif kind.startswith("gauge"):
            metric.set(value)
        else:
            metric.observe(value)
        print("done", flush=True)


def _metric(kind: str, name: str, labels: list[str], registry: CollectorRegistry) -> object:
    help_text = f"What {name} says."
    if kind == "counter":
        return Counter(name, help_text, labels, registry=registry)
    if kind == "summary":
        return Summary(name, help_text, labels, registry=registry)
    if kind == "histogram":
        return Histogram(name, help_text, labels, registry=registry, buckets=BUCKETS)
    mode: Any = kind.removeprefix("gauge_")
    return Gauge(name, help_text, labels, registry=registry, multiprocess_mode=mode)


if __name__ == "__main__":
    _main()
