"""Fleet mode as a daemon: settings -> the parts of `fleet`, wired together; its tasks."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from exporter import systemd
from exporter.addresses import host_port
from exporter.daemon import run, stop_on_signals, until_stopped
from exporter.fleet.app import METRICS_PATH, make_app
from exporter.fleet.client import make_session, scrape
from exporter.fleet.fanout import Fanout
from exporter.fleet.sources import FILE_INTERVAL, Discovery, SmgWorkers, Source, WorkersFile, every
from exporter.fleet.status import Observer
from exporter.fleet.targets import from_option
from exporter.fleet.telemetry import Telemetry, target_text
from exporter.logs import fields
from exporter.settings import Settings, SettingsError
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.web.access.access import Access

DEFAULT_PORT = 29010

_FIRST_LOOK = 2.0
"""Seconds that the start waits for the sources of targets."""

_logger = logging.getLogger(__name__)


def fleet(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError where a file cannot be used."""
    ca_file = settings.target_ca_file
    try:
        tls = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"--target-ca-file: {str(ca_file)!r} is not usable: {error.strerror}") from None
    rule = "chosen by --listen-port" if settings.listen_port else "the default of fleet"
    return run(settings, partial(_serve, settings, tls), settings.listen_port or DEFAULT_PORT, rule)


async def _serve(
    settings: Settings,
    tls: ssl.SSLContext,
    sockets: Sequence[socket.socket],
    access: "Access | None",
    manager: systemd.ServiceManager,
) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with make_session(tls) as session:
        parts = _Fleet(settings, session)
        server = parts.server(settings, access)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK), asyncio.TaskGroup() as first_looks:
                for source in parts.discovery.sources:
                    first_looks.create_task(source.refresh())
        tasks = parts.start(settings)
        try:
            await server.start(sockets)
            _log_start(sockets, parts.discovery, "https" if access and access.tls else "http")
            if access:
                tasks.append(asyncio.create_task(access.watch(), name="the watch of the web configuration"))
            if manager.address:
                report = manager.report(parts.summary, ready=lambda: True, stuck=lambda _: "")
                tasks.append(asyncio.create_task(report, name="the report to systemd"))
            return await until_stopped(stop, server, tasks, manager)
        finally:
            for task in tasks:
                task.cancel()
            parts.fanout.close()


class _Fleet:
    """The parts: `discovery` knows the targets, `fanout` scrapes them, `telemetry` counts."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._file = Source("file", WorkersFile(settings.workers_file)) if settings.workers_file else None
        self._smg = (
            Source("smg", SmgWorkers(session, settings.smg_url, settings.smg_api_key_file))
            if settings.smg_url
            else None
        )
        sources = [source for source in (self._file, self._smg) if source]
        self.discovery = Discovery([from_option(worker) for worker in settings.worker], sources)
        self.fanout = Fanout(
            lambda: self.discovery.targets,
            partial(scrape, session, limit=settings.max_target_bytes),
            target_text,
            labels=settings.label,
            target_timeout=settings.target_timeout,
            max_target_bytes=settings.max_target_bytes,
            no_target=lambda: self.discovery.problem,
        )
        self.telemetry = Telemetry(self.discovery, self.fanout)
        self._observer = Observer(self.discovery, self.fanout)

    def server(self, settings: Settings, access: "Access | None") -> Server:
        """Return the server of all endpoints."""
        app = make_app(
            self.fanout,
            self.telemetry.registry,
            self._observer,
            max_requests=settings.max_requests,
            on_response=self.telemetry.count_scrape,
        )
        if access:
            access.protect(app)
        return Server(app, tls=access.tls if access else None)

    def start(self, settings: Settings) -> list["asyncio.Task[None]"]:
        """Keep the targets up to date from now on."""
        tasks = []
        if self._file:
            watch = self._file.run(every(FILE_INTERVAL))
            tasks.append(asyncio.create_task(watch, name="the watch of the workers file"))
        if self._smg:
            refreshing = self._smg.run(every(settings.smg_refresh))
            tasks.append(asyncio.create_task(refreshing, name="the refresh of SMG's workers"))
        return tasks

    def summary(self) -> str:
        """Return how things are, in a line."""
        return self.discovery.problem or f"{len(self.discovery.targets)} targets"


def _log_start(sockets: Sequence[socket.socket], discovery: Discovery, scheme: str) -> None:
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        url = f"{scheme}://{host_port(host, port)}{METRICS_PATH}"
        _logger.info("listening", extra=fields(url=url, targets=len(discovery.targets)))
    if problem := discovery.problem:
        _logger.warning("nothing to serve yet", extra=fields(problem=problem))
