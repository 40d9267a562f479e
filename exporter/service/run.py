"""The run of a daemon: open sockets, look once, serve until a signal, stop in bounded time."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from exporter import __version__
from exporter.addresses import host_port
from exporter.errors import SettingsError
from exporter.logs import fields
from exporter.service.systemd import PassedSocketError, ServiceManager, take
from exporter.web.listen import UNREAD_TIMEOUT_MS, Endpoint, ListenError
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.web.access.access import Access

_LOOK = 2.0
"""Longest wait, in seconds, for a look: a disk or a peer may hang."""

_GRACE = 4.0
"""Seconds that scrapes in flight get to finish at a stop."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_NO_MANAGER = ServiceManager()

_logger = logging.getLogger(__name__)


class Daemon(Protocol):
    """What `serve` runs: an application, and background tasks."""

    @property
    def app(self) -> web.Application:
        """The application with all endpoints."""

    @property
    def metrics_path(self) -> str:
        """The path of the metrics endpoint."""

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Background tasks by name; asked for once. They run until the stop: one that ends earlier is a fault."""

    @property
    def facts(self) -> Mapping[str, object]:
        """Fields for the log line `started`."""

    @property
    def problem(self) -> str:
        """Why there is nothing to serve; empty if there is something."""

    @property
    def ready(self) -> bool:
        """Whether the start is complete, for systemd."""

    async def look(self) -> None:
        """Find out what there is to serve: at the start, and at SIGHUP."""

    def summary(self, port: int) -> str:
        """Return the daemon's state in one line; it serves on `port`."""

    def stuck(self, longest: float) -> str:
        """Return which piece of work has been running for more than `longest` seconds; an empty text if none has."""


Make = Callable[[], AbstractAsyncContextManager[Daemon]]
"""Makes a daemon in the event loop, and releases its resources at the end."""


def run(
    make: Make,
    endpoint: Endpoint,
    access: "Access | None",
    stop_on: Collection[signal.Signals] = STOP_SIGNALS,
    on_start: Callable[[], None] | None = None,
) -> int:
    """Run a daemon until a signal of `stop_on`; return the exit code.

    It is served behind `access`, if there is any. `on_start` is called once, when the daemon serves.
    """
    try:
        manager = take(os.environ)
        sockets = [*manager.sockets] or endpoint.open()
    except PassedSocketError as error:
        return _refuse(str(error))
    except ListenError as error:
        return _refuse(endpoint.explain(error))
    for sock in manager.sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)  # as in `listen`
    try:
        serving = serve(
            make, sockets, endpoint.rule, access, manager=manager, stop_on=stop_on, on_start=on_start
        )
        return asyncio.run(serving)
    except asyncio.CancelledError:  # a second signal
        return 1


def load_access(web_config: Path | None) -> "Access | None":
    """Load a `--web-config` file; None if no file is given. SettingsError if the file is invalid."""
    if web_config is None:
        return None
    from exporter.web.access.access import Access  # noqa: PLC0415 - loads YAML and bcrypt
    from exporter.web.access.webconfig import WebConfigError  # noqa: PLC0415 - as above

    try:
        return Access(web_config)
    except WebConfigError as error:
        raise SettingsError(f"--web-config: {error}") from None


async def serve(
    make: Make,
    sockets: Sequence[socket.socket],
    rule: str,
    access: "Access | None" = None,
    *,
    manager: ServiceManager = _NO_MANAGER,
    stop_on: Collection[signal.Signals] = STOP_SIGNALS,
    on_start: Callable[[], None] | None = None,
) -> int:
    """Serve a daemon on listening sockets until a signal of `stop_on`; return the exit code.

    `on_start` is called once, when the daemon serves.
    """
    stop, hangup = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    _stop_on_signals(stop, stop_on)
    port: int = sockets[0].getsockname()[1]
    async with make() as daemon:
        server = make_server(daemon.app, access)
        await _look(daemon)
        work = {**daemon.tasks, "the reload on SIGHUP": _look_again(hangup, daemon, port, access)}
        if access:
            work["the watch of the web configuration"] = access.watch()
        if manager.address:
            work["the notification of systemd"] = manager.report(
                lambda: "stopping" if stop.is_set() else daemon.summary(port),
                ready=lambda: daemon.ready,
                stuck=daemon.stuck,
            )
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
        try:
            await server.start(sockets)
            _log_start(daemon, sockets, "https" if access and access.tls else "http", rule, manager)
            if on_start:
                on_start()
            return await _until_stopped(stop, server, tasks, manager)
        finally:
            for task in tasks:
                task.cancel()


def make_server(app: web.Application, access: "Access | None") -> Server:
    """Return a server of the application, with the TLS, users and headers of `access` if there is one."""
    if access:
        access.protect(app)
    return Server(app, tls=access.tls if access else None)


def _refuse(error: str) -> int:
    print(f"smg-exporter: error: {error}", file=sys.stderr)
    return 1


async def _look(daemon: Daemon) -> None:
    """Have a daemon look; stop waiting after `_LOOK` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK):
            await daemon.look()


async def _look_again(hangup: asyncio.Event, daemon: Daemon, port: int, access: "Access | None") -> None:
    """At each SIGHUP, reload the web configuration, and have the daemon look."""
    while await hangup.wait():
        hangup.clear()
        if access:
            await access.refresh()
        await _look(daemon)
        _logger.info("reloaded on SIGHUP", extra=fields(status=daemon.summary(port)))


def _stop_on_signals(stop: asyncio.Event, stop_on: Collection[signal.Signals]) -> None:
    """Set `stop` at the first of these signals; cancel everything at the second."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in stop_on:
        loop.add_signal_handler(number, on_signal)


def _log_start(
    daemon: Daemon, sockets: Sequence[socket.socket], scheme: str, rule: str, manager: ServiceManager
) -> None:
    port = sockets[0].getsockname()[1]
    _logger.info("started", extra=fields(version=__version__, **daemon.facts, port=port))
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        url = f"{scheme}://{host_port(host, port)}{daemon.metrics_path}"
        passed = f"passed by systemd as {manager.sockets[sock]}" if sock in manager.sockets else ""
        _logger.info("listening", extra=fields(url=url, port_rule=passed or rule))
    if problem := daemon.problem:
        _logger.warning("nothing to serve yet", extra=fields(problem=problem))


async def _until_stopped(
    stop: asyncio.Event,
    server: Server,
    tasks: Sequence["asyncio.Task[None]"],
    manager: ServiceManager,
) -> int:
    """Wait for the stop, or for a background task that ends; stop serving, and return the exit code."""
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
