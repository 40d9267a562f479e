"""`smg-exporter demo`: simulated SGLang workers of real processes, and the exporter that serves them.

    catalogue   SGLang's metrics as recorded: names, labels, types, modes, buckets
    story       what happens from a worker's start to its restart
    workload    the simulated clients' requests
    model       the simulated server
    variety     one server like no other for each worker
    events      what the simulated server reports
    writers     events -> metrics, for a scheduler and for the servicer
    worker      one process of the worker
    processes   starts, watches, restarts and ends all processes
    serving     the exporter of one worker, or a node that finds several

The simulated processes import this package too, so it imports nothing heavy at module level.
"""

import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from exporter.demo.processes import DemoError, SimulatedWorker, simulated_workers

if TYPE_CHECKING:
    from exporter.options.demo import DemoOptions
    from exporter.options.worker import ServeOptions

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
            _simulated(Path(name), options) as workers,
            _undisturbed_exit(),
        ):
            introduce = partial(print, introduction(workers, options), flush=True)
            return serving.serve(options, workers, SIGNALS, introduce)
    except KeyboardInterrupt:
        return 0
    except DemoError as error:
        print(f"smg-exporter: error: {error}", file=sys.stderr)
        return 1


def _simulated(root: Path, options: "DemoOptions") -> AbstractContextManager[Sequence[SimulatedWorker]]:
    """Run the workers, each in a directory named after its gRPC port."""
    ports = [options.port(number) for number in range(options.workers)]
    directories = [root / str(port) for port in ports]
    for directory in directories:
        directory.mkdir(mode=0o700)
    return simulated_workers(directories, options.ranks, options.speed, ports)


def introduction(workers: Sequence[SimulatedWorker], options: "DemoOptions") -> str:
    """Return the text printed at the start: what runs where, commands to try, and last a link to the page."""
    several = len(workers) > 1
    story = workers[0].story
    running = "\n\n".join(
        f"""\
  worker     {exporter.worker_address}
  metrics    {exporter.metrics_url}
  directory  {worker.directory}
  processes  {", ".join(f"{process.name} {process.pid}" for process in worker.processes)}"""
        for exporter, worker in _exporters(workers, options)
    )
    commands = "\n  ".join(_commands(workers, options))
    return f"""\
{f"{len(workers)} simulated SGLang workers are" if several else "A simulated SGLang worker is"} running. \
What happens, every {story.seconds:.0f} seconds:
{", ".join(act.name for act in story.acts)}, a restart.

{running}

As with SGLang's HTTP server, request metrics are among them; in gRPC mode only schedulers write.

Try:
  {commands}

Ctrl-C ends all of it and leaves nothing behind.

  Open {options.page_url}
"""


def _exporters(
    workers: Sequence[SimulatedWorker], options: "DemoOptions"
) -> Iterator[tuple["ServeOptions", SimulatedWorker]]:
    """Yield each worker with the options that say how it is served."""
    for number, worker in enumerate(workers):
        yield options.serving(worker.directory, number), worker


def _commands(workers: Sequence[SimulatedWorker], options: "DemoOptions") -> Iterator[str]:
    """Yield the commands to try."""
    first = workers[0]
    yield f"curl -s {options.all_metrics_url} | grep sglang:num_running_reqs"
    yield f"smg-exporter top {options.all_metrics_url}"
    if len(workers) > 1:
        told = (f"--worker {exporter.worker_address}" for exporter, _ in _exporters(workers, options))
        yield f"smg-exporter fleet {' '.join(told)}"
    yield f"smg-exporter verify --multiproc-dir {shlex.quote(str(first.directory))}"
    yield f"kill -9 {first.pids[0]}    # one rank dies: see the status page"
    yield f"kill -9 {' '.join(map(str, first.pids))}    # the worker dies: its gauges go, its counters stay"


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
