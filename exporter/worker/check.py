"""`smg-exporter check`: say what would be served, and what stands in the way."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from exporter.errors import ScrapeError
from exporter.options.worker import ServeOptions
from exporter.printable import printable
from exporter.service.checking import check_port, urls
from exporter.service.run import load_access
from exporter.worker.also import fetching
from exporter.worker.parts import Parts
from exporter.worker.serve import AMBIGUOUS_ADDRESS, WAY_OUT, endpoint
from exporter.worker.status import AlsoStatus, WorkerStatus


def check(options: ServeOptions) -> int:
    """Print what `serve` would do with these options; exit code 1 if it could not serve a living worker now."""
    access = load_access(options.web_config)
    parts = Parts(options, quiet=True)
    asyncio.run(parts.look_only())
    with suppress(ScrapeError):  # the status reports the error
        parts.scraper.bodies([])
    status = parts.status()

    def is_same(facts: Mapping[str, Any]) -> bool:
        served = [facts] if len(status.workers) == 1 else facts.get("workers")
        theirs = [one for one in served if isinstance(one, Mapping)] if isinstance(served, list) else []
        names = ("directory", "worker_addr")
        ours = [[getattr(worker, name) for name in names] for worker in status.workers]
        return ours == [[one.get(name) for name in names] for one in theirs]

    labels = status.workers[0].labels if parts.seeker else options.static_labels
    where = endpoint(options)
    can_listen, port = check_port(
        where, is_same, "this worker" if len(status.workers) == 1 else "these workers"
    )
    print(f"worker      {labels.get('worker_addr') or options.worker_address or 'no address'}")
    if options.multiproc_dir and options.has_ambiguous_address:
        print(f"            {AMBIGUOUS_ADDRESS}: {WAY_OUT}")
    print(f"labels      {_list(f'{name}={value}' for name, value in labels.items())}")
    print(f"port        {where.port}, {where.rule}: {port}")
    for url in urls(where, access, options.telemetry_path):
        print(f"url         {url}")
    print(f"collector   {status.collector}")
    for worker in status.workers:
        if len(status.workers) > 1:
            print(f"\nworker {status.name_of(worker)}")
        print_worker(worker)
    for also in asyncio.run(_fetch(options)):
        print(f"also        {also.url}: {f'{also.samples} samples' if also.up else printable(also.problem)}")
    can_serve = all(worker.ready and worker.worker_up is not False for worker in status.workers)
    return 0 if can_listen and can_serve else 1


def print_worker(worker: WorkerStatus) -> None:
    """Print what can be read of a worker: its directory, processes, files and series."""
    is_down = worker.worker_up is False and not worker.problem
    print(f"directory   {worker.problem or f'{worker.directory}: readable'}")
    print(f"processes   {_counts(worker.process_counts)}{': the worker is down' if is_down else ''}")
    print(f"files       {_counts(worker.file_counts)}")
    for file in worker.files:
        if file.reason:
            print(f"            {printable(file.name)} {file.reason}")
    print(f"series      {worker.series}")


async def _fetch(options: ServeOptions) -> list[AlsoStatus]:
    """Return what a fetch of each exposition of `--also` brings."""
    async with fetching(options.also, tuple, quiet=True) as expositions:
        await asyncio.gather(*(each.fetch() for each in expositions))
        return [each.status for each in expositions]


def _counts(counts: Mapping[str, int]) -> str:
    return _list(f"{count} {state}" for state, count in sorted(counts.items()) if count)


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"
