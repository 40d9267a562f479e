"""`smg-exporter demo`: simulated SGLang workers of real processes, and the exporters on their directories.

    catalogue   SGLang's metrics as recorded: names, labels, types, modes, buckets
    story       what happens from a worker's start to its restart
    workload    the simulated clients' requests
    model       the simulated server
    variety     one server like no other for each worker
    events      what the simulated server reports
    writers     events -> metrics, for a scheduler and for the servicer
    worker      one process of the worker
    processes   starts, watches, restarts and ends all processes
    serving     an exporter for each worker, and a fleet over several

The simulated processes import this package too, so it imports nothing heavy at module level.
"""

import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from exporter.demo.processes import DemoError, SimulatedWorker, simulated_workers

if TYPE_CHECKING:
    from exporter.options.demo import DemoOptions

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the demo. SIGHUP, at which `serve` reloads, is sent when the terminal closes."""


def run(options: "DemoOptions") -> int:
    """Serve simulated workers until one of SIGNALS; return the exit code.

    On return, in any case, the workers' processes have ended and their directories are removed.
    """
    from exporter.demo import serving  # noqa: PLC0415 - heavy; see above

    if problem := serving.problem(options):  # before printing where the metrics are
        print(f"smg-exporter: error: {problem}", file=sys.stderr)
        return 1
    try:
        with (
            _orderly_signals(),
            tempfile.TemporaryDirectory(prefix="smg-exporter-demo-") as name,
            simulated_workers(_directories(Path(name), options), options.ranks, options.speed) as workers,
            _undisturbed_exit(),
        ):
            introduce = partial(print, introduction(workers, options), flush=True)
            return serving.serve(options, [worker.directory for worker in workers], SIGNALS, introduce)
    except KeyboardInterrupt:
        return 0
    except DemoError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1


def _directories(root: Path, options: "DemoOptions") -> list[Path]:
    """Make a directory for each worker, named after its gRPC port."""
    directories = [root / str(options.serving(root, number).worker_port) for number in range(options.workers)]
    for directory in directories:
        directory.mkdir(mode=0o700)
    return directories


def introduction(workers: Sequence[SimulatedWorker], options: "DemoOptions") -> str:
    """Return the text printed at the start: what runs where, commands to try, and last a link to the page."""
    several = len(workers) > 1
    first = workers[0]
    exporters = [options.serving(worker.directory, number) for number, worker in enumerate(workers)]
    running = "\n\n".join(
        f"""\
  worker     {exporter.worker_address}
  metrics    {exporter.metrics_url}
  directory  {worker.directory}
  processes  {", ".join(f"{process.name} {process.pid}" for process in worker.processes)}"""
        for worker, exporter in zip(workers, exporters, strict=True)
    )
    page = options.local_url(options.fleet.metrics_port if several else exporters[0].metrics_port)
    return f"""\
{f"{len(workers)} simulated SGLang workers are" if several else "A simulated SGLang worker is"} running. \
What happens, every {first.story.seconds:.0f} seconds:
{", ".join(act.name for act in first.story.acts)}, a restart.

{running}

As with SGLang's HTTP server, request metrics are among them; in gRPC mode only schedulers write.

Try:
  curl -s {exporters[0].metrics_url} | grep sglang:num_running_reqs
  smg-exporter top {" ".join(exporter.metrics_url for exporter in exporters)}
  smg-exporter verify --multiproc-dir {shlex.quote(str(first.directory))}
  kill -9 {first.pids[0]}    # one rank dies: see the status page
  kill -9 {" ".join(map(str, first.pids))}    # the worker dies: its gauges go, its counters stay

Ctrl-C ends all of it and leaves nothing behind.

  Open {page}
"""


@contextmanager
def _orderly_signals() -> Iterator[None]:
    """Turn the first of SIGNALS into KeyboardInterrupt, and ignore further ones during the cleanup.

    The exporter sets its own handlers while it serves.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        _ignore_signals()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed_exit() -> Iterator[None]:
    """Ignore signals after the body, so that the cleanup, which takes bounded time, is not interrupted."""
    try:
        yield
    finally:
        _ignore_signals()


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
