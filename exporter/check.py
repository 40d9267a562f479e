"""`smg-exporter check`: say what would be served, and what stands in the way."""

import asyncio
from collections.abc import Iterable, Mapping

from exporter.addresses import host_port
from exporter.assembly import Exporter
from exporter.daemon import load_access, port_problem
from exporter.errors import ScrapeError
from exporter.printable import printable
from exporter.settings import Settings


def check(settings: Settings) -> int:
    """Print what `serve` would do with these settings; exit code 1 where it could not serve the worker now."""
    access = load_access(settings)
    scheme = "https" if access and access.tls else "http"
    exporter = Exporter(settings, quiet=True)
    asyncio.run(exporter.watcher.look())
    try:
        exporter.scraper.bodies([])
        fault = ""
    except ScrapeError as error:
        fault = str(error)
    status = exporter.status()
    problem = port_problem(settings)
    print(f"worker      {settings.worker_address}")
    print(f"labels      {_list(f'{name}={value}' for name, value in settings.static_labels.items())}")
    port = f"{problem}; choose another with --listen-port" if problem else "free"
    print(f"port        {settings.metrics_port}, {settings.port_rule}: {port}")
    for url in _urls(settings):
        print(f"url         {scheme}://{url}")
    print(f"directory   {status.directory}: {status.problem or fault or 'readable'}")
    print(f"processes   {_counts(status.process_counts)}")
    print(f"files       {_counts(status.file_counts)}")
    for file in status.files:
        if file.reason:
            print(f"            {printable(file.name)} {file.reason}")
    print(f"series      {status.series}")
    return 1 if problem or status.problem or fault else 0


def _urls(settings: Settings) -> list[str]:
    hosts = settings.listen_host or ("0.0.0.0", "::")
    return [f"{host_port(host, settings.metrics_port)}{settings.telemetry_path}" for host in hosts]


def _counts(counts: Mapping[str, int]) -> str:
    return _list(f"{count} {state}" for state, count in sorted(counts.items()) if count)


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"
