"""Ways to scrape a directory: the exporter's, those it is compared with, and the parts that none can do without.

Each is a mapping of steps that follow one another, so that their costs can be told apart.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from pydantic_core import to_json

from exporter.exposition.text import OPENMETRICS_END, Renderer
from exporter.multiproc.collector import DEFAULT_MAX_FILE_SIZE, IncrementalCollector
from exporter.multiproc.dbfile import DbFile
from exporter.multiproc.fileset import FileSet, Liveness, decide, every_file, list_directory
from exporter.multiproc.processes import Process

LABELS = (("worker_addr", "grpc://127.0.0.1:8001"),)

Steps: TypeAlias = Mapping[str, Callable[[], object]]
"""What one scrape consists of. The last step returns the body, if there is one."""
Make: TypeAlias = Callable[[Path], Steps]
"""Sets a contender up for a directory."""


def ours(directory: Path, *, openmetrics: bool = False, live: Iterable[str] | None = None) -> Steps:
    """Scrape as the exporter does, a label added to every series; where `live` is given, other pids are dead.

    The file set is made ahead: in the exporter that is the watch's work, twice a second, and no part of a scrape.
    """
    if live is None:
        files = every_file(FileSet(str(directory)))
    else:
        processes = {pid: Process(pid, start_ticks=1, started=0.0) for pid in live}
        files = decide(FileSet(str(directory)), list_directory(str(directory)), processes.get, Liveness.ON)
    collector = IncrementalCollector(None, file_set=lambda: files, labels=LABELS)
    renderer = Renderer("underscores", openmetrics=openmetrics)
    ending = [OPENMETRICS_END] if openmetrics else []
    chunks: Sequence[bytes] = ()
    body = b""

    def join() -> bytes:
        """Join the chunks; the same chunks are not joined again, as the exporter does not compress them again."""
        nonlocal chunks, body
        if renderer.render(collector.snapshot) is not chunks:  # renders nothing again
            chunks = renderer.render(collector.snapshot)
            body = b""  # lets go of the body before the next one is made, as all others do
            body = b"".join([*chunks, *ending])
        return body

    return {
        "update": collector.update,
        "render": lambda: renderer.render(collector.snapshot),
        "join": join,
    }


def stock(directory: Path, *, openmetrics: bool = False) -> Steps:
    """Scrape with prometheus_client alone, which adds no label."""
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
    """Do what no scrape can do without, each part alone: read the bytes, format what changed, join the body.

    "compare" is how the exporter reads, and "update" is there to learn what changed: neither is part of the floor.
    """
    scratch = bytearray()
    listed = every_file(FileSet(str(directory))).files
    files = [
        DbFile(
            f"{directory}/{file.name}",
            file.identity,
            stamped=file.rule.stamped,
            max_size=DEFAULT_MAX_FILE_SIZE,
            scratch=scratch,
        )
        for file in listed
    ]
    for file in files:
        file.read()
    used = [
        (os.open(directory / file.name, os.O_RDONLY), [bytearray(db.used)])
        for file, db in zip(listed, files, strict=True)
    ]
    collector = IncrementalCollector(None, str(directory), labels=LABELS)
    renderer = Renderer("underscores", openmetrics=False)
    changed: list[float] = []

    def update() -> None:
        before = chain.from_iterable(collector.snapshot.blocks)
        collector.update()
        after = chain.from_iterable(collector.snapshot.blocks)
        changed[:] = [value for value, old in zip(after, before, strict=False) if value != old]
        renderer.render(collector.snapshot)

    return {
        "pread": lambda: [os.preadv(fd, buffer, 0) for fd, buffer in used],
        "compare": lambda: [file.read() for file in files],
        "update": update,
        "format": lambda: to_json(changed),
        "join": lambda: b"".join(renderer.render(collector.snapshot)),
    }
