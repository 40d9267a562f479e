"""One worker's exporter as a daemon: the order of start and stop, its tasks and signals."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter import __version__, systemd
from exporter.addresses import host_port
from exporter.assembly import Exporter
from exporter.logs import fields
from exporter.settings import Settings, SettingsError
from exporter.status import Summary
from exporter.web.app import make_app
from exporter.web.listen import UNREAD_TIMEOUT_MS, ListenError, open_sockets
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.web.access.access import Access

_FIRST_LOOK = 2.0
"""Seconds that the start waits for the first look at the directory, which may be on a disk that hangs."""

_GRACE = 4.0
"""Seconds that scrapes in flight have to finish at a stop."""

_NO_MANAGER = systemd.ServiceManager()

_logger = logging.getLogger(__name__)


Main = Callable[[Sequence[socket.socket], "Access | None", systemd.ServiceManager], Coroutine[Any, Any, int]]
"""What runs in the event loop, on listening sockets; returns the exit code."""


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError where `--web-config` cannot be used."""
    return run(settings, partial(_serve, settings), settings.metrics_port, settings.port_rule)


def run(settings: Settings, main: Main, port: int, rule: str) -> int:
    """Run `main` on the port that a rule chose; return the exit code. SettingsError as of `serve`."""
    access = load_access(settings)
    try:
        manager = systemd.take(os.environ)
        sockets = [*manager.sockets] or open_sockets(settings.listen_host, port)
    except systemd.PassedSocketError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1
    except ListenError as error:
        print(
            f"smg-exporter: error: {error}; it was {rule}: choose another with --listen-port", file=sys.stderr
        )
        return 1
    for sock in manager.sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)  # as on our own
    try:
        return asyncio.run(main(sockets, access, manager))
    except asyncio.CancelledError:  # a second signal
        return 1


def port_problem(settings: Settings) -> str:
    """Return why the port cannot be listened on now, in a line; an empty text where it can."""
    try:
        sockets = open_sockets(settings.listen_host, settings.metrics_port)
    except ListenError as error:
        return str(error)
    for sock in sockets:
        sock.close()
    return ""


def load_access(settings: Settings) -> "Access | None":
    """Return what the `--web-config` file says; None where there is none. SettingsError where it is no good."""
    if settings.web_config is None:
        return None
    from exporter.web.access.access import Access  # noqa: PLC0415 - heavy; see there
    from exporter.web.access.webconfig import WebConfigError  # noqa: PLC0415 - as above

    try:
        return Access(settings.web_config)
    except WebConfigError as error:
        raise SettingsError(f"--web-config: {error}") from None


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    access: "Access | None" = None,
    manager: systemd.ServiceManager = _NO_MANAGER,
) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    exporter = Exporter(settings)
    server = _make_server(settings, exporter, access)
    with suppress(TimeoutError):
        await asyncio.wait_for(exporter.watcher.look(), _FIRST_LOOK)
    tasks = [
        asyncio.create_task(exporter.watcher.run(exporter.after_look), name="the watch of the directory")
    ]
    exporter.scraper.refresh()
    try:
        await server.start(sockets)
        _log_start(settings, sockets, exporter, manager, "https" if access and access.tls else "http")
        if access:
            tasks.append(asyncio.create_task(access.watch(), name="the watch of the web configuration"))
        if manager.address:
            reporting = manager.report(
                lambda: "stopping" if stop.is_set() else _summary(exporter.summary(), sockets),
                ready=lambda: exporter.watcher.last_look is not None,
                stuck=exporter.stuck,
            )
            tasks.append(asyncio.create_task(reporting, name="the report to systemd"))
        return await until_stopped(stop, server, tasks, manager)
    finally:
        for task in tasks:
            task.cancel()


async def until_stopped(
    stop: asyncio.Event,
    server: Server,
    tasks: Sequence["asyncio.Task[None]"],
    manager: systemd.ServiceManager,
) -> int:
    """Wait for the stop, or for the end of a task that should have none; stop serving, and return the exit code."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    _logger.info("stopping")
    manager.tell("STOPPING=1", "STATUS=stopping")
    await server.stop(_GRACE)
    if failed := [task for task in tasks if task.done()]:
        for task in failed:
            _logger.error("%s failed", task.get_name(), exc_info=task.exception())
        return 1
    _logger.info("stopped")
    return 0


def _make_server(settings: Settings, exporter: Exporter, access: "Access | None") -> Server:
    app = make_app(
        exporter.scraper,
        exporter.summary,
        exporter.status,
        telemetry_path=settings.telemetry_path,
        max_requests=settings.max_requests,
        on_response=exporter.telemetry.count_scrape,
    )
    if access:
        access.protect(app)
    return Server(app, tls=access.tls if access else None)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Stop on the first SIGINT or SIGTERM; on a second, let nothing finish."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def _log_start(
    settings: Settings,
    sockets: Sequence[socket.socket],
    exporter: Exporter,
    manager: systemd.ServiceManager,
    scheme: str,
) -> None:
    _logger.info(
        "started",
        extra=fields(
            version=__version__,
            directory=settings.directory,
            worker=settings.worker_address,
            port=sockets[0].getsockname()[1],
        ),
    )
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        url = f"{scheme}://{host_port(host, port)}{settings.telemetry_path}"
        passed = f"passed by systemd as {manager.sockets[sock]}" if sock in manager.sockets else ""
        _logger.info("listening", extra=fields(url=url, port=passed or settings.port_rule))
    if problem := exporter.summary().problem:
        _logger.warning("nothing to serve yet", extra=fields(problem=problem))


def _summary(status: Summary, sockets: Sequence[socket.socket]) -> str:
    """Return how things are, in a line."""
    if status.problem:
        return f"waiting for {status.problem}"
    down = "the worker is down; " if status.worker_up is False else ""
    count = sum(status.process_counts.values())
    processes = f"{count} process{'es' * (count != 1)}"
    return f"{down}serving {status.series} series of {processes} on port {sockets[0].getsockname()[1]}"
