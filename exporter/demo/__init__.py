"""`smg-exporter demo`: a simulated SGLang worker of real processes, and the exporter on its directory.

    catalogue   SGLang's metrics as recorded: names, labels, types, modes, buckets
    workload    the simulated clients' requests
    model       the simulated server
    events      what the simulated server reports
    writers     events -> metrics, for a scheduler and for the servicer
    worker      one process of the worker
    processes   starts, watches and ends all processes

The simulated processes import this package too, so it imports nothing heavy at module level.
"""

import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from exporter.addresses import host_port, local_host
from exporter.demo.processes import DemoError, SimulatedWorker, simulated_worker

if TYPE_CHECKING:
    from exporter.options import DemoOptions

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the demo. SIGHUP, at which `serve` reloads, is sent when the terminal closes."""


def run(options: "DemoOptions") -> int:
    """Serve a simulated worker until one of SIGNALS; return the exit code.

    On return, in any case, the worker's processes have ended and its directory is removed.
    """
    from exporter.worker.serve import endpoint, serve  # noqa: PLC0415 - heavy; see above

    if problem := endpoint(options).problem():  # before printing where the metrics are
        print(f"smg-exporter: error: {problem}", file=sys.stderr)
        return 1
    try:
        with (
            _orderly_signals(),
            tempfile.TemporaryDirectory(prefix="smg-exporter-demo-") as directory,
            simulated_worker(Path(directory), options.ranks) as worker,
            _undisturbed_exit(),
        ):
            print(introduction(worker, options), flush=True)
            return serve(options.serving(worker.directory), stop_on=SIGNALS, warn=False)
    except KeyboardInterrupt:
        return 0
    except DemoError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1


def introduction(worker: SimulatedWorker, options: "DemoOptions") -> str:
    """Return the text printed at the start: URLs, directory, pids, and commands to try."""
    base = f"http://{host_port(local_host(options.listen_host), options.metrics_port)}"
    metrics = base + options.telemetry_path
    processes = "\n".join(f"  {process.pid:>7}  {process.name}" for process in worker.processes)
    directory = shlex.quote(str(worker.directory))
    return f"""\
A simulated SGLang worker is running.

  metrics      {metrics}
  status page  {base}/
  directory    {worker.directory}

      pid  process
{processes}

As with SGLang's HTTP server, request metrics are among them; in gRPC mode only schedulers write.

Try:
  curl -s {metrics} | grep sglang:num_running_reqs
  smg-exporter verify --multiproc-dir {directory}
  kill -9 {worker.pids[0]}    # one rank dies: see the status page
  kill -9 {" ".join(map(str, worker.pids))}    # the worker dies: its gauges go, its counters stay

Ctrl-C ends all of it and leaves nothing behind.
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
