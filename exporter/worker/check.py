"""`smg-exporter check`: say what would be served, and what stands in the way."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from exporter.addresses import host_port
from exporter.errors import ScrapeError
from exporter.printable import printable
from exporter.service.run import load_access
from exporter.settings import Settings
from exporter.worker.parts import Worker
from exporter.worker.serve import endpoint


def check(settings: Settings) -> int:
    """Print what `serve` would do with these settings; exit code 1 where it could not serve the worker now."""
    access = load_access(settings.web_config)
    scheme = "https" if access and access.tls else "http"
    worker = Worker(settings, quiet=True)
    asyncio.run(worker.watcher.look())
    with suppress(ScrapeError):  # which the status tells
        worker.scraper.bodies([])
    status = worker.status()
    problem = endpoint(settings).problem()
    print(f"worker      {settings.worker_address}")
    print(f"labels      {_list(f'{name}={value}' for name, value in settings.static_labels.items())}")
    print(f"port        {settings.metrics_port}, {settings.port_rule}: {problem or 'free'}")
    for url in _urls(settings):
        print(f"url         {scheme}://{url}")
    print(f"collector   {status.collector}")
    print(f"directory   {status.directory}: {status.problem or 'readable'}")
    print(f"processes   {_counts(status.process_counts)}")
    print(f"files       {_counts(status.file_counts)}")
    for file in status.files:
        if file.reason:
            print(f"            {printable(file.name)} {file.reason}")
    print(f"series      {status.series}")
    return 1 if problem or status.problem else 0


def _urls(settings: Settings) -> list[str]:
    hosts = settings.listen_host or ("0.0.0.0", "::")
    return [f"{host_port(host, settings.metrics_port)}{settings.telemetry_path}" for host in hosts]


def _counts(counts: Mapping[str, int]) -> str:
    return _list(f"{count} {state}" for state, count in sorted(counts.items()) if count)


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"
