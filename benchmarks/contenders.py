"""Contenders: ways to scrape a directory - ours, the alternatives, and the minimal work of any scrape.

Each is a mapping of consecutive steps, so that their costs can be measured apart.
"""

import importlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from pydantic_core import to_json

from exporter.exposition.text import Renderer, ending
from exporter.model import Format, Snapshot
from exporter.multiproc.dbfile import DbFile
from exporter.multiproc.dbformat import Shapes
from exporter.multiproc.engine import DEFAULT_MAX_FILE_SIZE, Engine
from exporter.multiproc.fileset import FileSet, decide, every_file
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from exporter.multiproc.processes import Process

LABELS = (("worker_addr", "grpc://127.0.0.1:8001"),)

Steps: TypeAlias = Mapping[str, Callable[[], object]]
"""The steps of one scrape, by name. The last one returns the body, if there is one."""
Make: TypeAlias = Callable[[Path], Steps]
"""Sets a contender up for a directory."""


def ours(directory: Path, *, format_: Format = Format.TEXT_0_0_4, live: Iterable[str] | None = None) -> Steps:
    """Scrape as the exporter does, with a label added to every series. If `live` is given, all other pids are dead.

    The file set is made beforehand: in the exporter the watch makes it, outside of scrapes.
    """
    files = every_file(FileSet(str(directory))) if live is None else living(directory, live)
    engine = Engine(lambda: files, labels=LABELS)
    renderer = Renderer(format_)
    chunks: Sequence[bytes] = ()
    body = b""

    def join() -> bytes:
        """Join the chunks, unless they are the same as before: the exporter does not compress those again either."""
        nonlocal chunks, body
        if renderer.render(engine.snapshot) is not chunks:  # rendered already: the same chunks again
            chunks = renderer.render(engine.snapshot)
            body = b""  # frees the old body before making the next, as all contenders do
            body = b"".join([*chunks, ending(format_)])
        return body

    return {
        "update": engine.update,
        "render": lambda: renderer.render(engine.snapshot),
        "join": join,
    }


class Processes:
    """Evidence in which given processes live, wrote the files, and have set them all up."""

    def __init__(self, pids: Iterable[str]) -> None:
        self._pids = frozenset(pids)

    def existing(self, pids: frozenset[str]) -> Collection[str]:
        """Return which of these pids living processes have."""
        return self._pids & pids

    def find_process(self, pid: str) -> Process | None:
        """Return the process with this pid; None if it does not live."""
        return Process(pid, start_ticks=1, started=0.0) if pid in self._pids else None

    def is_set_up(self, _name: str) -> bool:
        """Return True: all files are set up."""
        return True

    def last_write(self, _name: str) -> float:
        """Return when a file was last written."""
        return 1.0


def living(directory: Path, pids: Iterable[str], before: FileSet | None = None) -> FileSet:
    """Return the directory's file set, given that only the processes with these pids live."""
    before = before or FileSet(str(directory))
    listing = list_directory(str(directory), before.listing)
    return decide(before, listing, Processes(pids), Liveness.ON)


def stock(directory: Path, *, openmetrics: bool = False) -> Steps:
    """Scrape with prometheus_client alone, without additional labels."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    generate: Callable[[CollectorRegistry], bytes] = generate_openmetrics if openmetrics else generate_latest
    return {"scrape": lambda: generate(registry)}


def rust(directory: Path) -> Steps:
    """Scrape with the Rust merge of client_python's maintainer, and render with prometheus_client."""
    merge = importlib.import_module("prometheus_client_python_speedups").merge
    merged: list[Any] = []

    def update() -> None:
        merged[:] = merge([str(path) for path in directory.glob("*.db")])

    class Merged(Collector):
        def collect(self) -> Iterable[Metric]:
            for theirs in merged:
                metric = Metric(theirs.name, theirs.documentation, theirs.typ)
                metric.samples = [Sample(one.name, one.labels, one.value) for one in theirs.samples]
                yield metric

    registry = CollectorRegistry()
    registry.register(Merged())
    return {"merge": update, "render": lambda: generate_latest(registry)}


def floor(directory: Path) -> Steps:
    """Do the minimal work of any scrape, each part alone: read the bytes, format changed values, join the body.

    "compare" (the exporter's way to read) and "update" (to know what changed) do not count as minimal work.
    """
    scratch = bytearray()
    file_set = every_file(FileSet(str(directory)))
    files = {
        name: DbFile(
            f"{directory}/{name}",
            file.identity,
            Shapes(stamped=file.rule.stamped),
            max_size=DEFAULT_MAX_FILE_SIZE,
            scratch=scratch,
        )
        for name, file in file_set.files.items()
    }
    for file in files.values():
        file.read()
    used = [
        (os.open(directory / name, os.O_RDONLY), [bytearray(file.shape.used)]) for name, file in files.items()
    ]
    engine = Engine(lambda: file_set, labels=LABELS)
    renderer = Renderer(Format.TEXT_0_0_4)
    changed: list[float] = []

    def update() -> None:
        before = _values(engine.snapshot)
        engine.update()
        after = _values(engine.snapshot)
        changed[:] = [value for value, old in zip(after, before, strict=False) if value != old]
        renderer.render(engine.snapshot)

    return {
        "pread": lambda: [os.preadv(fd, buffer, 0) for fd, buffer in used],
        "compare": lambda: [file.read() for file in files.values()],
        "update": update,
        "format": lambda: to_json(changed),
        "join": lambda: b"".join(renderer.render(engine.snapshot)),
    }


def _values(snapshot: Snapshot) -> list[float]:
    return [value for family in snapshot for block in family.values for value in block]
