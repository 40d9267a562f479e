"""The simulated worker's processes: started together, watched, and ended together."""

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.catalogue import Role
from exporter.logs import fields

START_TIMEOUT = 60.0
"""Seconds for all processes to have written their files; 65 of them take a while on a small machine."""
STOP_TIMEOUT = 2.0
"""Seconds between SIGTERM and SIGKILL."""

logger = logging.getLogger(__name__)


class DemoError(Exception):
    """The simulated worker cannot start; its str is one line for the user."""


@dataclass(frozen=True)
class SimulatedProcess:
    """One process of the worker. `simulated_worker` signals and reaps it."""

    role: Role
    tp_rank: int | None
    """A scheduler's rank."""
    popen: "subprocess.Popen[str]"

    @property
    def pid(self) -> int:
        """The process id, also after the process ended."""
        return self.popen.pid

    @property
    def name(self) -> str:
        """The process's name for messages: `servicer`, `scheduler tp_rank=0`."""
        return str(self.role) if self.tp_rank is None else f"{self.role} tp_rank={self.tp_rank}"


@dataclass(frozen=True)
class SimulatedWorker:
    """A running worker and the directory it writes."""

    directory: Path
    processes: tuple[SimulatedProcess, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes' ids: schedulers by rank, then the servicer."""
        return tuple(process.pid for process in self.processes)


@contextmanager
def simulated_worker(directory: Path, ranks: int, seed: int = 0) -> Iterator[SimulatedWorker]:
    """Run a worker of `ranks` schedulers and a servicer that write into `directory`, which must exist.

    Inside the block, every process has written its files. One that dies is reaped, logged and not replaced; its
    files stay. After the block, all processes have ended. The same seed gives the same traffic. Raises DemoError when
    one fails to start.
    """
    started = time.monotonic()
    schedulers: list[tuple[Role, int | None]] = [(Role.SCHEDULER, rank) for rank in range(ranks)]
    processes: list[SimulatedProcess] = []
    stopping = threading.Event()
    reaper = threading.Thread(target=_reap, args=(processes, stopping), name="demo-reaper", daemon=True)
    try:
        for role, tp_rank in [*schedulers, (Role.SERVICER, None)]:
            options = {"--tp-size": ranks, "--seed": seed, "--started": started}
            processes.append(_start(directory, role, tp_rank, options))
        _await_ready(processes, deadline=started + START_TIMEOUT)
        reaper.start()
        yield SimulatedWorker(directory, tuple(processes))
    finally:
        stopping.set()
        _stop(processes)
        if reaper.ident is not None:
            reaper.join()
        _close_pipes(processes)


def _start(
    directory: Path, role: Role, tp_rank: int | None, options: Mapping[str, float]
) -> SimulatedProcess:
    rank = {} if tp_rank is None else {"--tp-rank": tp_rank}
    words = [str(word) for option in {"--role": role, **rank, **options}.items() for word in option]
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(directory),
        # The child imports from where this process does, and not from the current directory.
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONSAFEPATH": "1",
    }
    try:
        popen = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
            [sys.executable, "-m", "exporter.demo.worker", *words],
            env=environment,
            stdin=subprocess.PIPE,  # held open: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the others
        )
    except OSError as error:
        raise DemoError(f"cannot start a {role} with {sys.executable}: {error}") from error
    return SimulatedProcess(role, tp_rank, popen)


def _await_ready(processes: Sequence[SimulatedProcess], deadline: float) -> None:
    """Wait until every process has said that it is ready."""
    with _selector(processes) as selector:
        while selector.get_map():
            ready = selector.select(timeout=deadline - time.monotonic())
            if not ready:
                slow = next(iter(selector.get_map().values())).data
                raise DemoError(f"{slow.name} (pid {slow.pid}) was not ready within {START_TIMEOUT:.0f} s")
            for key, _ in ready:
                if not os.read(key.fd, 64):
                    raise DemoError(_failure(key.data))
                selector.unregister(key.fileobj)


def _failure(process: SimulatedProcess) -> str:
    """Return how a process ended that has closed its stdout."""
    try:
        _, stderr = process.popen.communicate(timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        stderr = ""
    reason = _last_line(stderr) or "it wrote nothing to stderr"
    ending = _ending(process.popen.returncode)
    return f"{process.name} (pid {process.pid}) {ending} while starting: {reason}"


def _ending(code: int | None) -> str:
    if code is None:
        return "hung"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _reap(processes: Sequence[SimulatedProcess], stopping: threading.Event) -> None:
    """Reap each process as it ends, which closes its stdout; return when all have."""
    with _selector(processes) as selector:
        while selector.get_map():
            for key, _ in selector.select():
                if os.read(key.fd, 64):
                    continue  # an unbuffered `ready` comes in two pieces
                selector.unregister(key.fileobj)
                process: SimulatedProcess = key.data
                code = process.popen.wait()
                if not stopping.is_set():
                    _report_death(process, code)


def _report_death(process: SimulatedProcess, code: int) -> None:
    event = {"process": process.name, "pid": process.pid, "ending": _ending(code)}
    if process.popen.stderr and (words := _last_line(process.popen.stderr.read())):
        event["stderr"] = words
    logger.warning("simulated process ended; its files stay", extra=fields(**event))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _selector(processes: Sequence[SimulatedProcess]) -> selectors.BaseSelector:
    """Return a selector over the processes' stdouts."""
    selector = selectors.DefaultSelector()
    for process in processes:
        if process.popen.stdout:
            selector.register(process.popen.stdout, selectors.EVENT_READ, process)
    return selector


def _stop(processes: Sequence[SimulatedProcess]) -> None:
    """End and reap every process: SIGTERM, then SIGKILL for those it does not end in time."""
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        try:
            process.popen.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()


def _close_pipes(processes: Sequence[SimulatedProcess]) -> None:
    with ExitStack() as stack:
        for process in processes:
            for pipe in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
                if pipe:
                    stack.callback(pipe.close)
