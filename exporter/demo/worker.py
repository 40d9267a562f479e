"""One process of the simulated worker: `python -m exporter.demo.worker --role scheduler --tp-rank 0 ...`.

The process writes into `PROMETHEUS_MULTIPROC_DIR`, prints `ready` once all its series exist, and ends when stdin is
closed: the parent holds the other end, so the process does not outlive it. SIGTERM ends the process too.
"""

import argparse
import select
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from exporter.demo.catalogue import ProcessMetrics, Role, load
from exporter.demo.model import Server
from exporter.demo.writers import SchedulerWriter, ServicerWriter, Writer

READY = "ready"
TICK = 0.2
"""Seconds between updates. All processes update to the same moments: multiples of TICK since the start."""
WARM_UP = 30.0
"""Seconds of traffic simulated before the start, so that the first scrape shows a busy server."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the parent is gone."""
    options = _parse(arguments)
    server = Server(options.seed)
    run(server, _writer(options, server), started=options.started, parent=sys.stdin)


def run(server: Server, writer: Writer, *, started: float, parent: TextIO) -> None:
    """Keep the metrics up to date until `parent` ends; `started` is a reading of `time.monotonic`."""
    ready = False
    while True:
        tick = int((time.monotonic() - started) / TICK)
        writer.write(server.advance(WARM_UP + tick * TICK), server.load)
        if not ready:
            ready = True
            print(READY, flush=True)
        next_tick = started + (tick + 1) * TICK
        # Nobody writes to this pipe: it turns readable only when its other end is closed.
        if select.select([parent], [], [], max(0.0, next_tick - time.monotonic()))[0]:
            return


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="exporter.demo.worker", description=__doc__)
    parser.add_argument("--role", type=Role, choices=list(Role), required=True)
    parser.add_argument("--tp-rank", type=int, help="a scheduler's rank")
    parser.add_argument("--tp-size", type=int, required=True, help="how many schedulers there are")
    parser.add_argument("--seed", type=int, required=True, help="the same in all processes of a worker")
    parser.add_argument(
        "--started", type=float, required=True, help="when the worker started: time.monotonic()"
    )
    return parser.parse_args(arguments)


def _writer(options: argparse.Namespace, server: Server) -> Writer:
    metrics = ProcessMetrics(load(), options.role, options.tp_rank)
    if options.role is Role.SERVICER:
        return ServicerWriter(metrics, options.seed)
    return SchedulerWriter(metrics, server.spec, options.seed, options.tp_rank, options.tp_size)


if __name__ == "__main__":
    main()
