"""One process of the simulated worker: `python -m exporter.demo.worker --role scheduler --tp-rank 0 ...`.

The process writes into `PROMETHEUS_MULTIPROC_DIR`, prints `ready` once all its series exist, and ends when stdin is
closed: the parent holds the other end, so the process does not outlive it. SIGTERM ends the process too.

The servicer is told `--smg-grpc-mode --port PORT`, as a real one is, and listens there on a loopback address.
"""

import argparse
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from exporter.demo.catalogue import ProcessMetrics, Role, load
from exporter.demo.model import Server
from exporter.demo.story import Act
from exporter.demo.variety import simulated_server
from exporter.demo.writers import SchedulerWriter, ServicerWriter, Writer

READY = "ready"
HOST = "127.0.0.1"
"""Where a servicer listens."""
TICK = 0.2
"""Seconds between updates. All processes update to the same moments: multiples of TICK since the start."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the parent is gone."""
    options = _parse(arguments)
    server = simulated_server(options.number, options.speed)
    with listening(options.port):
        run(
            server,
            _writer(options, server),
            started=options.started,
            parent=sys.stdin,
            lags=0 < options.tp_size - 1 == options.tp_rank,
        )


@contextmanager
def listening(port: int | None) -> Iterator[None]:
    """Listen on a port, but answer nobody; None: do not listen. OSError if the port cannot be had."""
    if port is None:
        yield
    else:
        with socket.create_server((HOST, port)):
            yield


def run(server: Server, writer: Writer, *, started: float, parent: TextIO, lags: bool) -> None:
    """Keep the metrics up to date until `parent` ends.

    `started` is the reading of `time.monotonic` at the start of the server's story. A rank that `lags` has no part in
    most of what happens where the story says so.
    """
    ready = False
    while True:
        tick = int((time.monotonic() - started) / TICK)
        moment = tick * TICK
        events = server.advance(moment)
        writer.write([] if ready and lags and misses(server.story.act(moment), tick) else events, server.load)
        if not ready:
            ready = True
            print(READY, flush=True)
        next_tick = started + (tick + 1) * TICK
        # Nobody writes to this pipe: it turns readable only when its other end is closed.
        if select.select([parent], [], [], max(0.0, next_tick - time.monotonic()))[0]:
            return


def misses(act: Act, tick: int) -> bool:
    """Return whether a rank that lags has no part in what happens up to a tick: it does one part in `act.lag`."""
    return int(tick / act.lag) == int((tick - 1) / act.lag)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="exporter.demo.worker", description=__doc__)
    parser.add_argument("--role", type=Role, choices=list(Role), required=True)
    parser.add_argument("--tp-rank", type=int, help="a scheduler's rank")
    parser.add_argument("--tp-size", type=int, required=True, help="how many schedulers there are")
    parser.add_argument(
        "--number", type=int, required=True, help="the worker's, the same in all its processes"
    )
    parser.add_argument("--speed", type=float, required=True, help="how fast the acts of the story follow")
    parser.add_argument("--port", type=int, help="the port that a servicer listens on")
    parser.add_argument("--smg-grpc-mode", action="store_true", help="says what the port is for")
    parser.add_argument(
        "--started", type=float, required=True, help="when the story started: a reading of time.monotonic()"
    )
    return parser.parse_args(arguments)


def _writer(options: argparse.Namespace, server: Server) -> Writer:
    metrics = ProcessMetrics(load(), options.role, options.tp_rank)
    if options.role is Role.SERVICER:
        return ServicerWriter(metrics, options.number)
    return SchedulerWriter(metrics, server.spec, options.number, options.tp_rank, options.tp_size)


if __name__ == "__main__":
    main()
