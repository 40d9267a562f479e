"""One worker's exporter as a daemon: the order of start and stop, its tasks and signals."""

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from exporter.addresses import host_port
from exporter.assembly import Exporter
from exporter.logs import fields
from exporter.settings import Settings
from exporter.web.app import make_app
from exporter.web.listen import ListenError, open_sockets
from exporter.web.server import Server

_FIRST_LOOK = 2.0
"""Seconds that the start waits for the first look at the directory, which may be on a disk that hangs."""

_GRACE = 4.0
"""Seconds that scrapes in flight have to finish at a stop."""

_MAX_OPEN_FILES = 65536

_logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    try:
        sockets = open_sockets(settings.listen_host, settings.metrics_port)
    except ListenError as error:
        rule = settings.port_rule
        print(
            f"smg-exporter: error: {error}; it was {rule}: choose another with --listen-port", file=sys.stderr
        )
        return 1
    _raise_open_files_limit()
    try:
        return asyncio.run(_serve(settings, sockets))
    except asyncio.CancelledError:  # a second signal
        return 1


async def _serve(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    exporter = Exporter(settings)
    server = Server(
        make_app(
            exporter.scraper,
            exporter.status,
            telemetry_path=settings.telemetry_path,
            max_requests=settings.max_requests,
            on_response=exporter.telemetry.count_scrape,
        )
    )
    with suppress(TimeoutError):
        await asyncio.wait_for(exporter.watcher.rescan(), _FIRST_LOOK)
    watching = asyncio.create_task(exporter.watcher.run(on_change=exporter.scraper.refresh))
    exporter.scraper.refresh()
    try:
        await server.start(sockets)
        _log_start(settings, sockets, exporter)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((stopping, watching), return_when=asyncio.FIRST_COMPLETED)
        _logger.info("stopping")
        await server.stop(_GRACE)
        if watching.done():
            _logger.error("the watch of the directory failed", exc_info=watching.exception())
            return 1
    finally:
        watching.cancel()
        exporter.scraper.close()
    _logger.info("stopped")
    return 0


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Stop on the first SIGINT or SIGTERM; on a second, let nothing finish."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def _log_start(settings: Settings, sockets: Sequence[socket.socket], exporter: Exporter) -> None:
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        url = f"http://{host_port(host, port)}{settings.telemetry_path}"
        _logger.info("listening", extra=fields(url=url, port=settings.port_rule))
    if problem := exporter.status().problem:
        _logger.warning("nothing to serve yet", extra=fields(problem=problem))


def _raise_open_files_limit() -> None:
    """Allow as many open files as there may be: each file that is followed is kept open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
